//! A plan's bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `ACTPLAN` and a zero |
//! | 4 | version, 1 |
//! | 4 | base-2 logarithm of the page size |
//! | 8 | how many runs |
//! | 8 | how many bytes the runs take |
//! | 4 | CRC-32 of the 32 bytes before and the runs |
//! | … | the runs |
//!
//! Integers are little endian. A run is two numbers of 7 bits a byte, the lowest first, the top bit
//! set on all bytes but the last: the distance of its first page from the end of the run before
//! (zigzag: 0, -1, 1, -2, …), and its length less one.

use super::PlanError;
use super::crc::crc32;
use crate::object::{PageIndex, PageRange, PageSize};

const MAGIC: &[u8; 8] = b"ACTPLAN\0";
const VERSION: u32 = 1;
const HEADER: usize = 36;
const CHECKSUM: usize = 32;

/// Writes a plan.
pub(super) fn encode(page_size: PageSize, runs: &[PageRange]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut at = 0u64;
    for run in runs {
        let step = run.start().0.wrapping_sub(at) as i64;
        put(&mut body, (step << 1 ^ step >> 63) as u64);
        put(&mut body, run.len() - 1);
        at = run.end().0;
    }
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&page_size.shift().to_le_bytes());
    bytes.extend_from_slice(&(runs.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let checksum = checksum(&bytes, &body);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.append(&mut body);
    bytes
}

/// Reads a plan; nothing in `bytes` is trusted.
pub(super) fn decode(bytes: &[u8]) -> Result<(PageSize, Vec<PageRange>), PlanError> {
    if !bytes.starts_with(MAGIC) {
        return Err(PlanError::NotAPlan);
    }
    let version = u32_at(bytes, 8)?;
    if version != VERSION {
        return Err(PlanError::Version(version));
    }
    let (head, body) = bytes.split_at_checked(HEADER).ok_or(PlanError::Length)?;
    if u64_at(head, 24)? != body.len() as u64 {
        return Err(PlanError::Length);
    }
    if u32_at(head, CHECKSUM)? != checksum(&head[..CHECKSUM], body) {
        return Err(PlanError::Checksum);
    }
    let bytes_per_page = 1u64.checked_shl(u32_at(head, 12)?).ok_or(PlanError::Malformed)?;
    let page_size = PageSize::new(bytes_per_page).map_err(|_| PlanError::Malformed)?;
    let runs = decode_runs(body, u64_at(head, 16)?)?;
    Ok((page_size, runs))
}

fn decode_runs(mut body: &[u8], count: u64) -> Result<Vec<PageRange>, PlanError> {
    let mut runs = Vec::new();
    let mut at = 0u64;
    while !body.is_empty() {
        let step = take(&mut body)?;
        let step = (step >> 1) as i64 ^ -((step & 1) as i64);
        let start = at.wrapping_add_signed(step);
        let length = take(&mut body)?.checked_add(1).ok_or(PlanError::Malformed)?;
        at = start.checked_add(length).ok_or(PlanError::Malformed)?;
        runs.push(PageRange::new(PageIndex(start), PageIndex(at)));
    }
    if runs.len() as u64 != count {
        return Err(PlanError::Malformed);
    }
    Ok(runs)
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    crc32(&[head, body].concat())
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, PlanError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(PlanError::Malformed)?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            return Err(PlanError::Malformed);
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(PlanError::Malformed)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, PlanError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field
        .map(|field| u32::from_le_bytes(*field))
        .ok_or(PlanError::Length)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, PlanError> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field
        .map(|field| u64::from_le_bytes(*field))
        .ok_or(PlanError::Length)
}
