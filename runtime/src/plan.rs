//! The dataflow plan: what the planner hands to the runtime.
//!
//! A plan is a small graph of nodes in topological order whose leaves name relations and whose last node is
//! the root. It says *what* flows, not *where* it runs: the runtime puts exchanges between subtasks itself,
//! from what every node requires of the distribution of its input.
//!
//! Adding an operator touches: one variant here, one file in `operators/`, one arm of `operators::build`,
//! one lowering function of the planner, one `.slt` file.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use serde::{Deserialize, Serialize};

/// The number of a relation, never used again after a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationId(pub u32);

impl RelationId {
    /// The first number of views that are in no catalog: they live as long as somebody reads them.
    pub const FIRST_TEMPORARY: Self = Self(0xC000_0000);

    /// Whether it is the number of such a view.
    pub fn is_temporary(self) -> bool {
        self >= Self::FIRST_TEMPORARY
    }
}

impl fmt::Display for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// Whether an edge may carry negative weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changes {
    /// Weights are never negative; operators may keep less.
    Append,
    /// Rows may be taken back.
    Retract,
}

/// When a windowed view shows a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitOn {
    /// At the end of every epoch that changed it.
    Update,
    /// Once, when the watermark closes it.
    WindowClose,
}

/// A node's number within its plan; inputs have lower numbers than the nodes that read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub usize);

/// A view's dataflow.
#[derive(Clone, Debug)]
pub struct Dataflow {
    /// The nodes in topological order; the last one is the root.
    pub nodes: Vec<PlanNode>,
}

/// One node of a dataflow.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// What it does.
    pub operation: Operation,
    /// The nodes it reads, by port.
    pub inputs: Vec<NodeIndex>,
    /// The schema of its output.
    pub schema: SchemaRef,
    /// Whether its output may take rows back.
    pub changes: Changes,
    /// For a view with `EMIT ON WINDOW CLOSE` or windowed state: the output column that bounds event time.
    pub event_time: Option<EventTimeColumn>,
}

/// A column from which the watermark bounds what can still come: no later row has
/// `value + extent_micros <= watermark`. A plain event time has an extent of 1, a window's start the
/// window's size, a window's end 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimeColumn {
    /// Index of a timestamp column.
    pub column: usize,
    /// See the type's text.
    pub extent_micros: i64,
}

/// What a node does. Column indices refer to the schema of the node's input.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A leaf: the changes of another relation.
    Relation {
        /// Which one.
        id: RelationId,
        /// Its name, for EXPLAIN.
        name: String,
    },
    /// A leaf: constant rows, there from the beginning.
    Values {
        /// The rows.
        rows: RecordBatch,
    },
    /// Keeps the rows for which the predicate is true.
    Filter {
        /// A boolean expression over the input.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// Computes columns.
    Project {
        /// One expression per output column.
        expressions: Vec<Arc<dyn PhysicalExpr>>,
    },
    /// All rows of all inputs.
    Union,
    /// Appends `window_start` and `window_end`; a row is repeated for every window that holds it.
    Window {
        /// The timestamp column that is assigned; a null is rejected by the relation before it comes here.
        time_column: usize,
        /// Width of a window.
        size_micros: i64,
        /// Distance of window starts; equal to the size for tumbling windows.
        slide_micros: i64,
        /// Shifts window starts away from 1970-01-01.
        offset_micros: i64,
    },
    /// Groups rows and aggregates them; without keys one group that is always there.
    Aggregate {
        /// Key columns, in output order.
        keys: Vec<usize>,
        /// Aggregates, in output order after the keys.
        aggregates: Vec<AggregateCall>,
        /// The key (index into `keys`, with its extent) from which the watermark closes groups.
        closing: Option<ClosingKey>,
        /// When groups are shown.
        emit: EmitOn,
    },
    /// Equi-join; the output is the left columns, then (unless semi or anti) the right ones.
    Join {
        /// Which rows come out.
        kind: JoinKind,
        /// Pairs of key columns (left, right). SQL equality: null equals nothing. Empty: a cross join.
        on: Vec<(usize, usize)>,
        /// A further condition over left columns followed by right columns.
        residual: Option<Arc<dyn PhysicalExpr>>,
        /// An `on` pair (its index, with each side's extent) below whose watermark no match can come.
        closing: Option<ClosingJoin>,
    },
    /// Every different row once.
    Distinct,
    /// The first rows in an order, per partition; ties are settled by the values of the whole row.
    TopN {
        /// Partition columns; empty means one partition.
        partition: Vec<usize>,
        /// The order.
        order: Vec<SortKey>,
        /// Rows left out at the start.
        offset: usize,
        /// Rows kept after them; `None` keeps all.
        limit: Option<usize>,
    },
}

/// The group key from which the watermark closes a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosingKey {
    /// Index into the aggregate's `keys`.
    pub key: usize,
    /// See [`EventTimeColumn`].
    pub extent_micros: i64,
}

/// The pair of join keys from which the watermark forgets rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosingJoin {
    /// Index into the join's `on`.
    pub pair: usize,
    /// Extent of the left column, see [`EventTimeColumn`].
    pub left_extent_micros: i64,
    /// Extent of the right column.
    pub right_extent_micros: i64,
}

/// Which rows a join emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and left rows without a match with nulls on the right.
    Left,
    /// Left rows with at least one match, once.
    LeftSemi,
    /// Left rows without a match.
    LeftAnti,
}

/// One key of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortKey {
    /// The column.
    pub column: usize,
    /// Highest first.
    pub descending: bool,
    /// Nulls before everything else.
    pub nulls_first: bool,
}

/// An aggregate over columns that a projection has prepared.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// Which aggregate.
    pub function: AggregateFunction,
    /// The argument's column; `None` only for `count(*)`.
    pub argument: Option<usize>,
    /// Count every different value once.
    pub distinct: bool,
    /// A boolean column: rows where it is not true don't take part.
    pub filter: Option<usize>,
    /// The order of `string_agg` and `array_agg`; what it leaves open is settled by the value.
    pub order: Vec<SortKey>,
    /// Name, type and nullability of the result.
    pub output: FieldRef,
}

/// The aggregates that the runtime keeps incrementally.
///
/// Result types: `count` Int64; `sum` of Int16/Int32 Int64, of Int64 Decimal128(38, 0), of floats their own
/// type, of Decimal128(p, s) Decimal128(38, s); `avg` of integers Decimal128(38, 16), of Decimal128(p, s)
/// Decimal128(38, max(s, 16)), of floats Float64; min, max the argument's type; `array_agg` a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `count(*)` or `count(x)`.
    Count,
    /// `sum(x)`.
    Sum,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `avg(x)`, of integers and decimals with sixteen digits behind the point.
    Avg,
    /// `avg(x)`, of integers and decimals with the digits that Postgres gives a quotient.
    Mean,
    /// `bool_and(x)`.
    BoolAnd,
    /// `bool_or(x)`.
    BoolOr,
    /// `string_agg(x, delimiter)`.
    StringAgg {
        /// Stands between two values.
        delimiter: String,
    },
    /// `array_agg(x)`; nulls are kept, as in Postgres.
    ArrayAgg,
}

impl Dataflow {
    /// The last node.
    pub fn root(&self) -> &PlanNode {
        self.nodes.last().expect("a dataflow has at least one node")
    }

    /// The relations that the plan reads, each once, in order of appearance.
    pub fn inputs(&self) -> Vec<RelationId> {
        let mut ids = Vec::new();
        for node in &self.nodes {
            if let Operation::Relation { id, .. } = &node.operation
                && !ids.contains(id)
            {
                ids.push(*id);
            }
        }
        ids
    }
}

/// A relation that takes rows from outside the dataflow (a source's reader or DML), as the graph must treat
/// its rows before anything else sees them.
#[derive(Clone, Debug)]
pub struct InputRelation {
    /// Its number.
    pub id: RelationId,
    /// Its qualified name, for messages.
    pub name: String,
    /// The full schema: physical columns first, in declared order, then generated ones, in declared order.
    /// A field that is not nullable is checked.
    pub schema: SchemaRef,
    /// Number of leading physical columns in `schema`.
    pub physical_columns: usize,
    /// Expressions of the generated columns, over the physical columns.
    pub generated: Vec<Arc<dyn PhysicalExpr>>,
    /// The declared watermark.
    pub watermark: Option<WatermarkSpec>,
    /// Whether rows may be taken back.
    pub changes: Changes,
    /// Columns of the primary key, as indices into `schema`; empty when there is none.
    pub primary_key: Vec<usize>,
    /// Physical columns of text with the most characters that a value may have: `varchar(n)`, and `char(n)` and arrays
    /// of it, which are of the type [`BLANK_PADDED`].
    pub text_lengths: Vec<(usize, usize)>,
    /// Physical columns of moments, times and intervals, and arrays of them, with the digits of a second that they keep.
    pub second_digits: Vec<(usize, u8)>,
}

/// The type of `char(n)`: a text without blanks at its end. Blanks that come in there are cut.
pub const BLANK_PADDED: DataType = DataType::Utf8View;

/// `WATERMARK FOR column AS expression`.
#[derive(Clone, Debug)]
pub struct WatermarkSpec {
    /// The event time column in the full schema.
    pub column: usize,
    /// The watermark that a row implies, over the full schema.
    pub expression: Arc<dyn PhysicalExpr>,
    /// Accepts rows that much further behind (`allowed_lateness`).
    pub allowed_lateness_micros: i64,
    /// A split without rows for that long is taken out of the merge; `None` never.
    pub idle_timeout_micros: Option<i64>,
}
