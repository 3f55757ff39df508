//! Page memory that can be read into directly, and its reuse.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// What a [`PageBuffer`] is aligned to, in bytes: enough for `O_DIRECT` on any common device.
pub const BUFFER_ALIGNMENT: usize = 4096;

/// Bytes that begin at a multiple of [`BUFFER_ALIGNMENT`].
pub struct PageBuffer {
    /// Larger than needed, so that an aligned part fits in; never moved or resized.
    bytes: Box<[u8]>,
    start: usize,
    length: usize,
}

impl PageBuffer {
    /// A buffer of `length` zero bytes.
    pub fn zeroed(length: usize) -> Self {
        if length == 0 {
            return Self {
                bytes: Box::default(),
                start: 0,
                length,
            };
        }
        let bytes = vec![0; length + BUFFER_ALIGNMENT - 1].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(BUFFER_ALIGNMENT);
        Self { bytes, start, length }
    }

    /// The length in bytes; a buffer from a pool may have room for more.
    pub fn len(&self) -> usize {
        self.length
    }

    /// True if there is no byte in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The longest this buffer can be made.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Makes the buffer `length` bytes long where there is room; false where there is not.
    pub fn set_len(&mut self, length: usize) -> bool {
        let fits = length <= self.capacity();
        if fits {
            self.length = length;
        }
        fits
    }
}

impl Default for PageBuffer {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

impl fmt::Debug for PageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageBuffer({} bytes)", self.length)
    }
}

/// Buffers between two uses, so that a request in steady state allocates nothing.
#[derive(Debug)]
pub struct BufferPool {
    idle: Mutex<Vec<PageBuffer>>,
    keep: usize,
}

impl BufferPool {
    /// A pool that keeps at most `keep` idle buffers.
    pub fn new(keep: usize) -> Self {
        let idle = Mutex::new(Vec::with_capacity(keep));
        Self { idle, keep }
    }

    /// A buffer of `length` bytes that hold anything.
    pub fn take(&self, length: usize) -> PageBuffer {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().rposition(|buffer| buffer.capacity() >= length);
        match found.map(|at| idle.swap_remove(at)) {
            Some(mut buffer) => {
                buffer.length = length;
                buffer
            }
            None => PageBuffer::zeroed(length),
        }
    }

    /// Keeps `buffer` for the next `take`; where the pool is full, the smallest buffer goes.
    pub fn give(&self, buffer: PageBuffer) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.keep {
            idle.push(buffer);
            return;
        }
        let smallest = idle.iter_mut().min_by_key(|idle| idle.capacity());
        if let Some(smallest) = smallest.filter(|idle| idle.capacity() < buffer.capacity()) {
            *smallest = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for length in [0, 1, 4096, 3 * 4096, 2 << 20] {
            let buffer = PageBuffer::zeroed(length);
            let aligned = buffer.as_ptr().align_offset(BUFFER_ALIGNMENT) == 0;
            assert!(aligned || length == 0, "{length}");
            assert_eq!(buffer.len(), length);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_pool_gives_the_same_memory_again() {
        let pool = BufferPool::new(1);
        let first = pool.take(8192);
        let address = first.as_ptr();
        pool.give(first);
        let second = pool.take(4096);
        assert_eq!((second.as_ptr(), second.len()), (address, 4096));
        pool.give(second);
        let third = pool.take(8192);
        assert_eq!((third.as_ptr(), third.len()), (address, 8192));
    }

    #[test]
    fn a_full_pool_keeps_the_larger_buffer() {
        let pool = BufferPool::new(1);
        pool.give(PageBuffer::zeroed(4096));
        pool.give(PageBuffer::zeroed(65536));
        pool.give(PageBuffer::zeroed(4096));
        assert!(pool.take(1).capacity() >= 65536);
    }
}
