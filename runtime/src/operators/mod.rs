//! The operators, one file each, and the one place that builds them from plan nodes.
//!
//! Invariants: no multiplicity is negative once an epoch ends, and an operator that meets one reports an
//! internal error (invariant 6); what an operator shows at the end of an epoch is a function of the multiset
//! of its input (invariant 5). The tests of each file compare it with a naive recomputation over random
//! change streams, random batch cuts, and a restore in the middle.

mod aggregate;
mod distinct;
mod filter;
mod join;
mod project;
mod top_n;
mod union;
mod values;
mod window;

#[cfg(test)]
mod testing;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};

use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::limits::BATCH_ROWS;
use crate::operator::{Operator, Output, Port, Rejected, StatePart};
use crate::plan::{Operation, PlanNode};

/// How the rows on a port must be dealt out when an operator runs as several subtasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// In any way.
    Any,
    /// Rows that agree in these columns go to the same subtask.
    Hash(Vec<usize>),
    /// All of them go to one subtask.
    Single,
}

/// What a node requires of the rows on a port. [`Operation::Values`] has no port: it runs once.
pub fn distribution(node: &PlanNode, port: Port) -> Distribution {
    let hash_or_single = |columns: Vec<usize>| {
        if columns.is_empty() { Distribution::Single } else { Distribution::Hash(columns) }
    };
    match &node.operation {
        Operation::Relation { .. }
        | Operation::Filter { .. }
        | Operation::Project { .. }
        | Operation::Union
        | Operation::Window { .. } => Distribution::Any,
        Operation::Values { .. } => Distribution::Single,
        Operation::Aggregate { keys, .. } => hash_or_single(keys.clone()),
        Operation::Join { on, .. } => {
            hash_or_single(on.iter().map(|(left, right)| if port == Port(0) { *left } else { *right }).collect())
        }
        // Its input has the columns of its output, and every row is a key.
        Operation::Distinct => hash_or_single((0..node.schema.fields().len()).collect()),
        Operation::TopN { partition, .. } => hash_or_single(partition.clone()),
    }
}

/// Makes the operator of a plan node; `inputs` are the nodes that it reads, by port.
pub fn build(node: &PlanNode, inputs: &[&PlanNode]) -> Result<Box<dyn Operator>> {
    if inputs.len() != node.inputs.len() {
        return Err(Error::internal(format!("a node with {} inputs was given {}", node.inputs.len(), inputs.len())));
    }
    match &node.operation {
        Operation::Relation { name, .. } => {
            Err(Error::internal(format!("relation \"{name}\" is read by the graph, not by an operator")))
        }
        Operation::Values { rows } => Ok(Box::new(values::Values::new(rows.clone()))),
        Operation::Filter { predicate } => Ok(Box::new(filter::Filter::new(predicate, only(inputs)?))),
        Operation::Project { expressions } => {
            Ok(Box::new(project::Project::new(expressions, only(inputs)?, Arc::clone(&node.schema))))
        }
        Operation::Union => Ok(Box::new(union::Union::new(Arc::clone(&node.schema)))),
        Operation::Window { time_column, size_micros, slide_micros, offset_micros } => {
            let windows = window::Windows { size: *size_micros, slide: *slide_micros, offset: *offset_micros };
            Ok(Box::new(window::Window::new(*time_column, windows, Arc::clone(&node.schema))?))
        }
        Operation::Aggregate { keys, aggregates, closing, emit } => {
            Ok(Box::new(aggregate::Aggregate::new(node, only(inputs)?, keys, aggregates, *closing, *emit)?))
        }
        Operation::Join { kind, on, residual, closing } => {
            let [left, right] = inputs else { return Err(Error::internal("a join has two inputs")) };
            Ok(Box::new(join::Join::new(node, [left, right], *kind, on, residual.as_ref(), *closing)?))
        }
        Operation::Distinct => Ok(Box::new(distinct::Distinct::new(only(inputs)?)?)),
        Operation::TopN { partition, order, offset, limit } => {
            Ok(Box::new(top_n::TopN::new(only(inputs)?, partition, order, *offset, *limit)?))
        }
    }
}

fn only<'a>(inputs: &[&'a PlanNode]) -> Result<&'a PlanNode> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Error::internal(format!("an operator with one input was given {}", inputs.len()))),
    }
}

/// Rows of a schema, right also when there are no columns.
fn record_batch(schema: &SchemaRef, columns: Vec<ArrayRef>, row_count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(row_count));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Weights as a change batch carries them: none when every row is +1.
fn compact_weights(weights: Vec<i64>) -> Option<Int64Array> {
    weights.iter().any(|weight| *weight != 1).then(|| weights.into())
}

/// Hands rows on in batches of at most [`BATCH_ROWS`]; nothing when there are none.
fn emit(batch: ChangeBatch, out: &mut dyn Output) -> Result<()> {
    if batch.len() <= BATCH_ROWS {
        return if batch.is_empty() { Ok(()) } else { out.emit(batch) };
    }
    for start in (0..batch.len()).step_by(BATCH_ROWS) {
        out.emit(batch.slice(start, BATCH_ROWS.min(batch.len() - start)))?;
    }
    Ok(())
}

/// Sets the rows apart that an expression failed on.
fn reject(batch: &ChangeBatch, failures: Vec<(usize, String)>, out: &mut dyn Output) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let rows: UInt32Array = failures.iter().map(|(row, _)| *row as u32).collect();
    let reasons = failures.into_iter().map(|(_, reason)| reason).collect();
    out.reject(Rejected { batch: batch.take(&rows)?, reasons })
}

/// Whether a part of state is a table of this name and these types. Names of columns are not compared: a
/// column may have been renamed since.
fn is_table(part: &StatePart, table: &str, schema: &SchemaRef) -> bool {
    let types = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
    part.table == table && types(&part.rows.schema()) == types(schema)
}

/// The types of some columns.
fn column_types(schema: &SchemaRef, columns: &[usize]) -> Vec<DataType> {
    columns.iter().map(|column| schema.field(*column).data_type().clone()).collect()
}

/// Some columns of a batch.
fn select(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns.iter().map(|column| Arc::clone(rows.column(*column))).collect()
}
