//! No memory for pages.

use std::sync::atomic::Ordering::SeqCst;

use actor_pager::Wait;
use actor_pager::error::CopyError;
use actor_pager::object::PageError;

use crate::support::*;

pub(crate) fn memory_that_is_refused_is_an_error_and_heals(machine: &Machine) {
    let (bucket, trouble) = machine.troubled();
    let (pager, _control) = pager(&bucket, policy());
    fill(&pager, 0, 0x10);
    trouble.refuse_supply.store(1, SeqCst);
    let stopped = pager.read_at_blocking(9 * PAGE, &mut [0]).unwrap_err();
    assert!(
        matches!(
            stopped,
            CopyError::Page {
                error: PageError::Io,
                ..
            }
        ),
        "{stopped:?}"
    );
    assert_eq!(load(&pager, 9), all(10));
    pager.sync_blocking(Wait::Yes).unwrap();
    assert_eq!(stored(&pager, 0), all(0x10));
}
