//! Errors that come only of a system that refuses something, or of another side that misbehaves; with the
//! other tests that `docs/errors.md` names, every variant of every public error is provoked.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod gate;

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use actor_pager::backend::{FileOptions, MemoryBackend, OpenError};
use actor_pager::error::{CreateError, LimitError, MapError, StartError};
use actor_pager::mach::linux::{LinuxHost, LinuxOptions};
use actor_pager::mach::{Call, KernelError, KernelHost, ObjectSpec};
use actor_pager::object::{
    CopyStrategy, PageIndex, PageRange, PageSize, PortName, Prot, RangeError, ShouldReturn,
};
use actor_pager::plan::{Plan, PlanError};
use actor_pager::takeover::{Client, Keeper, TakeoverError};
use actor_pager::{Bucket, PagerOptions, Protection, Wait};
use gate::{Kind, Verdict};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType,
};

const PAGE: u64 = 4096;

/// A path in a folder of its own; gone at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("errors-{name}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("file")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn linux() -> Option<LinuxHost> {
    let host = LinuxHost::new(LinuxOptions::default());
    host.map_err(|error| println!("skipped: {error}")).ok()
}

#[test]
fn a_system_without_userfaultfd_gives_no_bucket() {
    let device = Kind::ioctl(0xaa00);
    let refuse = |_| Verdict::Refuse(libc::ENOSYS);
    gate::behind(&[Kind::of(libc::SYS_userfaultfd), device], refuse, || {
        let error = Bucket::builder().start().err().unwrap();
        assert!(
            matches!(error, StartError::Kernel(KernelError::Unsupported { .. })),
            "{error}"
        );
    });
}

#[test]
fn a_mapping_that_the_system_refuses_is_told_and_leaves_nothing() {
    let refuse = Arc::new(AtomicBool::new(false));
    let judged = refuse.clone();
    let judge = move |_| match judged.load(SeqCst) {
        true => Verdict::Refuse(libc::ENOMEM),
        false => Verdict::Pass,
    };
    // `UFFDIO_REGISTER`.
    gate::behind(&[Kind::ioctl(0xc020_aa00)], judge, || {
        let Some(host) = linux() else { return };
        let bucket = Bucket::builder().kernel(Arc::new(host)).start().unwrap();
        let options = PagerOptions {
            name: Some("refused".to_owned()),
            copy_strategy: CopyStrategy::Delay,
            ..PagerOptions::default()
        };
        let store = MemoryBackend::from_bytes(&[7; 4 * PAGE as usize]);
        let pager = bucket.create_pager(store, options).unwrap();
        let first = pager.map_all_blocking(Protection::Read).unwrap();
        refuse.store(true, SeqCst);
        let told = [
            pager.map_all_blocking(Protection::Read).err().unwrap(),
            pager.map_copy_blocking(0, PAGE, Protection::Read).err().unwrap(),
        ];
        for error in told {
            let refused = matches!(error, MapError::Kernel(KernelError::System { .. }));
            assert!(refused, "{error:?}");
        }
        let views = fs::read_to_string("/proc/self/maps").unwrap();
        let shown = views
            .lines()
            .filter(|line| line.contains("memfd:actor-pager:refused"));
        assert_eq!(
            shown.count(),
            2,
            "that of the pager itself, and the first: {views}"
        );
        refuse.store(false, SeqCst);
        let again = pager.map_copy_blocking(0, PAGE, Protection::Read).unwrap();
        let mut byte = [0];
        for mapping in [&first, &again] {
            mapping.read_at(0, &mut byte).unwrap();
            assert_eq!(byte, [7]);
        }
    });
}

#[test]
fn an_object_that_the_system_has_no_descriptor_for_is_told() {
    let refuse = |_| Verdict::Refuse(libc::EMFILE);
    gate::behind(&[Kind::of(libc::SYS_memfd_create)], refuse, || {
        let Some(host) = linux() else { return };
        let bucket = Bucket::builder().kernel(Arc::new(host)).start().unwrap();
        let refused = bucket.create_pager(MemoryBackend::new(PAGE), PagerOptions::default());
        let told = refused.err().unwrap();
        assert!(
            matches!(told, CreateError::Kernel(KernelError::System { .. })),
            "{told:?}"
        );
    });
}

#[test]
fn a_bound_of_a_kernel_without_one_cannot_be_changed() {
    use actor_pager::mach::sim::{SimHost, SimOptions};
    let kernel = Arc::new(SimHost::new(SimOptions::default()));
    let bucket = Bucket::builder().kernel(kernel).start().unwrap();
    let LimitError::Kernel(told) = bucket.set_resident_limit(Some(1 << 20)).unwrap_err() else {
        panic!("another error");
    };
    assert!(matches!(told, KernelError::Unsupported { .. }), "{told}");
}

#[test]
fn a_kernel_names_what_it_was_given_wrong() {
    let Some(host) = linux() else { return };
    let spec = ObjectSpec {
        name: "told".to_owned(),
        length: 4 * PAGE,
        page_size: PageSize::KIB_4,
        notify_on_evict: false,
        memory_deadline: Duration::from_secs(60),
        share: Default::default(),
    };
    let mut object = host.create_object(spec).unwrap();
    let nobody = PortName(77);
    let unknown = object.call(Call::Destroy { control: nobody }).unwrap_err();
    assert!(matches!(unknown, KernelError::UnknownControl(port) if port == nobody));
    let all = PageRange::with_len(PageIndex(0), 4);
    let beyond = object
        .map(PageRange::with_len(PageIndex(0), 5), Prot::READ)
        .unwrap_err();
    assert!(matches!(beyond, KernelError::BadArgument { call: "map" }));
    object.map(all, Prot::READ).unwrap();
    let mut upcalls = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(std::future::poll_fn(|cx| object.poll_upcalls(cx, &mut upcalls)));
    let actor_pager::mach::Upcall::Init { control, .. } = upcalls[0] else {
        panic!("{upcalls:?}");
    };
    let (offset, length) = (1, PAGE);
    let misaligned = object.call(Call::LockRequest {
        control,
        offset,
        length,
        should_return: ShouldReturn::None,
        should_flush: true,
        lock: Prot::NO_CHANGE,
        reply: false,
    });
    assert!(matches!(
        misaligned,
        Err(KernelError::BadArgument { call: "lock_request" })
    ));
    object.call(Call::Destroy { control }).unwrap();
    assert!(matches!(object.map(all, Prot::READ), Err(KernelError::Gone)));
    drop(runtime);
}

#[test]
fn a_page_size_or_a_range_that_cannot_be_says_why() {
    for bytes in [0, 512, 5000, 4 << 20] {
        assert_eq!(PageSize::new(bytes), Err(RangeError::PageSize(bytes)));
    }
    let size = PageSize::KIB_4;
    let misaligned = size.pages_exact(1, PAGE);
    assert!(matches!(
        misaligned,
        Err(RangeError::Misaligned { offset: 1, .. })
    ));
    let overflow = size.pages_around(u64::MAX - 1, 2 * PAGE);
    assert!(matches!(overflow, Err(RangeError::Overflow { .. })));
}

#[test]
fn a_file_system_that_refuses_is_named() {
    let place = Place::new("open");
    fs::write(place.file(), [1; PAGE as usize]).unwrap();
    let path = place.file();
    // What opening for writing, or past the page cache, is answered with; 0: as the system does.
    let answer = Arc::new(AtomicI32::new(0));
    let judged = answer.clone();
    let judge = move |call: gate::Call| {
        let flags = call.arguments[2] as i32;
        match judged.load(SeqCst) {
            libc::EINVAL if flags & libc::O_DIRECT == 0 => Verdict::Pass,
            errno @ 1.. if flags & libc::O_RDWR != 0 => Verdict::Refuse(errno),
            _ => Verdict::Pass,
        }
    };
    gate::behind(&[Kind::of(libc::SYS_openat)], judge, || {
        let open = |errno, direct| {
            answer.store(errno, SeqCst);
            let opened = FileOptions::default().direct(direct).open(&path);
            answer.store(0, SeqCst);
            opened.map(drop).unwrap_err()
        };
        assert!(matches!(
            open(libc::EROFS, false),
            OpenError::ReadOnlyFileSystem { .. }
        ));
        assert!(matches!(open(libc::EINVAL, true), OpenError::NoDirect { .. }));
        assert!(matches!(open(libc::EIO, false), OpenError::Io { .. }));
        assert!(matches!(
            open(libc::EACCES, false),
            OpenError::Permission { read_only: false, .. }
        ));
        drop(FileOptions::default().open(&path).unwrap());
    });
}

#[test]
fn a_plan_says_what_is_wrong_with_its_file() {
    let place = Place::new("plan");
    let path = place.file();
    let mut plan = Plan::new(PageSize::KIB_4);
    plan.record(PageRange::with_len(PageIndex(3), 4));
    assert!(matches!(Plan::load(&path), Err(PlanError::Io(_))));
    plan.save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let load = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        Plan::load(&path).unwrap_err()
    };
    assert!(matches!(load(&|bytes| bytes[0] ^= 1), PlanError::NotAPlan));
    assert!(matches!(load(&|bytes| bytes[8] = 2), PlanError::Version(2)));
    assert!(matches!(load(&|bytes| bytes.push(0)), PlanError::Length));
    assert!(matches!(
        load(&|bytes| *bytes.last_mut().unwrap() ^= 1),
        PlanError::Checksum
    ));
    fs::write(&path, &good).unwrap();
    assert_eq!(Plan::load(&path).unwrap(), plan);
}

/// A keeper that does not keep to the protocol: it answers each packet of its one client with the next of
/// these, then waits until the client has gone or, with `closes`, goes itself.
fn attach(name: &str, answers: Vec<(Vec<u8>, Option<OwnedFd>)>, closes: bool) -> TakeoverError {
    let place = Place::new(name);
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(place.file()).unwrap()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    let keeper = thread::spawn(move || {
        let client = rustix::net::accept(&socket).unwrap();
        let mut packet = [0; 512];
        for (bytes, descriptor) in &answers {
            assert!(rustix::io::read(&client, &mut packet).unwrap() > 0);
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            let descriptor = descriptor.as_ref().map(|descriptor| [descriptor.as_fd()]);
            if let Some(descriptor) = &descriptor {
                assert!(beside.push(SendAncillaryMessage::ScmRights(descriptor)));
            }
            let slices = [std::io::IoSlice::new(bytes)];
            rustix::net::sendmsg(&client, &slices, &mut beside, SendFlags::empty()).unwrap();
        }
        while !closes && rustix::io::read(&client, &mut packet).is_ok_and(|read| read > 0) {}
        if closes {
            assert!(rustix::io::read(&client, &mut packet).unwrap() > 0);
        }
    });
    let client = Client::new(place.file()).patience(Some(Duration::from_millis(100)));
    let error = client.attach("object").map(drop).unwrap_err();
    keeper.join().unwrap();
    error
}

/// A packet: version, kind, numbers.
fn packet(kind: u8, numbers: &[u64]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    [1, kind].into_iter().chain(numbers).collect()
}

#[test]
fn a_client_says_what_its_keeper_did_wrong() {
    let Some(_) = linux() else { return };
    let (memory_kind, refused_kind) = (6, 13);
    assert!(matches!(attach("closes", vec![], true), TakeoverError::Closed));
    let nonsense = attach("nonsense", vec![(vec![9, 9, 9], None)], false);
    assert!(matches!(nonsense, TakeoverError::Protocol { .. }), "{nonsense}");
    let refused = attach("refuses", vec![(packet(refused_kind, &[0]), None)], false);
    assert!(matches!(refused, TakeoverError::Refused(_)), "{refused}");
    let shape = packet(memory_kind, &[4 * PAGE, PAGE]);
    // A pipe can be mapped by nobody.
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let kernel = attach("pipe", vec![(shape.clone(), Some(pipe))], false);
    assert!(matches!(kernel, TakeoverError::Kernel(_)), "{kernel}");
    // Its second answer never comes.
    let memory = rustix::fs::memfd_create("object", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 4 * PAGE).unwrap();
    let silent = attach("silent", vec![(shape, Some(memory))], false);
    assert!(matches!(silent, TakeoverError::Io(_)), "{silent}");
}

#[test]
fn a_keeper_says_where_its_socket_cannot_be() {
    let error = Keeper::bind("/proc/no such folder/socket").err().unwrap();
    assert!(matches!(error, TakeoverError::Bind { .. }), "{error}");
}

#[test]
fn a_kernel_that_is_asked_for_a_copy_that_the_pager_would_make_says_so() {
    let Some(host) = linux() else { return };
    let bucket = Bucket::builder().kernel(Arc::new(host)).start().unwrap();
    let options = PagerOptions {
        copy_strategy: CopyStrategy::Call,
        ..PagerOptions::default()
    };
    let pager = bucket.create_pager(MemoryBackend::new(PAGE), options).unwrap();
    let error = pager.map_copy_blocking(0, PAGE, Protection::Read).err().unwrap();
    assert!(
        matches!(error, MapError::CopyStrategy(CopyStrategy::Call)),
        "{error}"
    );
    pager.sync_blocking(Wait::Yes).unwrap();
}
