//! Aggregates over the rows of a group.

use std::collections::HashSet;

use millstream_planner::error::Result;

use super::super::datum::Datum;
use super::super::functions::{json_of, json_text};
use super::super::operations::no_numerics;
use super::super::plan::{Aggregate, AggregateKind, Row, SortBy};
use super::super::text::output;
use super::super::types::{Family, JSONB};
use super::query::Keys;
use super::{Around, Run};

impl Run<'_> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, rows: &[Row], outer: Option<&Around<'_>>) -> Result<Datum> {
        let mut values: Vec<(Vec<Datum>, Vec<Datum>)> = Vec::new();
        for row in rows {
            let around = Around { row, outer };
            if let Some(filter) = &aggregate.filter
                && !self.holds(filter, &around)?
            {
                continue;
            }
            let arguments: Vec<Datum> =
                aggregate.arguments.iter().map(|value| self.evaluate(&value.expr, &around)).collect::<Result<_>>()?;
            let mut keys = Vec::new();
            for key in &aggregate.order {
                keys.push(match &key.by {
                    SortBy::Expr(expr) => self.evaluate(expr, &around)?,
                    SortBy::Output(_) => Datum::Null,
                });
            }
            values.push((arguments, keys));
        }
        if aggregate.distinct {
            let mut seen = HashSet::new();
            values.retain(|(arguments, _)| seen.insert(arguments.clone()));
            values.sort();
        }
        let numeric = |(arguments, _): &(Vec<Datum>, _)| matches!(arguments.first(), Some(Datum::Numeric(_)));
        if matches!(aggregate.kind, AggregateKind::Sum | AggregateKind::Average) && values.iter().any(numeric) {
            return Err(no_numerics("the sum or the mean of"));
        }
        if !aggregate.order.is_empty() {
            values.sort_by_cached_key(|(_, keys)| Keys { keys: keys.clone(), order: &aggregate.order });
        }
        Ok(self.fold(aggregate, values.into_iter().map(|(arguments, _)| arguments).collect()))
    }

    fn fold(&self, aggregate: &Aggregate, values: Vec<Vec<Datum>>) -> Datum {
        let first = |arguments: &Vec<Datum>| arguments.first().cloned().unwrap_or(Datum::Null);
        let given = || values.iter().map(first).filter(|value| !value.is_null());
        match aggregate.kind {
            AggregateKind::Count if aggregate.arguments.is_empty() => values.len().into(),
            AggregateKind::Count => given().count().into(),
            AggregateKind::Min => given().min().into(),
            AggregateKind::Max => given().max().into(),
            AggregateKind::Sum => sum(given()),
            AggregateKind::Average => {
                let (count, total) = given().fold((0u32, 0.0), |(count, total), value| match value {
                    Datum::Int(value) => (count + 1, total + value as f64),
                    Datum::Float(value) => (count + 1, total + value),
                    _ => (count, total),
                });
                if count == 0 { Datum::Null } else { Datum::Float(total / f64::from(count)) }
            }
            AggregateKind::BoolAnd => given().map(|value| value.is_true()).reduce(|left, right| left && right).into(),
            AggregateKind::BoolOr => given().map(|value| value.is_true()).reduce(|left, right| left || right).into(),
            AggregateKind::ArrayAgg if values.is_empty() => Datum::Null,
            AggregateKind::ArrayAgg => Datum::Array(values.iter().map(first).collect()),
            AggregateKind::StringAgg => {
                let mut joined: Option<String> = None;
                for arguments in values.iter().filter(|arguments| !first(arguments).is_null()) {
                    let text = |index: usize| {
                        let ty = &aggregate.arguments[index].ty;
                        output(&arguments[index], ty, self.context)
                    };
                    joined = Some(match joined {
                        None => text(0),
                        Some(before) => before + &text(1) + &text(0),
                    });
                }
                joined.into()
            }
            AggregateKind::JsonAgg | AggregateKind::JsonObjectAgg if values.is_empty() => Datum::Null,
            AggregateKind::JsonAgg => {
                let ty = &aggregate.arguments[0].ty;
                let items: Vec<String> = values.iter().map(|value| self.json(&first(value), ty)).collect();
                format!("[{}]", items.join(", ")).into()
            }
            AggregateKind::JsonObjectAgg => {
                let (key, ty) = (&aggregate.arguments[0].ty, &aggregate.arguments[1].ty);
                let pairs = values.iter().map(|arguments| {
                    let name = serde_json::Value::String(output(&arguments[0], key, self.context));
                    format!("{name} : {}", self.json(&arguments[1], ty))
                });
                format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", ")).into()
            }
        }
    }

    fn json(&self, value: &Datum, ty: &super::super::types::Type) -> String {
        let spaced = *ty == JSONB && ty.family() == Family::Json;
        match json_text(&json_of(value, ty, self.context), spaced) {
            Datum::Text(text) => text.to_string(),
            _ => String::new(),
        }
    }
}

fn sum(values: impl Iterator<Item = Datum>) -> Datum {
    values.fold(Datum::Null, |total, value| match (total, value) {
        (Datum::Null, value) => value,
        (Datum::Int(total), Datum::Int(value)) => {
            total.checked_add(value).map_or(Datum::Float(total as f64 + value as f64), Datum::Int)
        }
        (Datum::Interval(m1, d1, u1), Datum::Interval(m2, d2, u2)) => Datum::Interval(m1 + m2, d1 + d2, u1 + u2),
        (Datum::Float(total), Datum::Int(value)) => Datum::Float(total + value as f64),
        (Datum::Float(total), Datum::Float(value)) => Datum::Float(total + value),
        (total, _) => total,
    })
}
