//! May this role run this statement? Asked once per run, over everything that the plan names.
//!
//! No wildcard arm: who adds a statement says here what it needs.

use millstream_planner::access::{ObjectClass, Predefined, Privileges, RoleOid, Roles};
use millstream_planner::catalog::{Catalog, Relation, RelationKind};
use millstream_planner::copy::{Copy, CopySource};
use millstream_planner::secret::{Secret, SecretChange, SecretUses};
use millstream_planner::statement::{
    Command, CommentTarget, IndexChange, Maintain, NewName, ReindexTarget, Statement, Use,
};
use millstream_runtime::plan::RelationId;
use millstream_runtime::source::ConnectorSpec;

use super::denied;
use crate::engine::gathered::Right;
use crate::engine::system::is_system_schema;
use crate::session::SqlError;

/// Refuses what a role may not do: 42501, in Postgres' words.
pub fn authorize(catalog: &Catalog, role: RoleOid, statement: &Statement) -> Result<(), SqlError> {
    let check = Check { catalog, roles: catalog.roles(), role };
    if check.roles.get(role).is_none() {
        return Err(super::unknown_role(&check.roles.name_of(role)));
    }
    if check.roles.is_superuser(role) {
        return Ok(());
    }
    match statement {
        Statement::Query(query) => check.uses(&query.uses),
        Statement::Subscribe(subscribe) => check.uses(&subscribe.uses),
        Statement::Copy(copy) => match copy.as_ref() {
            Copy::In(copy) => check.uses(&copy.insert.uses),
            Copy::Out { source: CopySource::Relation(query), .. } => check.uses(&query.uses),
            // The statement inside is run, and asked about, by itself.
            Copy::Out { source: CopySource::Text(_), .. } => Ok(()),
        },
        Statement::Insert(insert) => check.uses(&insert.uses),
        Statement::Update(update) => check.uses(&update.uses),
        Statement::Delete(delete) => check.uses(&delete.uses),
        Statement::Truncate { relations } => relations.iter().try_for_each(|relation| {
            check.one(Use { relation: *relation, through: None, privileges: Privileges::TRUNCATE })
        }),
        Statement::Explain(explain) => authorize(catalog, role, &explain.statement),
        Statement::CreateSchema { .. } => check.may_make_schemas(),
        Statement::CreateTable(create) => {
            check.may_create_in(&create.name.schema)?;
            check.secrets(&create.secrets)?;
            create.connector.iter().try_for_each(|connector| check.connector(connector, false))
        }
        Statement::CreateSource(create) => {
            check.may_create_in(&create.name.schema)?;
            check.secrets(&create.secrets)?;
            check.connector(&create.connector, false)
        }
        Statement::CreateView(create) => {
            check.may_create_in(&create.name.schema)?;
            if let Some(old) = catalog.find(&create.name).filter(|_| create.or_replace) {
                check.owns(old)?;
            }
            // What it reads is asked of its owner whenever it is read; its text only has to be able to name it.
            create.uses.iter().filter(|one| one.through.is_none()).try_for_each(|one| check.schema_of(one.relation))
        }
        Statement::CreateMaterializedView(create) => {
            check.may_create_in(&create.name.schema)?;
            check.uses(&create.uses)
        }
        Statement::CreateSink(create) => {
            check.may_create_in(&create.name.schema)?;
            check.uses(&create.uses)?;
            check.secrets(&create.secrets)?;
            check.connector(&create.connector, true)
        }
        Statement::Drop(drop) => drop.named.iter().try_for_each(|relation| check.may_drop(*relation)),
        Statement::DropSchema { names, .. } => names.iter().try_for_each(|name| check.owns_schema(name)),
        Statement::Rename { relation: Some(relation), to, .. } => {
            let relation = check.relation(*relation)?;
            check.owns(relation)?;
            match to {
                NewName::Name(_) => check.may_create_in(&relation.name.schema),
                NewName::Swap(other) => {
                    check.owns(check.relation(*other)?)?;
                    check.may_create_in(&relation.name.schema)
                }
                NewName::Schema(schema) => check.may_create_in(schema),
            }
        }
        Statement::RenameSchema { name, .. } => {
            check.owns_schema(name)?;
            check.may_make_schemas()
        }
        Statement::Rename { relation: None, .. } => Ok(()),
        Statement::Comment { target, database, .. } => match target {
            CommentTarget::Schema { name } => check.owns_schema(name),
            CommentTarget::Relation { relation }
            | CommentTarget::Column { relation, .. }
            | CommentTarget::PrimaryKey { relation }
            | CommentTarget::Constraint { relation }
            | CommentTarget::Index { relation, .. } => check.owns(check.relation(*relation)?),
            CommentTarget::Secret { oid } => match check.catalog.secret(*oid) {
                Some(secret) => must_own_secret(check.roles, check.role, secret),
                None => Err(millstream_runtime::Error::internal("a plan names a secret that is not there").into()),
            },
            CommentTarget::Role { role } => check.may_speak_of(*role),
            CommentTarget::Database => match check.roles.owns(check.role, catalog.database_access()) {
                true => Ok(()),
                false => Err(denied(format!("must be owner of database {}", database.as_deref().unwrap_or_default()))),
            },
        },
        Statement::Index(change) => check.index(change),
        Statement::ShowCreate { relation } => check.looks_into(*relation),
        Statement::Describe { .. } => Ok(()),
        Statement::Refresh { relation } => check.owns(check.relation(*relation)?),
        Statement::Maintain(maintain) => check.maintain(maintain),
        Statement::AdvanceClock { .. } => Err(must_be_superuser("move the clock")),
        Statement::AdvanceWatermark { relation, .. } => check.owns(check.relation(*relation)?),
        // What they say is asked about when it is run.
        Statement::Prepare { .. } | Statement::Declare(_) => Ok(()),
        Statement::Secret(change) => check.secret_change(change),
        // These ask while they are worked out: what they need depends on what they name.
        Statement::Access(_) => Ok(()),
        Statement::Command(command) => check.command(command),
        Statement::Empty => Ok(()),
    }
}

/// Asks once more, at COMMIT, for what the changes of a transaction rest on. What is gone is no matter of privileges, and
/// what the transaction has made itself is its own.
pub fn still_may(catalog: &Catalog, rights: &[Right]) -> Result<(), SqlError> {
    for Right { role, needed } in rights {
        let check = Check { catalog, roles: catalog.roles(), role: *role };
        if check.roles.get(*role).is_none() {
            return Err(super::unknown_role(&check.roles.name_of(*role)));
        }
        let there = |relation: RelationId| catalog.get(relation).is_some();
        if there(needed.relation) && needed.through.is_none_or(there) && !check.roles.is_superuser(*role) {
            check.one(*needed)?;
        }
    }
    Ok(())
}

/// `must be owner of table t`, unless the role has what its owner has.
pub fn must_own(roles: &Roles, role: RoleOid, relation: &Relation) -> Result<(), SqlError> {
    if roles.owns(role, &relation.access) {
        return Ok(());
    }
    Err(denied(format!("must be owner of {} {}", noun(&relation.kind), relation.name.name)))
}

/// `must be owner of secret s`, likewise.
pub fn must_own_secret(roles: &Roles, role: RoleOid, secret: &Secret) -> Result<(), SqlError> {
    match roles.owns(role, &secret.access) {
        true => Ok(()),
        false => Err(denied(format!("must be owner of secret {}", secret.name.name))),
    }
}

/// What messages call a relation.
pub fn noun(kind: &RelationKind) -> &'static str {
    match kind {
        RelationKind::Table(_) | RelationKind::System => "table",
        RelationKind::Source(_) => "source",
        RelationKind::View { .. } => "view",
        RelationKind::MaterializedView(_) => "materialized view",
        RelationKind::Sink(_) => "sink",
    }
}

fn must_be_superuser(what: &str) -> SqlError {
    denied(format!("must be superuser to {what}"))
}

struct Check<'a> {
    catalog: &'a Catalog,
    roles: &'a Roles,
    role: RoleOid,
}

impl Check<'_> {
    fn relation(&self, id: RelationId) -> Result<&Relation, SqlError> {
        match self.catalog.get(id) {
            Some(relation) => Ok(relation),
            None => Err(millstream_runtime::Error::internal("a plan names a relation that is not there").into()),
        }
    }

    /// Who owns a relation may change its indexes.
    fn index(&self, change: &IndexChange) -> Result<(), SqlError> {
        let of_index = |oid: &u32| match self.catalog.index(*oid) {
            Some(index) => self.owns(self.relation(index.relation)?),
            None => Err(millstream_runtime::Error::internal("a plan names an index that is not there").into()),
        };
        match change {
            IndexChange::Create { relation, .. } => self.owns(self.relation(*relation)?),
            IndexChange::Drop { oids, .. } => oids.iter().try_for_each(of_index),
            IndexChange::Rename { oid, .. } => of_index(oid),
            IndexChange::Exists { .. } => Ok(()),
        }
    }

    /// VACUUM and ANALYZE leave out what is another's, and say so.
    fn maintain(&self, maintain: &Maintain) -> Result<(), SqlError> {
        match maintain {
            Maintain::Vacuum { .. } | Maintain::Analyze { .. } => Ok(()),
            Maintain::Reindex { target, .. } => match target {
                ReindexTarget::Index { name, relation } => {
                    match self.roles.owns(self.role, &self.relation(*relation)?.access) {
                        true => Ok(()),
                        false => Err(denied(format!("must be owner of index {name}"))),
                    }
                }
                ReindexTarget::Table { relation, .. } => self.owns(self.relation(*relation)?),
                ReindexTarget::Schema { name } => self.owns_schema(name),
                ReindexTarget::Database { name, .. } => {
                    match self.roles.owns(self.role, self.catalog.database_access()) {
                        true => Ok(()),
                        false => Err(denied(format!("must be owner of database {name}"))),
                    }
                }
            },
        }
    }

    fn uses(&self, uses: &[Use]) -> Result<(), SqlError> {
        uses.iter().try_for_each(|one| self.one(*one))
    }

    /// What the statement itself names is asked of whoever runs it; what a view's text names, of the view's owner.
    fn one(&self, one: Use) -> Result<(), SqlError> {
        let relation = self.relation(one.relation)?;
        if matches!(relation.kind, RelationKind::System) {
            return match one.privileges == Privileges::SELECT {
                true => Ok(()),
                false => Err(denied(format!("permission denied for table {}", relation.name.name))),
            };
        }
        let asked = match one.through {
            None => {
                self.schema_of(one.relation)?;
                self.role
            }
            Some(view) => self.relation(view)?.access.owner,
        };
        if self.roles.may(asked, ObjectClass::Relation, &relation.access, one.privileges) {
            return Ok(());
        }
        Err(denied(format!("permission denied for {} {}", noun(&relation.kind), relation.name.name)))
    }

    /// Whether what is in a relation's schema can be named.
    fn schema_of(&self, relation: RelationId) -> Result<(), SqlError> {
        let schema = &self.relation(relation)?.name.schema;
        if is_system_schema(schema) {
            return Ok(());
        }
        self.in_schema(schema, Privileges::USAGE)
    }

    fn in_schema(&self, schema: &str, privileges: Privileges) -> Result<(), SqlError> {
        let access = self.catalog.schema_access(schema);
        match self.roles.may(self.role, ObjectClass::Schema, &access, privileges) {
            true => Ok(()),
            false => Err(denied(format!("permission denied for schema {schema}"))),
        }
    }

    fn may_create_in(&self, schema: &str) -> Result<(), SqlError> {
        self.in_schema(schema, Privileges::CREATE)
    }

    fn may_make_schemas(&self) -> Result<(), SqlError> {
        match self.roles.may(self.role, ObjectClass::Database, self.catalog.database_access(), Privileges::CREATE) {
            true => Ok(()),
            false => Err(denied("permission denied for database")
                .with_hint("GRANT CREATE ON DATABASE lets a role make schemas.")),
        }
    }

    fn owns(&self, relation: &Relation) -> Result<(), SqlError> {
        must_own(self.roles, self.role, relation)
    }

    fn owns_schema(&self, name: &str) -> Result<(), SqlError> {
        match self.roles.owns(self.role, &self.catalog.schema_access(name)) {
            true => Ok(()),
            false if !self.catalog.schemas().contains_key(name) => Ok(()),
            false => Err(denied(format!("must be owner of schema {name}"))),
        }
    }

    /// As Postgres asks before a comment on a role.
    fn may_speak_of(&self, role: RoleOid) -> Result<(), SqlError> {
        if self.roles.is_superuser(self.role) {
            return Ok(());
        }
        if self.roles.is_superuser(role) {
            return Err(denied("must be superuser"));
        }
        match self.roles.get(self.role).is_some_and(|own| own.create_role) {
            true => Ok(()),
            false => Err(denied("must have CREATEROLE privilege")),
        }
    }

    /// Whoever owns a relation, or its schema, may drop it; what CASCADE takes along goes with it.
    fn may_drop(&self, id: RelationId) -> Result<(), SqlError> {
        let relation = self.relation(id)?;
        match self.roles.owns(self.role, &self.catalog.schema_access(&relation.name.schema)) {
            true => Ok(()),
            false => self.owns(relation),
        }
    }

    /// The text of what made a relation says where it reads and writes: for those who may do something with it.
    fn looks_into(&self, id: RelationId) -> Result<(), SqlError> {
        let relation = self.relation(id)?;
        let all = Privileges::ALL_ON_RELATION;
        if !self.roles.held(self.role, ObjectClass::Relation, &relation.access, all).is_empty() {
            return Ok(());
        }
        Err(denied(format!("permission denied for {} {}", noun(&relation.kind), relation.name.name)))
    }

    /// Who owns a secret changes it; who owns its schema may drop it, too.
    fn secret_change(&self, change: &SecretChange) -> Result<(), SqlError> {
        match change {
            SecretChange::Create { name, .. } => self.may_create_in(&name.schema),
            SecretChange::Nothing { .. } => Ok(()),
            SecretChange::Alter { oid, .. } => must_own_secret(self.roles, self.role, self.secret(*oid)?),
            SecretChange::Drop { oids, .. } => oids.iter().try_for_each(|oid| {
                let secret = self.secret(*oid)?;
                match self.roles.owns(self.role, &self.catalog.schema_access(&secret.name.schema)) {
                    true => Ok(()),
                    false => must_own_secret(self.roles, self.role, secret),
                }
            }),
        }
    }

    /// Connecting with a secret needs its use, and that of its schema.
    fn secrets(&self, uses: &SecretUses) -> Result<(), SqlError> {
        uses.values().try_for_each(|oid| {
            let secret = self.secret(*oid)?;
            self.in_schema(&secret.name.schema, Privileges::USAGE)?;
            match self.roles.may(self.role, ObjectClass::Secret, &secret.access, Privileges::USAGE) {
                true => Ok(()),
                false => Err(denied(format!("permission denied for secret {}", secret.name.name))),
            }
        })
    }

    fn secret(&self, oid: u32) -> Result<&Secret, SqlError> {
        match self.catalog.secret(oid) {
            Some(secret) => Ok(secret),
            None => Err(millstream_runtime::Error::internal("a plan names a secret that is not there").into()),
        }
    }

    /// Connectors that make up their rows, or throw them away, are everybody's; others reach outside of the server.
    fn connector(&self, connector: &ConnectorSpec, writes: bool) -> Result<(), SqlError> {
        let needed = match connector.connector.as_str() {
            "nexmark" | "datagen" | "blackhole" | "print" => return Ok(()),
            "file" if is_local(connector) && writes => Predefined::WriteServerFiles,
            "file" if is_local(connector) => Predefined::ReadServerFiles,
            _ => Predefined::Connect,
        };
        if self.roles.has_privileges_of(self.role, needed.oid()) {
            return Ok(());
        }
        let what = match needed {
            Predefined::ReadServerFiles => "read files of the server",
            Predefined::WriteServerFiles => "write files of the server",
            _ => "open connections",
        };
        let name = &connector.connector;
        Err(denied(format!("permission denied to use connector \"{name}\""))
            .with_detail(format!("Only roles with privileges of the \"{}\" role may {what}.", needed.name()))
            .with_hint(format!("A superuser can GRANT {} TO the role.", needed.name())))
    }

    fn command(&self, command: &Command) -> Result<(), SqlError> {
        match command {
            Command::Set { name, .. } | Command::Reset { name } if name == "millstream.clock" => {
                Err(must_be_superuser("set the clock"))
            }
            Command::Checkpoint => match self.roles.has_privileges_of(self.role, Predefined::Checkpoint.oid()) {
                true => Ok(()),
                false => Err(denied("must be superuser or have privileges of pg_checkpoint to do CHECKPOINT")),
            },
            Command::ShowSetting { .. }
            | Command::ShowObjects(_)
            | Command::Set { .. }
            | Command::Reset { .. }
            | Command::SetModes { .. }
            | Command::SetConstraints
            | Command::Begin { .. }
            | Command::Commit { .. }
            | Command::Rollback { .. }
            | Command::Savepoint { .. }
            | Command::Release { .. }
            | Command::RollbackTo { .. }
            | Command::Flush
            | Command::Discard(_)
            | Command::Fetch(_)
            | Command::Close { .. }
            | Command::Unlisten
            | Command::Execute { .. } => Ok(()),
        }
    }
}

/// Whether a file connector's path is one of this machine.
fn is_local(connector: &ConnectorSpec) -> bool {
    let path = connector.options.get("path").map(String::as_str).unwrap_or_default();
    !path.starts_with("s3://") && !path.starts_with("s3a://")
}
