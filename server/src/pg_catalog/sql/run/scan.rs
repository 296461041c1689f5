//! FROM: relations and joins, row by row.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_planner::error::Result;

use super::super::datum::Datum;
use super::super::plan::{Expr, Factor, JoinKind, Row, Rows as From, SetCall, Source, Tuple};
use super::{Around, Rows, Run};
use crate::pg_catalog::relations;

/// Called for every row.
type Emit<'e> = dyn FnMut(&mut Row) -> Result<()> + 'e;

impl Run<'_> {
    /// Makes the rows of what is the same for all rows of this FROM.
    pub(super) fn materialize(&self, source: &Source, around: &Around<'_>) -> Result<()> {
        match source {
            Source::Nothing => Ok(()),
            Source::Join { left, right, .. } => {
                self.materialize(left, around)?;
                self.materialize(right, around)
            }
            Source::Factor(factor) => {
                if let From::Plan { plan, lateral: false } = &factor.rows {
                    // It stands one SELECT further in than what is around it.
                    let rows = self.answer(plan, around)?;
                    self.factors.borrow_mut().insert(factor.id, rows);
                }
                Ok(())
            }
        }
    }

    pub(super) fn scan(
        &self,
        source: &Source,
        row: &mut Row,
        outer: Option<&Around<'_>>,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        match source {
            Source::Nothing => emit(row),
            Source::Factor(factor) => self.factor(factor, row, outer, emit),
            Source::Join { kind: JoinKind::Full, left, right, on } => self.full(left, right, on, row, outer, emit),
            Source::Join { kind, left, right, on } => {
                let filled = places(right);
                self.scan(left, row, outer, &mut |row| {
                    let mut matched = false;
                    self.scan(right, row, outer, &mut |row| {
                        if self.all_hold(on, row, outer)? {
                            matched = true;
                            emit(row)?;
                        }
                        Ok(())
                    })?;
                    if *kind == JoinKind::Left && !matched {
                        for place in &filled {
                            row[*place] = None;
                        }
                        emit(row)?;
                    }
                    Ok(())
                })
            }
        }
    }

    fn all_hold(&self, conditions: &[Expr], row: &Row, outer: Option<&Around<'_>>) -> Result<bool> {
        let around = Around { row, outer };
        for condition in conditions {
            if !self.holds(condition, &around)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn full(
        &self,
        left: &Source,
        right: &Source,
        on: &[Expr],
        row: &mut Row,
        outer: Option<&Around<'_>>,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let (left_places, right_places) = (places(left), places(right));
        let mut rights: Vec<(Vec<Option<Tuple>>, bool)> = Vec::new();
        self.scan(right, row, outer, &mut |row| {
            rights.push((right_places.iter().map(|place| row[*place].clone()).collect(), false));
            self.hold(right_places.len())
        })?;
        self.scan(left, row, outer, &mut |row| {
            let mut matched = false;
            for (tuples, seen) in &mut rights {
                self.look()?;
                for (place, tuple) in right_places.iter().zip(tuples.iter()) {
                    row[*place] = tuple.clone();
                }
                if self.all_hold(on, row, outer)? {
                    (matched, *seen) = (true, true);
                    emit(row)?;
                }
            }
            if !matched {
                for place in &right_places {
                    row[*place] = None;
                }
                emit(row)?;
            }
            Ok(())
        })?;
        for (tuples, _) in rights.into_iter().filter(|(_, seen)| !seen) {
            for place in &left_places {
                row[*place] = None;
            }
            for (place, tuple) in right_places.iter().zip(tuples) {
                row[*place] = tuple;
            }
            emit(row)?;
        }
        Ok(())
    }

    fn factor(&self, factor: &Factor, row: &mut Row, outer: Option<&Around<'_>>, emit: &mut Emit<'_>) -> Result<()> {
        row[factor.at] = None;
        let rows = self.rows_of(factor, row, outer)?;
        let kept = !matches!(factor.rows, From::Functions { .. } | From::Plan { lateral: true, .. });
        let wanted = match &factor.lookup {
            None => None,
            Some((column, expr)) => {
                let value = self.evaluate(expr, &Around { row, outer })?;
                if value.is_null() {
                    return Ok(());
                }
                Some((*column, value))
            }
        };
        let mut take = |tuple: &Tuple, row: &mut Row| {
            self.look()?;
            row[factor.at] = Some(Tuple::clone(tuple));
            if self.all_hold(&factor.filters, row, outer)? {
                emit(row)?;
            }
            Ok(())
        };
        match wanted {
            Some((column, value)) if kept => {
                let index = self.index(factor, column, &rows);
                for at in index.get(&value).into_iter().flatten() {
                    take(&rows[*at], row)?;
                }
            }
            Some((column, value)) => {
                for tuple in rows.iter().filter(|tuple| tuple.get(column) == Some(&value)) {
                    take(tuple, row)?;
                }
            }
            None => {
                for tuple in rows.iter() {
                    take(tuple, row)?;
                }
            }
        }
        Ok(())
    }

    /// The rows by the value of a column, made once for the same rows.
    fn index(&self, factor: &Factor, column: usize, rows: &Rows) -> Arc<HashMap<Datum, Vec<usize>>> {
        // Relations of the catalog share theirs, however often they stand in the statement.
        let id = match factor.rows {
            From::Catalog(relation) => usize::MAX - relation,
            _ => factor.id,
        };
        if let Some((made_for, index)) = self.indexes.borrow().get(&(id, column))
            && Arc::ptr_eq(made_for, rows)
        {
            return Arc::clone(index);
        }
        let mut index: HashMap<Datum, Vec<usize>> = HashMap::new();
        for (at, tuple) in rows.iter().enumerate() {
            if let Some(value) = tuple.get(column).filter(|value| !value.is_null()) {
                index.entry(value.clone()).or_default().push(at);
            }
        }
        let index = Arc::new(index);
        self.indexes.borrow_mut().insert((id, column), (Arc::clone(rows), Arc::clone(&index)));
        index
    }

    fn rows_of(&self, factor: &Factor, row: &Row, outer: Option<&Around<'_>>) -> Result<Rows> {
        match &factor.rows {
            From::Catalog(relation) => {
                if let Some(rows) = self.catalog.borrow().get(relation) {
                    return Ok(Arc::clone(rows));
                }
                let rows = relations::tuples(*relation, &self.context.view, &self.context.objects);
                self.catalog.borrow_mut().insert(*relation, Arc::clone(&rows));
                Ok(rows)
            }
            From::User(index) => Ok(self.user_rows.get(*index).cloned().unwrap_or_default()),
            From::Cte(slot) => Ok(self.with.borrow().get(slot).cloned().unwrap_or_default()),
            From::Plan { lateral: false, .. } => Ok(self.factors.borrow().get(&factor.id).cloned().unwrap_or_default()),
            From::Plan { plan, lateral: true } => self.answer(plan, &Around { row, outer }),
            From::Functions { calls, ordinality } => self.side_by_side(calls, *ordinality, &Around { row, outer }),
        }
    }

    fn side_by_side(&self, calls: &[SetCall], ordinality: bool, around: &Around<'_>) -> Result<Rows> {
        let mut sets = Vec::new();
        for call in calls {
            sets.push((self.set(call.function, &call.arguments, around)?, call.width));
        }
        let length = sets.iter().map(|(set, _)| set.len()).max().unwrap_or(0);
        let mut rows = Vec::with_capacity(length);
        for at in 0..length {
            let mut values = Vec::new();
            for (set, width) in &sets {
                match (set.get(at), width) {
                    (Some(Datum::Record(fields)), 1..) => values.extend(fields.iter().cloned()),
                    (Some(value), 0) => values.push(value.clone()),
                    (_, width) => values.extend(std::iter::repeat_n(Datum::Null, (*width).max(1))),
                }
            }
            if ordinality {
                values.push((at + 1).into());
            }
            rows.push(values.into());
        }
        Ok(Arc::new(rows))
    }
}

/// The places in a row that a part of the FROM fills.
fn places(source: &Source) -> Vec<usize> {
    match source {
        Source::Nothing => Vec::new(),
        Source::Factor(factor) => vec![factor.at],
        Source::Join { left, right, .. } => [places(left), places(right)].concat(),
    }
}
