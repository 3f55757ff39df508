//! Which pages leave when room is needed: replacement policies, and shares between pagers.
//!
//! A policy only knows page numbers. It is told when a page comes, is used again, or goes, and is
//! asked for victims in batches; it never sees contents, clocks or threads.

mod clock;
mod fair_share;
mod fifo;
mod ghost;
mod queue;
pub mod replay;
mod s3_fifo;
mod slots;
#[cfg(test)]
mod tests;
pub mod traces;

pub use clock::Clock;
pub use fair_share::{FairShare, Member, Share, Take};
pub use fifo::Fifo;
pub use s3_fifo::S3Fifo;

use crate::object::PageIndex;

/// A replacement policy for the resident pages of one object.
///
/// Every method takes constant time on average, and allocates only while the number of resident
/// pages grows beyond what it ever was.
pub trait EvictionPolicy: Send {
    /// `page` became resident; a page that is known already counts as used again.
    fn inserted(&mut self, page: PageIndex);

    /// `page` was used again; unknown pages are ignored.
    fn touched(&mut self, page: PageIndex);

    /// `page` left for another reason than eviction; unknown pages are ignored.
    fn removed(&mut self, page: PageIndex);

    /// Appends up to `want` victims to `out`; the policy then knows them no more.
    ///
    /// A page for which `may_evict` says no is passed over and stays. Every known page is asked
    /// about at most a few times in one call, so that the call ends even if all are pinned.
    fn victims(
        &mut self,
        want: usize,
        may_evict: &mut dyn FnMut(PageIndex) -> bool,
        out: &mut Vec<PageIndex>,
    );

    /// Appends about the `most` pages that are nearest to being victims to `out`, the nearest first, and
    /// changes nothing.
    fn coming(&self, most: usize, out: &mut Vec<PageIndex>);

    /// How many pages the policy knows.
    fn len(&self) -> usize;

    /// True if the policy knows no page.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of memory the policy holds.
    fn memory(&self) -> usize;
}
