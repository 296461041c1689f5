//! Comparisons of rows with rows, written out by their columns as SQL defines them.
//!
//! `(a, b) < (c, d)` is `a < c OR a = c AND b < d`, so that a NULL that is reached leaves the answer open; DataFusion
//! compares structs, to which NULL is a value as any other. The written form is also what an index can serve.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};

/// Rows of a list that are written out, and columns of a row: the written form is evaluated comparison by comparison,
/// and longer ones are faster as they are.
const WRITTEN_MAX: usize = 128;

/// Writes out a comparison of rows of equal length. Others are left for the binder to refuse.
pub(super) fn write_out(expr: &mut Expr) {
    let written = match &*expr {
        Expr::BinaryOp { left, op, right } => match (left.as_ref(), right.as_ref()) {
            (Expr::Tuple(left), Expr::Tuple(right)) => compared(left, op, right),
            _ => None,
        },
        Expr::InList { expr, list, negated } => match expr.as_ref() {
            Expr::Tuple(row) => among(row, list).map(|any| if *negated { not(any) } else { any }),
            _ => None,
        },
        _ => None,
    };
    if let Some(written) = written {
        *expr = written;
    }
}

pub(super) fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    if left.is_empty() || left.len() != right.len() || left.len() > WRITTEN_MAX {
        return None;
    }
    let pairs = || left.iter().zip(right);
    match op {
        BinaryOperator::Eq => joined(BinaryOperator::And, pairs().map(|(left, right)| binary(left, op, right))),
        BinaryOperator::NotEq => joined(BinaryOperator::Or, pairs().map(|(left, right)| binary(left, op, right))),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
            // Only the last columns decide whether equal rows will do.
            let strict = match op {
                BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
                _ => BinaryOperator::Gt,
            };
            let mut pairs = pairs().rev();
            let last = pairs.next().map(|(left, right)| binary(left, op, right))?;
            Some(pairs.fold(last, |behind, (left, right)| {
                let equal = combined(binary(left, &BinaryOperator::Eq, right), BinaryOperator::And, behind);
                nested(combined(binary(left, &strict, right), BinaryOperator::Or, equal))
            }))
        }
        _ => None,
    }
}

fn among(row: &[Expr], list: &[Expr]) -> Option<Expr> {
    if list.len() > WRITTEN_MAX {
        return None;
    }
    let equal = list.iter().map(|other| match other {
        Expr::Tuple(other) => compared(row, &BinaryOperator::Eq, other).map(nested),
        _ => None,
    });
    joined(BinaryOperator::Or, equal.collect::<Option<Vec<_>>>()?.into_iter()).map(nested)
}

/// As a tree of the least depth: it is walked by recursion.
fn joined(op: BinaryOperator, parts: impl Iterator<Item = Expr>) -> Option<Expr> {
    let mut parts: Vec<Expr> = parts.collect();
    while parts.len() > 1 {
        let mut left = parts.into_iter();
        let mut pairs = Vec::new();
        while let Some(one) = left.next() {
            pairs.push(match left.next() {
                Some(other) => nested(combined(one, op.clone(), other)),
                None => one,
            });
        }
        parts = pairs;
    }
    parts.pop().map(nested)
}

fn binary(left: &Expr, op: &BinaryOperator, right: &Expr) -> Expr {
    combined(left.clone(), op.clone(), right.clone())
}

fn combined(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }
}
