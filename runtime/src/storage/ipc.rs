//! Batches as Arrow IPC streams, with their weights.
//!
//! Weights travel as one more column at the end, null throughout for a batch without weights: within a log
//! record all batches have one schema, and some of them may carry weights. Streams of more than
//! [`PLAIN_BYTES`] are compressed with LZ4; readers take both.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};

/// Below this a compressed stream is no smaller, and slower to write.
const PLAIN_BYTES: usize = 4 << 10;

/// One stream of batches that share `schema`.
pub(crate) fn encode_batches(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Bytes> {
    let memory: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    let compression = (memory > PLAIN_BYTES).then_some(CompressionType::LZ4_FRAME);
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema, options)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// The batches of a stream.
pub(crate) fn decode_batches(stream: &[u8]) -> Result<Vec<RecordBatch>> {
    let batches = StreamReader::try_new(stream, None)?.collect::<Result<Vec<_>, _>>()?;
    Ok(batches)
}

/// One stream of change batches. Empty batches are left out; all others must have the same column types.
pub(crate) fn encode_changes(changes: &[ChangeBatch]) -> Result<Bytes> {
    let Some(first) = changes.first() else { return Ok(Bytes::new()) };
    let schema = with_weight_column(&first.rows.schema());
    let mut batches = Vec::with_capacity(changes.len());
    for change in changes.iter().filter(|change| !change.is_empty()) {
        let weights = match &change.weights {
            Some(weights) => weights.clone(),
            None => Int64Array::new_null(change.len()),
        };
        let mut columns = change.rows.columns().to_vec();
        columns.push(Arc::new(weights) as ArrayRef);
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(|error| Error::internal(format!("change batches of one record differ: {error}")))?;
        batches.push(batch);
    }
    encode_batches(&schema, &batches)
}

/// The change batches of a stream.
pub(crate) fn decode_changes(stream: &[u8]) -> Result<Vec<ChangeBatch>> {
    if stream.is_empty() {
        return Ok(Vec::new());
    }
    decode_batches(stream)?.iter().map(split_weights).collect()
}

fn with_weight_column(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("millstream.weight", DataType::Int64, true)));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn split_weights(batch: &RecordBatch) -> Result<ChangeBatch> {
    let (weights, columns) =
        batch.columns().split_last().ok_or_else(|| Error::data("a batch of changes has no column of weights"))?;
    let weights =
        weights.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::data("the column of weights is no bigint"))?;
    let schema = batch.schema();
    let fields: Vec<_> = schema.fields()[..columns.len()].to_vec();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema, columns.to_vec(), &options)?;
    match weights.null_count() {
        0 => Ok(ChangeBatch::weighted(rows, weights.clone())),
        nulls if nulls == weights.len() => Ok(ChangeBatch::append(rows)),
        nulls => Err(Error::data(format!("{nulls} of {} weights are null", weights.len()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::StringArray;

    use super::*;

    fn rows(texts: &[&str]) -> RecordBatch {
        RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef)]).unwrap()
    }

    #[test]
    fn weighted_and_plain_batches_share_a_stream() {
        let changes = [
            ChangeBatch::append(rows(&["a", "b"])),
            ChangeBatch::append(rows(&[])),
            ChangeBatch::weighted(rows(&["a"]), Int64Array::from(vec![-1])),
        ];
        let decoded = decode_changes(&encode_changes(&changes).unwrap()).unwrap();
        assert_eq!(decoded.len(), 2, "the empty batch is left out");
        assert_eq!(decoded[0].rows, changes[0].rows);
        assert!(decoded[0].weights.is_none());
        assert_eq!(decoded[1].rows, changes[2].rows);
        assert_eq!(decoded[1].weights, changes[2].weights);
    }

    #[test]
    fn large_streams_are_compressed() {
        let long = "a".repeat(100_000);
        let changes = [ChangeBatch::append(rows(&[&long]))];
        let stream = encode_changes(&changes).unwrap();
        assert!(stream.len() < 10_000, "{} bytes", stream.len());
        assert_eq!(decode_changes(&stream).unwrap()[0].rows, changes[0].rows);
    }

    #[test]
    fn rows_without_columns_keep_their_number() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let stream = encode_changes(&[ChangeBatch::append(none)]).unwrap();
        assert_eq!(decode_changes(&stream).unwrap()[0].len(), 3);
    }

    #[test]
    fn no_changes_are_no_bytes() {
        assert!(encode_changes(&[]).unwrap().is_empty());
        assert!(decode_changes(&[]).unwrap().is_empty());
    }
}
