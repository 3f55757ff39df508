//! A store in memory: sparse, growable, for tests, scratch data and anonymous objects.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use super::{Backend, BackendError, ReadRun, WriteError, WriteRun};
use crate::object::NumberHasher;

/// Bytes stored together; a chunk that was never written to takes no memory.
const CHUNK: u64 = 64 << 10;
/// Chunks lie in so many shards with a lock each, so that threads rarely meet.
const SHARDS: u64 = 64;
/// Chunks of a shard that stand in one leaf.
const LEAF: u64 = 64;

/// Handles of chunks are made so many at a time.
const HANDLES: usize = 64;

/// A chunk that a pager reads from where it lies does not change: a writer makes a new one.
type Chunk = Arc<Vec<u8>>;

/// Every 64th chunk, in leaves: a look-up of a chunk that is not in the processor's caches waits for its
/// place in the leaf and for its handle, and for nothing else.
#[derive(Debug, Default)]
struct Shard {
    leaves: HashMap<u64, Box<[Option<Chunk>; LEAF as usize]>, BuildHasherDefault<NumberHasher>>,
    /// How many chunks there are.
    count: u64,
}

/// The leaf of a chunk in its shard, and the place in the leaf.
fn place(chunk: u64) -> (u64, usize) {
    let within = chunk / SHARDS;
    (within / LEAF, (within % LEAF) as usize)
}

impl Shard {
    fn get(&self, chunk: u64) -> Option<&Chunk> {
        let (leaf, at) = place(chunk);
        self.leaves.get(&leaf)?[at].as_ref()
    }

    /// The chunk; made by `new` if it is not there.
    fn get_or_insert_with(&mut self, chunk: u64, new: impl FnOnce() -> Chunk) -> &mut Chunk {
        let (leaf, at) = place(chunk);
        let leaf = self.leaves.entry(leaf);
        let slot = &mut leaf.or_insert_with(|| Box::new([const { None }; LEAF as usize]))[at];
        self.count += u64::from(slot.is_none());
        slot.get_or_insert_with(new)
    }
}

/// Pages in memory; what was never written reads as zeros and takes no space.
///
/// Any number of threads may read and write at once. Share it by `Arc` to look at the contents
/// while a pager uses it.
#[derive(Debug)]
pub struct MemoryBackend {
    shards: Box<[RwLock<Shard>]>,
    /// Handles without memory. Made one after the other they lie close together: each read counts in one,
    /// and would find it in a page of its own if it lay between the chunks.
    spare: Mutex<Vec<Chunk>>,
    extent: AtomicU64,
}

impl MemoryBackend {
    /// A store of `extent` zero bytes.
    pub fn new(extent: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            spare: Mutex::default(),
            extent: AtomicU64::new(extent),
        }
    }

    /// A store that holds `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let store = Self::new(bytes.len() as u64);
        store.write(0, bytes);
        store
    }

    /// Makes the store at least `extent` bytes long; the new ones are zero.
    pub fn grow(&self, extent: u64) {
        self.extent.fetch_max(extent, Ordering::Relaxed);
    }

    /// The bytes at `offset`, at most `length` and none beyond the extent, as they are in the
    /// store now.
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let left = self.extent().saturating_sub(offset);
        let mut bytes = vec![0; left.min(length as u64) as usize];
        self.copy_out(offset, &mut bytes);
        bytes
    }

    /// Stores `bytes` at `offset`, as if no pager were there; what lies beyond the extent is left
    /// out. Returns how many bytes were stored.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> usize {
        let left = self.extent().saturating_sub(offset);
        let bytes = &bytes[..left.min(bytes.len() as u64) as usize];
        for piece in pieces(offset, bytes.len()) {
            let mut shard = self
                .shard(piece.chunk)
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let chunk = shard.get_or_insert_with(piece.chunk, || self.new_chunk());
            Arc::make_mut(chunk)[piece.start..piece.start + piece.length]
                .copy_from_slice(&bytes[piece.at..piece.at + piece.length]);
        }
        bytes.len()
    }

    /// How much memory the contents take, in bytes.
    pub fn allocated(&self) -> u64 {
        let chunks = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).count;
        self.shards.iter().map(chunks).sum::<u64>() * CHUNK
    }

    /// A chunk of zeros.
    fn new_chunk(&self) -> Chunk {
        let zeros = vec![0; CHUNK as usize];
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_empty() {
            spare.extend((0..HANDLES).map(|_| Chunk::default()));
        }
        let mut chunk = spare.pop().unwrap_or_default();
        *Arc::make_mut(&mut chunk) = zeros;
        chunk
    }

    fn shard(&self, chunk: u64) -> &RwLock<Shard> {
        &self.shards[(chunk % SHARDS) as usize]
    }

    /// Lets a run be read where it lies: in one chunk.
    fn share(&self, offset: u64, run: &mut ReadRun<'_>) -> bool {
        let Ok(shard) = self.shard(offset / CHUNK).try_read() else {
            return false;
        };
        let chunk = shard.get(offset / CHUNK);
        // What lies beyond the extent is never written to: it is zero.
        chunk.is_some_and(|chunk| run.share(chunk.clone(), (offset % CHUNK) as usize))
    }

    fn copy_out(&self, offset: u64, into: &mut [u8]) {
        for piece in pieces(offset, into.len()) {
            let shard = self
                .shard(piece.chunk)
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            piece.copy(shard.get(piece.chunk).map(|chunk| &chunk[..]), into);
        }
    }

    /// Like `copy_out`; false where a writer holds a lock.
    fn try_copy_out(&self, offset: u64, into: &mut [u8]) -> bool {
        for piece in pieces(offset, into.len()) {
            let shard = match self.shard(piece.chunk).try_read() {
                Ok(shard) => shard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            piece.copy(shard.get(piece.chunk).map(|chunk| &chunk[..]), into);
        }
        true
    }
}

impl Backend for MemoryBackend {
    fn extent(&self) -> u64 {
        self.extent.load(Ordering::Relaxed)
    }

    fn read_pages(&self, run: &mut ReadRun<'_>) -> Result<(), BackendError> {
        let offset = run.offset();
        let inside = run.zero_beyond(self.extent());
        self.copy_out(offset, inside);
        Ok(())
    }

    fn try_read_pages(&self, run: &mut ReadRun<'_>) -> Option<Result<(), BackendError>> {
        let offset = run.offset();
        if self.share(offset, run) {
            return Some(Ok(()));
        }
        let inside = run.zero_beyond(self.extent());
        self.try_copy_out(offset, inside).then_some(Ok(()))
    }

    fn write_pages(&self, run: &WriteRun<'_>) -> Result<(), WriteError> {
        self.write(run.offset(), run.bytes());
        Ok(())
    }
}

/// The part of a request that lies in one chunk.
struct Piece {
    chunk: u64,
    /// First byte within the chunk.
    start: usize,
    /// First byte within the request's memory.
    at: usize,
    length: usize,
}

impl Piece {
    fn copy(&self, chunk: Option<&[u8]>, into: &mut [u8]) {
        let into = &mut into[self.at..self.at + self.length];
        match chunk {
            Some(chunk) => into.copy_from_slice(&chunk[self.start..self.start + self.length]),
            None => into.fill(0),
        }
    }
}

fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = offset + at as u64;
        let start = (here % CHUNK) as usize;
        let piece = Piece {
            chunk: here / CHUNK,
            start,
            at,
            length: (length - at).min(CHUNK as usize - start),
        };
        at += piece.length;
        (piece.length > 0).then_some(piece)
    })
}
