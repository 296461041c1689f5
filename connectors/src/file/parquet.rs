//! Parquet files: positions are row numbers, columns are found by name.
//!
//! A file's types are checked once, when it is opened: what can't hold every value of the file's type is an error. So
//! only NOT NULL is left to check row by row, also for columns that nobody asked for.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt};
use millstream_runtime::limits::BATCH_ROWS;
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, Position, RejectedRecord, SourceBatch, SplitId};
use millstream_runtime::{Error, Result};
use object_store::ObjectMeta;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::location::Location;
use super::reader::{Step, Then};
use super::text::block;
use crate::formats::{JsonRows, sql_type};

/// A Parquet file that is being read.
pub(super) struct ParquetFile {
    rows: ParquetRecordBatchStream<Blocks>,
    schema: SchemaRef,
    /// By column of the output: its index in what is read, or `None` where the file has no such column.
    output: Vec<Option<usize>>,
    /// Columns of what is read in which a null rejects the row, with their names.
    not_null: Vec<(usize, String)>,
    blocks: Blocks,
    position: u64,
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile")
            .field("blocks", &self.blocks)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Checks what a declaration alone can tell.
pub(super) fn check(spec: &ConnectorSpec) -> Result<()> {
    let included = spec.origins.iter().position(|origin| *origin != ColumnOrigin::Field);
    match included {
        None => Ok(()),
        Some(column) => Err(Error::invalid(format!(
            "column \"{}\": the rows of a Parquet file have nothing beside their fields to INCLUDE",
            spec.schema.field(column).name()
        ))),
    }
}

/// The number of rows of a file, from its footer.
pub(super) async fn row_count(location: &Location, file: &ObjectMeta) -> Result<u64> {
    let mut reader = Blocks::new(location, file);
    let metadata = reader.get_metadata(None).await.map_err(|error| broken(location, file, &error))?;
    Ok(u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0))
}

fn broken(location: &Location, file: &ObjectMeta, error: &ParquetError) -> Error {
    let name = location.split(&file.location).0;
    // Requests that failed come wrapped; everything else is the file itself.
    let request = match error {
        ParquetError::External(source) => source.downcast_ref::<Error>(),
        _ => None,
    };
    let damaged = || Error::data(format!("file \"{name}\" is no readable Parquet file: {error}"));
    request.cloned().unwrap_or_else(damaged)
}

/// The bytes of one version of a file, as the Parquet reader asks for them.
#[derive(Clone, Debug)]
struct Blocks {
    location: Location,
    file: ObjectMeta,
}

impl Blocks {
    fn new(location: &Location, file: &ObjectMeta) -> Self {
        Self { location: location.clone(), file: file.clone() }
    }
}

impl AsyncFileReader for Blocks {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let bytes = block(&self.location, &self.file.location, self.file.e_tag.clone(), range);
        bytes.map_err(|error| ParquetError::External(Box::new(error))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let size = self.file.size;
        async move { Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, size).await?)) }.boxed()
    }
}

impl ParquetFile {
    /// A reader from a row to a limit or the end.
    pub(super) async fn open(
        location: &Location,
        spec: &ConnectorSpec,
        file: &ObjectMeta,
        from: u64,
        until: Option<u64>,
        columns: &[usize],
    ) -> Result<Self> {
        let name = location.split(&file.location).0;
        let builder = ParquetRecordBatchStreamBuilder::new(Blocks::new(location, file)).await;
        let builder = builder.map_err(|error| broken(location, file, &error))?;
        let found = matching(builder.schema(), spec.schema.fields(), &name)?;
        // In the order of the file, as the reader gives them.
        let wanted = |column: usize| columns.contains(&column) || !spec.schema.field(column).is_nullable();
        let mut roots: Vec<usize> =
            (0..found.len()).filter(|column| wanted(*column)).filter_map(|column| found[column]).collect();
        roots.sort_unstable();
        roots.dedup();
        let read_index = |column: usize| found[column].and_then(|root| roots.binary_search(&root).ok());
        let not_null = (0..found.len()).filter(|column| !spec.schema.field(*column).is_nullable());
        let not_null =
            not_null.filter_map(|column| Some((read_index(column)?, spec.schema.field(column).name().clone())));
        let not_null = not_null.collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.iter().copied());
        let mut builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(from as usize);
        if let Some(until) = until {
            builder = builder.with_limit(until.saturating_sub(from) as usize);
        }
        Ok(Self {
            rows: builder.build().map_err(|error| broken(location, file, &error))?,
            schema: Arc::new(spec.schema.project(columns)?),
            output: columns.iter().map(|column| read_index(*column)).collect(),
            not_null,
            blocks: Blocks::new(location, file),
            position: from,
        })
    }

    /// Reads the next batch.
    pub(super) async fn step(&mut self, split: &SplitId) -> Result<Step> {
        let Some(read) = self.rows.next().await else {
            return Ok(Step { batches: Vec::new(), then: Then::End });
        };
        let read = read.map_err(|error| broken(&self.blocks.location, &self.blocks.file, &error))?;
        let batch = self.batch(split, &read)?;
        self.position = batch.next.0;
        Ok(Step { batches: vec![batch], then: Then::More })
    }

    fn batch(&self, split: &SplitId, read: &RecordBatch) -> Result<SourceBatch> {
        let next = self.position + read.num_rows() as u64;
        let mut positions: Vec<Position> = (self.position..next).map(Position).collect();
        let (accepted, rejected) = self.accept(read, &positions)?;
        let mut rows = read.clone();
        if let Some(accepted) = accepted {
            rows = filter_record_batch(read, &accepted)?;
            let mut row = 0;
            positions.retain(|_| {
                row += 1;
                accepted.value(row - 1)
            });
        }
        let arrays = self.output.iter().zip(self.schema.fields()).map(|(index, field)| match index {
            Some(index) => converted(rows.column(*index), field.data_type()),
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays.collect::<Result<_>>()?, &options)?;
        Ok(SourceBatch { split: split.clone(), rows, positions, raw: None, rejected, next: Position(next) })
    }

    /// Which rows have no null where none may be; `None` when that is all of them.
    fn accept(
        &self,
        read: &RecordBatch,
        positions: &[Position],
    ) -> Result<(Option<BooleanArray>, Vec<RejectedRecord>)> {
        let mut rejected = Vec::new();
        let suspects: Vec<_> = self.not_null.iter().filter(|(index, _)| read.column(*index).null_count() > 0).collect();
        if suspects.is_empty() {
            return Ok((None, rejected));
        }
        // A row has no bytes of its own: what was read of it is shown as JSON, where that is possible.
        let shown = JsonRows::new(read).ok();
        let accepted = positions.iter().enumerate().map(|(row, &position)| {
            let Some((_, name)) = suspects.iter().find(|(index, _)| read.column(*index).is_null(row)) else {
                return true;
            };
            let mut raw = Vec::new();
            if let Some(shown) = &shown
                && shown.write(row, &mut raw).is_err()
            {
                raw.clear();
            }
            raw.truncate(millstream_runtime::limits::REJECTED_RAW_BYTES);
            let reason = format!("column \"{name}\" is NOT NULL, but the field is null");
            rejected.push(RejectedRecord { position, reason, raw });
            false
        });
        let accepted = BooleanArray::from(accepted.collect::<Vec<bool>>());
        Ok((Some(accepted), rejected))
    }
}

/// By declared column, the file's column of that name.
fn matching(file: &Schema, declared: &Fields, name: &str) -> Result<Vec<Option<usize>>> {
    let find = |declared: &Arc<Field>| {
        let exact = file.fields().iter().position(|field| field.name() == declared.name());
        let wanted = declared.name().to_lowercase();
        let index = exact.or_else(|| file.fields().iter().position(|field| field.name().to_lowercase() == wanted));
        let data = |what: String| Error::data(format!("file \"{name}\": column \"{}\" {what}", declared.name()));
        match index {
            None if declared.is_nullable() => Ok(None),
            None => Err(data("is missing, but it is NOT NULL".to_string())),
            Some(index) if holds(file.field(index).data_type(), declared.data_type()) => Ok(Some(index)),
            Some(index) => {
                let found = sql_type(file.field(index));
                Err(data(format!("is {found}, which {} does not hold", sql_type(declared))))
            }
        }
    };
    declared.iter().map(find).collect()
}

/// Whether every value of the file's type has its place in the declared one. Nanoseconds are cut to microseconds.
fn holds(file: &DataType, declared: &DataType) -> bool {
    use DataType as D;
    match (file, declared) {
        // JSONB and JSON: a file's texts are not known to be any.
        (_, D::LargeUtf8 | D::LargeBinary) => false,
        (D::Dictionary(_, values), _) => holds(values, declared),
        (D::Int8 | D::UInt8, D::Int16 | D::Int32 | D::Int64) => true,
        (D::Int16, D::Int32 | D::Int64) | (D::UInt16, D::Int32 | D::Int64) => true,
        (D::Int32 | D::UInt32, D::Int64) | (D::Float16, D::Float32) | (D::Float16 | D::Float32, D::Float64) => true,
        (D::Utf8 | D::LargeUtf8, D::Utf8View) => true,
        (D::Utf8View | D::LargeUtf8, D::Utf8) | (D::LargeBinary | D::BinaryView, D::Binary) => true,
        (D::FixedSizeBinary(_), D::Binary) | (D::Date64, D::Date32) => true,
        (D::Timestamp(_, _), D::Timestamp(TimeUnit::Microsecond, _)) => true,
        (D::Time32(_) | D::Time64(_), D::Time64(TimeUnit::Microsecond)) => true,
        (D::Decimal128(precision, scale) | D::Decimal256(precision, scale), wanted) => match wanted {
            D::Decimal128(into, into_scale) | D::Decimal256(into, into_scale) => {
                let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
                into_scale >= scale && whole(*into, *into_scale) >= whole(*precision, *scale)
            }
            _ => false,
        },
        (D::List(file) | D::LargeList(file), D::List(declared)) => holds(file.data_type(), declared.data_type()),
        (D::Struct(file), D::Struct(declared)) => {
            file.len() == declared.len()
                && file.iter().zip(declared).all(|(file, declared)| {
                    file.name() == declared.name() && holds(file.data_type(), declared.data_type())
                })
        }
        (file, declared) => file == declared,
    }
}

fn converted(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    Ok(cast_with_options(array, data_type, &CastOptions { safe: false, ..CastOptions::default() })?)
}
