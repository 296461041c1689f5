//! Changes as rows: the leading columns, then those of the relation.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use arrow::row::{Row, RowConverter, SortField};
use millstream_planner::subscribe::{Envelope, Subscribe};
use millstream_runtime::Error;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::time::Epoch;

use super::SqlError;

/// How changes become rows.
pub(super) struct Shape {
    shown: SchemaRef,
    /// A row tells of every epoch that was given whole.
    pub(super) progress: bool,
    envelope: Envelope,
    /// For rows of one key.
    keys: Option<RowConverter>,
}

/// What an epoch did under one key: the row that went, the row that came.
#[derive(Default)]
struct UnderKey {
    before: Option<u32>,
    after: Option<u32>,
}

impl Shape {
    pub(super) fn of(subscribe: &Subscribe) -> Result<Self, SqlError> {
        let keys = match &subscribe.envelope {
            Envelope::Weights => None,
            Envelope::Upsert { key } | Envelope::Debezium { key } => {
                let field = |place: &usize| SortField::new(subscribe.columns.field(*place).data_type().clone());
                Some(RowConverter::new(key.iter().map(field).collect())?)
            }
        };
        let shown = Arc::clone(&subscribe.shown);
        Ok(Self { shown, progress: subscribe.progress, envelope: subscribe.envelope.clone(), keys })
    }

    /// Whether rows are found by their key.
    pub(super) fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// A row that says that everything up to an epoch was given.
    pub(super) fn progressed(&self, epoch: Epoch) -> Result<RecordBatch, SqlError> {
        let mut columns = self.leading(epoch, 1, true);
        let rest = self.shown.fields().iter().skip(columns.len());
        columns.extend(rest.map(|field| new_null_array(field.data_type(), 1)));
        Ok(RecordBatch::try_new(Arc::clone(&self.shown), columns)?)
    }

    /// Changes of an epoch; with an envelope, all that it did under the keys that they have.
    pub(super) fn changes(&self, epoch: Epoch, change: &ChangeBatch) -> Result<RecordBatch, SqlError> {
        let columns = match &self.keys {
            None => {
                let mut columns = self.leading(epoch, change.len(), false);
                let weights = change.weights.clone().unwrap_or_else(|| Int64Array::from(vec![1; change.len()]));
                columns.push(Arc::new(weights));
                columns.extend(change.rows.columns().iter().cloned());
                columns
            }
            Some(keys) => self.keyed(epoch, change, keys)?,
        };
        Ok(RecordBatch::try_new(Arc::clone(&self.shown), columns)?)
    }

    fn keyed(&self, epoch: Epoch, change: &ChangeBatch, keys: &RowConverter) -> Result<Vec<ArrayRef>, SqlError> {
        let rows = by_key(change, self.key(), keys)?;
        let before: UInt32Array = rows.iter().map(|row| row.before).collect();
        let after: UInt32Array = rows.iter().map(|row| row.after).collect();
        let either: UInt32Array = rows.iter().map(|row| row.after.or(row.before)).collect();
        let ops = rows.iter().map(|row| match (&self.envelope, row.before, row.after) {
            (_, _, None) => "delete",
            (Envelope::Upsert { .. } | Envelope::Weights, _, Some(_)) => "upsert",
            (Envelope::Debezium { .. }, None, Some(_)) => "insert",
            (Envelope::Debezium { .. }, Some(_), Some(_)) => "update",
        });
        let mut columns = self.leading(epoch, rows.len(), false);
        columns.push(Arc::new(StringArray::from_iter_values(ops)));
        let mut taken = |column: &ArrayRef, places: &UInt32Array| {
            columns.push(compute::take(column, places, None)?);
            Ok::<_, SqlError>(())
        };
        match &self.envelope {
            Envelope::Weights | Envelope::Upsert { .. } => {
                for (place, column) in change.rows.columns().iter().enumerate() {
                    taken(column, if self.key().contains(&place) { &either } else { &after })?;
                }
            }
            Envelope::Debezium { .. } => {
                change.rows.columns().iter().try_for_each(|column| taken(column, &before))?;
                change.rows.columns().iter().try_for_each(|column| taken(column, &after))?;
            }
        }
        Ok(columns)
    }

    fn key(&self) -> &[usize] {
        match &self.envelope {
            Envelope::Weights => &[],
            Envelope::Upsert { key } | Envelope::Debezium { key } => key,
        }
    }

    fn leading(&self, epoch: Epoch, rows: usize, progressed: bool) -> Vec<ArrayRef> {
        let epoch = epoch.to_string();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from_iter_values(std::iter::repeat_n(epoch.as_str(), rows)))];
        if self.progress {
            columns.push(Arc::new(BooleanArray::from(vec![progressed; rows])));
        }
        columns
    }
}

/// What happened under every key, in the order in which the keys first appear.
fn by_key(change: &ChangeBatch, key: &[usize], keys: &RowConverter) -> Result<Vec<UnderKey>, SqlError> {
    let encoded = keys.convert_columns(change.rows.project(key)?.columns())?;
    let mut places: HashMap<Row<'_>, usize> = HashMap::with_capacity(change.len());
    let mut rows: Vec<UnderKey> = Vec::with_capacity(change.len());
    for row in 0..change.len() {
        let place = *places.entry(encoded.row(row)).or_insert_with(|| {
            rows.push(UnderKey::default());
            rows.len() - 1
        });
        let side = match change.weight(row) {
            1 => &mut rows[place].after,
            -1 => &mut rows[place].before,
            weight => return Err(Error::internal(format!("a row of a key has the weight {weight}")).into()),
        };
        if side.replace(row as u32).is_some() {
            return Err(Error::internal("two rows stand under one key").into());
        }
    }
    Ok(rows)
}
