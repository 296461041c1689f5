//! Settles names and types: from the parser's tree to a [`Plan`].
//!
//! Every SELECT is a scope; names are looked for from the inside out, as SQL has it. A scope keeps which of its
//! relations an expression has touched, which says where in the FROM a condition can be checked first; a query
//! keeps which scopes around it were touched, which says whether it must be run for every row of them.

mod call;
mod expression;
mod from;
mod operator;
mod query;
mod select;

use std::sync::Arc;

use millstream_planner::error::{PlanError, PlanErrorKind, Result, TextPosition};
use millstream_planner::statement::StatementText;
use sqlparser::ast::{DataType, Ident, ObjectName};
use sqlparser::tokenizer::{Location, Span};

use super::Context;
use super::datum::Datum;
use super::functions::Function;
use super::plan::{Aggregate, Expr, Id, Plan, Typed, Window};
use super::text;
use super::types::{self, Family, Type};

/// The deepest that queries can stand in each other, and the most relations of one FROM.
const SCOPES: usize = 60;

/// A relation as the names of a scope see it.
#[derive(Debug)]
struct Named {
    alias: String,
    schema: Option<String>,
    columns: Vec<(String, Type)>,
    /// Columns that a join has merged into those of its other side.
    hidden: Vec<bool>,
    /// Of a relation of the catalog, for `tableoid`.
    oid: Option<u32>,
    /// A function with one column without a name of its own: the alias stands for the value.
    is_value: bool,
}

/// The names of one SELECT.
#[derive(Debug, Default)]
struct Scope {
    factors: Vec<Named>,
    /// False while something is bound that must not see this scope.
    visible: bool,
    /// The relations that were touched since it was last set to zero.
    touched: u128,
    aggregates: Option<Vec<Aggregate>>,
    windows: Vec<Window>,
    sets: Option<Vec<(&'static Function, Vec<Typed>)>>,
}

/// A WITH query that can be named.
#[derive(Clone, Debug)]
struct NamedCte {
    name: String,
    slot: Id,
    columns: Vec<(String, Type)>,
    touches: u64,
}

/// A relation of the user that a query reads beside the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserRelation {
    pub(super) schema: String,
    pub(super) name: String,
}

/// Binds one statement.
pub(super) struct Binder<'a> {
    context: &'a Context,
    text: &'a StatementText,
    scopes: Vec<Scope>,
    with: Vec<NamedCte>,
    /// For every query that is being bound, the scopes that it touches, as bits.
    touches: Vec<u64>,
    /// The types of the parameters as far as they are known.
    pub(super) parameters: Vec<Option<Type>>,
    pub(super) user_relations: Vec<UserRelation>,
    /// Whether it reads a relation of the catalog.
    pub(super) reads_catalog: bool,
    next_id: Id,
}

impl<'a> Binder<'a> {
    pub(super) fn new(context: &'a Context, text: &'a StatementText, parameters: Vec<Option<Type>>) -> Self {
        Self {
            context,
            text,
            scopes: Vec::new(),
            with: Vec::new(),
            touches: Vec::new(),
            parameters,
            user_relations: Vec::new(),
            reads_catalog: false,
            next_id: 0,
        }
    }

    /// Binds the whole statement; what nothing gave a type is text.
    pub(super) fn statement(&mut self, query: &sqlparser::ast::Query) -> Result<Arc<Plan>> {
        let plan = self.query(query)?;
        Ok(Arc::new(self.settled(plan)))
    }

    fn id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }

    /// Notes that something of the scope with this number from the outside was used.
    fn touch(&mut self, scope: usize) {
        if let Some(touches) = self.touches.last_mut() {
            *touches |= 1 << scope;
        }
    }

    /// An error where a name stands.
    fn at(&self, error: PlanError, span: Span) -> PlanError {
        if error.position.is_some() {
            return error;
        }
        let offset = position(&self.text.sql, span.start);
        error.at(offset.map(|offset| TextPosition(self.text.start.0 + offset)))
    }

    /// An expression in a type that it can take without being asked: literals are read, the rest stays as it
    /// is held or is cast.
    fn coerce(&mut self, typed: Typed, to: &Type) -> Result<Typed> {
        let Typed { expr, ty } = typed;
        if ty == *to {
            return Ok(Typed { expr, ty });
        }
        if ty == Type::Unknown {
            return self.settle(expr, to);
        }
        let (from_family, to_family) = (ty.family(), to.family());
        let as_it_is = match (from_family, to_family) {
            (Family::Int, Family::Int) => true,
            (Family::Text, Family::Text) | (Family::Json, Family::Json) => *to != types::NAME && *to != types::CHAR,
            (Family::Moment, Family::Moment) => *to != types::DATE && *to != types::TIME,
            (Family::Array, Family::Array) => {
                let families = (ty.element().map(|ty| ty.family()), to.element().map(|ty| ty.family()));
                families.0 == families.1
            }
            (Family::Record, Family::Record) => true,
            _ => false,
        };
        if as_it_is {
            return Ok(Typed { expr, ty: to.clone() });
        }
        self.cast(Typed { expr, ty }, to)
    }

    /// Gives a literal, a NULL or a parameter its type.
    fn settle(&mut self, expr: Expr, to: &Type) -> Result<Typed> {
        let expr = match expr {
            Expr::Const(Datum::Text(literal)) => Expr::Const(text::input(&literal, to, self.context)?),
            Expr::Parameter(index) => {
                if let Some(slot) = self.parameters.get_mut(index) {
                    slot.get_or_insert_with(|| to.clone());
                }
                let settled = self.parameters.get(index).cloned().flatten().unwrap_or(types::TEXT);
                if settled == *to {
                    Expr::Parameter(index)
                } else {
                    Expr::Cast { inner: Box::new(Expr::Parameter(index)), from: settled, to: to.clone() }
                }
            }
            Expr::Const(Datum::Null) => Expr::Const(Datum::Null),
            other => Expr::Cast { inner: Box::new(other), from: types::TEXT, to: to.clone() },
        };
        Ok(Typed { expr, ty: to.clone() })
    }

    /// A cast that was asked for.
    fn cast(&mut self, typed: Typed, to: &Type) -> Result<Typed> {
        let Typed { expr, ty } = typed;
        if ty == Type::Unknown {
            return self.settle(expr, to);
        }
        if !text::castable(&ty, to) {
            let message = format!("cannot cast type {} to {}", ty.sql_name(), to.sql_name());
            return Err(PlanError::new(PlanErrorKind::DatatypeMismatch, message));
        }
        let expr = Expr::Cast { inner: Box::new(expr), from: ty, to: to.clone() };
        Ok(Typed { expr, ty: to.clone() })
    }

    /// Two expressions in the type that they have in common.
    fn matched(&mut self, left: Typed, right: Typed) -> Result<Option<(Typed, Typed)>> {
        let Some(ty) = types::common(&left.ty, &right.ty) else { return Ok(None) };
        Ok(Some((self.coerce(left, &ty)?, self.coerce(right, &ty)?)))
    }

    /// The type that a declaration or a cast names.
    fn type_named(&self, data_type: &DataType) -> Result<Type> {
        if let DataType::Array(sqlparser::ast::ArrayElemTypeDef::SquareBracket(element, _)) = data_type {
            let element = self.type_named(element)?;
            return element.array_of().ok_or_else(|| unknown_type(&data_type.to_string()));
        }
        if matches!(data_type, DataType::Char(_) | DataType::Character(_)) {
            return Ok(Type::Plain(1042));
        }
        let written = data_type.to_string();
        let name = written.split_once('(').map_or(written.clone(), |(name, rest)| {
            format!("{}{}", name.trim_end(), rest.split_once(')').map_or("", |(_, rest)| rest))
        });
        let name = name.to_ascii_lowercase();
        let standard = name.strip_prefix("information_schema.").map(|domain| match domain {
            "cardinal_number" => types::INT4,
            "sql_identifier" => types::NAME,
            "time_stamp" => types::TIMESTAMPTZ,
            _ => Type::Plain(1043),
        });
        let unquoted = name.replace('"', "");
        let quoted_char = matches!(data_type, DataType::Custom(..)) && unquoted.ends_with("char") && name.contains('"');
        if quoted_char && matches!(unquoted.as_str(), "char" | "pg_catalog.char") {
            return Ok(types::CHAR);
        }
        standard.or_else(|| Type::named(&unquoted)).ok_or_else(|| unknown_type(&written))
    }
}

fn unknown_type(name: &str) -> PlanError {
    PlanError::new(PlanErrorKind::UndefinedObject, format!("type \"{}\" does not exist", name.to_lowercase()))
}

/// Where in a text a place is, in characters from 0; `None` where the parser kept no place.
fn position(sql: &str, place: Location) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let before: usize = sql.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    Some(before + column)
}

/// A name as SQL folds it.
pub(in crate::pg_catalog) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parts of a name, folded.
pub(in crate::pg_catalog) fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident().map(folded)).collect()
}

fn unsupported(what: &str) -> PlanError {
    PlanError::new(PlanErrorKind::FeatureNotSupported, format!("{what} is not supported in queries over the catalog"))
}

/// Where an expression begins.
fn expression_span(expr: &sqlparser::ast::Expr) -> Span {
    use sqlparser::ast::Spanned;
    expr.span()
}
