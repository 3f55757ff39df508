//! Copies of the object that are being mapped: `vm_map` with `copy`.

use std::task::Poll;

use super::{Engine, Output};
use crate::error::MapError;
use crate::mach::{KernelError, ObjectKernel, RawMapping, Touch};
use crate::object::{PageRange, Prot, RequestToken};

/// A copy that a user waits for.
#[derive(Debug)]
struct Making {
    token: RequestToken,
    range: PageRange,
    prot: Prot,
    /// None while the kernel cannot say yet how the object is copied.
    mapping: Option<RawMapping>,
}

/// The copies that are being made, in the order they were asked for.
#[derive(Debug, Default)]
pub(super) struct CopiesInMaking {
    list: Vec<Making>,
}

impl CopiesInMaking {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Lets every copy go as far as it can; hands those that ended to `ended`.
    pub(super) fn advance(
        &mut self,
        kernel: &mut dyn ObjectKernel,
        mut ended: impl FnMut(RequestToken, Result<RawMapping, MapError>),
    ) {
        self.list.retain_mut(|making| match making.step(kernel) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                ended(making.token, result);
                false
            }
        });
    }
}

impl Making {
    fn step(&mut self, kernel: &mut dyn ObjectKernel) -> Poll<Result<RawMapping, MapError>> {
        let mapping = match self.mapping {
            Some(mapping) => mapping,
            None => match kernel.map_copy(self.range, self.prot) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(refused(error))),
                Poll::Ready(Ok(mapping)) => *self.mapping.insert(mapping),
            },
        };
        match kernel.finish_copy(&mapping) {
            Touch::Ready => Poll::Ready(Ok(mapping)),
            Touch::Pending => Poll::Pending,
            Touch::Failed { page, error } => {
                give_up(kernel, &mapping);
                Poll::Ready(Err(MapError::Page { page, error }))
            }
        }
    }
}

fn refused(error: KernelError) -> MapError {
    if let KernelError::CopyStrategy(strategy) = error {
        MapError::CopyStrategy(strategy)
    } else {
        MapError::Kernel(error)
    }
}

fn give_up(kernel: &mut dyn ObjectKernel, mapping: &RawMapping) {
    if let Err(error) = kernel.unmap(mapping) {
        tracing::warn!(%error, "a copy could not be taken down");
    }
}

impl Engine {
    /// Maps a copy of pages; ends in [`Output::Mapped`].
    pub fn map_copy(&mut self, token: RequestToken, range: PageRange, prot: Prot) {
        self.making.list.push(Making {
            token,
            range,
            prot,
            mapping: None,
        });
        self.settle();
    }

    pub(super) fn make_copies(&mut self) {
        if self.making.is_empty() {
            return;
        }
        let outputs = &mut self.outputs;
        self.making.advance(&mut *self.kernel, |token, mapped| {
            outputs.push_back(Output::Mapped(token, mapped));
        });
    }
}
