//! DataFusion's errors as Postgres words them: class, message, hint and the place in the text.

use std::error::Error as StdError;
use std::ops::ControlFlow;

use datafusion::common::{Diagnostic, SchemaError, Span};
use datafusion::error::DataFusionError;
use sqlparser::ast::{Expr, Ident, Query, Spanned, UnaryOperator, Value, Visit, Visitor};

use super::clause_places::{ONE_COLUMN, clause_place};
use super::operators::NO_OPERATOR;
use super::type_places::type_place;

use crate::error::{PlanError, PlanErrorKind, TextPosition};
use crate::parse::{operator_after, parenthesis_before};
use crate::statement::StatementText;
use crate::words;

/// An error of ours on its way through DataFusion.
pub(crate) fn refuse(kind: PlanErrorKind, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(PlanError::new(kind, message)))
}

/// The same error with the place of a syntax node, unless it has one.
pub(super) fn at(error: DataFusionError, span: sqlparser::tokenizer::Span) -> DataFusionError {
    error.with_diagnostic(Diagnostic::new_error("", Span::try_from_sqlparser_span(span)))
}

/// The place of a syntax node. [`crate::parse`] counts columns in characters of what the client sent, on one line.
pub fn span_position(span: sqlparser::tokenizer::Span) -> Option<TextPosition> {
    (span.start.line != 0).then_some(TextPosition(span.start.column as usize))
}

/// The same error with a place, where it has none: that of the first thing in the query that it may be about.
pub(super) fn located(error: PlanError, query: &Query) -> PlanError {
    if error.position.is_some() {
        return error;
    }
    let Some(subject) = Subject::of(&error) else {
        let place = clause_place(&error, query).or_else(|| type_place(&error, query));
        return error.at(place);
    };
    match Visit::visit(query, &mut Search(subject)) {
        ControlFlow::Break(position) => error.at(Some(position)),
        ControlFlow::Continue(()) => error,
    }
}

/// The same error under the operator, where it is about one and stands under its left operand, as the errors of
/// expressions do; and under the parenthesis, where it is about a subquery: the tree does not know where those stand.
pub(crate) fn at_sign(mut error: PlanError, text: &StatementText) -> PlanError {
    if error.message == ONE_COLUMN {
        let opening = error.position.and_then(|place| parenthesis_before(text, place));
        return PlanError { position: opening.or(error.position), ..error };
    }
    let subject = match error.message.starts_with("subquery has too ") {
        true => Some(Subject::Operator("any".to_string())),
        false => Subject::of(&error),
    };
    let Some(Subject::Operator(symbol)) = subject else { return error };
    let spellings: &[&str] = match symbol.as_str() {
        "any" => &["=", "<>", "!=", "<", "<=", ">", ">=", "NOT", "IN", "LIKE", "ILIKE", "~", "!~", "~*", "!~*", "~~"],
        "~~" => &["LIKE", "~~"],
        "!~~" => &["NOT", "LIKE", "!~~"],
        "~~*" => &["ILIKE", "~~*"],
        "!~~*" => &["NOT", "ILIKE", "!~~*"],
        "=" => &["=", "IN"],
        "<>" => &["<>", "!="],
        "<=" | ">=" => &[symbol.as_str(), "BETWEEN"],
        symbol => &[symbol],
    };
    let found = error.position.and_then(|place| {
        spellings.iter().filter_map(|spelling| operator_after(text, place, spelling)).min_by_key(|found| found.0)
    });
    error.position = found.or(error.position);
    error
}

/// What an error is about.
enum Subject {
    Column(String),
    Function(String),
    /// By its symbol.
    Operator(String),
    /// By the text between its quotes.
    Literal(String),
    /// What stands behind NOT.
    Negated,
    /// The first WHERE.
    Condition,
}

impl Subject {
    fn of(error: &PlanError) -> Option<Self> {
        let message = &error.message;
        match error.kind {
            PlanErrorKind::UndefinedColumn | PlanErrorKind::AmbiguousColumn => {
                let shown = message.strip_prefix("column reference ").or(message.strip_prefix("column "))?;
                let name =
                    shown.strip_prefix('"').map_or_else(|| shown.split(' ').next(), |quoted| quoted.split('"').next());
                Some(Self::Column(name?.rsplit('.').next()?.to_string()))
            }
            PlanErrorKind::UndefinedFunction | PlanErrorKind::AmbiguousFunction => {
                if let Some(call) = message.strip_prefix("function ") {
                    return Some(Self::Function(call.split(['(', ' ']).next()?.to_string()));
                }
                let operation = message.strip_prefix("operator ")?.split_once(": ")?.1;
                let is_symbol = |word: &&str| !word.contains(|letter: char| letter.is_alphanumeric() || letter == '[');
                Some(Self::Operator(operation.split(' ').find(is_symbol)?.to_string()))
            }
            PlanErrorKind::WrongObjectType if message.starts_with("op ANY/ALL ") => {
                Some(Self::Operator("any".to_string()))
            }
            PlanErrorKind::DatatypeMismatch if message.starts_with("argument of NOT ") => Some(Self::Negated),
            PlanErrorKind::DatatypeMismatch if message.starts_with("argument of WHERE ") => Some(Self::Condition),
            PlanErrorKind::InvalidTextRepresentation
            | PlanErrorKind::InvalidDatetimeFormat
            | PlanErrorKind::DatetimeFieldOverflow
            | PlanErrorKind::NumericValueOutOfRange => {
                let (start, end) = (message.find('"')?, message.rfind('"')?);
                Some(Self::Literal(message.get(start + 1..end)?.to_string()))
            }
            _ => None,
        }
    }

    /// Whether an expression is it.
    fn is(&self, expr: &Expr) -> bool {
        let named = |ident: &Ident, name: &str| super::normalize::folded(ident) == name;
        match (self, expr) {
            (Self::Column(name), Expr::Identifier(ident)) => named(ident, name),
            (Self::Column(name), Expr::CompoundIdentifier(idents)) => {
                idents.last().is_some_and(|ident| named(ident, name))
            }
            (Self::Function(name), Expr::Function(call)) => {
                call.name.0.last().and_then(|part| part.as_ident()).is_some_and(|ident| named(ident, name))
            }
            (Self::Operator(symbol), Expr::BinaryOp { op, .. }) => op.to_string() == *symbol,
            (Self::Operator(symbol), Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. }) => {
                compare_op.to_string() == *symbol || symbol == "any"
            }
            (Self::Operator(symbol), Expr::InList { .. } | Expr::InSubquery { .. }) => symbol == "=",
            (Self::Literal(text), Expr::Value(value)) => {
                matches!(&value.value, Value::SingleQuotedString(literal) if literal == text)
            }
            _ => false,
        }
    }
}

/// Looks for the first place where it stands.
struct Search(Subject);

impl Visitor for Search {
    type Break = TextPosition;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TextPosition> {
        let condition = query.body.as_select().and_then(|select| select.selection.as_ref());
        match condition.and_then(|condition| span_position(condition.span())) {
            Some(position) if matches!(self.0, Subject::Condition) => ControlFlow::Break(position),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<TextPosition> {
        let expr = match (&self.0, expr) {
            (Subject::Negated, Expr::UnaryOp { op: UnaryOperator::Not, expr }) => {
                return span_position(expr.span()).map_or(ControlFlow::Continue(()), ControlFlow::Break);
            }
            (_, expr) => expr,
        };
        match span_position(expr.span()) {
            Some(position) if self.0.is(expr) => ControlFlow::Break(position),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What the user is told for an error of DataFusion's planner.
pub fn plan_error(error: DataFusionError) -> PlanError {
    let mut position = None;
    let mut error = error;
    loop {
        error = match error {
            DataFusionError::Diagnostic(diagnostic, inner) => {
                position = position.or(diagnostic.span.map(|span| TextPosition(span.start.column as usize)));
                *inner
            }
            DataFusionError::Context(_, inner) => *inner,
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => first,
                None => return PlanError::internal("an empty collection of errors"),
            },
            other => break classify(&other).at(position),
        };
    }
}

fn classify(error: &DataFusionError) -> PlanError {
    if let Some(own) = own_error(error) {
        return own;
    }
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => schema_message(schema_error),
        DataFusionError::Plan(message) => planner_message(message),
        DataFusionError::NotImplemented(message) => not_implemented(message),
        DataFusionError::Execution(message) => data_error(message),
        DataFusionError::ArrowError(arrow, _) => data_error(&arrow.to_string()),
        DataFusionError::SQL(parser, _) => PlanError::new(PlanErrorKind::SyntaxError, parser.to_string()),
        DataFusionError::Internal(message) => PlanError::internal(first_line(message).to_string()),
        other if words::failure(&other.strip_backtrace()).is_some() => data_error(&other.strip_backtrace()),
        other => PlanError::internal(first_line(&other.strip_backtrace()).to_string()),
    }
}

fn not_implemented(message: &str) -> PlanError {
    if let Some(error) = clause_message(first_line(message)) {
        return error;
    }
    if message.contains("ecursive CTE") {
        return PlanError::unsupported("WITH RECURSIVE is not supported");
    }
    let line = lower_first(first_line(message));
    let says_so = ["not implemented", "not supported", "nsupported"].iter().any(|words| line.contains(words));
    PlanError::unsupported(if says_so { line } else { format!("{line} is not supported") })
}

/// Finds an error of ours inside one of DataFusion's.
fn own_error(error: &DataFusionError) -> Option<PlanError> {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(own) = current.downcast_ref::<PlanError>() {
            return Some(own.clone());
        }
        if let Some(DataFusionError::External(inner)) = current.downcast_ref::<DataFusionError>()
            && let Some(own) = inner.downcast_ref::<PlanError>()
        {
            return Some(own.clone());
        }
        source = current.source();
    }
    None
}

fn schema_message(error: &SchemaError) -> PlanError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let shown = match &field.relation {
                Some(relation) => format!("{relation}.{}", field.name),
                None => format!("\"{}\"", field.name),
            };
            let known_qualifier = field.relation.as_ref().is_none_or(|relation| {
                valid_fields
                    .iter()
                    .any(|valid| valid.relation.as_ref().is_some_and(|known| known.resolved_eq(relation)))
            });
            if let (false, Some(relation)) = (known_qualifier, &field.relation) {
                return PlanError::new(
                    PlanErrorKind::UndefinedTable,
                    format!("missing FROM-clause entry for table \"{relation}\""),
                );
            }
            let error = PlanError::new(PlanErrorKind::UndefinedColumn, format!("column {shown} does not exist"));
            match nearest(&field.name, valid_fields.iter().map(|valid| valid.name.as_str())) {
                Some(name) => {
                    let qualifier = valid_fields.iter().find(|valid| valid.name == name);
                    let qualifier = qualifier.and_then(|valid| valid.relation.as_ref());
                    let shown = qualifier.map_or(name.to_string(), |table| format!("{}.{name}", table.table()));
                    error.with_hint(format!("Perhaps you meant to reference the column \"{shown}\"."))
                }
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            PlanError::new(PlanErrorKind::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", field.name))
                .with_hint("Put the name of its table in front.")
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            let message = format!("table name \"{}\" specified more than once", qualifier.table());
            PlanError::new(PlanErrorKind::DuplicateAlias, message).with_hint("Give one of them another name with AS.")
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            PlanError::new(PlanErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
                .with_hint("Give the columns different names with AS.")
        }
    }
}

/// Messages of the planner that have a class of their own in Postgres, by what they contain.
fn planner_message(message: &str) -> PlanError {
    let line = first_line(message);
    let has = |text: &str| message.contains(text);
    if let Some(error) = words::failure(message) {
        return error;
    }
    if let Some(rest) = line.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        if crate::functions::registry().window(name).is_some() {
            let message = format!("window function {name} requires an OVER clause");
            return PlanError::new(PlanErrorKind::WrongObjectType, message);
        }
        let error = PlanError::new(PlanErrorKind::UndefinedFunction, format!("function {name} does not exist"));
        return match message.split("Did you mean '").nth(1).and_then(|rest| rest.split('\'').next()) {
            Some(close) if close != name => error.with_hint(format!("Perhaps you meant \"{close}\".")),
            _ => error,
        };
    }
    if has("must be in the GROUP BY clause")
        || has("must appear in the GROUP BY clause")
        || has("Column in SELECT must be in GROUP BY")
        || has("could not be resolved from available columns")
    {
        let column = line.split('"').nth(1).map(str::to_string);
        let message = match column {
            Some(column) => {
                format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function")
            }
            None => lower_first(line),
        };
        return PlanError::new(PlanErrorKind::GroupingError, message);
    }
    if let Some(operation) = between(message, "Cannot coerce arithmetic expression ", " to valid types")
        .or_else(|| between(message, "Cannot infer common argument type for comparison operation ", "\n"))
        .or_else(|| between(message, "Cannot infer common string type for string concat operation ", "\n"))
    {
        let operation = sql_type_names(operation);
        return PlanError::new(PlanErrorKind::UndefinedFunction, format!("operator does not exist: {operation}"))
            .with_hint(NO_OPERATOR);
    }
    if let Some(own) = between(message, "External error: ", ". No function matches") {
        return PlanError::new(PlanErrorKind::UndefinedFunction, own).with_hint(NO_FUNCTION);
    }
    if let Some(call) = between(message, "No function matches the given name and argument types '", "'") {
        return no_function(&sql_type_names(call));
    }
    if has("There isn't a common type to coerce") || has("failed to match any signature") || has("Failed to coerce") {
        return PlanError::new(PlanErrorKind::UndefinedFunction, lower_first(line)).with_hint(NO_FUNCTION);
    }
    if let Some(error) = no_truth(line).or_else(|| no_common_type(line)) {
        return error;
    }
    if has("Unary operator '") {
        return PlanError::new(PlanErrorKind::UndefinedFunction, lower_first(line)).with_hint(NO_OPERATOR);
    }
    if has("aggregate functions are not allowed") || has("Aggregate functions are not allowed") {
        let message =
            lower_first(line.split(". Consider").next().unwrap_or(line)).replace("in the WHERE clause", "in WHERE");
        return PlanError::new(PlanErrorKind::GroupingError, message).with_hint("Use HAVING.");
    }
    if has("Projections require unique expression names") {
        return PlanError::new(PlanErrorKind::DuplicateColumn, "two columns of the query have the same name")
            .with_hint("Give the columns different names with AS.");
    }
    clause_message(line).unwrap_or_else(|| PlanError::new(PlanErrorKind::DatatypeMismatch, lower_first(line)))
}

/// Mistakes in the clauses of a query, by how DataFusion words them.
fn clause_message(line: &str) -> Option<PlanError> {
    let has = |text: &str| line.contains(text);
    let number_after = |text: &str| line.split_once(text)?.1.split([' ', ',']).next();
    let position = |clause: &str, number: &str| {
        (PlanErrorKind::InvalidColumnReference, format!("{clause} position {number} is not in select list"))
    };
    let (kind, message) = if let Some(number) = number_after("Cannot find column with position ") {
        position("GROUP BY", number)
    } else if let Some(number) = number_after("Order by column out of bounds, specified: ") {
        position("ORDER BY", number)
    } else if has("cannot be nested") {
        (PlanErrorKind::GroupingError, "aggregate function calls cannot be nested".to_string())
    } else if has("queries have different number of columns") {
        let operation = line.split(' ').next().unwrap_or("UNION");
        (PlanErrorKind::SyntaxError, format!("each {operation} query must have the same number of columns"))
    } else if has("oo many columns! The subquery should only return one column") {
        (PlanErrorKind::SyntaxError, ONE_COLUMN.to_string())
    } else if has("WITH query name") {
        (PlanErrorKind::DuplicateAlias, lower_first(line))
    } else if has("names given as column alias") {
        let counts: Vec<&str> = line.split(' ').filter(|word| word.parse::<u32>().is_ok()).collect();
        let [there, given] = counts[..] else { return None };
        let message = format!("table has {there} columns available but {given} columns specified");
        (PlanErrorKind::InvalidColumnReference, message)
    } else if has("Inconsistent data length across values list") {
        (PlanErrorKind::SyntaxError, "VALUES lists must all be the same length".to_string())
    } else if has("SELECT DISTINCT ON expressions must match") {
        (PlanErrorKind::InvalidColumnReference, line.trim_start_matches("Error during planning: ").to_string())
    } else if has("must appear in select list") {
        let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
        (PlanErrorKind::InvalidColumnReference, message.to_string())
    } else if let Some(name) = line.strip_prefix("Invalid qualifier ") {
        (PlanErrorKind::UndefinedTable, format!("missing FROM-clause entry for table \"{name}\""))
    } else if has("to grouping function is not in grouping columns") {
        let message = "arguments to GROUPING must be grouping expressions of the associated query level";
        (PlanErrorKind::GroupingError, message.to_string())
    } else if has("RANGE requires exactly one ORDER BY column") {
        let message = "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column";
        (PlanErrorKind::WindowingError, message.to_string())
    } else if has("invalid placeholder, zero is not a valid index")
        || has("Invalid placeholder, zero is not a valid index")
    {
        (PlanErrorKind::UndefinedParameter, "there is no parameter $0".to_string())
    } else if let Some(name) = between(line, "Field ", " not found in struct") {
        (PlanErrorKind::UndefinedColumn, format!("column \"{name}\" not found in data type record"))
    } else if has("LIMIT must be >= 0") {
        (PlanErrorKind::InvalidLimit, "LIMIT must not be negative".to_string())
    } else if has("OFFSET must be >=0") || has("OFFSET must be >= 0") {
        (PlanErrorKind::InvalidOffset, "OFFSET must not be negative".to_string())
    } else {
        let types = line.strip_prefix("Unsupported CAST from ").or_else(|| between(line, "Cannot cast ", "\n"))?;
        let (from, to) = types.split_once(" to ")?;
        let message = format!("cannot cast type {} to {}", sql_type_names(from), sql_type_names(to));
        (PlanErrorKind::CannotCoerce, message)
    };
    Some(PlanError::new(kind, message))
}

/// The hint of Postgres where no function fits.
pub(crate) const NO_FUNCTION: &str =
    "No function matches the given name and argument types. You might need to add explicit type casts.";

/// A call with arguments that it can't take. Some calls are syntax in Postgres, which has other words for them.
fn no_function(call: &str) -> PlanError {
    let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
    let place = match name {
        "coalesce" => "COALESCE",
        "greatest" => "GREATEST",
        "least" => "LEAST",
        "make_array" => "ARRAY",
        "array_element" => {
            let of = arguments.split(", ").next().unwrap_or_default();
            let message = format!("cannot subscript type {of} because it does not support subscripting");
            return PlanError::new(PlanErrorKind::DatatypeMismatch, message);
        }
        _ => {
            let message = format!("function {call} does not exist");
            return PlanError::new(PlanErrorKind::UndefinedFunction, message).with_hint(NO_FUNCTION);
        }
    };
    let types: Vec<&str> = arguments.trim_end_matches(')').split(", ").collect();
    let other = types.iter().find(|other| **other != types[0]).unwrap_or(&types[0]);
    let message = format!("{place} types {} and {other} cannot be matched", types[0]);
    PlanError::new(PlanErrorKind::DatatypeMismatch, message)
}

/// Something that is no truth value where one is needed.
fn no_truth(line: &str) -> Option<PlanError> {
    let (place, found) = if let Some((_, found)) = line.split_once("requires a boolean expression, got ") {
        ("NOT", found)
    } else if let Some((_, found)) = line.split_once("Join condition must be boolean type, but got ") {
        ("JOIN/ON", found)
    } else if line.starts_with("Cannot create filter with non-boolean predicate") {
        ("WHERE", line.rsplit_once(" returning ")?.1)
    } else {
        return None;
    };
    let message = format!("argument of {place} must be type boolean, not type {}", sql_type_names(found));
    Some(PlanError::new(PlanErrorKind::DatatypeMismatch, message))
}

/// Rows of VALUES that have no type in common.
fn no_common_type(line: &str) -> Option<PlanError> {
    let found = line.strip_prefix("Inconsistent data type across values list")?.split_once("Was ")?.1;
    let (before, here) = found.split_once(" but found ")?;
    let message = format!("VALUES types {} and {} cannot be matched", sql_type_names(before), sql_type_names(here));
    Some(PlanError::new(PlanErrorKind::DatatypeMismatch, message))
}

/// An error of evaluating a constant.
fn data_error(message: &str) -> PlanError {
    if let Some(error) = words::failure(message) {
        return error;
    }
    let line = first_line(message);
    let lower = line.to_ascii_lowercase();
    if let Some(text) = between(message, "Cannot cast string '", "' to value of ")
        && let Some(target) = between(message, "' to value of ", " type")
    {
        let message = format!("invalid input syntax for type {}: \"{text}\"", sql_type_names(target));
        return PlanError::new(PlanErrorKind::InvalidTextRepresentation, message);
    }
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        PlanError::new(PlanErrorKind::DivisionByZero, "division by zero")
    } else if lower.contains("error parsing timestamp") || lower.contains("error parsing date") {
        PlanError::new(PlanErrorKind::InvalidDatetimeFormat, lower_first(line))
    } else if lower.contains("overflow") || lower.contains("out of range") || lower.contains("can't cast value") {
        PlanError::new(PlanErrorKind::NumericValueOutOfRange, lower_first(line))
    } else {
        PlanError::new(PlanErrorKind::InvalidTextRepresentation, lower_first(line))
    }
}

/// The part of a message between two marks; to its end where the second one is missing and is a line's end.
fn between<'a>(message: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = message.split_once(before)?.1;
    match rest.split_once(after) {
        Some((part, _)) => Some(part),
        None => (after == "\n").then_some(rest),
    }
}

/// Arrow's names of types, as they stand in DataFusion's messages, as SQL has them.
fn sql_type_names(text: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("Timestamp(µs, \"UTC\")", "timestamp with time zone"),
        ("Timestamp(µs)", "timestamp without time zone"),
        ("Interval(MonthDayNano)", "interval"),
        ("Decimal128", "numeric"),
        ("Decimal256", "numeric"),
        ("Boolean", "boolean"),
        ("Int16", "smallint"),
        ("Int32", "integer"),
        ("UInt64", "bigint"),
        ("Int64", "bigint"),
        ("Float32", "real"),
        ("Float64", "double precision"),
        ("LargeUtf8", "jsonb"),
        ("LargeBinary", "json"),
        ("FixedSizeBinary(16)", "uuid"),
        ("Utf8View", "character"),
        ("Utf8", "text"),
        ("Binary", "bytea"),
        ("Date32", "date"),
        ("Time64(µs)", "time without time zone"),
        ("Null", "unknown"),
    ];
    NAMES.iter().fold(text.to_string(), |text, (arrow, sql)| text.replace(arrow, sql))
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message).trim_end_matches('.')
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        // An acronym or a type name at the start stays as it is.
        Some(first) if !characters.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => message.to_string(),
    }
}

/// The name that is closest to a mistyped one, if any is close.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (edit_distance(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_string())
}

/// Levenshtein's distance.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, left_character) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, right_character) in right.iter().enumerate() {
            let substitution = previous[column] + usize::from(left_character != *right_character);
            current.push(substitution.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_close_or_none() {
        let names = ["price", "bidder", "auction"];
        assert_eq!(nearest("prise", names.into_iter()), Some("price".to_string()));
        assert_eq!(nearest("bider", names.into_iter()), Some("bidder".to_string()));
        assert_eq!(nearest("zzz", names.into_iter()), None);
    }
}
