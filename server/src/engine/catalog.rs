//! The durable catalog: the planner's view of it, and what the engine knows of each relation beside.
//!
//! Immutable and swapped as a whole; made by applying the statements of the log in order, at a start and
//! while running alike. A statement that makes a relation is planned by the caller; the plan comes in.

mod names;

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_planner::access::ObjectAccess;
use millstream_planner::catalog::{
    Catalog, Index, QualifiedName, Relation, RelationKind, SinkDefinition, SourceDefinition, TableDefinition,
};
use millstream_planner::meant::MeantNames;
use millstream_planner::secret::{Secret, SecretUses};
use millstream_planner::statement::{CommentTarget, NEW_RELATION, Statement};
use millstream_planner::values::Shown;
use millstream_runtime::graph::GraphId;
use millstream_runtime::plan::{Dataflow, InputRelation, RelationId};
use millstream_runtime::source::{ConnectorSpec, Split};
use millstream_runtime::storage::DdlRelation;
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, Result};

use super::access::{self, AccessChange};
use super::record::{Ddl, Detail, Placement, StoredCatalog};
use super::secrets::connect::SealedSecrets;
use super::secrets::keys::Sealed;
use super::system;

/// The first OID and relation number of a user's objects, as in Postgres.
pub const FIRST_OID: u32 = 16_384;

/// What the engine knows of a relation beside the planner's view.
#[derive(Debug)]
pub struct Deployed {
    /// The outside world behind a source, or behind a table that was declared with a connector: such a table
    /// is read like a source and keeps no rows.
    pub connector: Option<ConnectorSpec>,
    /// What it computes: materialized views and sinks.
    pub dataflow: Option<Dataflow>,
    /// Where its rows come from at first: sources.
    pub splits: Vec<Split>,
    /// Microseconds between the checkpoints of a graph made with it.
    pub checkpoint_interval_micros: Option<i64>,
}

/// The place of a statement that is not in the log yet. No entry has this number.
const UNLOGGED: LogPosition = LogPosition(u64::MAX);

/// A statement and its place in the log.
#[derive(Clone, Debug)]
struct Logged {
    position: LogPosition,
    ddl: Arc<Ddl>,
}

impl Logged {
    /// Of two relations that got each other's name one is dropped: the other one keeps it.
    fn forget_half(&mut self, gone: &[RelationId]) {
        let Detail::Swap { relations: [one, other], names: [new_one, new_other] } = &self.ddl.detail else { return };
        let (relation, new_name) = match (gone.contains(one), gone.contains(other)) {
            (true, false) => (*other, new_other.clone()),
            (false, true) => (*one, new_one.clone()),
            (true, true) | (false, false) => return,
        };
        self.ddl = Arc::new(Ddl { detail: Detail::Rename { relation, new_name }, ..Ddl::clone(&self.ddl) });
    }
}

/// All relations at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DurableCatalog {
    /// As statements see it, system relations included.
    pub view: Arc<Catalog>,
    deployed: BTreeMap<RelationId, Arc<Deployed>>,
    graphs: BTreeMap<RelationId, GraphId>,
    statements: Vec<Logged>,
    sealed: SealedSecrets,
    next_relation: u32,
    next_oid: u32,
}

impl Default for DurableCatalog {
    /// A catalog with nothing of a user's: schema `public` and the system relations.
    fn default() -> Self {
        let mut view = Catalog::default();
        system::register(&mut view);
        Self {
            view: Arc::new(view),
            deployed: BTreeMap::new(),
            graphs: BTreeMap::new(),
            statements: Vec::new(),
            sealed: SealedSecrets::default(),
            next_relation: 1,
            next_oid: FIRST_OID,
        }
    }
}

impl DurableCatalog {
    /// The number and OID that the next relation gets.
    pub fn next_relation(&self) -> DdlRelation {
        DdlRelation { id: RelationId(self.next_relation), oid: self.next_oid }
    }

    /// The OID that the next schema gets.
    pub fn next_oid(&self) -> u32 {
        self.next_oid
    }

    /// What the engine knows of a relation; `None` for plain views and system relations.
    pub fn deployed(&self, id: RelationId) -> Option<&Arc<Deployed>> {
        self.deployed.get(&id)
    }

    /// A table that keeps rows and is changed by DML; `None` for everything else.
    pub fn kept_table<'a>(&self, relation: &'a Relation) -> Option<&'a TableDefinition> {
        let RelationKind::Table(definition) = &relation.kind else { return None };
        self.connector(relation.id).is_none().then_some(definition)
    }

    /// A relation that is read from outside: its input and its connector.
    pub fn source<'a>(&'a self, relation: &'a Relation) -> Option<(&'a InputRelation, &'a ConnectorSpec)> {
        let input = match &relation.kind {
            RelationKind::Table(definition) => &definition.input,
            RelationKind::Source(definition) => &definition.input,
            RelationKind::View { .. }
            | RelationKind::MaterializedView(_)
            | RelationKind::Sink(_)
            | RelationKind::System => return None,
        };
        self.connector(relation.id).map(|connector| (input, connector))
    }

    fn connector(&self, id: RelationId) -> Option<&ConnectorSpec> {
        self.deployed.get(&id).and_then(|deployed| deployed.connector.as_ref())
    }

    /// The graph that a relation runs in.
    pub fn graph_of(&self, id: RelationId) -> Option<GraphId> {
        self.graphs.get(&id).copied()
    }

    /// A graph became part of another one, for good: the statements that made its relations are kept with the
    /// graph that they run in now, because the view that joined the two may be dropped.
    pub fn join(&mut self, graph: GraphId, other: GraphId) {
        self.graphs.values_mut().filter(|of| **of == other).for_each(|of| *of = graph);
        for logged in &mut self.statements {
            let Detail::CreateRelation(placement) = &logged.ddl.detail else { continue };
            if placement.graph == Some(other) {
                let placement = Placement { graph: Some(graph), ..placement.clone() };
                let ddl = Ddl { detail: Detail::CreateRelation(placement), ..Ddl::clone(&logged.ddl) };
                logged.ddl = Arc::new(ddl);
            }
        }
    }

    /// The relations of a graph, in the order in which they were made.
    pub fn members(&self, graph: GraphId) -> Vec<Arc<Relation>> {
        let ids = self.graphs.iter().filter(|(_, of)| **of == graph).map(|(id, _)| *id);
        ids.filter_map(|id| self.view.get(id).cloned()).collect()
    }

    /// As a snapshot holds it.
    pub fn to_stored(&self) -> StoredCatalog {
        StoredCatalog {
            next_relation: self.next_relation,
            next_oid: self.next_oid,
            statements: self.statements.iter().map(|logged| (logged.position, logged.ddl.to_record())).collect(),
            access: access::stored(&self.view),
        }
    }

    /// Numbers below these were given out before, to relations that are gone.
    pub fn reserve(&mut self, next_relation: u32, next_oid: u32) {
        self.next_relation = self.next_relation.max(next_relation);
        self.next_oid = self.next_oid.max(next_oid);
    }

    /// The place in the log behind which all rows of a relation are: the entry of the statement that made it, or
    /// the one before, where a transaction brought rows along.
    pub fn rows_from(&self, id: RelationId) -> LogPosition {
        let made = self.statements.iter().find(|logged| logged.ddl.relation.is_some_and(|made| made.id == id));
        let Some(Logged { position, ddl }) = made else { return LogPosition::default() };
        match &ddl.detail {
            Detail::CreateRelation(Placement { rows_follow: true, .. }) => LogPosition(position.0.saturating_sub(1)),
            _ => *position,
        }
    }

    /// The relations that run or are read from outside, in the order in which they were made.
    pub fn running(&self) -> impl DoubleEndedIterator<Item = RelationId> {
        self.deployed.keys().copied()
    }

    /// Notes where in the log the statements stand that were applied last, once that is known.
    pub fn logged_at(&mut self, position: LogPosition) {
        let unlogged = self.statements.iter_mut().filter(|logged| logged.position == UNLOGGED);
        unlogged.for_each(|logged| logged.position = position);
    }

    /// The catalog after a statement. `statement` is its plan where it makes a relation.
    pub fn applied(&self, ddl: &Arc<Ddl>, statement: Option<&Statement>) -> Result<Self> {
        let mut next = self.clone();
        let mut view = Catalog::clone(&self.view);
        match &ddl.detail {
            Detail::CreateSchema { name, oid, owner } => {
                view.add_schema(name.clone(), *oid);
                view.set_schema_access(name.clone(), ObjectAccess::owned_by(*owner));
                next.next_oid = next.next_oid.max(oid + 1);
                next.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
            }
            Detail::CreateRelation(placement) => {
                let numbers = ddl.relation.ok_or_else(|| Error::data("a CREATE in the log names no relation"))?;
                let statement = statement.ok_or_else(|| Error::internal("a CREATE is applied without its plan"))?;
                next.create(&mut view, ddl, numbers, placement, statement)?;
                next.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
            }
            Detail::Drop { relations } => next.forget(&mut view, relations),
            Detail::DropSchemas { names, relations } => {
                next.forget(&mut view, relations);
                next.drop_schemas(&mut view, ddl, names);
            }
            Detail::RenameSchema { oid, new_name } => next.rename_schema(&mut view, ddl, *oid, new_name)?,
            Detail::Comment { target, text } => next.comment(ddl, target, text.as_deref()),
            Detail::Rename { .. } | Detail::Swap { .. } | Detail::SetSchema { .. } => next.rename(&mut view, ddl)?,
            Detail::CreateSecret { oid, schema, name, owner, value } => {
                let name = QualifiedName { schema: schema.clone(), name: name.clone() };
                view.put_secret(Secret { oid: *oid, name, access: ObjectAccess::owned_by(*owner) });
                Arc::make_mut(&mut next.sealed).insert(*oid, value.clone());
                next.next_oid = next.next_oid.max(oid + 1);
                next.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
            }
            Detail::AlterSecret { oid, value } => next.alter_secret(*oid, value)?,
            Detail::DropSecrets { oids } => {
                oids.iter().for_each(|oid| view.remove_secret(*oid));
                Arc::make_mut(&mut next.sealed).retain(|oid, _| !oids.contains(oid));
                next.statements.retain(|logged| match &logged.ddl.detail {
                    Detail::CreateSecret { oid, .. }
                    | Detail::Comment { target: CommentTarget::Secret { oid }, .. } => !oids.contains(oid),
                    _ => true,
                });
            }
            // A snapshot holds what they lead to: they are kept nowhere else.
            Detail::Access { changes } => next.change_access(&mut view, changes)?,
            Detail::CreateIndex { oid, relation, name, columns, unique } => {
                let on = view.get(*relation).ok_or_else(|| Error::data("an index in the log names no relation"))?;
                let name = QualifiedName { schema: on.name.schema.clone(), name: name.clone() };
                let (relation, columns, unique) = (*relation, columns.clone(), *unique);
                view.put_index(Index { oid: *oid, name, relation, columns, unique });
                next.next_oid = next.next_oid.max(oid + 1);
                next.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
            }
            Detail::DropIndexes { oids } => {
                oids.iter().for_each(|oid| view.remove_index(*oid));
                next.statements.retain(|logged| match &logged.ddl.detail {
                    Detail::CreateIndex { oid, .. }
                    | Detail::RenameIndex { oid, .. }
                    | Detail::Comment { target: CommentTarget::Index { oid, .. }, .. } => !oids.contains(oid),
                    _ => true,
                });
            }
            Detail::RenameIndex { oid, new_name } => {
                let old = view.index(*oid).ok_or_else(|| Error::data("a RENAME in the log names no index"))?;
                let mut renamed = Index::clone(old);
                renamed.name.name.clone_from(new_name);
                view.put_index(renamed);
                next.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
            }
        }
        next.view = Arc::new(view);
        Ok(next)
    }

    /// Roles, owners and privileges as a snapshot holds them.
    pub fn with_access(&self, changes: &[AccessChange]) -> Result<Self> {
        let (mut next, mut view) = (self.clone(), Catalog::clone(&self.view));
        next.change_access(&mut view, changes)?;
        next.view = Arc::new(view);
        Ok(next)
    }

    fn change_access(&mut self, view: &mut Catalog, changes: &[AccessChange]) -> Result<()> {
        for change in changes {
            change.apply(view)?;
            if let AccessChange::DropRole(gone) = change {
                self.statements.retain(|logged| match &logged.ddl.detail {
                    Detail::Comment { target: CommentTarget::Role { role }, .. } => role != gone,
                    _ => true,
                });
            }
            self.next_oid = self.next_oid.max(change.oid().map_or(0, |oid| oid + 1));
        }
        Ok(())
    }

    fn create(
        &mut self,
        view: &mut Catalog,
        ddl: &Ddl,
        numbers: DdlRelation,
        placement: &Placement,
        statement: &Statement,
    ) -> Result<()> {
        let mut made = made_relation(statement, numbers.id)?;
        if let Some(name) = &placement.name {
            made.name.name.clone_from(name);
        }
        if let Some(graph) = placement.graph {
            self.graphs.insert(numbers.id, graph);
            placement.joins.iter().for_each(|other| self.join(graph, *other));
            let deployed = Deployed {
                connector: made.connector,
                dataflow: made.dataflow,
                splits: placement.splits.clone(),
                checkpoint_interval_micros: placement.checkpoint_interval_micros,
            };
            self.deployed.insert(numbers.id, Arc::new(deployed));
        }
        view.put(Relation {
            id: numbers.id,
            oid: numbers.oid,
            name: made.name,
            schema: made.schema,
            shown: made.shown,
            generated_sql: made.generated_sql,
            kind: made.kind,
            depends_on: made.depends_on,
            names: made.names,
            sql: ddl.sql.clone(),
            settings: ddl.settings.clone(),
            access: ObjectAccess::owned_by(placement.owner),
        });
        view.set_secret_uses(numbers.id, made.secrets);
        self.next_relation = self.next_relation.max(numbers.id.0 + 1);
        self.next_oid = self.next_oid.max(numbers.oid + 1);
        Ok(())
    }

    /// The statement that made a secret is kept with the value that it has now.
    fn alter_secret(&mut self, changed: u32, new: &Sealed) -> Result<()> {
        let mut statements = self.statements.iter_mut();
        let made =
            statements.find(|logged| matches!(&logged.ddl.detail, Detail::CreateSecret { oid, .. } if *oid == changed));
        let made = made.ok_or_else(|| Error::data("an ALTER in the log names no secret"))?;
        let mut ddl = Ddl::clone(&made.ddl);
        if let Detail::CreateSecret { value, .. } = &mut ddl.detail {
            value.clone_from(new);
        }
        made.ddl = Arc::new(ddl);
        Arc::make_mut(&mut self.sealed).insert(changed, new.clone());
        Ok(())
    }

    /// The encrypted values of the secrets.
    pub fn sealed(&self) -> &SealedSecrets {
        &self.sealed
    }

    /// Says something of an object, in place of what was said before.
    fn comment(&mut self, ddl: &Arc<Ddl>, on: &CommentTarget, text: Option<&str>) {
        self.statements.retain(|logged| match &logged.ddl.detail {
            Detail::Comment { target, .. } => target != on,
            _ => true,
        });
        if text.is_some() {
            self.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
        }
    }

    /// What was said of objects by COMMENT ON.
    pub fn comments(&self) -> impl Iterator<Item = (&CommentTarget, &str)> {
        self.statements.iter().filter_map(|logged| match &logged.ddl.detail {
            Detail::Comment { target, text: Some(text) } => Some((target, text.as_str())),
            _ => None,
        })
    }

    /// Takes relations out, and the statements that made or renamed them: whatever read them is gone before.
    fn forget(&mut self, view: &mut Catalog, relations: &[RelationId]) {
        let indexes: Vec<u32> =
            relations.iter().flat_map(|id| view.indexes_of(*id).map(|index| index.oid).collect::<Vec<_>>()).collect();
        for id in relations {
            view.remove(*id);
            self.deployed.remove(id);
            self.graphs.remove(id);
        }
        self.statements.iter_mut().for_each(|logged| logged.forget_half(relations));
        self.statements.retain(|logged| match &logged.ddl.detail {
            Detail::CreateRelation(_) => logged.ddl.relation.is_none_or(|made| !relations.contains(&made.id)),
            Detail::Rename { relation, .. } | Detail::SetSchema { relation, .. } => !relations.contains(relation),
            Detail::Swap { relations: two, .. } => !two.iter().all(|relation| relations.contains(relation)),
            Detail::Comment { target, .. } => target.relation().is_none_or(|id| !relations.contains(&id)),
            Detail::CreateIndex { oid, .. } | Detail::RenameIndex { oid, .. } => !indexes.contains(oid),
            Detail::CreateSchema { .. }
            | Detail::RenameSchema { .. }
            | Detail::Drop { .. }
            | Detail::DropSchemas { .. }
            | Detail::DropIndexes { .. }
            | Detail::CreateSecret { .. }
            | Detail::AlterSecret { .. }
            | Detail::DropSecrets { .. }
            | Detail::Access { .. } => true,
        });
        self.forget_schemas(view);
    }
}

/// A relation as its statement describes it.
struct Made {
    name: QualifiedName,
    schema: arrow::datatypes::SchemaRef,
    shown: Vec<Shown>,
    generated_sql: Vec<String>,
    kind: RelationKind,
    depends_on: Vec<RelationId>,
    names: MeantNames,
    dataflow: Option<Dataflow>,
    connector: Option<ConnectorSpec>,
    secrets: SecretUses,
}

fn made_relation(statement: &Statement, id: RelationId) -> Result<Made> {
    let made = match statement {
        Statement::CreateTable(create) => {
            let input = numbered(&create.input, id);
            Made {
                name: create.name.clone(),
                schema: Arc::clone(&input.schema),
                shown: create.shown.clone(),
                generated_sql: create.generated_sql.clone(),
                kind: RelationKind::Table(TableDefinition {
                    input,
                    defaults: create.defaults.clone(),
                    on_conflict: create.on_conflict.clone(),
                    append_only: create.append_only,
                }),
                depends_on: Vec::new(),
                names: MeantNames::default(),
                dataflow: None,
                connector: create.connector.clone(),
                secrets: create.secrets.clone(),
            }
        }
        Statement::CreateSource(create) => {
            let input = numbered(&create.input, id);
            Made {
                name: create.name.clone(),
                schema: Arc::clone(&input.schema),
                shown: create.shown.clone(),
                generated_sql: create.generated_sql.clone(),
                kind: RelationKind::Source(SourceDefinition { input, connector: create.connector.clone() }),
                depends_on: Vec::new(),
                names: MeantNames::default(),
                dataflow: None,
                connector: Some(create.connector.clone()),
                secrets: create.secrets.clone(),
            }
        }
        Statement::CreateView(create) => Made {
            name: create.name.clone(),
            schema: Arc::clone(&create.schema),
            shown: create.shown.clone(),
            generated_sql: Vec::new(),
            kind: RelationKind::View { query: create.query.clone() },
            depends_on: create.depends_on.clone(),
            names: create.names.clone(),
            dataflow: None,
            connector: None,
            secrets: SecretUses::new(),
        },
        Statement::CreateMaterializedView(create) => Made {
            name: create.name.clone(),
            schema: Arc::clone(&create.schema),
            shown: create.shown.clone(),
            generated_sql: Vec::new(),
            kind: RelationKind::MaterializedView(create.definition.clone()),
            depends_on: create.depends_on.clone(),
            names: create.names.clone(),
            dataflow: Some(create.dataflow.clone()),
            connector: None,
            secrets: SecretUses::new(),
        },
        Statement::CreateSink(create) => Made {
            name: create.name.clone(),
            schema: Arc::clone(&create.dataflow.root().schema),
            shown: Vec::new(),
            generated_sql: Vec::new(),
            kind: RelationKind::Sink(SinkDefinition { connector: create.connector.clone() }),
            depends_on: create.depends_on.clone(),
            names: MeantNames::default(),
            dataflow: Some(create.dataflow.clone()),
            connector: None,
            secrets: create.secrets.clone(),
        },
        _ => return Err(Error::data("a statement of the log that made a relation now means something else")),
    };
    Ok(made)
}

/// The planner does not know the number of what is being made.
fn numbered(input: &InputRelation, id: RelationId) -> InputRelation {
    assert_eq!(input.id, NEW_RELATION, "the planner numbers no relation");
    InputRelation { id, ..input.clone() }
}
