//! Constant rows, handed out once. Its state is the fact that this has happened.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{Operator, Output, Port, SnapshotKind, StatePart};
use crate::operators::emit;

/// `VALUES ...`: a leaf, so it must run as a single subtask.
pub(super) struct Values {
    rows: RecordBatch,
    emitted: bool,
}

impl Values {
    pub(super) fn new(rows: RecordBatch) -> Self {
        Self { rows, emitted: false }
    }
}

impl Operator for Values {
    fn on_batch(&mut self, _port: Port, _batch: ChangeBatch, _out: &mut dyn Output) -> Result<()> {
        Err(Error::internal("constant rows have no input"))
    }

    fn on_epoch(&mut self, out: &mut dyn Output) -> Result<()> {
        if std::mem::replace(&mut self.emitted, true) {
            return Ok(());
        }
        emit(ChangeBatch::append(self.rows.clone()), out)
    }

    fn snapshot(&mut self, kind: SnapshotKind) -> Result<Vec<StatePart>> {
        let schema = Schema::new(vec![
            Field::new("key_group", DataType::UInt16, false),
            Field::new("emitted", DataType::Boolean, false),
        ]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(UInt16Array::from(vec![0])), Arc::new(BooleanArray::from(vec![self.emitted]))];
        Ok(vec![StatePart { table: "emitted".into(), kind, rows: RecordBatch::try_new(Arc::new(schema), columns)? }])
    }

    fn restore(&mut self, parts: Vec<StatePart>) -> Result<()> {
        for part in parts {
            let emitted = part.rows.column(1).as_any().downcast_ref::<BooleanArray>();
            let emitted = emitted.ok_or_else(|| Error::data("state table \"emitted\" has no boolean column"))?;
            self.emitted |= emitted.iter().any(|emitted| emitted == Some(true));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::operators::testing::{Collector, changes, int_schema};

    #[test]
    fn rows_come_once_also_over_a_restore() {
        let rows = changes(&int_schema(&["a"]), &[(vec![Some(1)], 1), (vec![Some(2)], 1)]).rows;
        let mut values = Values::new(rows.clone());
        let mut out = Collector::default();
        values.on_epoch(&mut out).unwrap();
        values.on_epoch(&mut out).unwrap();
        let parts = values.snapshot(SnapshotKind::Full).unwrap();
        let mut restored = Values::new(rows);
        restored.restore(parts).unwrap();
        restored.on_epoch(&mut out).unwrap();
        assert_eq!(out.rows(), vec![("1".to_owned(), 1), ("2".to_owned(), 1)]);
    }
}
