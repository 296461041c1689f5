//! `file`: JSON lines, CSV and Parquet files, local or in an object store.
//!
//! | option | meaning |
//! |---|---|
//! | `path` | a file, a folder or a pattern, see [`location`] |
//! | `mode` | `bounded` (unless set): what is there at CREATE, then it ends; `watch`: new files and what is appended to old ones, too |
//!
//! A file is a split. Positions are byte offsets of lines, of Parquet row numbers. A file that has been replaced since it
//! was first read is an error; one that has grown is fine in `watch`, where local files are known by their inode. The last
//! line needs no line end in `bounded`, and is not complete without one in `watch`. Empty lines are no records. A file that is
//! removed in `watch` has ended; one that is not there at a restart, with more of it to read, is an error.

pub(crate) mod location;
mod parquet;
mod reader;
mod sink;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use millstream_runtime::source::{ConnectorSpec, Position, Source, SourceReader, Split, SplitId, SplitRange};
use millstream_runtime::{Error, Result};
use object_store::{ObjectMeta, ObjectStoreExt};

use self::location::{Location, replaced};
use self::parquet::ParquetFile;
use self::reader::{FileBody, FileReader, OpenFile};
pub use self::sink::sink;
use self::text::TextFile;
use crate::formats::Decoder;
use crate::options::Options;

/// When a source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// At the end of the files that were there.
    Bounded,
    /// Never.
    Watch,
}

/// The source as declared; nothing but options, columns and encoding is looked at.
pub fn source(spec: &ConnectorSpec) -> Result<Arc<dyn Source>> {
    let mut options = Options::of_connector(spec);
    let location = Location::parse(options.required(&["path"])?)?;
    let mode = options.choice(&["mode"], &[("bounded", Mode::Bounded), ("watch", Mode::Watch)])?;
    options.finish()?;
    let is_parquet = match &spec.format {
        Some(format) if format.encode == "PARQUET" => {
            Options::of_format(format).finish()?;
            parquet::check(spec)?;
            true
        }
        Some(format) if format.encode == "BYTES" => {
            return Err(
                Error::invalid("connector 'file' can't read ENCODE BYTES").with_hint("It reads JSON, CSV and PARQUET.")
            );
        }
        _ => {
            Decoder::new(spec, &[])?;
            false
        }
    };
    Ok(Arc::new(FileSource { spec: spec.clone(), location, mode: mode.unwrap_or(Mode::Bounded), is_parquet }))
}

/// Files that are read.
#[derive(Debug)]
struct FileSource {
    spec: ConnectorSpec,
    location: Location,
    mode: Mode,
    is_parquet: bool,
}

impl FileSource {
    /// Identity of a file: what must not change under a saved position.
    async fn incarnation(&self, file: &ObjectMeta) -> Result<String> {
        match self.mode {
            // Any change counts.
            Mode::Bounded => Ok(file.e_tag.clone().unwrap_or_else(|| format!("{}-{}", file.size, file.last_modified))),
            // The inode stays when a file grows. Objects of a store don't grow: a longer one under the same name
            // is taken as grown, a shorter one is found by its size.
            Mode::Watch if self.location.is_local => inode(&format!("/{}", file.location)).await,
            Mode::Watch => Ok(String::new()),
        }
    }

    async fn head(&self, split: &SplitId) -> Result<ObjectMeta> {
        let path = self.location.file(split)?;
        self.location.store.head(&path).await.map_err(|error| self.location.error(&path, &error))
    }

    async fn open_file(&self, range: SplitRange, columns: &[usize]) -> Result<OpenFile> {
        let file = self.head(&range.split.id).await?;
        if self.incarnation(&file).await? != range.split.incarnation {
            return Err(replaced(&range.split.id.0));
        }
        let until = range.until.map(|until| until.0);
        let body = if self.is_parquet {
            FileBody::Parquet(ParquetFile::open(&self.location, &self.spec, &file, range.from.0, until, columns).await?)
        } else {
            let decoder = Decoder::new(&self.spec, columns)?;
            FileBody::Text(TextFile::open(&self.location, decoder, &file, self.mode, range.from.0, until).await?)
        };
        Ok(OpenFile { split: range.split.id, body })
    }
}

#[async_trait]
impl Source for FileSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let files = self.location.list().await?;
        if files.is_empty() && self.mode == Mode::Bounded {
            let what = if self.location.has_pattern() { "no file matches" } else { "there is no file" };
            return Err(Error::invalid(format!("{what} \"{}\"", self.spec.options["path"]))
                .with_hint("With mode = 'watch' files may come later."));
        }
        let mut splits = Vec::with_capacity(files.len());
        for file in files {
            let incarnation = self.incarnation(&file).await?;
            splits.push(Split { id: self.location.split(&file.location), start: Position(0), incarnation });
        }
        Ok(splits)
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        let mut ends = BTreeMap::new();
        for file in self.location.list().await? {
            let end = match (self.is_parquet, self.mode) {
                (true, _) => parquet::row_count(&self.location, &file).await?,
                (false, Mode::Bounded) => file.size,
                (false, Mode::Watch) => text::end_of_lines(&self.location, &file).await?,
            };
            ends.insert(self.location.split(&file.location), Position(end));
        }
        Ok(ends)
    }

    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        let mut files = Vec::with_capacity(ranges.len());
        for range in ranges {
            files.push(self.open_file(range, &columns).await?);
        }
        Ok(Box::new(FileReader::new(files, self.location.is_local)))
    }

    fn bounded(&self) -> bool {
        self.mode == Mode::Bounded
    }
}

#[cfg(unix)]
async fn inode(path: &str) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = tokio::fs::metadata(path).await;
    metadata
        .map(|metadata| format!("inode {}", metadata.ino()))
        .map_err(|error| Error::unavailable(format!("\"{path}\": {error}")))
}

#[cfg(not(unix))]
async fn inode(_path: &str) -> Result<String> {
    Ok(String::new())
}
