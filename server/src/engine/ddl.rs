//! DDL: what a statement that defines something does to the catalog, planned before anything is logged.
//!
//! A statement looks at one catalog and gives [`Ddl`] records; each is applied to that catalog at once, so what
//! comes behind sees it. Nothing here logs, and nothing here changes what runs: [`settle`](super::settle) does
//! both, from the records and from the difference of the two catalogs. So a new kind of definition is a
//! `Detail`, its place in `DurableCatalog::applied`, and a function here that calls [`Planning::add`]; only what
//! runs beside the catalog needs more.

use std::sync::Arc;

use millstream_planner::access::{AccessStatement, ObjectAccess, RoleSpec};
use millstream_planner::catalog::QualifiedName;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::{NewName, Statement};
use millstream_runtime::Error;
use millstream_runtime::plan::RelationId;
use millstream_runtime::source::Split;
use millstream_runtime::storage::DdlRelation;

use tokio::sync::OwnedMutexGuard;

use super::Engine;
use super::access::{self, AccessChange, Actor};
use super::catalog::DurableCatalog;
use super::creation::{creation, refuse_taken_or_reserved};
use super::record::{Ddl, Detail};
use super::state::State;
use super::stop::Stop;
use super::system;
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

/// A DDL statement as a session hands it over.
#[derive(Clone)]
pub struct DdlRequest {
    /// The text.
    pub sql: String,
    /// The settings under which it was planned.
    pub settings: PlanSettings,
    /// Its plan over the newest catalog.
    pub statement: Statement,
    /// Who runs it: what it makes is theirs.
    pub actor: Actor,
    /// The database that the client is connected to.
    pub database: String,
    /// Microseconds between the checkpoints of a graph that it makes.
    pub checkpoint_interval_micros: Option<i64>,
    /// Whether a view is to be full before the answer.
    pub waits: bool,
}

/// What the outside world says about a source or sink.
pub enum Outside<'a> {
    /// It is asked, until the statement is stopped.
    Ask(&'a Stop),
    /// It was asked before: the splits of the source.
    Known(Vec<Split>),
}

/// A statement on its way to the log: the catalog as it leaves it, and the records that say so.
pub struct Planning<'a> {
    /// The statement.
    pub request: &'a DdlRequest,
    /// The catalog with the records applied, and the graphs that run.
    pub state: State,
    /// What the log gets, in order; empty when there is nothing to do.
    pub records: Vec<Arc<Ddl>>,
    /// What the client is told.
    pub notices: Vec<Notice>,
}

impl<'a> Planning<'a> {
    /// Begins over a catalog.
    pub fn over(state: State, request: &'a DdlRequest) -> Self {
        Self { request, state, records: Vec::new(), notices: Vec::new() }
    }

    /// Adds a record; the catalog has it from here on.
    pub fn add(&mut self, relation: Option<DdlRelation>, detail: Detail) -> Result<(), SqlError> {
        let ddl = Arc::new(self.request.record(relation, detail));
        self.state.catalog = self.state.catalog.applied(&ddl, Some(&self.request.statement))?;
        self.records.push(ddl);
        Ok(())
    }

    /// The catalog.
    pub fn catalog(&self) -> &DurableCatalog {
        &self.state.catalog
    }

    /// Says that something is there already, or is not there, and that this is no error.
    pub fn skip(&mut self, condition: Condition, message: &str) {
        let notice = Notice::plain(format!("{message}, skipping"));
        self.notices.push(Notice { sqlstate: condition.code(), ..notice });
    }
}

impl DdlRequest {
    /// A record with this statement's text.
    pub fn record(&self, relation: Option<DdlRelation>, detail: Detail) -> Ddl {
        // The text of what changes roles may hold a password: what is kept is the outcome.
        let sql = match &self.statement {
            Statement::Access(statement) => statement.tag(),
            Statement::Secret(change) => change.tag().to_string(),
            _ => self.sql.clone(),
        };
        Ddl { sql, settings: self.settings.clone(), relation, detail }
    }
}

impl Engine {
    /// Waits until no other DDL runs. A statement is planned and run while this is held.
    pub async fn begin_ddl(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.ddl).lock_owned().await
    }

    /// Checks a statement over a catalog, with the outside world where it names one.
    pub async fn plan_definition<'a>(
        &self,
        state: &State,
        request: &'a DdlRequest,
        outside: Outside<'_>,
    ) -> Result<Planning<'a>, SqlError> {
        let mut planning = Planning::over(state.clone(), request);
        match &request.statement {
            Statement::CreateSchema { name, if_not_exists } => planning.create_schema(name, *if_not_exists)?,
            Statement::DropSchema { names, if_exists, cascade } => {
                planning.drop_schemas(names, *if_exists, *cascade)?
            }
            Statement::Drop(drop) => {
                planning.notices.extend(drop.notices.iter().map(Notice::plain));
                if !drop.relations.is_empty() {
                    planning.add(None, Detail::Drop { relations: drop.relations.clone() })?;
                }
            }
            Statement::Comment { target, database, text } => {
                match database.as_ref().filter(|name| **name != request.database) {
                    // As in Postgres, no error: a script may have been written for another database.
                    Some(other) => {
                        let message = format!("database \"{other}\" does not exist");
                        planning.notices.push(Notice::warning(Condition::InvalidCatalogName, message));
                    }
                    None => planning.add(None, Detail::Comment { target: target.clone(), text: text.clone() })?,
                }
            }
            Statement::Rename { relation: None, object, .. } => {
                let message = format!("{} does not exist, skipping", object.sql().to_lowercase());
                planning.notices.push(Notice::plain(message));
            }
            Statement::Index(change) => planning.index(change)?,
            Statement::Rename { relation: Some(relation), to, .. } => planning.rename(*relation, to)?,
            Statement::RenameSchema { name, new_name } => planning.rename_schema(name, new_name)?,
            Statement::Access(statement) => planning.change_access(statement)?,
            Statement::Secret(change) => planning.secret(change, self.starter.secrets.keys())?,
            statement => match creation(statement) {
                Some(creation) => self.plan_creation(&mut planning, creation, outside).await?,
                None => return Err(Error::internal("a statement that is no DDL came to the dispatcher").into()),
            },
        }
        Ok(planning)
    }
}

impl Planning<'_> {
    fn create_schema(&mut self, name: &str, if_not_exists: bool) -> Result<(), SqlError> {
        if name.starts_with("pg_") || system::is_system_schema(name) {
            let error = SqlError::new(Condition::ReservedName, format!("unacceptable schema name \"{name}\""));
            return Err(error.with_detail("The prefix \"pg_\" and the server's own schemas are reserved."));
        }
        if self.catalog().view.schemas().contains_key(name) {
            let message = format!("schema \"{name}\" already exists");
            if !if_not_exists {
                return Err(SqlError::new(Condition::DuplicateSchema, message));
            }
            self.skip(Condition::DuplicateSchema, &message);
            return Ok(());
        }
        let (oid, owner) = (self.catalog().next_oid(), self.request.actor.current);
        self.add(None, Detail::CreateSchema { name: name.to_string(), oid, owner })?;
        match self.catalog().view.default_privileges().of_new(owner, None, false) {
            Some(acl) => {
                let access = ObjectAccess { owner, acl: Some(acl) };
                let changes = vec![AccessChange::Schema { name: name.to_string(), access }];
                self.add(None, Detail::Access { changes })
            }
            None => Ok(()),
        }
    }

    fn drop_owned(&mut self, roles: &[RoleSpec], cascade: bool) -> Result<(), SqlError> {
        let (actor, view) = (self.request.actor, Arc::clone(&self.catalog().view));
        let closed = |roots| with_dependents(self.catalog(), roots);
        let owned = access::owned(&view, roles, cascade, actor, closed)?;
        self.notices.extend(owned.cascaded.iter().map(|what| Notice::plain(format!("drop cascades to {what}"))));
        if !owned.relations.is_empty() {
            self.add(None, Detail::Drop { relations: owned.relations })?;
        }
        if !owned.schemas.is_empty() {
            self.add(None, Detail::DropSchemas { names: owned.schemas, relations: Vec::new() })?;
        }
        if !owned.secrets.is_empty() {
            self.add(None, Detail::DropSecrets { oids: owned.secrets })?;
        }
        let changes = access::revoked(&self.catalog().view, &owned.roles, actor)?;
        match changes.is_empty() {
            true => Ok(()),
            false => self.add(None, Detail::Access { changes }),
        }
    }

    fn change_access(&mut self, statement: &AccessStatement) -> Result<(), SqlError> {
        if let AccessStatement::DropOwned { roles, cascade } = statement {
            return self.drop_owned(roles, *cascade);
        }
        let (catalog, request) = (self.catalog(), self.request);
        let planned = access::plan(&catalog.view, statement, request.actor, &request.database, catalog.next_oid())?;
        self.notices.extend(planned.notices);
        match planned.changes.is_empty() {
            true => Ok(()),
            false => self.add(None, Detail::Access { changes: planned.changes }),
        }
    }

    fn drop_schemas(&mut self, names: &[String], if_exists: bool, cascade: bool) -> Result<(), SqlError> {
        let catalog = Arc::clone(&self.catalog().view);
        let mut found = Vec::new();
        for name in names {
            let message = format!("schema \"{name}\" does not exist");
            match catalog.schemas().contains_key(name) {
                true if system::is_system_schema(name) => {
                    let message = format!("cannot drop schema \"{name}\" because the server needs it");
                    return Err(SqlError::new(Condition::ReservedName, message));
                }
                true => found.push(name.clone()),
                false if if_exists => self.notices.push(Notice::plain(message + ", skipping")),
                false => return Err(SqlError::new(Condition::InvalidSchemaName, message)),
            }
        }
        let inside = |id: &RelationId| catalog.get(*id).is_some_and(|relation| found.contains(&relation.name.schema));
        let ids = catalog.relations().map(|relation| relation.id).filter(inside);
        let secrets: Vec<_> = catalog.secrets().filter(|secret| found.contains(&secret.name.schema)).collect();
        let using = secrets.iter().flat_map(|secret| catalog.users_of_secret(secret.oid));
        let relations = with_dependents(self.catalog(), ids.chain(using).collect());
        let depended_on = !relations.is_empty() || !secrets.is_empty();
        if depended_on && !cascade {
            let named = relations.iter().filter_map(|id| catalog.get(*id)).map(|relation| relation.name.name.as_str());
            let named = named.chain(secrets.iter().map(|secret| secret.name.name.as_str()));
            let message = format!("cannot drop schema {} because other objects depend on it", found.join(", "));
            return Err(SqlError::new(Condition::DependentObjectsStillExist, message)
                .with_detail(format!("They are: {}.", named.collect::<Vec<_>>().join(", ")))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        if found.is_empty() {
            return Ok(());
        }
        let secrets: Vec<u32> = secrets.iter().map(|secret| secret.oid).collect();
        self.add(None, Detail::DropSchemas { names: found, relations })?;
        match secrets.is_empty() {
            true => Ok(()),
            false => self.add(None, Detail::DropSecrets { oids: secrets }),
        }
    }

    fn rename(&mut self, relation: RelationId, to: &NewName) -> Result<(), SqlError> {
        let old = self.catalog().view.get(relation);
        let old = old.ok_or_else(|| Error::internal("a relation is not in the catalog"))?.name.clone();
        let detail = match to {
            NewName::Name(new_name) => {
                let name = QualifiedName { name: new_name.clone(), ..old };
                refuse_taken_or_reserved(self.catalog(), &name)?;
                Detail::Rename { relation, new_name: name.name }
            }
            NewName::Swap(other) => {
                let of_other = self.catalog().view.get(*other);
                let of_other = of_other.ok_or_else(|| Error::internal("a relation is not in the catalog"))?;
                let names = [of_other.name.name.clone(), old.name];
                Detail::Swap { relations: [relation, *other], names }
            }
            // As in Postgres, it may be there already.
            NewName::Schema(schema) if *schema == old.schema => return Ok(()),
            NewName::Schema(schema) => {
                let from = self.schema_oid(&old.schema)?;
                refuse_taken_or_reserved(self.catalog(), &QualifiedName { schema: schema.clone(), ..old })?;
                Detail::SetSchema { relation, from, schema: schema.clone() }
            }
        };
        self.add(None, detail)
    }

    fn rename_schema(&mut self, name: &str, new_name: &str) -> Result<(), SqlError> {
        let oid = self.schema_oid(name)?;
        self.add(None, Detail::RenameSchema { oid, new_name: new_name.to_string() })
    }

    fn schema_oid(&self, name: &str) -> Result<u32, SqlError> {
        let oid = self.catalog().view.schemas().get(name).copied();
        oid.ok_or_else(|| Error::internal("a schema is not in the catalog").into())
    }
}

/// Relations and all that read them, dependents first.
pub(super) fn with_dependents(catalog: &DurableCatalog, relations: Vec<RelationId>) -> Vec<RelationId> {
    fn visit(catalog: &DurableCatalog, id: RelationId, ordered: &mut Vec<RelationId>) {
        if ordered.contains(&id) {
            return;
        }
        for dependent in catalog.view.dependents(id) {
            visit(catalog, dependent.id, ordered);
        }
        ordered.push(id);
    }
    let mut ordered = Vec::new();
    for id in relations {
        visit(catalog, id, &mut ordered);
    }
    ordered
}
