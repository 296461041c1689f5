//! All rows of all inputs. Stateless.

use arrow::datatypes::SchemaRef;

use crate::batch::ChangeBatch;
use crate::error::Result;
use crate::operator::{Operator, Output, Port};
use crate::operators::{emit, record_batch};

/// `UNION ALL`: the inputs have the same types, the names are those of the output.
pub(super) struct Union {
    schema: SchemaRef,
}

impl Union {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl Operator for Union {
    fn on_batch(&mut self, _port: Port, batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
        let rows = record_batch(&self.schema, batch.rows.columns().to_vec(), batch.len())?;
        emit(batch.with_rows(rows), out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::operators::testing::{Collector, changes, int_schema};

    #[test]
    fn rows_of_both_sides_come_out_under_the_output_names() {
        let schema = int_schema(&["x"]);
        let mut union = Union::new(schema);
        let mut out = Collector::default();
        union.on_batch(Port(0), changes(&int_schema(&["a"]), &[(vec![Some(1)], 1)]), &mut out).unwrap();
        union.on_batch(Port(1), changes(&int_schema(&["b"]), &[(vec![Some(1)], 2)]), &mut out).unwrap();
        assert_eq!(out.rows(), vec![("1".to_owned(), 3)]);
        assert!(out.batches.iter().all(|batch| batch.rows.schema().field(0).name() == "x"));
    }
}
