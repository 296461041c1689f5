//! Statements that are SQL but not offered: each is refused by its name (SQLSTATE 0A000), not as a syntax error.

use crate::error::PlanError;

use super::cursor::Cursor;

/// First words, what they are called in the message, and what to do instead ("" when there is nothing).
const STATEMENTS: &[(&[&str], &str, &str)] = &[
    (&["LISTEN"], "LISTEN is", ""),
    (&["NOTIFY"], "NOTIFY is", ""),
    (&["LOCK"], "LOCK is", ""),
    (&["CLUSTER"], "CLUSTER is", "Rows are kept in no order of an index; ORDER BY gives one."),
    (&["MERGE"], "MERGE is", "Use INSERT ... ON CONFLICT DO UPDATE."),
    (&["CALL"], "procedures are", ""),
    (&["DO"], "anonymous code blocks are", ""),
    (&["CANCEL"], "CANCEL JOB is", "DROP the materialized view or sink."),
    (&["RESTORE"], "RESTORE is", ""),
    (&["SECURITY"], "SECURITY LABEL is", ""),
    (&["IMPORT"], "IMPORT FOREIGN SCHEMA is", ""),
    (&["LOAD"], "LOAD is", ""),
    (&["USE"], "USE is", "SET search_path TO the schema."),
];

/// What CREATE, DROP and ALTER can name but Millstream lacks.
const OBJECTS: &[(&[&str], &str, &str)] = &[
    (&["CONNECTION"], "connections are", "Write the options into the WITH clause."),
    (&["DATABASE"], "databases are", "Use schemas; a server has one database."),
    (&["TEMPORARY"], "temporary relations are", "Leave TEMPORARY out."),
    (&["TEMP"], "temporary relations are", "Leave TEMP out."),
    (&["GLOBAL"], "temporary relations are", ""),
    (&["LOCAL"], "temporary relations are", ""),
    (&["UNLOGGED"], "unlogged tables are", "Leave UNLOGGED out."),
    (&["RECURSIVE", "VIEW"], "recursive views are", ""),
    (&["OR", "REPLACE", "FUNCTION"], "user-defined functions are", ""),
    (&["FUNCTION"], "user-defined functions are", ""),
    (&["AGGREGATE"], "user-defined aggregates are", ""),
    (&["PROCEDURE"], "procedures are", ""),
    (&["OPERATOR"], "user-defined operators are", ""),
    (&["TYPE"], "user-defined types are", "Use STRUCT<...>."),
    (&["DOMAIN"], "domains are", ""),
    (&["SEQUENCE"], "sequences are", ""),
    (&["TRIGGER"], "triggers are", "A materialized view is kept current by itself."),
    (&["RULE"], "rules are", ""),
    (&["POLICY"], "row security policies are", ""),
    (&["EXTENSION"], "extensions are", ""),
    (&["FOREIGN"], "foreign tables are", "Use CREATE SOURCE."),
    (&["SERVER"], "foreign servers are", ""),
    (&["EXTERNAL"], "external tables are", "Use CREATE SOURCE with connector = 'file'."),
    (&["CATALOG"], "catalogs are", ""),
    (&["CHECKPOINT"], "named checkpoints are", "CHECKPOINT writes an unnamed one."),
    (&["SUBSCRIPTION"], "subscriptions are", ""),
    (&["PUBLICATION"], "publications are", ""),
    (&["COLLATION"], "collations are", ""),
    (&["CAST"], "user-defined casts are", ""),
    (&["TABLESPACE"], "tablespaces are", ""),
    (&["SYSTEM"], "ALTER SYSTEM is", "Start the server with the option."),
];

/// The refusal of a whole statement; `None` when its first word starts no SQL at all.
pub(super) fn statement(cursor: &Cursor<'_>) -> Option<PlanError> {
    refusal(STATEMENTS, cursor, |words| cursor.is_at(words))
}

/// The refusal of `CREATE` something.
pub(super) fn create(cursor: &Cursor<'_>) -> Option<PlanError> {
    object(cursor, "CREATE").filter(|_| !cursor.is_at(&["CREATE", "SCHEMA"]))
}

/// The refusal of `DROP` something.
pub(super) fn drop(cursor: &Cursor<'_>) -> Option<PlanError> {
    object(cursor, "DROP").filter(|_| !cursor.is_at(&["DROP", "SCHEMA"]))
}

/// The refusal of `ALTER` something; the cursor stands behind ALTER.
pub(super) fn alter(cursor: &Cursor<'_>) -> PlanError {
    refusal(OBJECTS, cursor, |words| cursor.is_at(words))
        .unwrap_or_else(|| cursor.expected("TABLE, SOURCE, VIEW, MATERIALIZED VIEW or SINK"))
}

fn object(cursor: &Cursor<'_>, verb: &str) -> Option<PlanError> {
    refusal(OBJECTS, cursor, |words| {
        let phrase: Vec<&str> = std::iter::once(verb).chain(words.iter().copied()).collect();
        cursor.is_at(&phrase)
    })
}

fn refusal(
    list: &[(&[&str], &str, &str)],
    cursor: &Cursor<'_>,
    matches: impl Fn(&[&str]) -> bool,
) -> Option<PlanError> {
    let (_, what, hint) = list.iter().find(|(words, _, _)| matches(words))?;
    let error = PlanError::unsupported(format!("{what} not supported")).at(Some(cursor.position()));
    Some(if hint.is_empty() { error } else { error.with_hint(*hint) })
}
