//! What the planner makes of a statement: everything that the server needs to run it, and no SQL to look
//! into again.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use millstream_runtime::graph::{Part, Series};
use millstream_runtime::plan::{Dataflow, InputRelation, RelationId};
use millstream_runtime::source::ConnectorSpec;
use serde::{Deserialize, Serialize};

use crate::access::{AccessStatement, Privileges, RoleOid};
use crate::batch::LookUp;
use crate::catalog::{Auxiliary, IndexColumn, QualifiedName, ViewDefinition};
use crate::copy::Copy;
use crate::cursor::{Declare, Fetch};
use crate::error::TextPosition;
use crate::meant::MeantNames;
use crate::secret::{SecretChange, SecretUses};
use crate::subscribe::Subscribe;
use crate::values::Shown;

/// A planned statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// Its name.
        name: String,
        /// Says nothing when it is there already.
        if_not_exists: bool,
    },
    /// `CREATE TABLE`; with a connector, rows are ingested once and kept.
    CreateTable(Box<CreateTable>),
    /// `CREATE SOURCE`.
    CreateSource(Box<CreateSource>),
    /// `CREATE VIEW`.
    CreateView(Box<CreateView>),
    /// `CREATE MATERIALIZED VIEW`.
    CreateMaterializedView(Box<CreateMaterializedView>),
    /// `CREATE SINK`, and `INSERT INTO sink_table SELECT` in Flink's spelling.
    CreateSink(Box<CreateSink>),
    /// `DROP ...` of one or several relations.
    Drop(Drop),
    /// `DROP SCHEMA`.
    DropSchema {
        /// Their names.
        names: Vec<String>,
        /// Says nothing when one is not there.
        if_exists: bool,
        /// Takes the relations inside with it.
        cascade: bool,
    },
    /// `COMMENT ON`.
    Comment {
        /// What it is on.
        target: CommentTarget,
        /// The database that it names, where it is on that: only the server knows what it is called.
        database: Option<String>,
        /// What it says; nothing takes it away.
        text: Option<String>,
    },
    /// `REFRESH MATERIALIZED VIEW`: waits until the view shows what was there.
    Refresh {
        /// Which one.
        relation: RelationId,
    },
    /// `ALTER ... RENAME TO`, `ALTER ... SWAP WITH`, `ALTER ... SET SCHEMA`.
    Rename {
        /// What is renamed; `None`: it is not there and `IF EXISTS` was said.
        relation: Option<RelationId>,
        /// What it is called from here on.
        to: NewName,
        /// For the command tag: `TABLE`, `MATERIALIZED VIEW`, ...
        object: ObjectKind,
    },
    /// `ALTER SCHEMA ... RENAME TO`.
    RenameSchema {
        /// Its name.
        name: String,
        /// Its name from here on.
        new_name: String,
    },
    /// `CREATE INDEX`, `DROP INDEX` and `ALTER INDEX`.
    Index(Box<IndexChange>),
    /// `INSERT`.
    Insert(Box<Insert>),
    /// `UPDATE`.
    Update(Box<Update>),
    /// `DELETE`.
    Delete(Box<Delete>),
    /// `TRUNCATE`.
    Truncate {
        /// The tables to empty.
        relations: Vec<RelationId>,
    },
    /// `COPY`.
    Copy(Box<Copy>),
    /// `SELECT`, `VALUES`, `TABLE`.
    Query(Box<Query>),
    /// `SUBSCRIBE`.
    Subscribe(Box<Subscribe>),
    /// `EXPLAIN`.
    Explain(Box<Explain>),
    /// `SHOW CREATE ...`.
    ShowCreate {
        /// What is shown.
        relation: RelationId,
    },
    /// `DESCRIBE relation`.
    Describe {
        /// What is described.
        relation: RelationId,
    },
    /// `ADVANCE CLOCK BY` (microseconds), for tests with `millstream.clock = 'manual'`.
    AdvanceClock {
        /// By how much.
        micros: i64,
    },
    /// `ADVANCE WATERMARK FOR relation TO timestamp`.
    AdvanceWatermark {
        /// A table.
        relation: RelationId,
        /// The watermark.
        micros: i64,
    },
    /// `VACUUM`, `ANALYZE` and `REINDEX`.
    Maintain(Maintain),
    /// SQL-level `PREPARE name AS statement`.
    Prepare {
        /// Its name.
        name: String,
        /// The types of its first parameters, as far as they were said.
        parameter_types: Vec<DataType>,
        /// What stands behind AS.
        text: StatementText,
    },
    /// `DECLARE name CURSOR FOR query`; the query is planned beside it.
    Declare(Box<Declare>),
    /// `CREATE SECRET`, `ALTER SECRET`, `DROP SECRET`.
    Secret(Box<SecretChange>),
    /// Roles, owners, privileges.
    Access(Box<AccessStatement>),
    /// What needs no plan.
    Command(Command),
    /// A statement without text.
    Empty,
}

/// What is to be kept in order: there is nothing to do for any of it, but what is named must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maintain {
    /// `VACUUM`.
    Vacuum {
        /// Which relations; nothing: all of them.
        targets: Vec<MaintainTarget>,
    },
    /// `ANALYZE`.
    Analyze {
        /// Which relations; nothing: all of them.
        targets: Vec<MaintainTarget>,
    },
    /// `REINDEX`.
    Reindex {
        /// What.
        target: ReindexTarget,
        /// `CONCURRENTLY`.
        concurrently: bool,
    },
}

/// A relation of `VACUUM` or `ANALYZE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintainTarget {
    /// One that this catalog knows.
    Relation(RelationId),
    /// One that may be Postgres' own: the server knows those.
    OfPostgres {
        /// As it was written.
        schema: Option<String>,
        /// Its name.
        name: String,
        /// Where it stands.
        position: TextPosition,
    },
}

/// What `REINDEX` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReindexTarget {
    /// An index of a relation.
    Index {
        /// Its name.
        name: String,
        /// What it stands on.
        relation: RelationId,
    },
    /// A table or a materialized view.
    Table {
        /// Which one.
        relation: RelationId,
        /// Whether it has a key or an index.
        has_indexes: bool,
    },
    /// All of a schema.
    Schema {
        /// Its name.
        name: String,
    },
    /// All of a database, or its catalog: only the server knows what it is called.
    Database {
        /// Its name.
        name: String,
        /// Where it stands.
        position: TextPosition,
        /// `SYSTEM`.
        is_system: bool,
    },
}

/// What a relation is called from here on. Whoever reads it goes on to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewName {
    /// Another name within its schema.
    Name(String),
    /// The name of another relation, which gets its own.
    Swap(RelationId),
    /// The same name in another schema.
    Schema(String),
}

/// A statement in which no name of the catalog stands: what the parser has read is the whole of it.
#[derive(Clone, Debug)]
pub enum Command {
    /// `SHOW name` of a setting, lower case; `SHOW ALL` is `all`.
    ShowSetting {
        /// The setting's name.
        name: String,
    },
    /// `SHOW TABLES | SOURCES | VIEWS | MATERIALIZED VIEWS | SINKS | SCHEMAS | SECRETS | JOBS`.
    ShowObjects(ShowObjects),
    /// `SET name = value`; `None` is DEFAULT.
    Set {
        /// The setting's name, lower case.
        name: String,
        /// The value.
        value: Option<String>,
        /// `SET LOCAL`.
        local: bool,
    },
    /// `RESET name`.
    Reset {
        /// The setting's name, lower case; `all` for `RESET ALL`.
        name: String,
    },
    /// `SET TRANSACTION modes`, `SET SESSION CHARACTERISTICS AS TRANSACTION modes`.
    SetModes {
        /// For the transactions to come.
        session: bool,
        /// Isolation, as the setting's value.
        isolation: Option<&'static str>,
        /// READ ONLY or READ WRITE.
        read_only: Option<bool>,
    },
    /// `SET CONSTRAINTS ALL`.
    SetConstraints,
    /// `BEGIN`, `START TRANSACTION`.
    Begin {
        /// Which of the two: the tag of the answer.
        verb: &'static str,
        /// Isolation that was said, as the setting's value.
        isolation: Option<&'static str>,
        /// READ ONLY or READ WRITE was said.
        read_only: Option<bool>,
    },
    /// `COMMIT`, `END`.
    Commit {
        /// The next transaction begins at once.
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`.
    Rollback {
        /// The next transaction begins at once.
        chain: bool,
    },
    /// `SAVEPOINT`.
    Savepoint {
        /// Its name; a newer one of the same name hides an older one.
        name: String,
    },
    /// `RELEASE SAVEPOINT`.
    Release {
        /// Its name.
        savepoint: String,
    },
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo {
        /// Its name.
        savepoint: String,
    },
    /// `FLUSH`.
    Flush,
    /// `CHECKPOINT`.
    Checkpoint,
    /// `DISCARD ALL`, `DEALLOCATE ALL | name`.
    Discard(Discard),
    /// `FETCH` and `MOVE`.
    Fetch(Fetch),
    /// `CLOSE`.
    Close {
        /// The cursor; `None` for ALL.
        name: Option<String>,
    },
    /// `UNLISTEN`: nobody can listen, so nothing is left to do.
    Unlisten,
    /// SQL-level `EXECUTE name (values)`.
    Execute {
        /// Its name.
        name: String,
        /// The arguments.
        arguments: Vec<StatementText>,
    },
}

/// Kinds of objects, for command tags and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// `TABLE`
    Table,
    /// `SOURCE`
    Source,
    /// `VIEW`
    View,
    /// `MATERIALIZED VIEW`
    MaterializedView,
    /// `SINK`
    Sink,
    /// `SCHEMA`
    Schema,
    /// `SECRET`
    Secret,
}

impl ObjectKind {
    /// As it stands in SQL and in command tags.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::Source => "SOURCE",
            Self::View => "VIEW",
            Self::MaterializedView => "MATERIALIZED VIEW",
            Self::Sink => "SINK",
            Self::Schema => "SCHEMA",
            Self::Secret => "SECRET",
        }
    }
}

/// `CREATE TABLE`. Relation ids inside are [`NEW_RELATION`]; the server puts the real one in.
#[derive(Clone, Debug)]
pub struct CreateTable {
    /// Its name.
    pub name: QualifiedName,
    /// Says nothing when it is there already.
    pub if_not_exists: bool,
    /// How rows enter.
    pub input: InputRelation,
    /// One default per column, as SQL text.
    pub defaults: Vec<Option<String>>,
    /// What the declared types of the columns say beyond Arrow's.
    pub shown: Vec<Shown>,
    /// What the generated columns, which are the last ones, are computed from, as SQL text.
    pub generated_sql: Vec<String>,
    /// What an INSERT does with a key that is there already.
    pub on_conflict: OnConflict,
    /// Declared APPEND ONLY.
    pub append_only: bool,
    /// With a connector.
    pub connector: Option<ConnectorSpec>,
    /// The connector's options that secrets give.
    pub secrets: SecretUses,
}

/// The id that stands in a planned CREATE for the relation that is being made, and in a plan of RETURNING for the rows
/// that the statement changes.
pub const NEW_RELATION: RelationId = RelationId(u32::MAX);

/// `CREATE SOURCE`.
#[derive(Clone, Debug)]
pub struct CreateSource {
    /// Its name.
    pub name: QualifiedName,
    /// Says nothing when it is there already.
    pub if_not_exists: bool,
    /// How rows enter.
    pub input: InputRelation,
    /// What the declared types of the columns say beyond Arrow's.
    pub shown: Vec<Shown>,
    /// What the generated columns, which are the last ones, are computed from, as SQL text.
    pub generated_sql: Vec<String>,
    /// What the connector is told.
    pub connector: ConnectorSpec,
    /// The connector's options that secrets give.
    pub secrets: SecretUses,
}

/// `CREATE VIEW`.
#[derive(Clone, Debug)]
pub struct CreateView {
    /// Its name.
    pub name: QualifiedName,
    /// `OR REPLACE`.
    pub or_replace: bool,
    /// Says nothing when it is there already.
    pub if_not_exists: bool,
    /// The text of the query.
    pub query: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// What else is known of their types.
    pub shown: Vec<Shown>,
    /// What it reads.
    pub depends_on: Vec<RelationId>,
    /// What the names in its query mean.
    pub names: MeantNames,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
}

/// `CREATE MATERIALIZED VIEW`.
#[derive(Clone, Debug)]
pub struct CreateMaterializedView {
    /// Its name.
    pub name: QualifiedName,
    /// Says nothing when it is there already.
    pub if_not_exists: bool,
    /// Its columns.
    pub schema: SchemaRef,
    /// What else is known of their types.
    pub shown: Vec<Shown>,
    /// The dataflow; its leaves are tables, sources and materialized views.
    pub dataflow: Dataflow,
    /// What is known beside the query.
    pub definition: ViewDefinition,
    /// What it reads, plain views included.
    pub depends_on: Vec<RelationId>,
    /// Options of WITH, names lower case.
    pub options: BTreeMap<String, String>,
    /// What the names in its query mean.
    pub names: MeantNames,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
}

/// `CREATE SINK`.
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// Its name.
    pub name: QualifiedName,
    /// Whether the statement says so; another one finds a name that is free.
    pub is_named: bool,
    /// Says nothing when it is there already.
    pub if_not_exists: bool,
    /// The rows that leave.
    pub dataflow: Dataflow,
    /// What the connector is told.
    pub connector: ConnectorSpec,
    /// The connector's options that secrets give.
    pub secrets: SecretUses,
    /// What it reads.
    pub depends_on: Vec<RelationId>,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
}

/// `DROP` of relations, resolved: dependents are in the list already if CASCADE was said.
#[derive(Clone, Debug)]
pub struct Drop {
    /// For the command tag.
    pub object: ObjectKind,
    /// What goes, dependents before what they read.
    pub relations: Vec<RelationId>,
    /// Those of them that the statement names.
    pub named: Vec<RelationId>,
    /// Notices: what was not there, what CASCADE takes along.
    pub notices: Vec<String>,
}

/// What happens to indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChange {
    /// One is made.
    Create {
        /// What it stands on.
        relation: RelationId,
        /// Its name, in the relation's schema.
        name: String,
        /// Its columns.
        columns: Vec<IndexColumn>,
        /// Whether it was said to be unique; it holds the relation's key then.
        unique: bool,
    },
    /// It is there already, or not there, and that is no error.
    Exists {
        /// What is the case.
        notice: String,
    },
    /// Some are dropped.
    Drop {
        /// Their OIDs.
        oids: Vec<u32>,
        /// What was not there.
        notices: Vec<String>,
    },
    /// One gets another name.
    Rename {
        /// Its OID.
        oid: u32,
        /// Its name from here on.
        new_name: String,
    },
}

/// What to do with a key that is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Error 23505.
    #[default]
    Error,
    /// The old row stays.
    DoNothing,
    /// The new row takes its place: all columns, or those assigned in an `INSERT ... ON CONFLICT DO UPDATE`.
    DoUpdate,
}

/// `INSERT`.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The table.
    pub relation: RelationId,
    /// Gives rows with all physical columns of the table, in order, defaults put in, types as stored.
    pub rows: LogicalPlan,
    /// What to do with a key that is there already.
    pub on_conflict: OnConflict,
    /// For `DO UPDATE SET`: one expression per table column over (old columns, then new columns), applied by
    /// the server through [`crate::bind`]; `None` replaces the whole row.
    pub conflict_assignments: Option<Vec<datafusion::logical_expr::Expr>>,
    /// RETURNING: a projection over the table's schema.
    pub returning: Option<Vec<datafusion::logical_expr::Expr>>,
    /// RETURNING as a plan over the rows, scanned as [`NEW_RELATION`]: where it asks subqueries.
    pub returning_rows: Option<LogicalPlan>,
    /// Parameters by number, as far as their types are known.
    pub parameters: Vec<Option<DataType>>,
    /// The parameters, by their numbers, that are `varchar`, which their Arrow type does not tell.
    pub varchars: Vec<usize>,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
}

/// `UPDATE`.
#[derive(Clone, Debug)]
pub struct Update {
    /// The table.
    pub relation: RelationId,
    /// Gives the old row (all columns), then the new physical columns: twice the table's width without
    /// generated columns on the new side.
    pub rows: LogicalPlan,
    /// RETURNING over the new row.
    pub returning: Option<Vec<datafusion::logical_expr::Expr>>,
    /// The same as a plan; see [`Insert::returning_rows`].
    pub returning_rows: Option<LogicalPlan>,
    /// Parameters by number.
    pub parameters: Vec<Option<DataType>>,
    /// The parameters, by their numbers, that are `varchar`, which their Arrow type does not tell.
    pub varchars: Vec<usize>,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
}

/// `DELETE`.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The table.
    pub relation: RelationId,
    /// Gives the rows that go, all columns.
    pub rows: LogicalPlan,
    /// RETURNING over the old row.
    pub returning: Option<Vec<datafusion::logical_expr::Expr>>,
    /// The same as a plan; see [`Insert::returning_rows`].
    pub returning_rows: Option<LogicalPlan>,
    /// Parameters by number.
    pub parameters: Vec<Option<DataType>>,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
}

/// `SELECT`.
#[derive(Clone, Debug)]
pub struct Query {
    /// The analyzed plan; its table scans carry [`crate::bind::RelationTable`] as sources.
    pub plan: LogicalPlan,
    /// The columns that the client sees: names may repeat.
    pub schema: SchemaRef,
    /// What it reads, views put in.
    pub reads: Vec<Read>,
    /// Parameters by number.
    pub parameters: Vec<Option<DataType>>,
    /// The parameters, by their numbers, that are `varchar`, which their Arrow type does not tell.
    pub varchars: Vec<usize>,
    /// It calls `set_config`: what it sets holds when it has run to its end.
    pub changes_settings: bool,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
    /// It again, for an index to find its rows; nothing where it has another shape.
    pub look_up: Option<Arc<LookUp>>,
}

/// A relation that a query reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// The relation, or the owner of the auxiliary one.
    pub relation: RelationId,
    /// Set for `$rejected`, `$late`, `$refused`.
    pub auxiliary: Option<Auxiliary>,
}

impl Read {
    /// What a graph keeps of it.
    pub fn series(self) -> Series {
        let part = match self.auxiliary {
            None => Part::Rows,
            Some(Auxiliary::Rejected | Auxiliary::Refused) => Part::Rejected,
            Some(Auxiliary::Late) => Part::Late,
        };
        Series { relation: self.relation, part }
    }
}

/// A relation that a statement names, and what the one who runs it must be allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The relation, or the owner of the auxiliary one.
    pub relation: RelationId,
    /// The plain view whose text names it: its owner is asked. `None`: whoever runs the statement.
    pub through: Option<RelationId>,
    /// What is needed.
    pub privileges: Privileges,
}

/// `EXPLAIN`.
#[derive(Clone, Debug)]
pub struct Explain {
    /// What is explained.
    pub statement: Statement,
    /// The mode.
    pub mode: ExplainMode,
    /// The form of its answer.
    pub format: ExplainFormat,
}

/// The form in which EXPLAIN answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainFormat {
    /// A line per operator.
    Text,
    /// One value: an array of one object, `Plan`, with the operators below it in `Plans`.
    Json,
}

/// What EXPLAIN shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainMode {
    /// The plan.
    Plan,
    /// The plan with types and fingerprints.
    Verbose,
    /// Runs it and shows times (queries), or the counters of a running view's operators.
    Analyze,
    /// What bounds the state of every operator.
    State,
}

/// What SHOW lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowObjects {
    /// Tables.
    Tables,
    /// Sources.
    Sources,
    /// Views.
    Views,
    /// Materialized views.
    MaterializedViews,
    /// Sinks.
    Sinks,
    /// Schemas.
    Schemas,
    /// Secrets: their names.
    Secrets,
    /// Jobs.
    Jobs,
}

/// What DISCARD or DEALLOCATE forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Everything of the session.
    All,
    /// All prepared statements.
    Prepared,
    /// One prepared statement.
    One(String),
}

/// What a comment is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CommentTarget {
    /// A schema.
    Schema {
        /// Its name.
        name: String,
    },
    /// A relation.
    Relation {
        /// Which one.
        relation: RelationId,
    },
    /// A column.
    Column {
        /// Of which relation.
        relation: RelationId,
        /// Its place in the relation, from 0.
        column: usize,
    },
    /// The index of a relation's primary key.
    PrimaryKey {
        /// Of which relation.
        relation: RelationId,
    },
    /// The constraint that a relation's primary key is.
    Constraint {
        /// Of which relation.
        relation: RelationId,
    },
    /// Another index.
    Index {
        /// Its OID.
        oid: u32,
        /// What it stands on.
        relation: RelationId,
    },
    /// A secret.
    Secret {
        /// Its OID.
        oid: u32,
    },
    /// A role.
    Role {
        /// Which one.
        role: RoleOid,
    },
    /// The database.
    Database,
}

impl CommentTarget {
    /// The relation with which it goes away.
    pub fn relation(&self) -> Option<RelationId> {
        match self {
            Self::Schema { .. } | Self::Secret { .. } | Self::Role { .. } | Self::Database => None,
            Self::Relation { relation }
            | Self::Column { relation, .. }
            | Self::PrimaryKey { relation }
            | Self::Constraint { relation }
            | Self::Index { relation, .. } => Some(*relation),
        }
    }
}

/// A statement's text within what a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementText {
    /// The text, without the semicolon.
    pub sql: String,
    /// Where it starts in what the client sent.
    pub start: TextPosition,
}
