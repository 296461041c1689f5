//! Reads open files in turn, one block of one file at a time, ahead of who asks by one block.
//!
//! The work runs in a task of its own and parsing on the blocking pool: the reader only waits for it, so that
//! nothing is lost when the wait is dropped.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use millstream_runtime::source::{SourceBatch, SourceEvent, SourceReader, SplitId};
use millstream_runtime::{Error, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::parquet::ParquetFile;
use super::text::TextFile;

/// How soon a line appended to a local file is seen.
const LOCAL_WATCH: Duration = Duration::from_millis(50);

/// How soon a longer object is seen: requests cost money.
const REMOTE_WATCH: Duration = Duration::from_secs(2);

/// A file that is being read.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Its name.
    pub(super) split: SplitId,
    /// What is in it.
    pub(super) body: FileBody,
}

/// Files by encoding.
#[derive(Debug)]
pub(super) enum FileBody {
    /// Lines.
    Text(TextFile),
    /// Row groups.
    Parquet(ParquetFile),
}

/// What a step of reading gave.
#[derive(Debug)]
pub(super) struct Step {
    /// In order.
    pub(super) batches: Vec<SourceBatch>,
    /// Whether there is more.
    pub(super) then: Then,
}

/// What comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// More to read at once.
    More,
    /// Nothing more for now.
    Wait,
    /// Nothing more for ever.
    End,
}

/// Reads files.
#[derive(Debug)]
pub(super) struct FileReader {
    /// The one whose turn it is comes first.
    files: VecDeque<OpenFile>,
    /// Files at their ends, in `watch`.
    waiting: VecDeque<OpenFile>,
    ready: VecDeque<SourceEvent>,
    /// The step that is under way.
    step: Option<JoinHandle<(OpenFile, Result<Step>)>>,
    watch: Duration,
    /// When the waiting files are looked at again.
    look_at: Instant,
}

impl FileReader {
    /// A reader of these files.
    pub(super) fn new(files: Vec<OpenFile>, is_local: bool) -> Self {
        let watch = if is_local { LOCAL_WATCH } else { REMOTE_WATCH };
        Self {
            files: files.into(),
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            step: None,
            watch,
            look_at: Instant::now() + watch,
        }
    }

    /// Begins the next step, if there is a file to read and none is under way.
    fn begin(&mut self) {
        if !self.waiting.is_empty() && Instant::now() >= self.look_at {
            self.files.append(&mut self.waiting);
            self.look_at = Instant::now() + self.watch;
        }
        if self.step.is_none()
            && let Some(mut file) = self.files.pop_front()
        {
            self.step = Some(tokio::spawn(async move {
                let step = file.step().await;
                (file, step)
            }));
        }
    }
}

impl OpenFile {
    async fn step(&mut self) -> Result<Step> {
        match &mut self.body {
            FileBody::Text(file) => file.step(&self.split).await,
            FileBody::Parquet(file) => file.step(&self.split).await,
        }
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        if let Some(step) = &self.step {
            step.abort();
        }
    }
}

#[async_trait]
impl SourceReader for FileReader {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        loop {
            self.begin();
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(step) = &mut self.step else {
                if self.waiting.is_empty() {
                    return Ok(None);
                }
                tokio::time::sleep_until(self.look_at).await;
                continue;
            };
            let joined = step.await;
            self.step = None;
            let (file, step) = joined.map_err(|error| Error::internal(format!("a file's reader failed: {error}")))?;
            let step = step?;
            self.ready.extend(step.batches.into_iter().map(SourceEvent::Batch));
            match step.then {
                Then::More => self.files.push_back(file),
                Then::Wait => self.waiting.push_back(file),
                Then::End => self.ready.push_back(SourceEvent::SplitEnded(file.split)),
            }
        }
    }
}
