//! When a part of an expression is evaluated: `CASE` and `COALESCE` come to a branch only for the rows that choose it,
//! and so does a subquery in it.
//!
//! A need is a condition over the rows that ask: where it is not true the answer is never looked at. It says again what
//! the expression itself asks before it comes there, in the same order, so that it fails where the expression does. What
//! gives another value each time can't be said again: then more rows ask than need to. `AND` and `OR` leave their right
//! side alone likewise, which SQL allows.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Case, Cast, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};

use super::has_subquery;
use super::kept::names_outer;
use super::safe::{gives_one_row, rarely_fails};

/// Which rows evaluate a part of an expression; all where it is `None`.
pub(super) type Need = Option<Expr>;

/// What rewrites the parts of an expression, each with the rows that come there.
pub(super) trait Parts {
    /// Rewrites a part.
    fn part(&mut self, expr: Expr, need: &Need) -> Result<Expr>;
}

/// Rewrites the parts of an expression that does not evaluate all of them; `Err` gives one back that does.
pub(super) fn each_part(parts: &mut dyn Parts, expr: Expr, need: &Need) -> Result<std::result::Result<Expr, Expr>> {
    Ok(Ok(match expr {
        Expr::Case(case) => Expr::Case(of_case(parts, case, need)?),
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "coalesce" => {
            let (mut rewritten, mut known) = (Vec::with_capacity(args.len()), Vec::new());
            for arg in args {
                let arg = parts.part(arg, &both(need, || none_of(&known)))?;
                known.push(arg.clone().is_not_null());
                rewritten.push(arg);
            }
            Expr::ScalarFunction(ScalarFunction { func, args: rewritten })
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let left = parts.part(*left, need)?;
            let open = || match op {
                Operator::And => Expr::IsNotFalse(Box::new(left.clone())),
                _ => Expr::IsNotTrue(Box::new(left.clone())),
            };
            let right = parts.part(*right, &both(need, || Some(open())))?;
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        other => return Ok(Err(other)),
    }))
}

fn of_case(parts: &mut dyn Parts, case: Case, need: &Need) -> Result<Case> {
    let operand = case.expr.map(|operand| parts.part(*operand, need)).transpose()?;
    let (mut when_then_expr, mut passed) = (Vec::with_capacity(case.when_then_expr.len()), Vec::new());
    for (when, then) in case.when_then_expr {
        let when = parts.part(*when, &both(need, || none_of(&passed)))?;
        let condition = match &operand {
            Some(operand) => operand.clone().eq(when.clone()),
            None => when.clone(),
        };
        let chosen = || Some(first_of(&passed, Some(&condition), false));
        let then = parts.part(*then, &both(need, chosen))?;
        passed.push(condition);
        when_then_expr.push((Box::new(when), Box::new(then)));
    }
    let otherwise = case.else_expr.map(|expr| parts.part(*expr, &both(need, || none_of(&passed)))).transpose()?;
    Ok(Case { expr: operand.map(Box::new), when_then_expr, else_expr: otherwise.map(Box::new) })
}

/// What is needed where two things have to hold, the second one asked behind the first.
fn both(need: &Need, further: impl FnOnce() -> Need) -> Need {
    match (need, further().filter(|further| !further.is_volatile())) {
        (None, further) => further,
        (Some(need), None) => Some(need.clone()),
        (Some(need), Some(further)) => Some(case(vec![(need.clone(), further)], lit(false))),
    }
}

/// That no condition was true, each asked behind the one before.
fn none_of(conditions: &[Expr]) -> Need {
    (!conditions.is_empty()).then(|| first_of(conditions, None, true))
}

fn first_of(passed: &[Expr], chosen: Option<&Expr>, otherwise: bool) -> Expr {
    let passed = passed.iter().map(|condition| (condition.clone(), lit(false)));
    let chosen = chosen.map(|condition| (condition.clone(), lit(true)));
    case(passed.chain(chosen).collect(), lit(otherwise))
}

fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let branches = branches.into_iter().map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    branch_by_branch(Case::new(None, branches, Some(Box::new(otherwise))))
}

/// A `CASE` of conditions that stays one. DataFusion makes AND and OR of those, and evaluates both sides; numbers it
/// leaves as they are.
pub(crate) fn branch_by_branch(case: Case) -> Expr {
    let branches = case.when_then_expr.into_iter().map(|(when, then)| (when, Box::new(as_number(*then))));
    let numbers = Case {
        expr: case.expr,
        when_then_expr: branches.collect(),
        else_expr: case.else_expr.map(|otherwise| Box::new(as_number(*otherwise))),
    };
    as_condition(Expr::Case(numbers))
}

/// A condition as a number that [`as_condition`] takes back.
pub(crate) fn as_number(condition: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(condition), DataType::Int8))
}

/// The condition that a number of [`as_number`] stands for.
pub(crate) fn as_condition(number: Expr) -> Expr {
    Expr::Cast(Cast::new(Box::new(number), DataType::Boolean))
}

/// Whether a scalar subquery of an expression may fail where SQL would not have asked it, if it is asked before the
/// expression: in a branch, or, unless `eagerly`, where there may be no row at all.
pub(super) fn may_fail_early(expr: &Expr, eagerly: bool) -> Result<bool> {
    let mut look = Look { eagerly, found: false };
    look.part(expr.clone(), &None)?;
    Ok(look.found)
}

struct Look {
    eagerly: bool,
    found: bool,
}

impl Parts for Look {
    fn part(&mut self, expr: Expr, need: &Need) -> Result<Expr> {
        if self.found || !has_subquery(&expr) {
            return Ok(expr);
        }
        if let Expr::ScalarSubquery(subquery) = &expr {
            let once = !names_outer(&expr);
            if need.is_some() || once && !self.eagerly {
                self.found = may_fail(&subquery.subquery)?;
            }
            return Ok(expr);
        }
        let expr = match each_part(self, expr, need)? {
            Ok(rewritten) => return Ok(rewritten),
            Err(other) => other,
        };
        Ok(expr.map_children(|child| self.part(child, need).map(Transformed::yes))?.data)
    }
}

fn may_fail(subquery: &LogicalPlan) -> Result<bool> {
    Ok(!gives_one_row(subquery)? || !rarely_fails(subquery)?)
}
