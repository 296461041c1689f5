//! Names in the durable catalog: of relations that get another one, and of schemas.
//!
//! A start plans the statements in their order, so each must find the names of its time. What leads to the name of a
//! relation that is there is kept as long as it is; a schema that is gone is kept, with its end, as long as a
//! relation is there that was made in it and moved away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millstream_planner::catalog::{Catalog, QualifiedName};
use millstream_planner::statement::CommentTarget;
use millstream_runtime::plan::RelationId;
use millstream_runtime::{Error, Result};

use super::{DurableCatalog, Logged, UNLOGGED};
use crate::engine::record::{Ddl, Detail};
use crate::engine::system::PUBLIC_OID;

impl DurableCatalog {
    /// What has given one or two relations other names.
    pub(super) fn rename(&mut self, view: &mut Catalog, ddl: &Arc<Ddl>) -> Result<()> {
        let named = |view: &Catalog, relation: RelationId| match view.get(relation) {
            Some(relation) => Ok(relation.name.clone()),
            None => Err(Error::data("a RENAME in the log names no relation")),
        };
        match &ddl.detail {
            Detail::Rename { relation, new_name } => {
                let old = named(view, *relation)?;
                view.rename(*relation, QualifiedName { name: new_name.clone(), ..old });
            }
            Detail::Swap { relations: [one, other], .. } => {
                named(view, *one)?;
                named(view, *other)?;
                view.swap(*one, *other);
            }
            Detail::SetSchema { relation, schema, .. } => {
                let old = named(view, *relation)?;
                view.rename(*relation, QualifiedName { schema: schema.clone(), ..old });
            }
            _ => return Err(Error::internal("what is no rename was taken for one")),
        }
        self.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
        Ok(())
    }

    /// Another name for a schema, and for all that is in it. What was said of it comes behind that, under the new name.
    pub(super) fn rename_schema(&mut self, view: &mut Catalog, ddl: &Arc<Ddl>, oid: u32, new: &str) -> Result<()> {
        let old = view.schemas().iter().find(|(_, of)| **of == oid).map(|(name, _)| name.clone());
        let old = old.ok_or_else(|| Error::data("a RENAME in the log names no schema"))?;
        view.rename_schema(&old, new);
        self.statements.push(Logged { position: UNLOGGED, ddl: Arc::clone(ddl) });
        let said = |logged: &Logged| match &logged.ddl.detail {
            Detail::Comment { target: CommentTarget::Schema { name }, .. } => *name == old,
            _ => false,
        };
        if let Some(at) = self.statements.iter().position(said) {
            let Logged { position, ddl } = self.statements.remove(at);
            let mut ddl = Ddl::clone(&ddl);
            if let Detail::Comment { target, .. } = &mut ddl.detail {
                *target = CommentTarget::Schema { name: new.to_string() };
            }
            self.statements.push(Logged { position, ddl: Arc::new(ddl) });
        }
        Ok(())
    }

    /// Takes schemas out; what was in them is gone or was moved away.
    pub(super) fn drop_schemas(&mut self, view: &mut Catalog, ddl: &Arc<Ddl>, names: &[String]) {
        for name in names {
            view.remove_schema(name);
            let detail = Detail::DropSchemas { names: vec![name.clone()], relations: Vec::new() };
            let ddl = Arc::new(Ddl { detail, ..Ddl::clone(ddl) });
            self.statements.push(Logged { position: UNLOGGED, ddl });
        }
        self.statements.retain(|logged| match &logged.ddl.detail {
            Detail::Comment { target: CommentTarget::Schema { name }, .. } => !names.contains(name),
            _ => true,
        });
        self.forget_schemas(view);
    }

    /// Takes out the statements of schemas that are gone and that nothing which is there was made in. The schema that
    /// every catalog begins with is made by no statement: its end is kept.
    pub(super) fn forget_schemas(&mut self, view: &Catalog) {
        let moved_from = |logged: &Logged| match &logged.ddl.detail {
            Detail::SetSchema { from, .. } => Some(*from),
            _ => None,
        };
        let mut needed: BTreeSet<u32> = self.statements.iter().filter_map(moved_from).collect();
        needed.extend(view.schemas().values());
        needed.insert(PUBLIC_OID);
        let mut called = BTreeMap::from([("public".to_string(), PUBLIC_OID)]);
        self.statements.retain(|logged| match &logged.ddl.detail {
            Detail::CreateSchema { name, oid, .. } => {
                called.insert(name.clone(), *oid);
                needed.contains(oid)
            }
            Detail::RenameSchema { oid, new_name } => {
                called.retain(|_, of| of != oid);
                called.insert(new_name.clone(), *oid);
                needed.contains(oid)
            }
            Detail::DropSchemas { names, .. } => {
                let gone = names.iter().filter_map(|name| called.remove(name)).collect::<Vec<_>>();
                gone.iter().any(|oid| needed.contains(oid))
            }
            _ => true,
        });
    }
}
