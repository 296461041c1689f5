//! Queries: SELECT after its FROM, WITH, UNION and its relatives, ORDER BY and LIMIT.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::super::plan::{Body, Cte, Expr, Plan, Row, Select, SetOperation, SortBy, SortKey, Tuple};
use super::super::text;
use super::{Around, Rows, Run};

/// Rounds of a recursive query: one that finds new rows for ever is ended.
const ROUNDS: usize = 100_000;

/// A row of the result with what it is sorted by.
struct Sorted {
    tuple: Tuple,
    keys: Vec<Datum>,
}

impl Run<'_> {
    /// The rows of a whole statement.
    pub(in crate::pg_catalog::sql) fn statement(&self, plan: &Plan) -> Result<Vec<Tuple>> {
        self.run(plan, None)
    }

    /// The rows of a query within a SELECT; of one that does not look outside they are kept.
    pub(super) fn answer(&self, plan: &Plan, around: &Around<'_>) -> Result<Rows> {
        if !plan.correlated
            && let Some(rows) = self.answers.borrow().get(&plan.id)
        {
            return Ok(Arc::clone(rows));
        }
        let rows = Arc::new(self.run(plan, Some(around))?);
        if !plan.correlated {
            self.answers.borrow_mut().insert(plan.id, Arc::clone(&rows));
        }
        Ok(rows)
    }

    fn run(&self, plan: &Plan, outer: Option<&Around<'_>>) -> Result<Vec<Tuple>> {
        for cte in &plan.with {
            let rows = self.cte(cte, outer)?;
            self.with.borrow_mut().insert(cte.slot, Arc::new(rows));
        }
        let mut rows = self.body(&plan.body, outer)?;
        if !plan.order.is_empty() {
            let keys = |tuple: &Tuple| -> Vec<Datum> {
                let of_key = plan.order.iter().map(|key| match &key.by {
                    SortBy::Output(index) => tuple.get(*index).cloned().unwrap_or(Datum::Null),
                    SortBy::Expr(_) => Datum::Null,
                });
                of_key.collect()
            };
            rows.sort_by_cached_key(|tuple| Keys { keys: keys(tuple), order: &plan.order });
        }
        let nothing = Row::new();
        let alone = Around { row: &nothing, outer: None };
        let around = outer.unwrap_or(&alone);
        let skipped = self.count(plan.offset.as_ref(), around, "OFFSET")?.unwrap_or(0);
        rows.drain(..skipped.min(rows.len()));
        if let Some(limit) = self.count(plan.limit.as_ref(), around, "LIMIT")? {
            rows.truncate(limit);
        }
        Ok(rows)
    }

    fn count(&self, expr: Option<&Expr>, around: &Around<'_>, clause: &str) -> Result<Option<usize>> {
        let Some(expr) = expr else { return Ok(None) };
        match self.evaluate(expr, around)? {
            Datum::Int(count) => usize::try_from(count).map(Some).map_err(|_| {
                PlanError::new(PlanErrorKind::InvalidParameterValue, format!("{clause} must not be negative"))
            }),
            _ => Ok(None),
        }
    }

    fn cte(&self, cte: &Cte, outer: Option<&Around<'_>>) -> Result<Vec<Tuple>> {
        let mut rows = self.run(&cte.plan, outer)?;
        let Some((repeated, distinct)) = &cte.repeated else { return Ok(rows) };
        let mut seen: HashSet<Tuple> = HashSet::new();
        if *distinct {
            rows.retain(|tuple| seen.insert(Tuple::clone(tuple)));
        }
        let mut newest = rows.clone();
        for _ in 0..ROUNDS {
            if newest.is_empty() {
                return Ok(rows);
            }
            self.with.borrow_mut().insert(cte.slot, Arc::new(newest));
            newest = self.run(repeated, outer)?;
            if *distinct {
                newest.retain(|tuple| seen.insert(Tuple::clone(tuple)));
            }
            for tuple in &newest {
                self.hold(tuple.len())?;
                self.look()?;
            }
            rows.extend(newest.iter().cloned());
        }
        let message = format!("a recursive query over the catalog takes more than {ROUNDS} rounds");
        Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, message).with_hint("Add a condition that ends it."))
    }

    fn body(&self, body: &Body, outer: Option<&Around<'_>>) -> Result<Vec<Tuple>> {
        match body {
            Body::Select(select) => self.select(select, outer),
            Body::Query(plan) => self.run(plan, outer),
            Body::Values(values) => {
                let nothing = Row::new();
                let alone = Around { row: &nothing, outer: None };
                let around = outer.unwrap_or(&alone);
                let row = |row: &Vec<super::super::plan::Typed>| -> Result<Tuple> {
                    row.iter().map(|value| self.evaluate(&value.expr, around)).collect()
                };
                values.iter().map(row).collect()
            }
            Body::Converted { body, columns } => {
                let convert = |tuple: Tuple| -> Result<Tuple> {
                    let values = tuple.iter().zip(columns);
                    values.map(|(value, (from, to))| text::cast(value, from, to, self.context)).collect()
                };
                self.body(body, outer)?.into_iter().map(convert).collect()
            }
            Body::Set { operation, all, left, right } => {
                let (left, right) = (self.body(left, outer)?, self.body(right, outer)?);
                Ok(combined(*operation, *all, left, right))
            }
        }
    }

    fn select(&self, select: &Select, outer: Option<&Around<'_>>) -> Result<Vec<Tuple>> {
        let mut row: Row = vec![None; select.factors + 3];
        {
            let nothing = row.clone();
            self.materialize(&select.source, &Around { row: &nothing, outer })?;
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut groups: HashMap<Vec<Datum>, usize> = HashMap::new();
        let mut members: Vec<Vec<Row>> = Vec::new();
        let mut sorted = Vec::new();
        let streams = !select.grouped && select.windows.is_empty();
        self.scan(&select.source, &mut row, outer, &mut |row| {
            let around = Around { row, outer };
            for filter in &select.filters {
                if !self.holds(filter, &around)? {
                    return Ok(());
                }
            }
            if streams {
                return self.project(select, row.clone(), outer, &mut sorted);
            }
            self.hold(row.len())?;
            if select.grouped {
                let key: Vec<Datum> =
                    select.group_by.iter().map(|key| self.evaluate(key, &around)).collect::<Result<_>>()?;
                let next = members.len();
                let group = *groups.entry(key).or_insert(next);
                if group == next {
                    members.push(Vec::new());
                }
                members[group].push(row.clone());
            } else {
                rows.push(row.clone());
            }
            Ok(())
        })?;
        if select.grouped {
            if members.is_empty() && select.group_by.is_empty() {
                members.push(Vec::new());
            }
            for group in members {
                let mut first = group.first().cloned().unwrap_or_else(|| vec![None; select.factors + 3]);
                let values = select.aggregates.iter().map(|aggregate| self.aggregate(aggregate, &group, outer));
                first[select.factors] = Some(values.collect::<Result<_>>()?);
                if let Some(having) = &select.having
                    && !self.holds(having, &Around { row: &first, outer })?
                {
                    continue;
                }
                rows.push(first);
            }
        }
        if !select.windows.is_empty() {
            self.windows(select, &mut rows, outer)?;
        }
        for row in rows {
            self.project(select, row, outer, &mut sorted)?;
        }
        Ok(ordered(select, sorted))
    }

    /// What a row gives: itself, or as many as the functions in it that give sets.
    fn project(&self, select: &Select, mut row: Row, outer: Option<&Around<'_>>, into: &mut Vec<Sorted>) -> Result<()> {
        if select.sets.is_empty() {
            into.push(self.output(select, &row, outer)?);
            return self.hold(select.outputs.len());
        }
        let mut sets: Vec<Vec<Datum>> = Vec::new();
        for (function, arguments) in &select.sets {
            // A set may be made from the elements of the one before.
            let set = self.set(function, arguments, &Around { row: &row, outer })?;
            sets.push(set);
        }
        for at in 0..sets.iter().map(Vec::len).max().unwrap_or(0) {
            self.look()?;
            let values = sets.iter().map(|set| set.get(at).cloned().unwrap_or(Datum::Null));
            row[select.factors + 2] = Some(values.collect());
            into.push(self.output(select, &row, outer)?);
            self.hold(select.outputs.len())?;
        }
        Ok(())
    }

    fn output(&self, select: &Select, row: &Row, outer: Option<&Around<'_>>) -> Result<Sorted> {
        let around = Around { row, outer };
        let tuple: Tuple =
            select.outputs.iter().map(|output| self.evaluate(&output.expr, &around)).collect::<Result<_>>()?;
        let mut keys = Vec::new();
        for key in &select.order {
            keys.push(match &key.by {
                SortBy::Output(index) => tuple.get(*index).cloned().unwrap_or(Datum::Null),
                SortBy::Expr(expr) => self.evaluate(expr, &around)?,
            });
        }
        for key in &select.distinct_on {
            keys.push(self.evaluate(key, &around)?);
        }
        Ok(Sorted { tuple, keys })
    }
}

/// Sort keys that know their directions.
#[derive(PartialEq, Eq)]
pub(super) struct Keys<'a> {
    pub(super) keys: Vec<Datum>,
    pub(super) order: &'a [SortKey],
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for SortKey {}

impl PartialOrd for Keys<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keys<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.keys.iter().zip(&other.keys).zip(self.order);
        let orders = pairs.map(|((left, right), key)| match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) if key.nulls_first => Ordering::Less,
            (true, false) => Ordering::Greater,
            (false, true) if key.nulls_first => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) if key.descending => right.cmp(left),
            (false, false) => left.cmp(right),
        });
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

fn ordered(select: &Select, mut rows: Vec<Sorted>) -> Vec<Tuple> {
    if select.distinct {
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(Tuple::clone(&row.tuple)));
    }
    let width = select.order.len();
    if width > 0 {
        rows.sort_by_cached_key(|row| Keys { keys: row.keys[..width].to_vec(), order: &select.order });
    }
    if !select.distinct_on.is_empty() {
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.keys[width..].to_vec()));
    }
    rows.into_iter().map(|row| row.tuple).collect()
}

fn combined(operation: SetOperation, all: bool, left: Vec<Tuple>, right: Vec<Tuple>) -> Vec<Tuple> {
    if operation == SetOperation::Union {
        let mut rows = left;
        rows.extend(right);
        if !all {
            let mut seen = HashSet::new();
            rows.retain(|tuple| seen.insert(Tuple::clone(tuple)));
        }
        return rows;
    }
    let mut counts: HashMap<Tuple, usize> = HashMap::new();
    for tuple in right {
        *counts.entry(tuple).or_default() += 1;
    }
    let mut seen = HashSet::new();
    let keep = |tuple: &Tuple| {
        let wanted = operation == SetOperation::Intersect;
        match counts.get_mut(tuple) {
            Some(left) if all && *left > 0 => {
                *left -= 1;
                wanted
            }
            Some(_) if all => !wanted,
            found => (found.is_some() == wanted) && (all || seen.insert(Tuple::clone(tuple))),
        }
    };
    let mut keep = keep;
    left.into_iter().filter(|tuple| keep(tuple)).collect()
}
