//! The statements as they are written: names folded, nothing resolved.
//!
//! Queries and DML are sqlparser's trees; everything else is ours, because `Dialect::parse_statement` can only
//! give back sqlparser's closed enum.

use sqlparser::ast::{DataType, Delete, Expr, Insert, Query, Update, With};

use crate::access::{AccessStatement, ObjectClass, Privileges, RoleSpec};
use crate::copy::CopyOptions;
use crate::cursor::Declare;
use crate::error::TextPosition;
use crate::secret::SecretText;
use crate::statement::{Command, ExplainFormat, ExplainMode, ObjectKind, StatementText};

/// A parsed statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// A text without a statement.
    Empty,
    /// `SELECT`, `VALUES`, `TABLE`, `WITH ...`.
    Query(Box<Query>),
    /// `INSERT`.
    Insert(Box<Insert>),
    /// `UPDATE`.
    Update(Option<With>, Box<Update>),
    /// `DELETE`.
    Delete(Option<With>, Box<Delete>),
    /// `COPY`.
    Copy(Box<Copy>),
    /// `SUBSCRIBE`.
    Subscribe(Box<Subscribe>),
    /// `TRUNCATE`.
    Truncate {
        /// The tables.
        names: Vec<Name>,
    },
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// Its name.
        name: Identifier,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
    },
    /// `CREATE TABLE` or `CREATE SOURCE`.
    CreateRelation(Box<CreateRelation>),
    /// `CREATE VIEW` or `CREATE MATERIALIZED VIEW`.
    CreateView(Box<CreateView>),
    /// `CREATE SINK`.
    CreateSink(Box<CreateSink>),
    /// `DROP` of relations.
    Drop {
        /// Their kind.
        object: ObjectKind,
        /// What goes.
        names: Vec<Name>,
        /// `IF EXISTS`.
        if_exists: bool,
        /// `CASCADE`.
        cascade: bool,
    },
    /// `DROP SCHEMA`.
    DropSchema {
        /// Their names.
        names: Vec<Identifier>,
        /// `IF EXISTS`.
        if_exists: bool,
        /// `CASCADE`.
        cascade: bool,
    },
    /// `CREATE INDEX`, `DROP INDEX` and `ALTER INDEX`.
    Index(IndexStatement),
    /// `ALTER ... RENAME TO`, `ALTER ... SWAP WITH`, `ALTER ... SET SCHEMA`.
    Rename {
        /// The kind that was said.
        object: ObjectKind,
        /// `IF EXISTS`.
        if_exists: bool,
        /// What is renamed.
        name: Name,
        /// What it is called from here on.
        to: NewName,
    },
    /// `ALTER SCHEMA ... RENAME TO`.
    RenameSchema {
        /// Which one.
        name: Identifier,
        /// Its name from here on.
        new_name: Identifier,
    },
    /// `COMMENT ON`.
    Comment {
        /// What it is on.
        object: CommentObject,
        /// What it says; nothing takes it away.
        text: Option<String>,
    },
    /// `REFRESH MATERIALIZED VIEW`.
    Refresh {
        /// Which one.
        name: Name,
    },
    /// `VACUUM`, `ANALYZE` and `REINDEX`.
    Maintain(Maintenance),
    /// `EXPLAIN`.
    Explain {
        /// The mode.
        mode: ExplainMode,
        /// The form of its answer.
        format: ExplainFormat,
        /// What is explained; never an EXPLAIN again.
        statement: Box<Statement>,
    },
    /// `SHOW CREATE ...`.
    ShowCreate {
        /// The kind that was said.
        object: ObjectKind,
        /// What is shown.
        name: Name,
    },
    /// `DESCRIBE relation`, `SHOW COLUMNS FROM relation`.
    Describe {
        /// What is described.
        name: Name,
    },
    /// `ADVANCE CLOCK BY interval`.
    AdvanceClock {
        /// By how much.
        by: SqlExpression,
    },
    /// `ADVANCE WATERMARK FOR relation TO timestamp`.
    AdvanceWatermark {
        /// Whose.
        name: Name,
        /// To when.
        to: SqlExpression,
    },
    /// `PREPARE name AS statement`.
    Prepare {
        /// Its name.
        name: String,
        /// The types of its first parameters, as far as they were said.
        parameter_types: Vec<DataType>,
        /// What stands behind AS.
        text: StatementText,
    },
    /// `DECLARE name CURSOR FOR query`.
    Declare(Box<Declare>),
    /// `GRANT` and `REVOKE` of privileges.
    Grant(Box<Grant>),
    /// `ALTER ... OWNER TO`.
    OwnerTo {
        /// The kind that was said.
        object: ObjectKind,
        /// `IF EXISTS`.
        if_exists: bool,
        /// What; a schema has no schema.
        name: Name,
        /// Whose it is from now on.
        owner: RoleSpec,
    },
    /// `CREATE SECRET`, `ALTER SECRET`, `DROP SECRET`.
    Secret(SecretStatement),
    /// Roles, and what names nothing but roles.
    Access(AccessStatement),
    /// What needs no plan.
    Command(Command),
}

impl From<AccessStatement> for Statement {
    fn from(statement: AccessStatement) -> Self {
        Self::Access(statement)
    }
}

impl From<Command> for Statement {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

/// One identifier, folded unless it was quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// As stored.
    pub value: String,
    /// Where it stands.
    pub position: TextPosition,
}

/// A name of a relation, with or without its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The schema, if it was said.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// Where it stands.
    pub position: TextPosition,
}

/// What is to be kept in order.
#[derive(Clone, Debug)]
pub enum Maintenance {
    /// `VACUUM`.
    Vacuum {
        /// Which relations; none: all.
        names: Vec<VacuumName>,
    },
    /// `ANALYZE`.
    Analyze {
        /// Which relations; none: all.
        names: Vec<VacuumName>,
    },
    /// `REINDEX`.
    Reindex {
        /// What.
        name: ReindexName,
        /// `CONCURRENTLY`.
        concurrently: bool,
    },
}

/// A relation of `VACUUM` or `ANALYZE`.
#[derive(Clone, Debug)]
pub struct VacuumName {
    /// The relation.
    pub name: Name,
    /// The columns that were named.
    pub columns: Vec<Identifier>,
}

/// What `REINDEX` names.
#[derive(Clone, Debug)]
pub enum ReindexName {
    /// An index.
    Index(Name),
    /// A table or a materialized view.
    Table(Name),
    /// All of a schema.
    Schema(Identifier),
    /// All of a database.
    Database(Identifier),
    /// The catalog of a database.
    System(Identifier),
}

/// What a comment is on.
#[derive(Clone, Debug)]
pub enum CommentObject {
    /// A schema.
    Schema(Identifier),
    /// A relation of the kind that was said.
    Relation(ObjectKind, Name),
    /// A column of a relation.
    Column(Name, Identifier),
    /// An index.
    Index(Name),
    /// A constraint of a relation.
    Constraint(Identifier, Name),
    /// A secret.
    Secret(Name),
    /// A role.
    Role(Identifier),
    /// A database.
    Database(Identifier),
}

/// An expression with its own text.
#[derive(Clone, Debug)]
pub struct SqlExpression {
    /// The tree.
    pub expression: Expr,
    /// As the user wrote it.
    pub sql: String,
    /// Where it starts.
    pub position: TextPosition,
}

/// A query with its own text.
#[derive(Clone, Debug)]
pub struct SqlQuery {
    /// The tree.
    pub query: Box<Query>,
    /// As the user wrote it.
    pub sql: String,
    /// Where it starts.
    pub position: TextPosition,
}

/// Which of the two relations with declared columns is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationClass {
    /// `CREATE TABLE`
    Table,
    /// `CREATE SOURCE`
    Source,
}

/// `CREATE TABLE` and `CREATE SOURCE`.
#[derive(Clone, Debug)]
pub struct CreateRelation {
    /// Which of the two.
    pub class: RelationClass,
    /// Its name.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// The columns, generated ones among them; empty when there was no list.
    pub columns: Vec<Column>,
    /// `PRIMARY KEY (...)` or the columns marked so; empty when there is none.
    pub primary_key: Vec<Identifier>,
    /// `WATERMARK FOR`.
    pub watermark: Option<Watermark>,
    /// `APPEND ONLY`.
    pub append_only: bool,
    /// `ON CONFLICT`; `None` when nothing was said.
    pub on_conflict: Option<crate::statement::OnConflict>,
    /// `INCLUDE ...`.
    pub includes: Vec<Include>,
    /// `WITH (...)`.
    pub options: Vec<WithOption>,
    /// `FORMAT ... ENCODE ...`.
    pub format: Option<Format>,
}

/// A declared column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: Identifier,
    /// Its type; only `name AS expression` may leave it out.
    pub data_type: Option<DataType>,
    /// Where the type stands, or the name when there is none.
    pub type_position: TextPosition,
    /// `NOT NULL`.
    pub not_null: bool,
    /// `NULL`, which is the default: where it stands.
    pub nullable: Option<TextPosition>,
    /// `DEFAULT`.
    pub default: Option<SqlExpression>,
    /// `GENERATED ALWAYS AS (...)`, `AS ...`.
    pub generated: Option<SqlExpression>,
}

/// `WATERMARK FOR column AS expression`.
#[derive(Clone, Debug)]
pub struct Watermark {
    /// The event time column.
    pub column: Identifier,
    /// The watermark that a row implies.
    pub expression: SqlExpression,
}

/// What INCLUDE can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// The record's key.
    Key,
    /// Its partition.
    Partition,
    /// Its offset.
    Offset,
    /// Its timestamp.
    Timestamp,
    /// Its headers.
    Headers,
}

/// `INCLUDE metadata [AS name]`.
#[derive(Clone, Debug)]
pub struct Include {
    /// Which.
    pub metadata: Metadata,
    /// The column's name; by default the metadata's own, lower case.
    pub name: Identifier,
}

/// One option of a WITH or ENCODE clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithOption {
    /// Lower case, dots included.
    pub name: String,
    /// What is given.
    pub value: OptionValue,
    /// Where the name stands.
    pub position: TextPosition,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// It, as text.
    Text(String),
    /// `SECRET name`: the secret's value.
    Secret(Name),
}

/// `FORMAT format ENCODE encode (options)`.
#[derive(Clone, Debug)]
pub struct Format {
    /// Upper case.
    pub format: String,
    /// Upper case.
    pub encode: String,
    /// Its options.
    pub options: Vec<WithOption>,
    /// Where FORMAT stands.
    pub position: TextPosition,
}

/// What EMIT said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// When rows are shown.
    pub on: millstream_runtime::plan::EmitOn,
    /// Where EMIT stands.
    pub position: TextPosition,
}

/// `COPY`.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What is copied.
    pub target: CopyTarget,
    /// FROM, not TO.
    pub from: bool,
    /// The form of the rows, checked.
    pub options: CopyOptions,
}

/// What is copied.
#[derive(Clone, Debug)]
pub enum CopyTarget {
    /// A relation, or some columns of it; empty when none were listed.
    Relation {
        /// Its name.
        name: Name,
        /// The columns.
        columns: Vec<Identifier>,
    },
    /// What stands in parentheses.
    Statement(StatementText),
}

/// `CREATE VIEW` and `CREATE MATERIALIZED VIEW`.
#[derive(Clone, Debug)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// `MATERIALIZED`.
    pub materialized: bool,
    /// `OR REPLACE`.
    pub or_replace: bool,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Names for its columns; empty when there was no list.
    pub columns: Vec<Identifier>,
    /// `WITH (...)`.
    pub options: Vec<WithOption>,
    /// The query.
    pub query: SqlQuery,
    /// `EMIT ...`.
    pub emit: Option<Emit>,
}

/// What a sink takes its rows from.
#[derive(Clone, Debug)]
pub enum SinkInput {
    /// `FROM relation`.
    Relation(Name),
    /// `AS query`.
    Query(SqlQuery),
}

/// `CREATE SINK`.
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// Its name.
    pub name: Name,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// Its rows.
    pub input: SinkInput,
    /// `EMIT ...`.
    pub emit: Option<Emit>,
    /// `WITH (...)`.
    pub options: Vec<WithOption>,
    /// `FORMAT ... ENCODE ...`.
    pub format: Option<Format>,
}

/// `GRANT` and `REVOKE` of privileges.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Which.
    pub privileges: Privileges,
    /// On what.
    pub target: GrantTarget,
    /// To or from whom.
    pub grantees: Vec<RoleSpec>,
    /// `WITH GRANT OPTION`, `GRANT OPTION FOR`.
    pub option: bool,
    /// For REVOKE: whether CASCADE was said.
    pub revoke: Option<bool>,
}

/// What privileges are granted on.
#[derive(Clone, Debug)]
pub enum GrantTarget {
    /// Relations, of the kind that was said; `None` for TABLE, which may be any.
    Relations(Option<ObjectKind>, Vec<Name>),
    /// `ALL TABLES IN SCHEMA`.
    AllInSchemas(Vec<Identifier>),
    /// `SCHEMA`.
    Schemas(Vec<Identifier>),
    /// `DATABASE`.
    Databases(Vec<Identifier>),
    /// `SECRET`.
    Secrets(Vec<Name>),
}

impl GrantTarget {
    /// Its class.
    pub fn class(&self) -> ObjectClass {
        match self {
            Self::Relations(..) | Self::AllInSchemas(_) => ObjectClass::Relation,
            Self::Schemas(_) => ObjectClass::Schema,
            Self::Databases(_) => ObjectClass::Database,
            Self::Secrets(_) => ObjectClass::Secret,
        }
    }

    /// As messages call it.
    pub fn noun(&self) -> &'static str {
        match self.class() {
            ObjectClass::Relation => "relation",
            ObjectClass::Schema => "schema",
            ObjectClass::Database => "database",
            ObjectClass::Secret => "secret",
        }
    }
}

/// A statement about secrets.
#[derive(Clone, Debug)]
pub enum SecretStatement {
    /// `CREATE SECRET`.
    Create {
        /// Its name.
        name: Name,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// Its value.
        value: SecretText,
    },
    /// `ALTER SECRET`.
    Alter {
        /// Which one.
        name: Name,
        /// `IF EXISTS`.
        if_exists: bool,
        /// Its value from here on.
        value: SecretText,
    },
    /// `DROP SECRET`.
    Drop {
        /// Which ones.
        names: Vec<Name>,
        /// `IF EXISTS`.
        if_exists: bool,
        /// What uses them goes, too.
        cascade: bool,
    },
}

/// A statement about indexes.
#[derive(Clone, Debug)]
pub enum IndexStatement {
    /// `CREATE INDEX`.
    Create {
        /// Its name, if one is given.
        name: Option<Identifier>,
        /// `IF NOT EXISTS`.
        if_not_exists: bool,
        /// `UNIQUE`.
        unique: bool,
        /// What it stands on.
        relation: Name,
        /// Its columns.
        columns: Vec<IndexItem>,
    },
    /// `DROP INDEX`.
    Drop {
        /// Which ones.
        names: Vec<Name>,
        /// `IF EXISTS`.
        if_exists: bool,
    },
    /// `ALTER INDEX ... RENAME TO`.
    Rename {
        /// Which one.
        name: Name,
        /// `IF EXISTS`.
        if_exists: bool,
        /// Its new name within its schema.
        new_name: Identifier,
    },
}

/// What a relation is called from here on, as it was said.
#[derive(Clone, Debug)]
pub enum NewName {
    /// `RENAME TO`: a name within its schema.
    Name(Identifier),
    /// `SWAP WITH`: another relation, and that one gets its name.
    Swap(Name),
    /// `SET SCHEMA`: the same name there.
    Schema(Identifier),
}

/// A column of an index.
#[derive(Clone, Debug)]
pub struct IndexItem {
    /// Which one.
    pub column: Identifier,
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST`, also where DESC means it.
    pub nulls_first: bool,
}

/// `SUBSCRIBE`.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// What is followed.
    pub target: SubscribeTarget,
    /// `WITH (SNAPSHOT = ...)`.
    pub snapshot: Option<bool>,
    /// `WITH (PROGRESS = ...)`.
    pub progress: Option<bool>,
    /// `AS OF epoch`, as it is written.
    pub as_of: Option<(String, TextPosition)>,
    /// `ENVELOPE ...`.
    pub envelope: Option<SubscribeEnvelope>,
}

/// What a SUBSCRIBE follows.
#[derive(Clone, Debug)]
pub enum SubscribeTarget {
    /// A relation.
    Relation(Name),
    /// A query in parentheses.
    Query {
        /// The query.
        query: Box<Query>,
        /// Where it begins.
        position: TextPosition,
    },
}

/// `ENVELOPE {UPSERT | DEBEZIUM} [(KEY (columns))]`.
#[derive(Clone, Debug)]
pub struct SubscribeEnvelope {
    /// `DEBEZIUM`.
    pub debezium: bool,
    /// The columns of `KEY`; empty when they were not said.
    pub key: Vec<Identifier>,
    /// Where it stands.
    pub position: TextPosition,
}
