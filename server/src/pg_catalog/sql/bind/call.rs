//! Calls: functions, aggregates, window functions, and the forms that look like calls.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use sqlparser::ast::{
    DuplicateTreatment, Expr as Ast, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    OrderByExpr, WindowType,
};

use super::super::datum::Datum;
use super::super::functions::{self, Body};
use super::super::plan::{Aggregate, AggregateKind, Expr, SortBy, SortKey, Typed, Window, WindowKind};
use super::super::types::{self, Family, Type};
use super::from::name_span;
use super::query::directed;
use super::{Binder, parts, unsupported};

/// Where the tuples behind those of the relations stand.
const AGGREGATES: usize = 0;
const WINDOWS: usize = 1;
const SETS: usize = 2;

impl Binder<'_> {
    pub(super) fn call(&mut self, function: &Function) -> Result<Typed> {
        let name = parts(&function.name).pop().unwrap_or_default();
        if matches!(function.args, FunctionArguments::None) {
            let ident = function.name.0.last().and_then(|part| part.as_ident());
            return match ident {
                Some(ident) => self.identifier(ident),
                None => Err(unsupported("a function without a name")),
            };
        }
        let list = match &function.args {
            FunctionArguments::Subquery(query) if name == "array" => return self.array_subquery(query),
            FunctionArguments::Subquery(_) => return Err(unsupported("a query as an argument")),
            FunctionArguments::None if name == "current_catalog" => return self.called("current_database", Vec::new()),
            FunctionArguments::None => None,
            FunctionArguments::List(list) => Some(list),
        };
        let arguments = list.map_or(&[][..], |list| list.args.as_slice());
        let bound = self.call_inside(function, &name, arguments);
        bound.map_err(|error| self.at(error, name_span(&function.name)))
    }

    fn call_inside(&mut self, function: &Function, name: &str, arguments: &[FunctionArg]) -> Result<Typed> {
        if let Some(kind) = aggregate_kind(name) {
            return self.aggregate(function, name, kind, arguments);
        }
        if function.over.is_some() {
            return self.window(function, name, arguments);
        }
        let mut bound = Vec::new();
        for argument in arguments {
            bound.push(self.expression(plain(argument)?)?);
        }
        match name {
            "coalesce" => {
                let (values, ty) = self.alike(bound, "COALESCE")?;
                Ok(Typed { expr: Expr::Coalesce(values), ty })
            }
            "greatest" | "least" => {
                let (values, ty) = self.alike(bound, &name.to_uppercase())?;
                Ok(Typed { expr: Expr::Greatest { values, least: name == "least" }, ty })
            }
            "nullif" if bound.len() == 2 => {
                let right = bound.pop().expect("there are two");
                let left = bound.pop().expect("there are two");
                let ty = if left.ty == Type::Unknown { types::TEXT } else { left.ty.clone() };
                let given = vec![left.ty.clone(), right.ty.clone()];
                let (left, right) = self.matched(left, right)?.ok_or_else(|| functions::undefined(name, &given))?;
                Ok(Typed { expr: Expr::NullIf(Box::new(left.expr), Box::new(right.expr)), ty })
            }
            "row" => {
                let values: Vec<Ast> =
                    arguments.iter().map(|argument| plain(argument).cloned()).collect::<Result<_>>()?;
                self.record(&values)
            }
            _ => self.called(name, bound),
        }
    }

    /// A call of a function with these arguments; one that gives a set is run where rows are made.
    pub(super) fn called(&mut self, name: &str, arguments: Vec<Typed>) -> Result<Typed> {
        // `oid(x)`, `text(x)`: a type's name is a cast.
        if let ([one], false, Some(to)) = (arguments.as_slice(), functions::is_known(name), Type::named(name)) {
            return self.cast(one.clone(), &to);
        }
        let (function, arguments, ty) = self.resolved(name, arguments)?;
        match function.body {
            Body::Value(_) => Ok(Typed { expr: Expr::Call { function, arguments }, ty }),
            Body::Set(_) => {
                let scope = self.scopes.last_mut();
                let Some((sets, factor)) = scope.and_then(|scope| {
                    let factor = scope.factors.len() + SETS;
                    Some((scope.sets.as_mut()?, factor))
                }) else {
                    let message = format!("set-returning functions are not allowed here: {name}");
                    return Err(PlanError::new(PlanErrorKind::FeatureNotSupported, message));
                };
                sets.push((function, arguments));
                let expr = Expr::Column { level: 0, factor, index: sets.len() - 1 };
                Ok(Typed { expr, ty })
            }
        }
    }

    fn aggregate(
        &mut self,
        function: &Function,
        name: &str,
        kind: AggregateKind,
        arguments: &[FunctionArg],
    ) -> Result<Typed> {
        let Some(outer) = self.scopes.last_mut().and_then(|scope| scope.aggregates.take()) else {
            let message = if self.scopes.is_empty() {
                "aggregate functions need a SELECT"
            } else {
                "aggregate functions are not allowed here"
            };
            return Err(PlanError::new(PlanErrorKind::GroupingError, message));
        };
        let bound = self.aggregate_inside(function, name, kind, arguments);
        self.scope().aggregates = Some(outer);
        let (aggregate, ty) = bound?;
        if let Some(over) = &function.over {
            return self.over(WindowKind::Aggregate(aggregate), over, ty);
        }
        let scope = self.scope();
        let factor = scope.factors.len() + AGGREGATES;
        let aggregates = scope.aggregates.get_or_insert_default();
        aggregates.push(aggregate);
        let index = aggregates.len() - 1;
        Ok(Typed { expr: Expr::Column { level: 0, factor, index }, ty })
    }

    fn aggregate_inside(
        &mut self,
        function: &Function,
        name: &str,
        kind: AggregateKind,
        arguments: &[FunctionArg],
    ) -> Result<(Aggregate, Type)> {
        let FunctionArguments::List(list) = &function.args else {
            return Err(functions::undefined(name, &[]));
        };
        let mut bound = Vec::new();
        for argument in arguments {
            if !matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)) {
                let value = self.expression(plain(argument)?)?;
                let value = if value.ty == Type::Unknown { self.coerce(value, &types::TEXT)? } else { value };
                bound.push(value);
            }
        }
        let given: Vec<Type> = bound.iter().map(|value| value.ty.clone()).collect();
        let ty = aggregate_type(kind, name, &given).ok_or_else(|| functions::undefined(name, &given))?;
        let mut order = Vec::new();
        for clause in &list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => order.extend(self.keys(keys)?),
                _ => return Err(unsupported("this clause of an aggregate")),
            }
        }
        order.extend(self.keys(&function.within_group)?);
        let filter = function.filter.as_ref().map(|filter| self.condition(filter)).transpose()?;
        let distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        Ok((Aggregate { kind, arguments: bound, distinct, filter, order }, ty))
    }

    fn keys(&mut self, keys: &[OrderByExpr]) -> Result<Vec<SortKey>> {
        keys.iter().map(|key| Ok(directed(key, SortBy::Expr(self.expression(&key.expr)?.expr)))).collect()
    }

    fn window(&mut self, function: &Function, name: &str, arguments: &[FunctionArg]) -> Result<Typed> {
        let mut bound = Vec::new();
        for argument in arguments {
            bound.push(self.expression(plain(argument)?)?);
        }
        let given: Vec<Type> = bound.iter().map(|value| value.ty.clone()).collect();
        let mut bound = bound.into_iter();
        let value = bound.next();
        let (kind, ty) = match (name, value) {
            ("row_number", None) => (WindowKind::RowNumber, types::INT8),
            ("rank", None) => (WindowKind::Rank, types::INT8),
            ("dense_rank", None) => (WindowKind::DenseRank, types::INT8),
            ("lag" | "lead", Some(value)) => {
                let distance = match bound.next().map(|distance| distance.expr) {
                    None => 1,
                    Some(Expr::Const(Datum::Int(distance))) => distance,
                    Some(_) => return Err(unsupported("a distance of lag or lead that is not written out")),
                };
                (WindowKind::Lag(value.expr, if name == "lag" { distance } else { -distance }), value.ty)
            }
            ("first_value", Some(value)) => (WindowKind::FirstValue(value.expr), value.ty),
            ("last_value", Some(value)) => (WindowKind::LastValue(value.expr), value.ty),
            _ => return Err(functions::undefined(name, &given)),
        };
        let over = function.over.as_ref().expect("the caller has looked");
        self.over(kind, over, ty)
    }

    fn over(&mut self, kind: WindowKind, over: &WindowType, ty: Type) -> Result<Typed> {
        let WindowType::WindowSpec(spec) = over else { return Err(unsupported("a named window")) };
        if spec.window_name.is_some() || spec.window_frame.is_some() {
            return Err(unsupported("a window's frame"));
        }
        let mut partition = Vec::new();
        for key in &spec.partition_by {
            partition.push(self.expression(key)?.expr);
        }
        let order = self.keys(&spec.order_by)?;
        let scope = self.scope();
        scope.windows.push(Window { kind, partition, order });
        let (factor, index) = (scope.factors.len() + WINDOWS, scope.windows.len() - 1);
        Ok(Typed { expr: Expr::Column { level: 0, factor, index }, ty })
    }
}

/// An argument without a name.
fn plain(argument: &FunctionArg) -> Result<&Ast> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
        FunctionArg::Unnamed(_) => Err(PlanError::new(PlanErrorKind::SyntaxError, "* is no argument of this function")),
        FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => Err(unsupported("named arguments")),
    }
}

fn aggregate_kind(name: &str) -> Option<AggregateKind> {
    Some(match name {
        "count" => AggregateKind::Count,
        "sum" => AggregateKind::Sum,
        "avg" => AggregateKind::Average,
        "min" => AggregateKind::Min,
        "max" => AggregateKind::Max,
        "array_agg" => AggregateKind::ArrayAgg,
        "string_agg" => AggregateKind::StringAgg,
        "bool_and" | "every" => AggregateKind::BoolAnd,
        "bool_or" => AggregateKind::BoolOr,
        "json_agg" | "jsonb_agg" => AggregateKind::JsonAgg,
        "json_object_agg" | "jsonb_object_agg" => AggregateKind::JsonObjectAgg,
        _ => return None,
    })
}

/// The type of an aggregate over arguments; `None` when there is no such aggregate.
fn aggregate_type(kind: AggregateKind, name: &str, given: &[Type]) -> Option<Type> {
    let json = if name.starts_with("jsonb") { types::JSONB } else { types::JSON };
    Some(match (kind, given) {
        (AggregateKind::Count, [] | [_]) => types::INT8,
        (AggregateKind::Sum, [ty]) => match ty.oid() {
            21 | 23 => types::INT8,
            20 | 1700 => types::NUMERIC,
            700 | 701 | 1186 => ty.clone(),
            _ => return None,
        },
        (AggregateKind::Average, [ty]) => match ty.oid() {
            20 | 21 | 23 | 1700 => types::NUMERIC,
            700 | 701 => types::FLOAT8,
            _ => return None,
        },
        (AggregateKind::Min | AggregateKind::Max, [ty]) => match ty.family() {
            Family::Bool | Family::Json | Family::Record | Family::Void => return None,
            Family::Text => types::TEXT,
            _ => ty.clone(),
        },
        (AggregateKind::ArrayAgg, [ty]) => ty.array_of()?,
        (AggregateKind::StringAgg, [first, _]) if matches!(first.family(), Family::Text | Family::Unknown) => {
            types::TEXT
        }
        (AggregateKind::BoolAnd | AggregateKind::BoolOr, [ty]) if *ty == types::BOOL => types::BOOL,
        (AggregateKind::JsonAgg, [_]) => json,
        (AggregateKind::JsonObjectAgg, [_, _]) => json,
        _ => return None,
    })
}
