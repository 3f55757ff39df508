//! A store behind a URL: what it reads, and what it says when the server lets it down.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod http_server;

use std::sync::atomic::Ordering::SeqCst;

use actor_pager::backend::{Backend, BackendError, HttpBackend, HttpError, PageOutcome, ReadRun, WriteRun};
use actor_pager::object::{PageIndex, PageRange, PageSize};
use http_server::Server;

const PAGE: usize = 4096;

fn contents(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / PAGE * 31) as u8).collect()
}

fn read(store: &HttpBackend, first: u64, pages: u64) -> Result<Vec<u8>, BackendError> {
    let range = PageRange::with_len(PageIndex(first), pages);
    let mut bytes = vec![0xee; pages as usize * PAGE];
    let mut outcomes: Vec<PageOutcome> = Vec::new();
    let mut run = ReadRun::new(range, PageSize::KIB_4, &mut bytes, &mut outcomes);
    let read = store.read_pages(&mut run);
    run.finish(Ok(()));
    read.map(|()| bytes)
}

#[test]
fn pages_are_ranges_and_the_tail_reads_zero() {
    let all = contents(10 * PAGE + 100);
    let server = Server::start(&all);
    let store = HttpBackend::open(&server.url()).unwrap();
    assert_eq!(store.extent(), all.len() as u64);
    assert!(read(&store, 3, 4).unwrap() == all[3 * PAGE..7 * PAGE]);
    let tail = read(&store, 10, 1).unwrap();
    assert!(tail[..100] == all[10 * PAGE..] && tail[100..].iter().all(|&byte| byte == 0));
    assert!(read(&store, 11, 1).unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn many_reads_at_a_time_each_get_their_own_bytes() {
    let all = contents(64 * PAGE);
    let server = Server::start(&all);
    let store = HttpBackend::open(&server.url()).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (store, all) = (&store, &all);
            scope.spawn(move || {
                for page in (number..64).step_by(8) {
                    assert!(read(store, page as u64, 1).unwrap() == all[page * PAGE..(page + 1) * PAGE]);
                }
            });
        }
    });
}

#[test]
fn what_changed_meanwhile_is_an_error_and_no_mixture() {
    let server = Server::start(&contents(4 * PAGE));
    let store = HttpBackend::open(&server.url()).unwrap();
    server.site.replace(&[1; 4 * PAGE]);
    let error = read(&store, 0, 1).unwrap_err();
    assert!(format!("{error:?}").contains("changed"), "{error:?}");
    let anew = HttpBackend::open(&server.url()).unwrap();
    assert!(read(&anew, 0, 1).unwrap() == [1; PAGE]);
}

#[test]
fn a_server_that_fails_fails_the_pages_and_heals() {
    let all = contents(2 * PAGE);
    let server = Server::start(&all);
    let store = HttpBackend::open(&server.url()).unwrap();
    server.site.status.store(503, SeqCst);
    let error = read(&store, 0, 1).unwrap_err();
    assert!(format!("{error:?}").contains("503"), "{error:?}");
    server.site.status.store(0, SeqCst);
    assert!(read(&store, 0, 1).unwrap() == all[..PAGE]);
}

#[test]
fn what_cannot_be_paged_is_refused_at_opening() {
    let server = Server::start(&contents(PAGE));
    server.site.whole.store(true, SeqCst);
    assert!(matches!(
        HttpBackend::open(&server.url()),
        Err(HttpError::NoRanges { .. })
    ));
    server.site.whole.store(false, SeqCst);
    server.site.replace(&[]);
    assert!(matches!(
        HttpBackend::open(&server.url()),
        Err(HttpError::Empty { .. })
    ));
    server.site.status.store(404, SeqCst);
    assert!(matches!(
        HttpBackend::open(&server.url()),
        Err(HttpError::Status { status: 404, .. })
    ));
    let gone = server.url();
    drop(server);
    assert!(HttpBackend::open(&gone.replace("127.0.0.1", "127.0.0.1.invalid")).is_err());
}

#[test]
fn writes_are_refused() {
    let server = Server::start(&contents(PAGE));
    let store = HttpBackend::open(&server.url()).unwrap();
    let range = PageRange::with_len(PageIndex(0), 1);
    let asked = server.site.answered.load(SeqCst);
    assert!(
        store
            .write_pages(&WriteRun::new(range, PageSize::KIB_4, &[1; PAGE]))
            .is_err()
    );
    assert!(store.unlock_pages(range, PageSize::KIB_4).is_err());
    assert_eq!(server.site.answered.load(SeqCst), asked, "nobody was asked");
}
