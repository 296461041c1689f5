//! SQL over the catalog: an interpreter for queries over small relations.
//!
//! The life of a statement: the parser's tree is bound ([`bind`]: names, types, where conditions are checked),
//! which gives a [`plan`]; that is run ([`run`]) over rows that the catalog makes ([`super::relations`]); values
//! leave as Arrow ([`arrow`]). Types, functions and their declarations are Postgres' ([`types`], [`functions`]).
//!
//! What is absent, on purpose: an optimizer beyond checking conditions early and looking rows up by equal
//! columns; anything that changes rows; collations beyond that of bytes.

pub(super) mod arrow;
mod bind;
pub(super) mod datum;
pub(super) mod functions;
mod operations;
mod plan;
mod registry;
mod run;
mod text;
pub(super) mod types;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use millstream_planner::catalog::{QualifiedName, Resolved};
use millstream_planner::error::{PlanError, PlanErrorKind, Result};
use millstream_planner::statement::StatementText;
use sqlparser::ast::Query;

use self::bind::{Binder, UserRelation};
use self::plan::Plan;
use self::types::Type;
use super::objects::Objects;
use super::{CatalogView, Effect};
use crate::wire::values::ColumnType;

pub(super) use self::bind::{folded, parts};
pub(super) use self::plan::Tuple;

/// What a query looks at.
pub(super) struct Context {
    pub(super) view: CatalogView,
    pub(super) objects: Objects,
    now_micros: i64,
    effects: Mutex<Vec<Effect>>,
    /// Set when nobody waits for the answer any longer.
    given_up: Arc<AtomicBool>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("user", &self.view.user).finish_non_exhaustive()
    }
}

impl Context {
    pub(super) fn new(view: CatalogView, given_up: Arc<AtomicBool>) -> Self {
        let (objects, now_micros) = (Objects::of(&view), view.now_micros);
        Self { view, objects, now_micros, effects: Mutex::default(), given_up }
    }

    /// Asks the session for something that is done when the query is over.
    fn effect(&self, effect: Effect) {
        self.effects.lock().expect("nothing panics while it holds this lock").push(effect);
    }

    /// Whether nobody waits for the answer any longer.
    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// What was asked for.
    pub(super) fn effects(&self) -> Vec<Effect> {
        std::mem::take(&mut self.effects.lock().expect("nothing panics while it holds this lock"))
    }

    /// Ends what another session does, or the session; false when there is none.
    fn signal(&self, process_id: i32, terminate: bool) -> Result<bool> {
        let Some(registry) = &self.view.registry else { return Ok(false) };
        let Some(target) = self.view.sessions.iter().find(|session| session.process_id == process_id) else {
            return Ok(false);
        };
        let role = |name: &str| self.view.roles.iter().find(|role| role.name == name);
        let (me, other) = (role(&self.view.user), role(&target.user));
        let superuser = me.is_some_and(|role| role.superuser);
        let allowed = superuser
            || target.user == self.view.user
            || me
                .zip(other)
                .is_some_and(|(me, other)| !other.superuser && super::roles::is_member(&self.view, me.oid, other.oid));
        if !allowed {
            let what = if terminate { "terminate process" } else { "cancel query" };
            let message = if other.is_some_and(|role| role.superuser) {
                format!("must be a superuser to {what} of superuser process")
            } else {
                format!("must be a member of the role whose {what} or member of pg_signal_backend")
            };
            return Err(PlanError::new(PlanErrorKind::InsufficientPrivilege, message));
        }
        Ok(if terminate { registry.terminate(process_id) } else { registry.cancel(process_id) })
    }

    /// A relation of the user, with its columns.
    fn user_relation(&self, schema: Option<&str>, name: &str) -> Option<(UserRelation, Vec<(String, Type)>)> {
        let find = |schema: &str| {
            let qualified = QualifiedName { schema: schema.to_owned(), name: name.to_owned() };
            self.view.catalog.resolve(&qualified).map(|found| (schema.to_owned(), found))
        };
        let (schema, found) = match schema {
            Some(schema) => find(schema),
            None => self.view.search_path.iter().find_map(|schema| find(schema)),
        }?;
        let columns = match &found {
            Resolved::Relation(relation) => &relation.schema,
            Resolved::Auxiliary { schema, .. } => schema,
        };
        let columns = columns.fields().iter().map(|field| {
            let ty = ColumnType::of_field(field).ok().and_then(|column| Type::of_oid(column.oid()));
            (field.name().clone(), ty.unwrap_or(types::TEXT))
        });
        Some((UserRelation { schema, name: name.to_owned() }, columns.collect()))
    }
}

/// A query that was bound.
#[derive(Debug)]
pub(super) struct Bound {
    plan: Arc<Plan>,
    parameters: Vec<Type>,
    /// The columns of the result.
    pub(super) schema: SchemaRef,
    /// Whether it reads a relation of the catalog.
    pub(super) reads_catalog: bool,
    /// The user's relations whose rows it needs: schema and name.
    pub(super) reads: Vec<(String, String)>,
}

impl Bound {
    /// Binds a query; `given` are the types that the client has named for parameters.
    pub(super) fn new(
        context: &Context,
        text: &StatementText,
        query: &Query,
        given: &[Option<DataType>],
    ) -> Result<Self> {
        let given = given.iter().map(|given| given.as_ref().and_then(arrow::type_of)).collect();
        let mut binder = Binder::new(context, text, given);
        let plan = binder.statement(query)?;
        let parameters = binder.parameters.iter().map(|ty| ty.clone().unwrap_or(types::TEXT)).collect();
        let fields: Vec<_> = plan.columns.iter().map(|(name, ty)| arrow::field(name, ty)).collect();
        let reads_catalog = binder.reads_catalog;
        let reads = binder.user_relations.into_iter().map(|UserRelation { schema, name }| (schema, name)).collect();
        Ok(Self { plan, parameters, schema: Arc::new(Schema::new(fields)), reads_catalog, reads })
    }

    /// The Arrow types of its parameters.
    pub(super) fn parameter_types(&self) -> Vec<DataType> {
        self.parameters.iter().map(arrow::parameter_type).collect()
    }

    /// The OIDs of their own types.
    pub(super) fn parameter_oids(&self) -> Vec<u32> {
        self.parameters.iter().map(Type::oid).collect()
    }

    /// Runs it. `user_rows` are those of the relations that `reads` names.
    pub(super) fn run(
        &self,
        context: &Context,
        parameters: &[ScalarValue],
        user_rows: &[Vec<RecordBatch>],
    ) -> Result<RecordBatch> {
        let values = self.parameters.iter().enumerate().map(|(at, ty)| match parameters.get(at) {
            Some(value) => arrow::datum(value, ty, context),
            None => Ok(datum::Datum::Null),
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let user_rows = user_rows.iter().map(|batches| Ok(Arc::new(arrow::tuples(batches)?)));
        let user_rows = user_rows.collect::<Result<Vec<_>>>()?;
        let rows = run::Run::new(context, &values, &user_rows).statement(&self.plan)?;
        arrow::batch(&self.schema, &self.plan.columns, &rows, context)
    }
}
