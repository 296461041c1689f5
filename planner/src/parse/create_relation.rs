//! `CREATE TABLE` and `CREATE SOURCE`.

use sqlparser::dialect::Precedence;
use sqlparser::tokenizer::Token;

use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::OnConflict;

use super::ast::{
    Column, CreateRelation, Identifier, Include, Metadata, RelationClass, SqlExpression, Statement, Watermark,
};
use super::cursor::Cursor;
use super::options;

/// `TABLE | SOURCE [IF NOT EXISTS] name [(elements)] clauses`.
pub(super) fn relation(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let class = if cursor.accept(&["TABLE"]) { RelationClass::Table } else { RelationClass::Source };
    if class == RelationClass::Source {
        cursor.expect(&["SOURCE"])?;
    }
    let if_not_exists = cursor.accept(&["IF", "NOT", "EXISTS"]);
    let mut relation = CreateRelation {
        class,
        name: cursor.name()?,
        if_not_exists,
        columns: Vec::new(),
        primary_key: Vec::new(),
        watermark: None,
        append_only: false,
        on_conflict: None,
        includes: Vec::new(),
        options: Vec::new(),
        format: None,
    };
    if cursor.accept_token(&Token::LParen) {
        // `CREATE TABLE t ()` is a table without columns in Postgres.
        if !cursor.accept_token(&Token::RParen) {
            cursor.comma_separated(|cursor| element(cursor, &mut relation))?;
            cursor.expect_token(&Token::RParen)?;
        }
    }
    while clause(cursor, &mut relation)? {}
    cursor.skip_boundary();
    Ok(Statement::CreateRelation(Box::new(relation)))
}

/// One clause behind the columns, in any order.
fn clause(cursor: &mut Cursor<'_>, relation: &mut CreateRelation) -> Result<bool> {
    let position = cursor.position();
    if options::with_options(cursor, &mut relation.options)? || options::format(cursor, &mut relation.format)? {
        return Ok(true);
    }
    if cursor.accept(&["APPEND", "ONLY"]) {
        relation.append_only = true;
    } else if cursor.accept(&["ON", "CONFLICT"]) {
        relation.on_conflict = Some(on_conflict(cursor)?);
    } else if cursor.accept(&["INCLUDE"]) {
        relation.includes.push(include(cursor)?);
    } else if cursor.accept(&["COMMENT"]) {
        // Flink's scripts describe their tables; nothing depends on it.
        cursor.accept_string().ok_or_else(|| cursor.expected("a string"))?;
    } else if let Some(error) = refused_clause(cursor) {
        return Err(error.at(Some(position)));
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn refused_clause(cursor: &Cursor<'_>) -> Option<PlanError> {
    let refused = |message: &str, hint: &str| Some(PlanError::unsupported(message).with_hint(hint));
    if cursor.is_at(&["AS"]) {
        refused("CREATE TABLE ... AS is not supported", "Use CREATE MATERIALIZED VIEW, or CREATE TABLE and INSERT.")
    } else if cursor.is_at(&["LIKE"]) {
        refused("CREATE TABLE ... LIKE is not supported", "Write the columns out.")
    } else if cursor.is_at(&["PARTITIONED", "BY"]) || cursor.is_at(&["PARTITION", "BY"]) {
        refused("partitioned tables are not supported", "Leave the clause out.")
    } else if cursor.is_at(&["INHERITS"]) {
        refused("inheritance is not supported", "Write the columns out.")
    } else if cursor.is_at(&["ROW", "FORMAT"]) {
        refused("ROW FORMAT is not supported", "Write FORMAT PLAIN ENCODE JSON.")
    } else {
        None
    }
}

/// What follows ON CONFLICT; RisingWave's older words are accepted too.
fn on_conflict(cursor: &mut Cursor<'_>) -> Result<OnConflict> {
    let parenthesized = cursor.accept_token(&Token::LParen);
    let action = if cursor.accept(&["DO", "NOTHING"]) || cursor.accept(&["IGNORE"]) {
        OnConflict::DoNothing
    } else if cursor.accept(&["DO", "UPDATE", "FULL"])
        || cursor.accept(&["DO", "UPDATE"])
        || cursor.accept(&["OVERWRITE"])
    {
        OnConflict::DoUpdate
    } else {
        return Err(cursor.expected("DO NOTHING or DO UPDATE"));
    };
    if parenthesized {
        cursor.expect_token(&Token::RParen)?;
    }
    Ok(action)
}

fn include(cursor: &mut Cursor<'_>) -> Result<Include> {
    let metadata = [
        ("KEY", Metadata::Key),
        ("PARTITION", Metadata::Partition),
        ("OFFSET", Metadata::Offset),
        ("TIMESTAMP", Metadata::Timestamp),
        ("HEADERS", Metadata::Headers),
    ];
    let position = cursor.position();
    let Some((word, metadata)) = metadata.into_iter().find(|(word, _)| cursor.is_at(&[word])) else {
        return Err(cursor.expected("KEY, PARTITION, OFFSET, TIMESTAMP or HEADERS"));
    };
    cursor.next();
    let name =
        if cursor.accept(&["AS"]) { cursor.identifier()? } else { Identifier { value: word.to_lowercase(), position } };
    Ok(Include { metadata, name })
}

/// A column, a constraint of the table or the watermark.
fn element(cursor: &mut Cursor<'_>, relation: &mut CreateRelation) -> Result<()> {
    let position = cursor.position();
    if let Some(error) = refused_constraint(cursor) {
        return Err(error.at(Some(position)));
    }
    if cursor.is_at(&["WATERMARK", "FOR"]) {
        return watermark(cursor, relation);
    }
    if cursor.is_at(&["CONSTRAINT"]) && !cursor.is_at(&["CONSTRAINT", "PRIMARY"]) {
        cursor.next();
        cursor.identifier()?;
        if !cursor.is_at(&["PRIMARY", "KEY"]) {
            let error = refused_constraint(cursor).unwrap_or_else(|| cursor.expected("PRIMARY KEY"));
            return Err(error.at(Some(position)));
        }
    }
    if cursor.accept(&["PRIMARY", "KEY"]) {
        let columns = cursor.identifiers_in_parentheses()?;
        let _said = cursor.accept(&["NOT", "ENFORCED"]);
        return set_primary_key(relation, columns, position);
    }
    column(cursor, relation)
}

fn refused_constraint(cursor: &Cursor<'_>) -> Option<PlanError> {
    let (what, hint) = if cursor.is_at(&["FOREIGN", "KEY"]) || cursor.is_at(&["REFERENCES"]) {
        ("foreign keys are", "Leave the constraint out; a join checks nothing less.")
    } else if cursor.is_at(&["CHECK"]) && *cursor.peek(1) == Token::LParen {
        ("CHECK constraints are", "Filter the rows in a view.")
    } else if cursor.is_at(&["UNIQUE"])
        && (*cursor.peek(1) == Token::LParen || !matches!(cursor.peek(1), Token::Word(_)))
    {
        ("UNIQUE constraints are", "Declare a PRIMARY KEY.")
    } else if cursor.is_at(&["EXCLUDE", "USING"]) {
        ("EXCLUDE constraints are", "Leave the constraint out.")
    } else if cursor.is_at(&["LIKE"]) {
        ("LIKE in a column list is", "Write the columns out.")
    } else {
        return None;
    };
    Some(PlanError::unsupported(format!("{what} not supported")).with_hint(hint))
}

fn watermark(cursor: &mut Cursor<'_>, relation: &mut CreateRelation) -> Result<()> {
    let position = cursor.position();
    cursor.expect(&["WATERMARK", "FOR"])?;
    let column = cursor.identifier()?;
    cursor.expect(&["AS"])?;
    let expression = cursor.expression()?;
    if relation.watermark.replace(Watermark { column, expression }).is_some() {
        let message = "a relation has at most one WATERMARK";
        return Err(PlanError::new(PlanErrorKind::InvalidDefinition, message).at(Some(position)));
    }
    Ok(())
}

fn set_primary_key(relation: &mut CreateRelation, columns: Vec<Identifier>, position: TextPosition) -> Result<()> {
    if relation.primary_key.is_empty() {
        relation.primary_key = columns;
        return Ok(());
    }
    let message = format!("multiple primary keys for table \"{}\" are not allowed", relation.name.name);
    Err(PlanError::new(PlanErrorKind::InvalidDefinition, message)
        .with_hint("Write PRIMARY KEY (a, b) for a key of several columns.")
        .at(Some(position)))
}

/// `name type options`, `name AS expression`.
fn column(cursor: &mut Cursor<'_>, relation: &mut CreateRelation) -> Result<()> {
    let name = cursor.identifier()?;
    let type_position = cursor.position();
    let data_type = if cursor.is_at(&["AS"]) { None } else { Some(cursor.data_type()?) };
    let mut column =
        Column { name, data_type, type_position, not_null: false, nullable: None, default: None, generated: None };
    loop {
        let position = cursor.position();
        if cursor.accept(&["PRIMARY", "KEY"]) {
            let _said = cursor.accept(&["NOT", "ENFORCED"]);
            set_primary_key(relation, vec![column.name.clone()], position)?;
        } else if !column_option(cursor, &mut column)? {
            break;
        }
    }
    relation.columns.push(column);
    Ok(())
}

fn column_option(cursor: &mut Cursor<'_>, column: &mut Column) -> Result<bool> {
    let position = cursor.position();
    if cursor.accept(&["NOT", "NULL"]) {
        column.not_null = true;
    } else if cursor.accept(&["DEFAULT"]) {
        column.default = Some(restricted_expression(cursor)?);
    } else if cursor.accept(&["GENERATED", "ALWAYS", "AS"]) {
        generated(cursor, column, position)?;
    } else if cursor.accept(&["AS"]) {
        column.generated = Some(cursor.expression()?);
        accept_storage(cursor);
    } else if cursor.accept(&["COMMENT"]) {
        cursor.accept_string().ok_or_else(|| cursor.expected("a string"))?;
    } else if let Some(error) = refused_constraint(cursor).or_else(|| refused_column_option(cursor)) {
        return Err(error.at(Some(position)));
    } else if cursor.accept(&["NULL"]) {
        column.nullable = Some(position);
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn generated(cursor: &mut Cursor<'_>, column: &mut Column, position: TextPosition) -> Result<()> {
    if cursor.is_at(&["IDENTITY"]) {
        return Err(PlanError::unsupported("identity columns are not supported").at(Some(position)));
    }
    cursor.expect_token(&Token::LParen)?;
    column.generated = Some(cursor.expression()?);
    cursor.expect_token(&Token::RParen)?;
    accept_storage(cursor);
    Ok(())
}

/// Both words are accepted and mean the same: the value is a function of the row.
fn accept_storage(cursor: &mut Cursor<'_>) {
    let _said = cursor.accept(&["STORED"]) || cursor.accept(&["VIRTUAL"]);
}

fn refused_column_option(cursor: &Cursor<'_>) -> Option<PlanError> {
    if cursor.is_at(&["COLLATE"]) {
        Some(PlanError::unsupported("collations are not supported").with_hint("Text is ordered by its bytes."))
    } else if cursor.is_at(&["GENERATED", "BY", "DEFAULT"]) {
        Some(PlanError::unsupported("identity columns are not supported"))
    } else if cursor.is_at(&["METADATA"]) {
        Some(
            PlanError::unsupported("METADATA columns are not supported")
                .with_hint("Write INCLUDE TIMESTAMP AS name (or KEY, PARTITION, OFFSET, HEADERS) behind the columns."),
        )
    } else if cursor.is_at(&["CONSTRAINT"]) {
        Some(PlanError::unsupported("named column constraints are not supported").with_hint("Leave the name out."))
    } else {
        None
    }
}

/// An expression in which a following NOT NULL is not an operator (`b_expr` of Postgres' grammar).
fn restricted_expression(cursor: &mut Cursor<'_>) -> Result<SqlExpression> {
    let (position, first) = (cursor.position(), cursor.mark());
    let expression = cursor.delegate(|parser| {
        let precedence =
            sqlparser::dialect::Dialect::prec_value(&sqlparser::dialect::PostgreSqlDialect {}, Precedence::Is);
        parser.parse_subexpr(precedence)
    })?;
    Ok(SqlExpression { expression, sql: cursor.source_since(first), position })
}
