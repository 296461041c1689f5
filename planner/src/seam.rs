//! What the planner does not plan yet, refused by name; goes away when the lowering lands.

use millstream_runtime::plan::{Dataflow, EmitOn};

use crate::bind::BoundQuery;
use crate::catalog::ViewDefinition;
use crate::error::{PlanError, Result};

/// A query as a dataflow.
pub(crate) struct Lowered {
    pub(crate) dataflow: Dataflow,
    pub(crate) definition: ViewDefinition,
}

pub(crate) fn view(_bound: &BoundQuery, _emit: Option<EmitOn>) -> Result<Lowered> {
    Err(PlanError::unsupported("views are not kept current yet"))
}

pub(crate) fn change<T>() -> Result<T> {
    Err(PlanError::unsupported("INSERT, UPDATE and DELETE are not planned yet"))
}
