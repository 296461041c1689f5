//! Expressions over a row.

use std::cmp::Ordering;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::super::functions::{Body, Call, Function};
use super::super::operations::no_numerics;
use super::super::plan::{Comparison, Expr, Plan, SubqueryUse, Tuple, Typed};
use super::super::text;
use super::super::types::Type;
use super::{Around, Run};

/// What a comparison of two values gives.
pub(super) fn compare(comparison: Comparison, left: &Datum, right: &Datum) -> Datum {
    if left.is_null() || right.is_null() {
        return Datum::Null;
    }
    let order = left.cmp(right);
    Datum::Bool(match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

impl Run<'_> {
    pub(super) fn evaluate(&self, expr: &Expr, around: &Around<'_>) -> Result<Datum> {
        Ok(match expr {
            Expr::Const(datum) => datum.clone(),
            Expr::Column { level, factor, index } => match tuple(around, *level, *factor) {
                Some(tuple) => tuple.get(*index).cloned().unwrap_or(Datum::Null),
                None => Datum::Null,
            },
            Expr::Whole { level, factor } => match tuple(around, *level, *factor) {
                Some(tuple) => Datum::Record(Tuple::clone(tuple)),
                None => Datum::Null,
            },
            Expr::Parameter(index) => self.parameters.get(*index).cloned().unwrap_or(Datum::Null),
            Expr::Call { function, arguments } => self.call(function, arguments, around)?,
            Expr::Operator { operation, left, right } => {
                let (left, right) = (self.evaluate(left, around)?, self.evaluate(right, around)?);
                if left.is_null() || right.is_null() { Datum::Null } else { operation(&left, &right)? }
            }
            Expr::Compare { comparison, left, right } => {
                compare(*comparison, &self.evaluate(left, around)?, &self.evaluate(right, around)?)
            }
            Expr::CompareElements { .. } => self.compare_elements(expr, around)?,
            Expr::Distinct { left, right, negated } => {
                let differ = self.evaluate(left, around)? != self.evaluate(right, around)?;
                Datum::Bool(differ != *negated)
            }
            Expr::And(left, right) => match self.evaluate(left, around)? {
                Datum::Bool(false) => Datum::Bool(false),
                Datum::Bool(true) => self.evaluate(right, around)?,
                _ => match self.evaluate(right, around)? {
                    Datum::Bool(false) => Datum::Bool(false),
                    _ => Datum::Null,
                },
            },
            Expr::Or(left, right) => match self.evaluate(left, around)? {
                Datum::Bool(true) => Datum::Bool(true),
                Datum::Bool(false) => self.evaluate(right, around)?,
                _ => match self.evaluate(right, around)? {
                    Datum::Bool(true) => Datum::Bool(true),
                    _ => Datum::Null,
                },
            },
            Expr::Not(inner) => match self.evaluate(inner, around)? {
                Datum::Bool(value) => Datum::Bool(!value),
                _ => Datum::Null,
            },
            Expr::IsNull { inner, negated } => Datum::Bool(self.evaluate(inner, around)?.is_null() != *negated),
            Expr::IsBool { inner, wanted, negated } => {
                let is = matches!(self.evaluate(inner, around)?, Datum::Bool(value) if value == *wanted);
                Datum::Bool(is != *negated)
            }
            Expr::InList { left, list, negated } => self.in_list(left, list, *negated, around)?,
            Expr::Case { conditions, otherwise } => {
                for (condition, result) in conditions {
                    if self.evaluate(condition, around)?.is_true() {
                        return self.evaluate(result, around);
                    }
                }
                self.evaluate(otherwise, around)?
            }
            Expr::Coalesce(values) => {
                for value in values {
                    let value = self.evaluate(value, around)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Datum::Null
            }
            Expr::Greatest { values, least } => {
                let values = values.iter().map(|value| self.evaluate(value, around)).collect::<Result<Vec<_>>>()?;
                let given = values.into_iter().filter(|value| !value.is_null());
                if *least { given.min() } else { given.max() }.unwrap_or(Datum::Null)
            }
            Expr::NullIf(left, right) => {
                let (left, right) = (self.evaluate(left, around)?, self.evaluate(right, around)?);
                if compare(Comparison::Equal, &left, &right).is_true() { Datum::Null } else { left }
            }
            Expr::Cast { inner, from, to } => text::cast(&self.evaluate(inner, around)?, from, to, self.context)?,
            Expr::Array(values) => {
                Datum::Array(values.iter().map(|value| self.evaluate(value, around)).collect::<Result<_>>()?)
            }
            Expr::Record(values) => {
                Datum::Record(values.iter().map(|value| self.evaluate(value, around)).collect::<Result<_>>()?)
            }
            Expr::Field { inner, index } => match self.evaluate(inner, around)? {
                Datum::Record(values) => values.get(*index).cloned().unwrap_or(Datum::Null),
                _ => Datum::Null,
            },
            Expr::Subscript { inner, index, first } => {
                match (self.evaluate(inner, around)?, self.evaluate(index, around)?) {
                    (Datum::Array(items), Datum::Int(index)) => {
                        let at = usize::try_from(index - first).ok();
                        at.and_then(|at| items.get(at)).cloned().unwrap_or(Datum::Null)
                    }
                    _ => Datum::Null,
                }
            }
            Expr::Slice { inner, from, to, first } => {
                self.slice(inner, from.as_deref(), to.as_deref(), *first, around)?
            }
            Expr::Subquery { plan, used } => self.subquery(plan, used, around)?,
        })
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, condition: &Expr, around: &Around<'_>) -> Result<bool> {
        Ok(self.evaluate(condition, around)?.is_true())
    }

    fn arguments(&self, arguments: &[Typed], around: &Around<'_>) -> Result<(Vec<Datum>, Vec<Type>)> {
        let values = arguments.iter().map(|argument| self.evaluate(&argument.expr, around)).collect::<Result<_>>()?;
        Ok((values, arguments.iter().map(|argument| argument.ty.clone()).collect()))
    }

    fn call(&self, function: &'static Function, arguments: &[Typed], around: &Around<'_>) -> Result<Datum> {
        let (arguments, types) = self.arguments(arguments, around)?;
        if function.row.strict && arguments.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let rounds =
            |(value, oid): (&Datum, &u32)| matches!(value, Datum::Numeric(_)) && [700, 701, 1700].contains(oid);
        if arguments.iter().zip(&function.row.arguments).any(rounds) {
            return Err(no_numerics(&format!("{}() of", function.row.name)));
        }
        match function.body {
            Body::Value(body) => body(&Call { context: self.context, arguments: &arguments, types: &types }),
            Body::Set(_) => Err(PlanError::internal("a function that gives a set was called for one value")),
        }
    }

    /// The rows of a function that gives a set; of another its one value.
    pub(super) fn set(
        &self,
        function: &'static Function,
        arguments: &[Typed],
        around: &Around<'_>,
    ) -> Result<Vec<Datum>> {
        let Body::Set(body) = function.body else { return Ok(vec![self.call(function, arguments, around)?]) };
        let (arguments, types) = self.arguments(arguments, around)?;
        if function.row.strict && arguments.iter().any(Datum::is_null) {
            return Ok(Vec::new());
        }
        body(&Call { context: self.context, arguments: &arguments, types: &types })
    }

    fn in_list(&self, left: &Expr, list: &[Expr], negated: bool, around: &Around<'_>) -> Result<Datum> {
        let left = self.evaluate(left, around)?;
        if left.is_null() {
            return Ok(Datum::Null);
        }
        let mut unknown = false;
        for value in list {
            let value = self.evaluate(value, around)?;
            if value.is_null() {
                unknown = true;
            } else if left == value {
                return Ok(Datum::Bool(!negated));
            }
        }
        Ok(if unknown { Datum::Null } else { Datum::Bool(negated) })
    }

    fn compare_elements(&self, expr: &Expr, around: &Around<'_>) -> Result<Datum> {
        let Expr::CompareElements { comparison, operation, left, right, all } = expr else { return Ok(Datum::Null) };
        let left = self.evaluate(left, around)?;
        let Datum::Array(items) = self.evaluate(right, around)? else { return Ok(Datum::Null) };
        let found = |item: &Datum| match operation {
            Some(_) if left.is_null() || item.is_null() => Ok(Datum::Null),
            Some(operation) => operation(&left, item),
            None => Ok(compare(*comparison, &left, item)),
        };
        quantify(items.iter().map(found), *all)
    }

    fn slice(
        &self,
        inner: &Expr,
        from: Option<&Expr>,
        to: Option<&Expr>,
        first: i64,
        around: &Around<'_>,
    ) -> Result<Datum> {
        let Datum::Array(items) = self.evaluate(inner, around)? else { return Ok(Datum::Null) };
        let bound = |expr: Option<&Expr>, open: i64| match expr.map(|expr| self.evaluate(expr, around)).transpose()? {
            None => Ok::<_, PlanError>(Some(open)),
            Some(Datum::Int(value)) => Ok(Some(value)),
            Some(_) => Ok(None),
        };
        let (Some(from), Some(to)) = (bound(from, i64::MIN)?, bound(to, i64::MAX)?) else { return Ok(Datum::Null) };
        let within = items.iter().zip(first..).filter(|(_, at)| (from..=to).contains(at));
        Ok(Datum::Array(within.map(|(item, _)| item.clone()).collect()))
    }

    fn subquery(&self, plan: &Plan, used: &SubqueryUse, around: &Around<'_>) -> Result<Datum> {
        let rows = self.answer(plan, around)?;
        let value = |tuple: &Tuple| tuple.first().cloned().unwrap_or(Datum::Null);
        match used {
            SubqueryUse::Exists => Ok(Datum::Bool(!rows.is_empty())),
            SubqueryUse::Array => Ok(Datum::Array(rows.iter().map(value).collect())),
            SubqueryUse::Scalar => match rows.as_slice() {
                [] => Ok(Datum::Null),
                [one] => Ok(value(one)),
                _ => Err(PlanError::new(
                    PlanErrorKind::CardinalityViolation,
                    "more than one row returned by a subquery used as an expression",
                )),
            },
            SubqueryUse::Quantified { left, comparison, all } => {
                let left = self.evaluate(left, around)?;
                let found = |tuple: &Tuple| {
                    Ok(match &left {
                        Datum::Record(_) => compare(*comparison, &left, &Datum::Record(Tuple::clone(tuple))),
                        left => compare(*comparison, left, &value(tuple)),
                    })
                };
                quantify(rows.iter().map(found), *all)
            }
        }
    }
}

/// ANY: one true is true; ALL: one false is false; else NULL if one is NULL.
fn quantify(found: impl Iterator<Item = Result<Datum>>, all: bool) -> Result<Datum> {
    let mut unknown = false;
    for one in found {
        match one? {
            Datum::Bool(value) if value != all => return Ok(Datum::Bool(value)),
            Datum::Null => unknown = true,
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}

fn tuple<'a>(around: &'a Around<'_>, level: usize, factor: usize) -> Option<&'a Tuple> {
    let mut at = around;
    for _ in 0..level {
        at = at.outer?;
    }
    at.row.get(factor)?.as_ref()
}
