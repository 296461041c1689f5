//! Relations in checkpoints: rows with weights as state parts, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{SnapshotKind, StatePart};
use crate::relation::RelationVersion;

/// The table of a relation's rows. Columns: key group (0), weight, then the relation's own.
const TABLE: &str = "rows";

/// All rows of a version as a new base.
pub(super) fn base(version: &RelationVersion) -> Result<Vec<StatePart>> {
    let empty = ChangeBatch::append(RecordBatch::new_empty(Arc::clone(&version.schema)));
    let mut parts = vec![part(&empty, SnapshotKind::Full)?];
    for batch in version.batches() {
        parts.push(part(&ChangeBatch::append(batch?), SnapshotKind::Delta)?);
    }
    Ok(parts)
}

/// Changes on top of what was written before.
pub(super) fn delta(changes: &[ChangeBatch]) -> Result<Vec<StatePart>> {
    changes.iter().map(|change| part(change, SnapshotKind::Delta)).collect()
}

fn part(change: &ChangeBatch, kind: SnapshotKind) -> Result<StatePart> {
    let count = change.len();
    let weights = change.weights.clone().unwrap_or_else(|| Int64Array::from(vec![1; count]));
    let own = [Field::new("key_group", DataType::UInt16, false), Field::new("weight", DataType::Int64, false)];
    let schema = change.rows.schema();
    let fields: Vec<Field> =
        own.into_iter().chain(schema.fields().iter().map(|field| field.as_ref().clone())).collect();
    let leading: [ArrayRef; 2] = [Arc::new(UInt16Array::from(vec![0; count])), Arc::new(weights)];
    let columns: Vec<ArrayRef> = leading.into_iter().chain(change.rows.columns().iter().cloned()).collect();
    Ok(StatePart {
        table: TABLE.to_string(),
        kind,
        rows: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?,
    })
}

/// The changes that make up the relation, from its base and deltas.
pub(super) fn changes(schema: &SchemaRef, parts: &[StatePart]) -> Result<Vec<ChangeBatch>> {
    let from = parts.iter().rposition(|part| part.kind == SnapshotKind::Full).unwrap_or(0);
    let mut changes = Vec::with_capacity(parts.len() - from);
    for part in &parts[from..] {
        let columns = part.rows.columns();
        let damaged = || Error::data("the stored rows of a relation have another shape than its schema");
        if part.table != TABLE || columns.len() != schema.fields().len() + 2 {
            return Err(damaged());
        }
        let weights = columns[1].as_primitive_opt::<Int64Type>().ok_or_else(damaged)?.clone();
        let rows = RecordBatch::try_new(Arc::clone(schema), columns[2..].to_vec()).map_err(|_| damaged())?;
        if weights.null_count() > 0 || weights.values().contains(&0) {
            return Err(damaged());
        }
        if !weights.is_empty() {
            changes.push(ChangeBatch::weighted(rows, weights));
        }
    }
    Ok(changes)
}
