//! Subqueries whose rows are chosen by equalities, or by nothing, as joins: one pass over the subquery's rows serves all
//! rows around, and a view can follow them.
//!
//! The subquery is taken out of the query around by its keys: an inner expression for each outer one that it must equal.
//! `EXISTS` is then whether a key is there. `IN` has three answers: a value that is there is found; where there is none,
//! NULL on either side leaves it open, unless the set is empty.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, FetchType, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SkipType, SubqueryAlias, lit,
};

use super::kept::names_outer;
use super::node::{Answer, outer_columns};
use super::safe;
use crate::bind::RelationTable;
use crate::catalog::Resolved;
use crate::functions;

/// What an expression with a subquery became.
pub(super) struct Joined {
    /// Its value, over the columns of the plan.
    pub(super) answer: Expr,
    /// The rows around, joined with what the subquery found.
    pub(super) plan: LogicalPlan,
}

/// The question as a join with the subquery's rows, where it can be one. `name` is nobody else's. `may_fail` allows
/// expressions that fail on rows which no outer row chooses.
pub(super) fn joined(
    subquery: &LogicalPlan,
    answer: &Answer,
    input: &LogicalPlan,
    name: &str,
    may_fail: bool,
) -> Result<Option<Joined>> {
    if !may_fail && !safe::is_safe(subquery)? {
        return Ok(None);
    }
    let asked = match answer {
        Answer::Exists => rows_only(subquery)?,
        _ => subquery,
    };
    let Some(keyed) = Keyed::of(asked, input.schema())? else { return Ok(None) };
    match answer {
        // A query stops at the first row; a view has to count them.
        Answer::Exists if keyed.keys.is_empty() && !may_fail => Ok(None),
        Answer::Exists => keyed.exists(input, name).map(Some),
        Answer::Compared { left, op: Operator::Eq, all: false } => keyed.contains(left, input, name),
        Answer::Value if keyed.gives_one_row() => keyed.value(input, name).map(Some),
        Answer::Value | Answer::Array | Answer::Compared { .. } => Ok(None),
    }
}

/// The part of a subquery that decides whether it has a row.
pub(crate) fn rows_only(plan: &LogicalPlan) -> Result<&LogicalPlan> {
    match plan {
        LogicalPlan::Projection(projection) => rows_only(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => rows_only(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => rows_only(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => rows_only(input),
        LogicalPlan::Limit(limit) => match (limit.get_skip_type()?, limit.get_fetch_type()?) {
            (SkipType::Literal(0), FetchType::Literal(fetch)) if fetch.is_none_or(|fetch| fetch > 0) => {
                rows_only(&limit.input)
            }
            _ => Ok(plan),
        },
        other => Ok(other),
    }
}

/// A subquery without outer columns.
struct Keyed {
    plan: LogicalPlan,
    /// An expression over the rows around, and the column of the plan that it must equal.
    keys: Vec<(Expr, Column)>,
}

impl Keyed {
    fn of(plan: &LogicalPlan, around: &DFSchema) -> Result<Option<Self>> {
        if outer_columns(plan)?.is_empty() {
            return Ok(Some(Self { plan: plan.clone(), keys: Vec::new() }));
        }
        match plan {
            LogicalPlan::Projection(projection) if !projection.expr.iter().any(names_outer) => {
                let Some(below) = Self::of(&projection.input, around)? else { return Ok(None) };
                below.projected(projection.expr.clone()).map(Some)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(below) = Self::of(&alias.input, around)? else { return Ok(None) };
                let moved =
                    |(outer, column): (Expr, Column)| (outer, Column::new(Some(alias.alias.clone()), column.name));
                let keys = below.keys.into_iter().map(moved).collect();
                let plan = SubqueryAlias::try_new(Arc::new(below.plan), alias.alias.clone())?;
                Ok(Some(Self { plan: LogicalPlan::SubqueryAlias(plan), keys }))
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() && !sort.expr.iter().any(|key| names_outer(&key.expr)) => {
                Self::of(&sort.input, around)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let Some(below) = Self::of(input, around)? else { return Ok(None) };
                let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(below.plan)));
                Ok(Some(Self { plan, keys: below.keys }))
            }
            LogicalPlan::Filter(filter) => Self::filtered(filter, around),
            _ => Ok(None),
        }
    }

    /// Some columns, and the keys behind them.
    fn projected(self, mut columns: Vec<Expr>) -> Result<Self> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for (outer, column) in self.keys {
            let name = format!("\u{0}key {} of {}", keys.len(), columns.len());
            columns.push(Expr::Column(column).alias(name.as_str()));
            keys.push((outer, Column::new_unqualified(name)));
        }
        let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(self.plan))?);
        Ok(Self { plan, keys })
    }

    fn filtered(filter: &Filter, around: &DFSchema) -> Result<Option<Self>> {
        let Some(mut below) = Self::of(&filter.input, around)? else { return Ok(None) };
        let conditions = split_conjunction_owned(filter.predicate.clone());
        let (outer, own): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(names_outer);
        if let Some(own) = conjunction(own) {
            below.plan = LogicalPlan::Filter(Filter::try_new(own, Arc::new(below.plan))?);
        }
        for condition in outer {
            let Some((outer, inner)) = equality(condition, around, filter.input.schema())? else { return Ok(None) };
            let column = match inner {
                Expr::Column(column) => column,
                computed => {
                    let mut columns: Vec<Expr> = below.plan.schema().columns().into_iter().map(Expr::Column).collect();
                    let name = format!("\u{0}computed {}", columns.len());
                    columns.push(computed.alias(name.as_str()));
                    below.plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(below.plan))?);
                    Column::new_unqualified(name)
                }
            };
            below.keys.push((outer, column));
        }
        Ok(Some(below))
    }

    /// The keys, by the names under which they are joined.
    fn key_columns(&self) -> impl Iterator<Item = Expr> {
        self.keys.iter().enumerate().map(|(index, (_, column))| Expr::Column(column.clone()).alias(key(index)))
    }

    /// The rows around with those of a plan that has the keys, by a left join; with its one row where there are none.
    fn join(&self, input: &LogicalPlan, found: LogicalPlan, name: &str, more: Vec<Expr>) -> Result<LogicalPlan> {
        let found = SubqueryAlias::try_new(Arc::new(found), TableReference::bare(name))?;
        let found = LogicalPlan::SubqueryAlias(found);
        let keys = self.keys.iter().enumerate().map(|(index, (outer, _))| outer.clone().eq(of(name, &key(index))));
        let on: Vec<Expr> = keys.chain(more).collect();
        let around = LogicalPlanBuilder::from(input.clone());
        match on.is_empty() {
            true => around.cross_join(found)?.build(),
            false => around.join_on(found, JoinType::Left, on)?.build(),
        }
    }

    fn exists(self, input: &LogicalPlan, name: &str) -> Result<Joined> {
        if self.keys.is_empty() {
            let found = self.any(Vec::new(), lit(true), "found")?;
            let plan = self.join(input, found, name, Vec::new())?;
            return Ok(Joined { answer: of(name, "found").is_not_null(), plan });
        }
        let columns = self.key_columns().chain([lit(true).alias("found")]).collect::<Vec<_>>();
        let found = LogicalPlanBuilder::from(self.plan.clone()).project(columns)?.distinct()?.build()?;
        let plan = self.join(input, found, name, Vec::new())?;
        Ok(Joined { answer: of(name, "found").is_not_null(), plan })
    }

    /// Whether a condition holds for any row of each key; NULL where there is no row. A count would do as well, but it
    /// changes with every row, and all rows around with it.
    fn any(&self, groups: Vec<Expr>, condition: Expr, name: &str) -> Result<LogicalPlan> {
        let any = functions::registry().aggregate("bool_or").expect("there is bool_or");
        let any = any.call(vec![condition]).alias(name);
        LogicalPlanBuilder::from(self.plan.clone()).aggregate(groups, vec![any])?.build()
    }

    fn contains(self, left: &Expr, input: &LogicalPlan, name: &str) -> Result<Option<Joined>> {
        let (qualifier, field) = self.plan.schema().qualified_field(0);
        let value = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        let left_type = left.get_type(input.schema())?;
        let hashed = !left_type.is_nested() && !left_type.is_null() && left_type == *field.data_type();
        if !hashed || left.is_volatile() || super::has_subquery(left) {
            return Ok(None);
        }
        let columns = self.key_columns().chain([value.clone().alias("value"), lit(true).alias("found")]);
        let found = LogicalPlanBuilder::from(self.plan.clone())
            .filter(value.clone().is_not_null())?
            .project(columns.collect::<Vec<_>>())?
            .distinct()?
            .build()?;
        let set = format!("{name} values");
        let plan = self.join(input, found, &set, vec![left.clone().eq(of(&set, "value"))])?;
        let groups = self.key_columns().collect();
        let nulls = self.any(groups, value.is_null(), "nulls")?;
        let plan = self.join(&plan, nulls, name, Vec::new())?;
        let empty = of(name, "nulls").is_null();
        let open = left.clone().is_null().or(of(name, "nulls"));
        let when = |condition: Expr, value: Expr| (Box::new(condition), Box::new(value));
        let no = || Box::new(lit(false));
        let cases = vec![
            when(of(&set, "found").is_not_null(), lit(true)),
            when(empty, lit(false)),
            when(open, Expr::Literal(datafusion::common::ScalarValue::Boolean(None), None)),
        ];
        Ok(Some(Joined { answer: Expr::Case(Case::new(None, cases, Some(no()))), plan }))
    }

    fn value(self, input: &LogicalPlan, name: &str) -> Result<Joined> {
        let (qualifier, field) = self.plan.schema().qualified_field(0);
        let value = Expr::Column(Column::new(qualifier.cloned(), field.name())).alias("value");
        let columns = self.key_columns().chain([value]).collect::<Vec<_>>();
        let found = LogicalPlanBuilder::from(self.plan.clone()).project(columns)?.build()?;
        let plan = self.join(input, found, name, Vec::new())?;
        Ok(Joined { answer: of(name, "value"), plan })
    }

    /// Whether every key has one row at most, because a relation's own key is among them.
    fn gives_one_row(&self) -> bool {
        let columns: Option<Vec<String>> =
            self.keys.iter().map(|(_, column)| column_of_scan(&self.plan, column)).collect();
        let (Some(columns), Some(table)) = (columns, scanned(&self.plan)) else { return false };
        let Resolved::Relation(relation) = &table.resolved else { return false };
        let Some(key) = relation.key() else { return false };
        !key.is_empty() && key.iter().all(|column| columns.contains(relation.schema.field(*column).name()))
    }
}

/// The one relation below nodes that make no rows of their own.
fn scanned(plan: &LogicalPlan) -> Option<&RelationTable> {
    match plan {
        LogicalPlan::Projection(projection) => scanned(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => scanned(&alias.input),
        LogicalPlan::Filter(filter) => scanned(&filter.input),
        LogicalPlan::TableScan(scan) => scan.source.downcast_ref::<RelationTable>(),
        _ => None,
    }
}

/// The name of the scanned column that a column is, if it is one.
fn column_of_scan(plan: &LogicalPlan, column: &Column) -> Option<String> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let index = projection.schema.maybe_index_of_column(column)?;
            match projection.expr[index].clone().unalias_nested().data {
                Expr::Column(below) => column_of_scan(&projection.input, &below),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let index = alias.schema.maybe_index_of_column(column)?;
            column_of_scan(&alias.input, &Column::from(alias.input.schema().qualified_field(index)))
        }
        LogicalPlan::Filter(filter) => column_of_scan(&filter.input, column),
        LogicalPlan::TableScan(_) => Some(column.name.clone()),
        _ => None,
    }
}

fn key(index: usize) -> String {
    format!("key {index}")
}

fn of(relation: &str, column: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(relation)), column))
}

/// The outer and the inner side of an equality, the outer one over the rows around.
fn equality(condition: Expr, around: &DFSchema, inner: &DFSchema) -> Result<Option<(Expr, Expr)>> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return Ok(None) };
    let (outer, own) = if names_outer(&left) { (*left, *right) } else { (*right, *left) };
    if names_outer(&own) || own.column_refs().is_empty() || !outer.column_refs().is_empty() {
        return Ok(None);
    }
    if own.is_volatile() || outer.is_volatile() || super::has_subquery(&own) || super::has_subquery(&outer) {
        return Ok(None);
    }
    let mut known = true;
    let outer = outer.transform_up(|expr| match expr {
        Expr::OuterReferenceColumn(_, column) => {
            known &= around.maybe_index_of_column(&column).is_some();
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let outer = outer.data;
    if !known || outer.get_type(around)? != own.get_type(inner)? {
        return Ok(None);
    }
    Ok(Some((outer, own)))
}
