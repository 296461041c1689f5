//! How the state of one group is written: little-endian numbers, and byte strings after their length.

use crate::error::{Error, Result};

pub(super) fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_i64(bytes: &mut Vec<u8>, value: i64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_i128(bytes: &mut Vec<u8>, value: i128) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_slice(bytes: &mut Vec<u8>, value: &[u8]) {
    put_u32(bytes, u32::try_from(value.len()).expect("a value is far below 4 GiB"));
    bytes.extend_from_slice(value);
}

/// Reads what the functions above have written.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    pub(super) fn i128(&mut self) -> Result<i128> {
        Ok(i128::from_le_bytes(self.take()?))
    }

    pub(super) fn slice(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(head)
    }

    /// Refuses bytes that are left over.
    pub(super) fn finish(self) -> Result<()> {
        match self.rest {
            [] => Ok(()),
            rest => Err(Error::data(format!("an aggregate's state has {} bytes too many", rest.len()))),
        }
    }
}

fn cut_short() -> Error {
    Error::data("an aggregate's state is cut short")
}
