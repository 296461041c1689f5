//! A statement after its names are settled: what the rows are made from, and expressions over them.
//!
//! A row of a SELECT is one tuple per relation in its FROM (none: the relation gave no row to an outer join),
//! followed by up to three more, for what is computed over rows: aggregates, window functions, and functions
//! that give sets. An expression names a column by how many SELECTs out it is, by relation and by number.

use std::sync::Arc;

use super::datum::Datum;
use super::functions::Function;
use super::types::Type;

/// The values of one relation's row.
pub(in crate::pg_catalog) type Tuple = Arc<[Datum]>;

/// A row of a SELECT.
pub(super) type Row = Vec<Option<Tuple>>;

/// Number of a plan, a relation in a FROM or a CTE, unique within a statement.
pub(super) type Id = usize;

/// An expression with its type.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) expr: Expr,
    pub(super) ty: Type,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// An operator that gives NULL for NULL.
pub(super) type Operation = fn(&Datum, &Datum) -> millstream_planner::error::Result<Datum>;

/// What a subquery stands for.
#[derive(Clone, Debug)]
pub(super) enum SubqueryUse {
    /// Its one value.
    Scalar,
    Exists,
    /// `ARRAY(...)`
    Array,
    /// A comparison with ANY (or ALL) of its values; a row is compared as a record.
    Quantified {
        left: Box<Expr>,
        comparison: Comparison,
        all: bool,
    },
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Const(Datum),
    Column {
        level: usize,
        factor: usize,
        index: usize,
    },
    /// A relation's whole row.
    Whole {
        level: usize,
        factor: usize,
    },
    /// A parameter, from 0; in the type that `parameters` of the statement says.
    Parameter(usize),
    Call {
        function: &'static Function,
        arguments: Vec<Typed>,
    },
    Operator {
        operation: Operation,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Compare {
        comparison: Comparison,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// A comparison with ANY or ALL elements of an array.
    CompareElements {
        comparison: Comparison,
        operation: Option<Operation>,
        left: Box<Expr>,
        right: Box<Expr>,
        all: bool,
    },
    Distinct {
        left: Box<Expr>,
        right: Box<Expr>,
        negated: bool,
    },
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    IsNull {
        inner: Box<Expr>,
        negated: bool,
    },
    /// `IS TRUE`, `IS NOT FALSE`, ...: what counts, and whether the answer is turned round.
    IsBool {
        inner: Box<Expr>,
        wanted: bool,
        negated: bool,
    },
    InList {
        left: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Case {
        conditions: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Coalesce(Vec<Expr>),
    Greatest {
        values: Vec<Expr>,
        least: bool,
    },
    NullIf(Box<Expr>, Box<Expr>),
    Cast {
        inner: Box<Expr>,
        from: Type,
        to: Type,
    },
    Array(Vec<Expr>),
    Record(Vec<Expr>),
    Field {
        inner: Box<Expr>,
        index: usize,
    },
    Subscript {
        inner: Box<Expr>,
        index: Box<Expr>,
        first: i64,
    },
    Slice {
        inner: Box<Expr>,
        from: Option<Box<Expr>>,
        to: Option<Box<Expr>>,
        first: i64,
    },
    Subquery {
        plan: Arc<Plan>,
        used: SubqueryUse,
    },
}

/// A query: what it reads and how its rows are ordered and cut.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: Id,
    pub(super) with: Vec<Cte>,
    pub(super) body: Body,
    /// Over the columns of the result; those of a SELECT are its own.
    pub(super) order: Vec<SortKey>,
    pub(super) limit: Option<Expr>,
    pub(super) offset: Option<Expr>,
    pub(super) columns: Vec<(String, Type)>,
    /// Whether it reads columns of a query around it: otherwise it is run once.
    pub(super) correlated: bool,
}

/// A WITH query.
#[derive(Debug)]
pub(super) struct Cte {
    pub(super) slot: Id,
    pub(super) plan: Arc<Plan>,
    /// Of a recursive one the part that is repeated, and whether rows that came before are left out.
    pub(super) repeated: Option<(Arc<Plan>, bool)>,
}

/// Where rows come from.
#[derive(Debug)]
pub(super) enum Body {
    Select(Box<Select>),
    Values(Vec<Vec<Typed>>),
    Query(Arc<Plan>),
    Set {
        operation: SetOperation,
        all: bool,
        left: Box<Body>,
        right: Box<Body>,
    },
    /// The same with its columns in other types.
    Converted {
        body: Box<Body>,
        columns: Vec<(Type, Type)>,
    },
}

/// UNION and its relatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetOperation {
    Union,
    Intersect,
    Except,
}

/// A SELECT.
#[derive(Debug)]
pub(super) struct Select {
    pub(super) source: Source,
    /// How many relations stand in the FROM.
    pub(super) factors: usize,
    /// What no relation of the FROM could check.
    pub(super) filters: Vec<Expr>,
    /// Whether rows are grouped, be it into one.
    pub(super) grouped: bool,
    pub(super) group_by: Vec<Expr>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) having: Option<Expr>,
    pub(super) windows: Vec<Window>,
    /// Functions that give sets, and their arguments.
    pub(super) sets: Vec<(&'static Function, Vec<Typed>)>,
    pub(super) outputs: Vec<Typed>,
    pub(super) distinct: bool,
    pub(super) distinct_on: Vec<Expr>,
    pub(super) order: Vec<SortKey>,
}

/// What rows are sorted by.
#[derive(Debug)]
pub(super) struct SortKey {
    pub(super) by: SortBy,
    pub(super) descending: bool,
    pub(super) nulls_first: bool,
}

/// A column of the result, from 0, or an expression.
#[derive(Debug)]
pub(super) enum SortBy {
    Output(usize),
    Expr(Expr),
}

/// A call of an aggregate.
#[derive(Debug)]
pub(super) struct Aggregate {
    pub(super) kind: AggregateKind,
    pub(super) arguments: Vec<Typed>,
    pub(super) distinct: bool,
    pub(super) filter: Option<Expr>,
    pub(super) order: Vec<SortKey>,
}

/// The aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AggregateKind {
    Count,
    Sum,
    Average,
    Min,
    Max,
    ArrayAgg,
    StringAgg,
    BoolAnd,
    BoolOr,
    JsonAgg,
    JsonObjectAgg,
}

/// A call of a window function.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) kind: WindowKind,
    pub(super) partition: Vec<Expr>,
    pub(super) order: Vec<SortKey>,
}

/// What a window function gives.
#[derive(Debug)]
pub(super) enum WindowKind {
    RowNumber,
    Rank,
    DenseRank,
    /// The value that stands some rows before (or, negative, behind).
    Lag(Expr, i64),
    FirstValue(Expr),
    LastValue(Expr),
    /// An aggregate over the partition up to the row's peers, or over all of it without an order.
    Aggregate(Aggregate),
}

/// What stands in a FROM.
#[derive(Debug)]
pub(super) enum Source {
    /// One row without columns.
    Nothing,
    Factor(Factor),
    Join {
        kind: JoinKind,
        left: Box<Source>,
        right: Box<Source>,
        on: Vec<Expr>,
    },
}

/// How rows of two sides meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinKind {
    Inner,
    /// Rows of the left side stay without a partner.
    Left,
    Full,
}

/// One relation in a FROM.
#[derive(Debug)]
pub(super) struct Factor {
    /// Its place in the row.
    pub(super) at: usize,
    /// What keeps its rows during the statement.
    pub(super) id: Id,
    pub(super) rows: Rows,
    /// Checked on each of its rows, when those before it are there.
    pub(super) filters: Vec<Expr>,
    /// A column that must equal an expression over what is there before: its rows are looked up.
    pub(super) lookup: Option<(usize, Expr)>,
}

/// What gives a relation's rows.
#[derive(Debug)]
pub(super) enum Rows {
    /// A relation of the catalog, by its place among the definitions.
    Catalog(usize),
    /// A relation of the user, read before.
    User(usize),
    Plan {
        plan: Arc<Plan>,
        lateral: bool,
    },
    Cte(Id),
    /// Side by side, the shorter ones filled up with NULLs.
    Functions {
        calls: Vec<SetCall>,
        ordinality: bool,
    },
}

/// A function in a FROM.
#[derive(Debug)]
pub(super) struct SetCall {
    pub(super) function: &'static Function,
    pub(super) arguments: Vec<Typed>,
    /// The columns of its records; 0 when it gives plain values.
    pub(super) width: usize,
}
