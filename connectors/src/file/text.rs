//! Files of lines: JSON lines and CSV.
//!
//! A file is read in blocks; what a block leaves of its last line is carried over to the next. Only the lines that cross
//! blocks are copied.

use bytes::Bytes;
use millstream_runtime::limits::BATCH_ROWS;
use millstream_runtime::source::{Position, SourceBatch, SplitId};
use millstream_runtime::{Error, Result};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::Mode;
use super::location::{Location, replaced};
use super::reader::{Step, Then};
use crate::formats::{Decoder, RECORD_BYTES_MAX, Record};

/// Bytes per request: a few milliseconds of parsing, and few enough requests to an object store.
const BLOCK_BYTES: u64 = 4 << 20;

/// Bytes of lines per batch.
const BATCH_BYTES: usize = 1 << 20;

/// The longest header of a CSV file.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// A file of lines that is being read.
#[derive(Debug)]
pub(super) struct TextFile {
    location: Location,
    path: Path,
    /// In `bounded`: the version that is read, so that a change in between is noticed.
    e_tag: Option<String>,
    mode: Mode,
    /// Stop here; in `watch` without a limit that is the size when last looked at.
    end: u64,
    /// Whether `end` is for ever.
    is_limited: bool,
    /// Where the next block starts.
    fetched: u64,
    /// What is open between two steps; `None` while one is under way on the blocking pool.
    lines: Option<Lines>,
}

/// Splits blocks into records and decodes them.
#[derive(Debug)]
struct Lines {
    decoder: Decoder,
    /// The beginning of a line whose end has not been read.
    carried: Vec<u8>,
    /// Where `carried`, or else the next line, starts.
    position: u64,
    /// Up to where batches have been handed over.
    reported: u64,
    /// A record that is too long has been rejected; its rest is stepped over.
    skipping: bool,
}

impl TextFile {
    /// A reader from a position to a limit or the end.
    pub(super) async fn open(
        location: &Location,
        mut decoder: Decoder,
        file: &ObjectMeta,
        mode: Mode,
        from: u64,
        until: Option<u64>,
    ) -> Result<Self> {
        let name = || location.split(&file.location).0;
        if from > file.size {
            return Err(replaced(&name()));
        }
        let mut from = from;
        if decoder.has_header() && file.size > 0 {
            let head = block(location, &file.location, None, 0..file.size.min(HEADER_BYTES_MAX)).await?;
            let length = decoder.record_length(&head).or((file.size < HEADER_BYTES_MAX).then_some(head.len()));
            let length = length.ok_or_else(|| Error::data(format!("file \"{}\" has no CSV header", name())))?;
            decoder.read_header(&head[..length]).map_err(|error| error.context(format!("file \"{}\"", name())))?;
            from = from.max(length as u64);
        }
        let limit = until.or((mode == Mode::Bounded).then_some(file.size));
        Ok(Self {
            location: location.clone(),
            path: file.location.clone(),
            e_tag: if mode == Mode::Bounded { file.e_tag.clone() } else { None },
            mode,
            end: limit.unwrap_or(file.size),
            is_limited: limit.is_some(),
            fetched: from,
            lines: Some(Lines { decoder, carried: Vec::new(), position: from, reported: from, skipping: false }),
        })
    }

    /// Reads and decodes one block.
    pub(super) async fn step(&mut self, split: &SplitId) -> Result<Step> {
        if self.fetched >= self.end && !self.is_limited {
            let is_there = self.look_again().await?;
            if self.fetched >= self.end {
                return Ok(Step { batches: Vec::new(), then: if is_there { Then::Wait } else { Then::End } });
            }
        }
        let end = self.end.min(self.fetched + BLOCK_BYTES);
        let bytes = match end.checked_sub(self.fetched) {
            None | Some(0) => Bytes::new(),
            Some(_) => block(&self.location, &self.path, self.e_tag.clone(), self.fetched..end).await?,
        };
        self.fetched += bytes.len() as u64;
        let is_last = self.is_limited && self.fetched >= self.end;
        let mut lines = self.lines.take().expect("steps follow one another");
        let split = split.clone();
        let decoded = tokio::task::spawn_blocking(move || {
            let batches = lines.decode(&split, &bytes, is_last);
            (lines, batches)
        });
        let (lines, batches) = decoded.await.map_err(|error| Error::internal(format!("a decoder failed: {error}")))?;
        self.lines = Some(lines);
        Ok(Step { batches: batches?, then: if is_last { Then::End } else { Then::More } })
    }

    /// In `watch`: takes the size again. False when the file has been removed, which who watches a folder does with
    /// what has been read.
    async fn look_again(&mut self) -> Result<bool> {
        debug_assert_eq!(self.mode, Mode::Watch);
        let size = match self.location.store.head(&self.path).await {
            Ok(file) => file.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(self.location.error(&self.path, &error)),
        };
        if size < self.end {
            return Err(replaced(&self.location.split(&self.path).0));
        }
        self.end = size;
        Ok(true)
    }
}

impl Lines {
    /// Takes the records out of the next block. With `is_last` what is left at its end is a record, too.
    fn decode(&mut self, split: &SplitId, block: &[u8], is_last: bool) -> Result<Vec<SourceBatch>> {
        let mut batches = Vec::new();
        let mut rest = block;
        if !self.carried.is_empty() || self.skipping {
            rest = self.end_carried(block);
        }
        while let Some(length) = self.decoder.record_length(rest) {
            self.push(&rest[..length]);
            rest = &rest[length..];
            if self.decoder.records() >= BATCH_ROWS || self.decoder.payload_bytes() >= BATCH_BYTES {
                batches.push(self.batch(split)?);
            }
        }
        self.carried.extend_from_slice(rest);
        if is_last && !self.carried.is_empty() {
            let last = std::mem::take(&mut self.carried);
            self.push(&last);
        } else if self.carried.len() > RECORD_BYTES_MAX {
            self.reject_carried();
        }
        // Also without a record when the position has moved over empty lines: somebody may wait for the end.
        if self.decoder.records() > 0 || self.position > self.reported {
            batches.push(self.batch(split)?);
        }
        Ok(batches)
    }

    /// Ends the line that is carried over, if it ends in this block; gives back what follows it.
    fn end_carried<'a>(&mut self, block: &'a [u8]) -> &'a [u8] {
        if self.skipping {
            let end = memchr::memchr(b'\n', block);
            self.skipping = end.is_none();
            let length = end.map_or(block.len(), |end| end + 1);
            self.position += length as u64;
            return &block[length..];
        }
        let before = self.carried.len();
        self.carried.extend_from_slice(block);
        let Some(length) = self.decoder.record_length(&self.carried) else { return &[] };
        let mut line = std::mem::take(&mut self.carried);
        line.truncate(length);
        self.push(&line);
        &block[length - before..]
    }

    fn reject_carried(&mut self) {
        let record = std::mem::take(&mut self.carried);
        let reason = format!("the record has more than {} MiB", RECORD_BYTES_MAX >> 20);
        self.decoder.reject(Position(self.position), reason, &record);
        self.position += record.len() as u64;
        self.skipping = true;
    }

    fn push(&mut self, line: &[u8]) {
        let record = line.strip_suffix(b"\n").unwrap_or(line);
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        if !record.is_empty() {
            self.decoder.push(Record::plain(Position(self.position), record));
        }
        self.position += line.len() as u64;
    }

    fn batch(&mut self, split: &SplitId) -> Result<SourceBatch> {
        self.reported = self.position;
        let decoded = self.decoder.finish()?;
        Ok(SourceBatch {
            split: split.clone(),
            rows: decoded.rows,
            positions: decoded.positions,
            raw: decoded.raw,
            rejected: decoded.rejected,
            next: Position(self.position),
        })
    }
}

/// Some bytes of a file; with `e_tag` only of that version.
pub(super) async fn block(
    location: &Location,
    path: &Path,
    e_tag: Option<String>,
    range: std::ops::Range<u64>,
) -> Result<Bytes> {
    let options =
        GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match: e_tag, ..GetOptions::default() };
    let error = |error| location.error(path, &error);
    let bytes = location.store.get_opts(path, options).await.map_err(error)?.bytes().await.map_err(error)?;
    if bytes.len() as u64 != range.end - range.start {
        return Err(replaced(&location.split(path).0));
    }
    Ok(bytes)
}

/// The position after the last line end, which is where a reader that watches stops for now.
pub(super) async fn end_of_lines(location: &Location, file: &ObjectMeta) -> Result<u64> {
    let mut end = file.size;
    while end > 0 {
        let start = end.saturating_sub(1 << 16);
        let bytes = block(location, &file.location, None, start..end).await?;
        if let Some(at) = memchr::memrchr(b'\n', &bytes) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};
    use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, FormatSpec, RejectedRecord};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn lines(encode: &str) -> Lines {
        let spec = ConnectorSpec {
            relation: "r".into(),
            connector: "file".into(),
            options: BTreeMap::new(),
            format: Some(FormatSpec { format: "PLAIN".into(), encode: encode.into(), options: BTreeMap::new() }),
            schema: Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)])),
            origins: vec![ColumnOrigin::Field],
            primary_key: Vec::new(),
            keeps_raw: false,
        };
        let decoder = Decoder::new(&spec, &[0]).unwrap();
        Lines { decoder, carried: Vec::new(), position: 0, reported: 0, skipping: false }
    }

    /// Everything that comes of a file when it is cut there.
    fn decode(encode: &str, file: &[u8], cuts: &[usize]) -> (Vec<Position>, Vec<RejectedRecord>, Option<Position>) {
        let mut lines = lines(encode);
        let split = SplitId("x".into());
        let (mut positions, mut rejected, mut next) = (Vec::new(), Vec::new(), None);
        let ends = cuts.iter().copied().chain([file.len()]);
        let mut start = 0;
        for end in ends {
            for batch in lines.decode(&split, &file[start..end], end == file.len()).unwrap() {
                positions.extend(batch.positions);
                rejected.extend(batch.rejected);
                next = Some(batch.next);
            }
            start = end;
        }
        (positions, rejected, next)
    }

    #[test]
    fn it_does_not_matter_where_a_file_is_cut() {
        let seed = rand::random();
        let mut random = StdRng::seed_from_u64(seed);
        let files = [
            ("JSON", "{\"a\":\"x\"}\n\n{\"a\":\"yy\"}\r\nnonsense\n{\"a\":null}\n\r\n{\"a\":\"end\"}"),
            ("CSV", "x\n\"a\nb\"\r\n\n\"c\"\"\nd\"\ne\"f\n\"g\" h\n\"i"),
        ];
        for (encode, file) in files {
            let whole = decode(encode, file.as_bytes(), &[]);
            assert_eq!(whole.2, Some(Position(file.len() as u64)));
            for _ in 0..500 {
                let mut cuts: Vec<_> =
                    (0..random.random_range(0..9)).map(|_| random.random_range(0..file.len())).collect();
                cuts.sort_unstable();
                assert_eq!(decode(encode, file.as_bytes(), &cuts), whole, "seed {seed} {encode} {cuts:?}");
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_rejected_and_stepped_over() {
        let mut file = vec![b'x'; RECORD_BYTES_MAX + 10];
        file.extend_from_slice(b"\n{\"a\":\"y\"}\n");
        let (positions, rejected, next) = decode("JSON", &file, &[RECORD_BYTES_MAX + 5]);
        assert_eq!(positions, [Position(RECORD_BYTES_MAX as u64 + 11)]);
        assert_eq!(rejected[0].reason, "the record has more than 64 MiB");
        assert_eq!((rejected.len(), next), (1, Some(Position(file.len() as u64))));
    }
}
