//! The catalog as a statement sees it: immutable, cheap to share, made anew by every DDL.
//!
//! The server keeps the durable one and builds these from its log. Nothing here knows how a relation runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
pub use millstream_runtime::graph::{rejected_record_schema, rejected_row_schema};
use millstream_runtime::plan::{Changes, EventTimeColumn, InputRelation, RelationId};
use millstream_runtime::source::ConnectorSpec;
use serde::{Deserialize, Serialize};

use crate::access::{AclItem, BOOTSTRAP, DefaultPrivileges, ObjectAccess, PUBLIC, Privileges, Roles};
use crate::meant::MeantNames;
use crate::secret::{Secret, SecretUses};
use crate::settings::PlanSettings;
use crate::statement::{OnConflict, Read};
use crate::values::Shown;

/// A schema-qualified name, both parts as stored (folded unless quoted).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The schema.
    pub schema: String,
    /// The name within the schema.
    pub name: String,
}

/// One relation.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its number, never used again.
    pub id: RelationId,
    /// Its OID as clients see it, kept over restarts.
    pub oid: u32,
    /// Its name.
    pub name: QualifiedName,
    /// The columns that a query sees.
    pub schema: SchemaRef,
    /// What their declared types say beyond Arrow's; columns behind the last one say nothing.
    pub shown: Vec<Shown>,
    /// What the generated columns, which are the last ones, are computed from, as SQL text.
    pub generated_sql: Vec<String>,
    /// What it is.
    pub kind: RelationKind,
    /// The relations that it reads.
    pub depends_on: Vec<RelationId>,
    /// What the names in its query mean: views.
    pub names: MeantNames,
    /// The statement that made it, as the user wrote it.
    pub sql: String,
    /// The settings under which `sql` was planned.
    pub settings: PlanSettings,
    /// Whose it is, and who else may read or change it.
    pub access: ObjectAccess,
}

/// An index of a table or a materialized view, other than that of its key.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its OID, kept over restarts.
    pub oid: u32,
    /// Its name; the schema is the relation's.
    pub name: QualifiedName,
    /// What it stands on.
    pub relation: RelationId,
    /// Its columns, in order.
    pub columns: Vec<IndexColumn>,
    /// Whether it was said to be unique.
    pub unique: bool,
}

/// A column of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumn {
    /// Its place in the relation.
    pub column: usize,
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST`, also where DESC means it.
    pub nulls_first: bool,
}

/// The kinds of relations.
#[derive(Clone, Debug)]
pub enum RelationKind {
    /// Rows by DML, kept; or ingested by a connector and kept.
    Table(TableDefinition),
    /// Rows from outside, not kept.
    Source(SourceDefinition),
    /// A name for a query, put in where it is used.
    View {
        /// The text of the query.
        query: String,
    },
    /// A query whose answer is kept current.
    MaterializedView(ViewDefinition),
    /// Rows that leave.
    Sink(SinkDefinition),
    /// A relation of schema `millstream`, `pg_catalog` or `information_schema`: answered by the server, can be
    /// queried but not watched.
    System,
}

/// A table.
#[derive(Clone, Debug)]
pub struct TableDefinition {
    /// How rows enter the dataflow. Its primary key columns are enforced.
    pub input: InputRelation,
    /// One default per column of the schema, as SQL text.
    pub defaults: Vec<Option<String>>,
    /// What an INSERT does with a key that is there already, unless it says so itself.
    pub on_conflict: OnConflict,
    /// Declared APPEND ONLY: UPDATE and DELETE are refused.
    pub append_only: bool,
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourceDefinition {
    /// How rows enter the dataflow.
    pub input: InputRelation,
    /// What the connector is told.
    pub connector: ConnectorSpec,
}

/// What is known of a materialized view beside its query.
#[derive(Clone, Debug)]
pub struct ViewDefinition {
    /// Whether rows may be taken back.
    pub changes: Changes,
    /// The column through which a watermark goes on to the views behind it.
    pub event_time: Option<EventTimeColumn>,
    /// Columns that are unique, by construction of the query; empty when not known.
    pub key: Vec<usize>,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkDefinition {
    /// What the connector is told.
    pub connector: ConnectorSpec,
}

/// The relations of rows that did not get through, each beside its owner under `owner$suffix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Auxiliary {
    /// `$rejected` beside a source, a table or a view.
    Rejected,
    /// `$late` beside a relation that declares a watermark.
    Late,
    /// `$refused` beside a sink.
    Refused,
}

impl Auxiliary {
    /// The part of the name after the owner's.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Rejected => "$rejected",
            Self::Late => "$late",
            Self::Refused => "$refused",
        }
    }
}

/// What a name in a query stands for.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A relation of its own.
    Relation(Arc<Relation>),
    /// Rows of `owner` that did not get through.
    Auxiliary {
        /// The relation beside which it stands.
        owner: Arc<Relation>,
        /// Which one.
        auxiliary: Auxiliary,
        /// Its columns.
        schema: SchemaRef,
    },
}

impl Resolved {
    /// What it is, by number.
    pub fn read(&self) -> Read {
        match self {
            Self::Relation(relation) => Read { relation: relation.id, auxiliary: None },
            Self::Auxiliary { owner, auxiliary, .. } => Read { relation: owner.id, auxiliary: Some(*auxiliary) },
        }
    }

    /// What it is called.
    pub fn name(&self) -> QualifiedName {
        match self {
            Self::Relation(relation) => relation.name.clone(),
            Self::Auxiliary { owner, auxiliary, .. } => QualifiedName {
                schema: owner.name.schema.clone(),
                name: format!("{}{}", owner.name.name, auxiliary.suffix()),
            },
        }
    }
}

/// All relations at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    schemas: BTreeMap<String, u32>,
    schema_access: BTreeMap<String, ObjectAccess>,
    relations: BTreeMap<RelationId, Arc<Relation>>,
    names: BTreeMap<QualifiedName, RelationId>,
    roles: Roles,
    database_access: ObjectAccess,
    default_privileges: DefaultPrivileges,
    indexes: BTreeMap<u32, Arc<Index>>,
    secrets: BTreeMap<u32, Arc<Secret>>,
    /// The relations whose connectors secrets give options to.
    secret_uses: BTreeMap<RelationId, SecretUses>,
}

impl Catalog {
    /// The schemas with their OIDs.
    pub fn schemas(&self) -> &BTreeMap<String, u32> {
        &self.schemas
    }

    /// Adds a schema.
    pub fn add_schema(&mut self, name: String, oid: u32) {
        self.schemas.insert(name, oid);
    }

    /// Takes a schema out.
    pub fn remove_schema(&mut self, name: &str) {
        self.schemas.remove(name);
        self.schema_access.remove(name);
        self.default_privileges.remove_schema(name);
    }

    /// The roles.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The roles, for a change.
    pub fn roles_mut(&mut self) -> &mut Roles {
        &mut self.roles
    }

    /// Whose a schema is, and who may use it. Until somebody says otherwise the one of a schema that everybody may
    /// use (`public`, the server's own) lets everybody name what is in it.
    pub fn schema_access(&self, name: &str) -> ObjectAccess {
        if let Some(access) = self.schema_access.get(name) {
            return access.clone();
        }
        let everybody = AclItem::new(PUBLIC, BOOTSTRAP, Privileges::USAGE, Privileges::NONE);
        let own = AclItem::new(BOOTSTRAP, BOOTSTRAP, Privileges::USAGE.with(Privileges::CREATE), Privileges::NONE);
        let shared = ["public", "millstream", "pg_catalog", "information_schema"].contains(&name);
        ObjectAccess { owner: BOOTSTRAP, acl: shared.then(|| vec![own, everybody]) }
    }

    /// Sets whose a schema is, and who may use it.
    pub fn set_schema_access(&mut self, name: String, access: ObjectAccess) {
        self.schema_access.insert(name, access);
    }

    /// The schemas of which more is known than their names, for a snapshot.
    pub fn schemas_with_access(&self) -> &BTreeMap<String, ObjectAccess> {
        &self.schema_access
    }

    /// What is granted on what roles will make.
    pub fn default_privileges(&self) -> &DefaultPrivileges {
        &self.default_privileges
    }

    /// The same, for a change.
    pub fn default_privileges_mut(&mut self) -> &mut DefaultPrivileges {
        &mut self.default_privileges
    }

    /// Who may connect and make schemas.
    pub fn database_access(&self) -> &ObjectAccess {
        &self.database_access
    }

    /// Sets who may connect and make schemas.
    pub fn set_database_access(&mut self, access: ObjectAccess) {
        self.database_access = access;
    }

    /// Gives a schema another name, and with it everything that is in it.
    pub fn rename_schema(&mut self, old: &str, new: &str) {
        if let Some(oid) = self.schemas.remove(old) {
            self.schemas.insert(new.to_string(), oid);
        }
        if let Some(access) = self.schema_access.remove(old) {
            self.schema_access.insert(new.to_string(), access);
        }
        self.default_privileges.rename_schema(old, new);
        let renamed = |name: &QualifiedName| QualifiedName { schema: new.to_string(), name: name.name.clone() };
        for relation in self.relations.values_mut().filter(|relation| relation.name.schema == old) {
            self.names.remove(&relation.name);
            let name = renamed(&relation.name);
            self.names.insert(name.clone(), relation.id);
            Arc::make_mut(relation).name = name;
        }
        for index in self.indexes.values_mut().filter(|index| index.name.schema == old) {
            let name = renamed(&index.name);
            Arc::make_mut(index).name = name;
        }
        for secret in self.secrets.values_mut().filter(|secret| secret.name.schema == old) {
            let name = renamed(&secret.name);
            Arc::make_mut(secret).name = name;
        }
    }

    /// Gives a relation another name, maybe in another schema: its indexes go along.
    pub fn rename(&mut self, id: RelationId, name: QualifiedName) {
        let Some(old) = self.relations.get(&id) else { return };
        for index in self.indexes.values_mut().filter(|index| index.relation == id) {
            if index.name.schema != name.schema {
                Arc::make_mut(index).name.schema.clone_from(&name.schema);
            }
        }
        self.put(Relation { name, ..Relation::clone(old) });
    }

    /// Gives two relations each other's name.
    pub fn swap(&mut self, first: RelationId, second: RelationId) {
        let (Some(one), Some(other)) = (self.remove_name(first), self.remove_name(second)) else { return };
        self.put(Relation { name: other.name.clone(), ..Relation::clone(&one) });
        self.put(Relation { name: one.name.clone(), ..Relation::clone(&other) });
    }

    /// Takes a relation out to be put in again under another name.
    fn remove_name(&mut self, id: RelationId) -> Option<Arc<Relation>> {
        let relation = self.relations.remove(&id)?;
        self.names.remove(&relation.name);
        Some(relation)
    }

    /// Adds a relation, or puts one with the same id in its place (a rename).
    pub fn put(&mut self, relation: Relation) {
        if let Some(old) = self.relations.remove(&relation.id) {
            self.names.remove(&old.name);
        }
        self.names.insert(relation.name.clone(), relation.id);
        self.relations.insert(relation.id, Arc::new(relation));
    }

    /// Takes a relation out.
    pub fn remove(&mut self, id: RelationId) {
        if let Some(old) = self.relations.remove(&id) {
            self.names.remove(&old.name);
        }
        self.indexes.retain(|_, index| index.relation != id);
        self.secret_uses.remove(&id);
    }

    /// Adds a secret, or puts one with the same OID in its place (another owner, other grants).
    pub fn put_secret(&mut self, secret: Secret) {
        self.secrets.insert(secret.oid, Arc::new(secret));
    }

    /// Takes a secret out.
    pub fn remove_secret(&mut self, oid: u32) {
        self.secrets.remove(&oid);
    }

    /// A secret by OID.
    pub fn secret(&self, oid: u32) -> Option<&Arc<Secret>> {
        self.secrets.get(&oid)
    }

    /// A secret by name.
    pub fn find_secret(&self, name: &QualifiedName) -> Option<&Arc<Secret>> {
        self.secrets.values().find(|secret| secret.name == *name)
    }

    /// All secrets by OID.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.secrets.values()
    }

    /// Says which options of a relation's connector secrets give.
    pub fn set_secret_uses(&mut self, relation: RelationId, uses: SecretUses) {
        if uses.is_empty() {
            self.secret_uses.remove(&relation);
        } else {
            self.secret_uses.insert(relation, uses);
        }
    }

    /// The options of a relation's connector that secrets give.
    pub fn secret_uses(&self, relation: RelationId) -> Option<&SecretUses> {
        self.secret_uses.get(&relation)
    }

    /// The relations that connect with a secret, by number.
    pub fn users_of_secret(&self, oid: u32) -> impl Iterator<Item = RelationId> {
        let using = self.secret_uses.iter().filter(move |(_, uses)| uses.values().any(|used| *used == oid));
        using.map(|(relation, _)| *relation)
    }

    /// Adds an index, or puts one with the same OID in its place (a rename).
    pub fn put_index(&mut self, index: Index) {
        self.indexes.insert(index.oid, Arc::new(index));
    }

    /// Takes an index out.
    pub fn remove_index(&mut self, oid: u32) {
        self.indexes.remove(&oid);
    }

    /// An index by OID.
    pub fn index(&self, oid: u32) -> Option<&Arc<Index>> {
        self.indexes.get(&oid)
    }

    /// An index by name.
    pub fn find_index(&self, name: &QualifiedName) -> Option<&Arc<Index>> {
        self.indexes.values().find(|index| index.name == *name)
    }

    /// All indexes by OID, but for those of keys.
    pub fn indexes(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values()
    }

    /// The indexes of a relation by OID, but for that of its key.
    pub fn indexes_of(&self, relation: RelationId) -> impl Iterator<Item = &Arc<Index>> {
        self.indexes.values().filter(move |index| index.relation == relation)
    }

    /// A relation by number.
    pub fn get(&self, id: RelationId) -> Option<&Arc<Relation>> {
        self.relations.get(&id)
    }

    /// A relation by name.
    pub fn find(&self, name: &QualifiedName) -> Option<&Arc<Relation>> {
        self.names.get(name).and_then(|id| self.relations.get(id))
    }

    /// All relations by number.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// The relations that read `id` directly, by number.
    pub fn dependents(&self, id: RelationId) -> Vec<Arc<Relation>> {
        self.relations.values().filter(|relation| relation.depends_on.contains(&id)).cloned().collect()
    }

    /// A relation by number, or one of those beside it.
    pub fn resolve_read(&self, read: Read) -> Option<Resolved> {
        let owner = Arc::clone(self.get(read.relation)?);
        match read.auxiliary {
            None => Some(Resolved::Relation(owner)),
            Some(auxiliary) => {
                let schema = owner.auxiliary_schema(auxiliary)?;
                Some(Resolved::Auxiliary { owner, auxiliary, schema })
            }
        }
    }

    /// What `name` stands for, auxiliary relations included.
    pub fn resolve(&self, name: &QualifiedName) -> Option<Resolved> {
        if let Some(relation) = self.find(name) {
            return Some(Resolved::Relation(Arc::clone(relation)));
        }
        [Auxiliary::Rejected, Auxiliary::Late, Auxiliary::Refused].into_iter().find_map(|auxiliary| {
            let owner_name = name.name.strip_suffix(auxiliary.suffix())?;
            let owner = self.find(&QualifiedName { schema: name.schema.clone(), name: owner_name.to_string() })?;
            let schema = owner.auxiliary_schema(auxiliary)?;
            Some(Resolved::Auxiliary { owner: Arc::clone(owner), auxiliary, schema })
        })
    }
}

impl Relation {
    /// The columns that tell the rows apart that it keeps: empty where none are known to, `None` where it keeps none.
    pub fn key(&self) -> Option<&[usize]> {
        match &self.kind {
            RelationKind::Table(table) => Some(&table.input.primary_key),
            RelationKind::MaterializedView(view) => Some(&view.key),
            RelationKind::Source(_) | RelationKind::View { .. } | RelationKind::Sink(_) | RelationKind::System => None,
        }
    }

    /// What the declared type of a column says beyond Arrow's.
    pub fn shown(&self, column: usize) -> Shown {
        self.shown.get(column).copied().unwrap_or_default()
    }

    /// The columns of an auxiliary relation of this one; `None` where this kind has none.
    pub fn auxiliary_schema(&self, auxiliary: Auxiliary) -> Option<SchemaRef> {
        match (&self.kind, auxiliary) {
            (RelationKind::Source(_) | RelationKind::Table(_), Auxiliary::Rejected) => Some(rejected_record_schema()),
            (RelationKind::Source(SourceDefinition { input, .. }), Auxiliary::Late)
            | (RelationKind::Table(TableDefinition { input, .. }), Auxiliary::Late) => {
                input.watermark.as_ref().map(|_| Arc::clone(&self.schema))
            }
            (RelationKind::MaterializedView(_), Auxiliary::Rejected) | (RelationKind::Sink(_), Auxiliary::Refused) => {
                Some(rejected_row_schema())
            }
            _ => None,
        }
    }
}
