//! What every store must do, asked of every store.

mod suite;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actor_pager::backend::{Backend, FaultControl, FaultyBackend, FileBackend, FileOptions, MemoryBackend};
use suite::Store;

struct Memory(Arc<MemoryBackend>);

impl Store for Memory {
    fn make(length: u64) -> Self {
        Self(Arc::new(MemoryBackend::new(length)))
    }

    fn backend(&self) -> Arc<dyn Backend> {
        self.0.clone()
    }

    fn contents(&self) -> Vec<u8> {
        self.0.read(0, usize::MAX)
    }
}

struct NoFaults {
    backend: Arc<FaultyBackend<MemoryBackend>>,
    _control: FaultControl,
}

impl Store for NoFaults {
    fn make(length: u64) -> Self {
        let (backend, _control) = FaultyBackend::new(MemoryBackend::new(length), 1);
        let backend = Arc::new(backend);
        Self { backend, _control }
    }

    fn backend(&self) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    fn contents(&self) -> Vec<u8> {
        self.backend.inner().read(0, usize::MAX)
    }
}

/// A file that is removed at the end.
struct OnDisk {
    path: PathBuf,
    backend: Arc<FileBackend>,
}

impl OnDisk {
    fn make(length: u64, options: FileOptions) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("contract-{}-{number}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let backend = options.create(length).open(&path).expect("open");
        let backend = Arc::new(backend);
        Self { path, backend }
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

macro_rules! file_store {
    ($name:ident, $options:expr) => {
        struct $name(OnDisk);

        impl Store for $name {
            fn make(length: u64) -> Self {
                Self(OnDisk::make(length, $options))
            }

            fn backend(&self) -> Arc<dyn Backend> {
                self.0.backend.clone()
            }

            fn contents(&self) -> Vec<u8> {
                fs::read(&self.0.path).expect("read")
            }
        }
    };
}

file_store!(Cached, FileBackend::options());
file_store!(Direct, FileBackend::options().direct(true));
file_store!(Reserving, FileBackend::options().reserve(true));

suite::every_store_must!(memory, Memory);
suite::every_store_must!(faulty_without_faults, NoFaults);
suite::every_store_must!(file, Cached);
suite::every_store_must!(file_direct, Direct);
suite::every_store_must!(file_reserving, Reserving);
