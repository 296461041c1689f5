//! The `file` sink: one file per checkpoint, never half a file.
//!
//! `path` is a folder, local or in an object store. A file is named by the sink's id, its timeline and the dense
//! sequence number of the outbox, so that publishing again writes the same bytes under the same name. Locally it is
//! written under a name that begins with a dot, synced, renamed, and the folder synced; in a store it is one put.
//! Rows that are taken back can't be: they are refused, or left out with `force_append_only = 'true'`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{EncodedRows, Publisher, Sink, SinkIdentity};
use millstream_runtime::source::ConnectorSpec;
use millstream_runtime::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::location::Location;
use crate::formats::csv::{CsvOptions, CsvRows, header};
use crate::formats::{JsonRows, additions};
use crate::options::Options;

/// The sink as declared; nothing but options, columns and encoding is looked at.
pub fn sink(spec: &ConnectorSpec) -> Result<Arc<dyn Sink>> {
    let mut options = Options::of_connector(spec);
    let location = Location::parse(options.required(&["path"])?)?;
    let force_append_only = options.boolean(&["force_append_only"])?.unwrap_or(false);
    options.finish()?;
    if location.has_pattern() {
        return Err(Error::invalid("a sink writes into one folder: option \"path\" takes no pattern"));
    }
    let format = spec.format.as_ref().ok_or_else(|| {
        Error::invalid("connector 'file' needs an encoding")
            .with_hint("Add FORMAT PLAIN ENCODE JSON (or CSV, PARQUET).")
    })?;
    if format.format != "PLAIN" {
        return Err(Error::invalid(format!("connector 'file' can't write FORMAT {}", format.format))
            .with_hint("Use FORMAT PLAIN."));
    }
    let encoding = match format.encode.as_str() {
        "JSON" => {
            Options::of_format(format).finish()?;
            Encoding::Json
        }
        "CSV" => Encoding::Csv(CsvOptions::of(format)?),
        "PARQUET" => {
            Options::of_format(format).finish()?;
            Encoding::Parquet
        }
        other => {
            return Err(Error::invalid(format!("connector 'file' can't write ENCODE {other}"))
                .with_hint("It writes JSON, CSV and PARQUET."));
        }
    };
    let sink = FileSink { spec: spec.clone(), location, encoding, force_append_only };
    // A column without a form in this encoding is found now, not with the first row.
    sink.encode(&ChangeBatch::append(RecordBatch::new_empty(Arc::clone(&spec.schema))))?;
    Ok(Arc::new(sink))
}

#[derive(Clone, Debug)]
enum Encoding {
    Json,
    Csv(CsvOptions),
    Parquet,
}

impl Encoding {
    fn extension(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv(_) => "csv",
            Self::Parquet => "parquet",
        }
    }
}

#[derive(Debug)]
struct FileSink {
    spec: ConnectorSpec,
    location: Location,
    encoding: Encoding,
    force_append_only: bool,
}

#[async_trait]
impl Sink for FileSink {
    fn encode(&self, changes: &ChangeBatch) -> Result<EncodedRows> {
        let (rows, mut refused) = additions(changes);
        if self.force_append_only {
            refused.clear();
        }
        let mut out = Vec::new();
        match &self.encoding {
            Encoding::Json => {
                let encoder = JsonRows::new(&changes.rows)?;
                for row in rows {
                    match encoder.write(row, &mut out) {
                        Ok(()) => out.push(b'\n'),
                        Err(reason) => refused.push((row, reason)),
                    }
                }
            }
            Encoding::Csv(options) => {
                let encoder = CsvRows::new(&changes.rows, options)?;
                for row in rows {
                    if let Err(reason) = encoder.write(row, &mut out) {
                        refused.push((row, reason));
                    }
                }
            }
            Encoding::Parquet => {
                let indices = arrow::array::UInt32Array::from_iter_values(rows.map(|row| row as u32));
                let rows = arrow::compute::take_record_batch(&changes.rows, &indices)?;
                // Also without rows, so that a type that Parquet lacks is found by whoever encodes nothing.
                parquet_file(&rows.slice(0, 0))?;
                if rows.num_rows() > 0 {
                    let mut writer = StreamWriter::try_new(&mut out, rows.schema_ref())?;
                    writer.write(&rows)?;
                    writer.finish()?;
                }
            }
        }
        refused.sort_by_key(|(row, _)| *row);
        refused.dedup_by_key(|(row, _)| *row);
        Ok(EncodedRows { payload: out.into(), refused })
    }

    async fn open(&self, identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
        let id: String =
            identity.id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
        let publisher = FilePublisher {
            location: self.location.clone(),
            encoding: self.encoding.clone(),
            column_names: self.spec.schema.fields().iter().map(|field| field.name().clone()).collect(),
            schema: Arc::clone(&self.spec.schema),
            prefix: format!("{id}-{:04}-", identity.timeline),
        };
        publisher.prepare().await?;
        Ok(Box::new(publisher))
    }
}

/// Writes the files of one sink.
#[derive(Debug)]
struct FilePublisher {
    location: Location,
    encoding: Encoding,
    column_names: Vec<String>,
    schema: arrow::datatypes::SchemaRef,
    /// What the names of this sink's files begin with.
    prefix: String,
}

impl FilePublisher {
    fn error(&self, error: &object_store::Error) -> Error {
        // A bucket that is not there may be made again.
        self.location.list_error(error)
    }

    fn folder(&self) -> std::path::PathBuf {
        std::path::PathBuf::from(format!("/{}", self.location.base))
    }

    /// Makes the folder and clears what an interrupted writer left; in a store, checks that it can be reached.
    async fn prepare(&self) -> Result<()> {
        if !self.location.is_local {
            return self.sequences().await.map(|_| ());
        }
        let folder = self.folder();
        let unfinished = format!(".{}", self.prefix);
        blocking(move || {
            std::fs::create_dir_all(&folder)?;
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(&unfinished) {
                    std::fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        })
        .await
        .map_err(|error| error.context(format!("the folder \"/{}\" can't be used", self.location.base)))
    }

    /// The sequence numbers of the files that are there.
    async fn sequences(&self) -> Result<Vec<u64>> {
        let listed = self.location.store.list(Some(&self.location.base)).try_collect::<Vec<_>>();
        let listed = async { listed.await.map_err(|error| self.location.list_error(&error)) };
        let files = self.location.in_time(listed).await?;
        let extension = format!(".{}", self.encoding.extension());
        let sequence = |path: &Path| {
            let name = path.filename()?.strip_prefix(&self.prefix)?.strip_suffix(&extension)?;
            name.parse::<u64>().ok()
        };
        Ok(files.iter().filter_map(|file| sequence(&file.location)).collect())
    }

    fn contents(&self, outbox: &[Bytes]) -> Result<Bytes> {
        match &self.encoding {
            Encoding::Json => Ok(outbox.concat().into()),
            Encoding::Csv(options) if options.header => {
                let mut out = header(self.column_names.iter().map(String::as_str), options);
                outbox.iter().for_each(|payload| out.extend_from_slice(payload));
                Ok(out.into())
            }
            Encoding::Csv(_) => Ok(outbox.concat().into()),
            Encoding::Parquet => {
                let mut batches = vec![RecordBatch::new_empty(Arc::clone(&self.schema))];
                for payload in outbox.iter().filter(|payload| !payload.is_empty()) {
                    for batch in StreamReader::try_new(payload.as_ref(), None)? {
                        batches.push(batch?);
                    }
                }
                parquet_file(&arrow::compute::concat_batches(&self.schema, &batches)?)
            }
        }
    }
}

#[async_trait]
impl Publisher for FilePublisher {
    async fn progress(&mut self) -> Result<Option<u64>> {
        Ok(self.sequences().await?.into_iter().max())
    }

    async fn publish(&mut self, sequence: u64, outbox: &[Bytes]) -> Result<()> {
        let contents = self.contents(outbox)?;
        // Twelve digits keep the order of names the order of files.
        let name = format!("{}{sequence:012}.{}", self.prefix, self.encoding.extension());
        if self.location.is_local {
            let folder = self.folder();
            return blocking(move || write_durably(&folder, &name, &contents)).await;
        }
        let path = self.location.base.clone().join(name);
        self.location.store.put(&path, contents.into()).await.map_err(|error| self.error(&error))?;
        Ok(())
    }
}

/// The file appears under its name whole and synced, or not at all.
fn write_durably(folder: &std::path::Path, name: &str, contents: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let unfinished = folder.join(format!(".{name}.{}", uuid::Uuid::new_v4()));
    let mut file = std::fs::File::create_new(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, folder.join(name))?;
    std::fs::File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?;
    done.map_err(|error| Error::unavailable(error.to_string()))
}

/// One file with one row group per million rows; the same rows give the same bytes.
fn parquet_file(rows: &RecordBatch) -> Result<Bytes> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let invalid =
        |error: parquet::errors::ParquetError| Error::invalid(format!("the rows have no form in Parquet: {error}"));
    let mut out = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut out, Arc::clone(rows.schema_ref()), Some(properties)).map_err(invalid)?;
    writer.write(rows).map_err(invalid)?;
    writer.close().map_err(invalid)?;
    Ok(out.into())
}
