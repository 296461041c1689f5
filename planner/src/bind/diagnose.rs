//! DataFusion's errors as Postgres words them: class, message, hint and the place in the text.

use std::error::Error as StdError;
use std::ops::ControlFlow;

use datafusion::common::{Diagnostic, SchemaError, Span};
use datafusion::error::DataFusionError;
use sqlparser::ast::{Expr, Query, Spanned, Visit, Visitor};

use crate::error::{PlanError, PlanErrorKind, TextPosition};

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

/// The same error with a place, where it has none: that of the first name in the query that it may be about.
pub(super) fn located(error: PlanError, query: &Query) -> PlanError {
    if error.position.is_some() {
        return error;
    }
    let Some(subject) = subject(&error) else { return error };
    let mut search = Search { subject, function: error.kind == PlanErrorKind::UndefinedFunction };
    match Visit::visit(query, &mut search) {
        ControlFlow::Break(position) => error.at(Some(position)),
        ControlFlow::Continue(()) => error,
    }
}

/// The name that an error is about.
fn subject(error: &PlanError) -> Option<String> {
    match error.kind {
        PlanErrorKind::UndefinedColumn | PlanErrorKind::AmbiguousColumn => {
            let shown = error.message.strip_prefix("column reference ").or(error.message.strip_prefix("column "))?;
            let name =
                shown.strip_prefix('"').map_or_else(|| shown.split(' ').next(), |quoted| quoted.split('"').next());
            Some(name?.rsplit('.').next()?.to_string())
        }
        PlanErrorKind::UndefinedFunction => {
            let call = error.message.strip_prefix("function ")?;
            Some(call.split(['(', ' ']).next()?.to_string())
        }
        _ => None,
    }
}

/// Looks for the first place where a name stands.
struct Search {
    subject: String,
    function: bool,
}

impl Visitor for Search {
    type Break = TextPosition;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<TextPosition> {
        let ident = match expr {
            Expr::Identifier(ident) if !self.function => Some(ident),
            Expr::CompoundIdentifier(idents) if !self.function => idents.last(),
            Expr::Function(call) if self.function => call.name.0.last().and_then(|part| part.as_ident()),
            _ => None,
        };
        if ident.is_some_and(|ident| super::normalize::folded(ident) == self.subject)
            && let Some(position) = span_position(expr.span())
        {
            return ControlFlow::Break(position);
        }
        ControlFlow::Continue(())
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
        other => PlanError::internal(first_line(&other.strip_backtrace()).to_string()),
    }
}

fn not_implemented(message: &str) -> PlanError {
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
                Some(name) => error.with_hint(format!("Perhaps you meant to reference the column \"{name}\".")),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            PlanError::new(PlanErrorKind::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", field.name))
                .with_hint("Put the name of its table in front.")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            PlanError::new(PlanErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
                .with_hint("Give the columns different names with AS.")
        }
    }
}

/// Messages of the planner that have a class of their own in Postgres, by what they contain.
fn planner_message(message: &str) -> PlanError {
    let line = first_line(message);
    let has = |text: &str| message.contains(text);
    if let Some(rest) = line.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
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
            .with_hint("You might need to add explicit type casts.");
    }
    if let Some(own) = between(message, "External error: ", ". No function matches") {
        return PlanError::new(PlanErrorKind::UndefinedFunction, own);
    }
    if let Some(call) = between(message, "No function matches the given name and argument types '", "'") {
        return PlanError::new(
            PlanErrorKind::UndefinedFunction,
            format!("function {} does not exist", sql_type_names(call)),
        )
        .with_hint("You might need to add explicit type casts.");
    }
    if has("There isn't a common type to coerce") || has("failed to match any signature") || has("Failed to coerce") {
        return PlanError::new(PlanErrorKind::UndefinedFunction, lower_first(line))
            .with_hint("You might need to add explicit type casts.");
    }
    if has("aggregate functions are not allowed") || has("Aggregate functions are not allowed") {
        let message = lower_first(line.split(". Consider").next().unwrap_or(line));
        return PlanError::new(PlanErrorKind::GroupingError, message).with_hint("Use HAVING.");
    }
    if has("Projections require unique expression names") {
        return PlanError::new(PlanErrorKind::DuplicateColumn, "two columns of the query have the same name")
            .with_hint("Give the columns different names with AS.");
    }
    PlanError::new(PlanErrorKind::DatatypeMismatch, lower_first(line))
}

/// An error of evaluating a constant.
fn data_error(message: &str) -> PlanError {
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
        ("LargeUtf8", "text"),
        ("Utf8View", "text"),
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
