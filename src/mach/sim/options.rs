//! What kind of kernel is simulated.

/// How a [`SimHost`](super::SimHost) behaves where kernels may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// Decides which page memory pressure takes; equal seeds and equal calls give equal upcalls.
    pub seed: u64,
    /// The most pages that all objects together may hold, those asked for included.
    pub resident_limit: Option<u64>,
    /// The most pages of one data request; GNU Mach always asks for 1.
    pub request_run: u64,
    /// The most pages of one data return.
    pub return_run: u64,
    /// Returned pages stay in the kernel's cache until they are released, as on Linux, instead of
    /// travelling with the message.
    pub lend_returns: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            resident_limit: None,
            request_run: 1,
            return_run: 32,
            lend_returns: false,
        }
    }
}
