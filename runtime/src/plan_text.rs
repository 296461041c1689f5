//! Dataflow plans as text: for EXPLAIN and golden files, and the fingerprints by which state finds its operator
//! again after a restart.
//!
//! A fingerprint says what an operator computes and from what, and nothing of where it runs or how its columns
//! are named: renaming a column keeps the state, another key does not.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use xxhash_rust::xxh3::xxh3_128;

use crate::plan::{
    AggregateCall, AggregateFunction, Changes, Dataflow, EmitOn, JoinKind, NodeIndex, Operation, PlanNode, SortKey,
};

/// How much EXPLAIN shows of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What it does.
    Plan,
    /// Also column types and fingerprints.
    Verbose,
}

impl Operation {
    /// The operator's name, as EXPLAIN and the operators' statistics show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relation { .. } => "Relation",
            Self::Values { .. } => "Values",
            Self::Filter { .. } => "Filter",
            Self::Project { .. } => "Project",
            Self::Union => "Union",
            Self::Window { size_micros, slide_micros, .. } if size_micros == slide_micros => "Tumble",
            Self::Window { .. } => "Hop",
            Self::Aggregate { .. } => "Aggregate",
            Self::Join { kind, .. } => match kind {
                JoinKind::Inner => "InnerJoin",
                JoinKind::Left => "LeftJoin",
                JoinKind::LeftSemi => "SemiJoin",
                JoinKind::LeftAnti => "AntiJoin",
            },
            Self::Distinct => "Distinct",
            Self::TopN { .. } => "TopN",
        }
    }

    /// Whether two operations do the same to the same inputs.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Relation { id, .. }, Self::Relation { id: other, .. }) => id == other,
            (Self::Values { rows }, Self::Values { rows: other }) => rows == other,
            (Self::Filter { predicate }, Self::Filter { predicate: other }) => predicate == other,
            (Self::Project { expressions }, Self::Project { expressions: other }) => expressions == other,
            (Self::Union, Self::Union) | (Self::Distinct, Self::Distinct) => true,
            (Self::Window { .. }, Self::Window { .. })
            | (Self::Aggregate { .. }, Self::Aggregate { .. })
            | (Self::Join { residual: None, .. }, Self::Join { residual: None, .. })
            | (Self::TopN { .. }, Self::TopN { .. }) => format!("{self:?}") == format!("{other:?}"),
            (
                Self::Join { kind, on, residual: Some(residual), closing },
                Self::Join { kind: other_kind, on: other_on, residual: Some(other_residual), closing: other_closing },
            ) => kind == other_kind && on == other_on && residual == other_residual && closing == other_closing,
            (
                Self::Relation { .. }
                | Self::Values { .. }
                | Self::Filter { .. }
                | Self::Project { .. }
                | Self::Union
                | Self::Window { .. }
                | Self::Aggregate { .. }
                | Self::Join { .. }
                | Self::Distinct
                | Self::TopN { .. },
                _,
            ) => false,
        }
    }
}

impl Dataflow {
    /// One fingerprint per node, in the order of the nodes: kind, keys and expressions, the types of the input,
    /// and the fingerprints of what is read. 32 hexadecimal digits.
    pub fn fingerprints(&self) -> Vec<String> {
        let plan = self.without_names();
        let mut prints: Vec<String> = Vec::with_capacity(plan.nodes.len());
        for node in &plan.nodes {
            let mut text = match &node.operation {
                // A relation is its number: it may be renamed.
                Operation::Relation { id, .. } => format!("Relation {id}"),
                operation => {
                    let input = node.inputs.first().map(|input| plan.nodes[input.0].schema.as_ref());
                    operation_text(operation, input, &plan, node)
                }
            };
            let _ = write!(text, " -> {} {:?}", types(&node.schema), node.changes);
            for input in &node.inputs {
                let _ = write!(text, " [{} {}]", types(&plan.nodes[input.0].schema), prints[input.0]);
            }
            prints.push(format!("{:032x}", xxh3_128(text.as_bytes())));
        }
        prints
    }

    /// The same plan with all columns named alike.
    fn without_names(&self) -> Self {
        let mut plan = self.clone();
        for node in &mut plan.nodes {
            let fields = node.schema.fields().iter().map(|field| field.as_ref().clone().with_name(NAMELESS));
            node.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            match &mut node.operation {
                Operation::Filter { predicate } => *predicate = nameless(predicate),
                Operation::Project { expressions } => {
                    expressions.iter_mut().for_each(|expression| *expression = nameless(expression));
                }
                Operation::Join { residual, .. } => *residual = residual.as_ref().map(nameless),
                Operation::Relation { .. }
                | Operation::Values { .. }
                | Operation::Union
                | Operation::Window { .. }
                | Operation::Aggregate { .. }
                | Operation::Distinct
                | Operation::TopN { .. } => {}
            }
        }
        plan
    }

    /// The plan as a tree, root first, two spaces a level. A node that is read twice is shown once and then
    /// named by its number.
    pub fn display(&self, detail: Detail) -> String {
        let mut text = String::new();
        let prints = self.fingerprints();
        let mut readers = vec![0_usize; self.nodes.len()];
        self.nodes.iter().flat_map(|node| &node.inputs).for_each(|input| readers[input.0] += 1);
        let mut shown = vec![false; self.nodes.len()];
        let mut open = vec![(NodeIndex(self.nodes.len() - 1), 0_usize)];
        while let Some((index, depth)) = open.pop() {
            let node = &self.nodes[index.0];
            let indent = "  ".repeat(depth);
            let number = if readers[index.0] > 1 { format!("#{} ", index.0) } else { String::new() };
            if shown[index.0] {
                let _ = writeln!(text, "{indent}{number}(as above)");
                continue;
            }
            shown[index.0] = true;
            let input = node.inputs.first().map(|input| self.nodes[input.0].schema.as_ref());
            let described = operation_text(&node.operation, input, self, node);
            let changes = match node.changes {
                Changes::Append => "append",
                Changes::Retract => "retract",
            };
            let _ = write!(text, "{indent}{number}{described} ({changes})");
            if detail == Detail::Verbose {
                let _ = write!(text, "\n{indent}    {} {}", columns(&node.schema), prints[index.0]);
            }
            text.push('\n');
            open.extend(node.inputs.iter().rev().map(|input| (*input, depth + 1)));
        }
        text
    }
}

/// The name of every column where names don't count.
const NAMELESS: &str = "c";

fn nameless(expression: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let renamed = Arc::clone(expression).transform_up(|node| {
        Ok(match node.downcast_ref::<Column>() {
            Some(column) => Transformed::yes(Arc::new(Column::new(NAMELESS, column.index())) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(node),
        })
    });
    renamed.expect("putting a column in the place of a column can't fail").data
}

fn types(schema: &Schema) -> String {
    let types: Vec<String> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
    format!("({})", types.join(","))
}

fn columns(schema: &Schema) -> String {
    let columns = schema.fields().iter().map(|field| format!("{} {}", field.name(), short_type(field.data_type())));
    format!("({})", columns.collect::<Vec<_>>().join(", "))
}

fn short_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => "Timestamp".to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "Timestamptz".to_string(),
        other => other.to_string(),
    }
}

/// An operation with its columns by number and name: `auction@0`.
fn operation_text(operation: &Operation, input: Option<&Schema>, plan: &Dataflow, node: &PlanNode) -> String {
    let empty = Schema::empty();
    let input = input.unwrap_or(&empty);
    let name = operation.name();
    match operation {
        Operation::Relation { name: relation, .. } => format!("{name} {relation}"),
        Operation::Values { rows } => format!("{name} rows={}{}", rows.num_rows(), value_text(rows)),
        Operation::Filter { predicate } => format!("{name} {predicate}"),
        Operation::Project { expressions } => format!("{name} [{}]", expression_list(expressions, input)),
        Operation::Union | Operation::Distinct => name.to_string(),
        Operation::Window { time_column, size_micros, slide_micros, offset_micros } => {
            let mut text = format!("{name} time={} size={}", column(input, *time_column), interval(*size_micros));
            if slide_micros != size_micros {
                let _ = write!(text, " slide={}", interval(*slide_micros));
            }
            if *offset_micros != 0 {
                let _ = write!(text, " offset={}", interval(*offset_micros));
            }
            text
        }
        Operation::Aggregate { keys, aggregates, closing, emit } => {
            let calls: Vec<String> = aggregates.iter().map(|call| aggregate_text(call, input)).collect();
            let mut text = format!("{name} keys=[{}] calls=[{}]", column_list(input, keys), calls.join(", "));
            if let Some(closing) = closing {
                let key = column(input, keys[closing.key]);
                let _ = write!(text, " closing={key}+{}", interval(closing.extent_micros));
            }
            if *emit == EmitOn::WindowClose {
                text.push_str(" emit=window close");
            }
            text
        }
        Operation::Join { on, residual, closing, .. } => {
            let right = node.inputs.get(1).map_or(&empty, |input| plan.nodes[input.0].schema.as_ref());
            let pair = |(left, other): &(usize, usize)| format!("{} = {}", column(input, *left), column(right, *other));
            let mut text = format!("{name} on=[{}]", on.iter().map(pair).collect::<Vec<_>>().join(", "));
            if let Some(residual) = residual {
                let _ = write!(text, " if {residual}");
            }
            if let Some(closing) = closing {
                let extents = (interval(closing.left_extent_micros), interval(closing.right_extent_micros));
                let _ = write!(text, " closing={} +{}/+{}", pair(&on[closing.pair]), extents.0, extents.1);
            }
            text
        }
        Operation::TopN { partition, order, offset, limit } => {
            let mut text = name.to_string();
            if !partition.is_empty() {
                let _ = write!(text, " partition=[{}]", column_list(input, partition));
            }
            let _ = write!(text, " order=[{}]", order_list(order, input));
            if *offset != 0 {
                let _ = write!(text, " offset={offset}");
            }
            if let Some(limit) = limit {
                let _ = write!(text, " limit={limit}");
            }
            text
        }
    }
}

/// Constant rows are part of what is computed; long ones are told apart by their hash.
fn value_text(rows: &arrow::array::RecordBatch) -> String {
    let text = format!("{:?}", rows.columns());
    format!(" {:08x}", xxh3_128(text.as_bytes()) as u32)
}

fn aggregate_text(call: &AggregateCall, input: &Schema) -> String {
    let function = match &call.function {
        AggregateFunction::Count => "count".to_string(),
        AggregateFunction::Sum => "sum".to_string(),
        AggregateFunction::Min => "min".to_string(),
        AggregateFunction::Max => "max".to_string(),
        // Both are no part of one plan: which of them it is hangs on its settings.
        AggregateFunction::Avg | AggregateFunction::Mean => "avg".to_string(),
        AggregateFunction::BoolAnd => "bool_and".to_string(),
        AggregateFunction::BoolOr => "bool_or".to_string(),
        AggregateFunction::StringAgg { delimiter } => format!("string_agg({delimiter:?})"),
        AggregateFunction::ArrayAgg => "array_agg".to_string(),
    };
    let distinct = if call.distinct { "distinct " } else { "" };
    let argument = call.argument.map_or("*".to_string(), |argument| column(input, argument));
    let mut text = format!("{function}({distinct}{argument}");
    if !call.order.is_empty() {
        let _ = write!(text, " order by {}", order_list(&call.order, input));
    }
    text.push(')');
    if let Some(filter) = call.filter {
        let _ = write!(text, " filter {}", column(input, filter));
    }
    text
}

fn expression_list(expressions: &[Arc<dyn PhysicalExpr>], input: &Schema) -> String {
    let shown = expressions.iter().map(|expression| {
        // A literal alone does not say its type.
        match expression.downcast_ref::<Literal>() {
            Some(_) => match expression.data_type(input) {
                Ok(data_type) => format!("{expression}::{data_type}"),
                Err(_) => expression.to_string(),
            },
            None => expression.to_string(),
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn column(schema: &Schema, index: usize) -> String {
    format!("{}@{index}", schema.field(index).name())
}

fn column_list(schema: &Schema, columns: &[usize]) -> String {
    columns.iter().map(|index| column(schema, *index)).collect::<Vec<_>>().join(", ")
}

fn order_list(order: &[SortKey], schema: &Schema) -> String {
    let keys = order.iter().map(|key| {
        let direction = if key.descending { " desc" } else { "" };
        // Nulls are greater than everything, as in Postgres, unless it was said otherwise.
        let nulls = match (key.nulls_first, key.descending) {
            (true, false) => " nulls first",
            (false, true) => " nulls last",
            (true, true) | (false, false) => "",
        };
        format!("{}{direction}{nulls}", column(schema, key.column))
    });
    keys.collect::<Vec<_>>().join(", ")
}

/// Microseconds in the largest unit that divides them.
fn interval(micros: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(3_600_000_000, "h"), (60_000_000, "min"), (1_000_000, "s"), (1_000, "ms")];
    let unit = UNITS.iter().find(|(size, _)| micros != 0 && micros % size == 0);
    unit.map_or(format!("{micros}us"), |(size, name)| format!("{}{name}", micros / size))
}
