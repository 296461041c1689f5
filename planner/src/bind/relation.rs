//! The table sources that bound plans scan.
//!
//! A scan names a relation and nothing else: no snapshot, no provider, no session. Whoever runs the plan puts
//! the rows in ([`crate::batch`]), and whoever lowers it makes a leaf of it ([`crate::lower`]).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{LogicalPlan, TableSource, TableType};
use millstream_runtime::plan::RelationId;

use crate::access::Privileges;
use crate::catalog::{QualifiedName, Relation, RelationKind, Resolved};
use crate::statement::{Read, Use};

/// What a table scan of a bound plan reads.
pub struct RelationTable {
    /// The relation, or the auxiliary one beside it.
    pub relation: Read,
    /// Its qualified name, for messages and EXPLAIN.
    pub name: QualifiedName,
    /// The columns, all of them; a scan's projection narrows them.
    pub schema: SchemaRef,
    /// What the name stands for in the catalog.
    pub resolved: Resolved,
    /// The plain view whose text names it; `None` for what the statement itself names.
    pub through: Option<RelationId>,
}

impl RelationTable {
    /// Whether its changes can be followed by a view.
    pub fn can_be_watched(&self) -> bool {
        match &self.resolved {
            Resolved::Auxiliary { .. } => false,
            Resolved::Relation(relation) => match relation.kind {
                RelationKind::Table(_) | RelationKind::Source(_) | RelationKind::MaterializedView(_) => true,
                RelationKind::View { .. } | RelationKind::Sink(_) | RelationKind::System => false,
            },
        }
    }
}

impl fmt::Debug for RelationTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelationTable").field("relation", &self.relation).field("name", &self.name).finish()
    }
}

impl TableSource for RelationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The plain views that a plan really uses, each with the view whose text names it. A name that a CTE hides is
/// looked up but never scanned.
pub(super) type UsedViews = Arc<Mutex<BTreeSet<(RelationId, Option<RelationId>)>>>;

/// A plain view: its plan takes the place of the scan.
pub(super) struct ViewTable {
    pub relation: Arc<Relation>,
    pub plan: LogicalPlan,
    pub used: UsedViews,
    /// The plain view whose text names it.
    pub through: Option<RelationId>,
    /// The views that the plan itself uses.
    pub uses: BTreeSet<(RelationId, Option<RelationId>)>,
}

impl TableSource for ViewTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.relation.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        let mut used = self.used.lock().expect("no panic while the set of views is locked");
        used.insert((self.relation.id, self.through));
        used.extend(&self.uses);
        Some(Cow::Borrowed(&self.plan))
    }
}

/// The relations that a plan scans, each once, in order of appearance; subqueries included.
pub fn reads(plan: &LogicalPlan) -> DataFusionResult<Vec<Read>> {
    let mut reads: Vec<Read> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = scan.source.downcast_ref::<RelationTable>()
            && !reads.contains(&table.relation)
        {
            reads.push(table.relation);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(reads)
}

/// The relations that a plan reads and the views `used` by it, each with the view whose text names it.
pub(super) fn uses(plan: &LogicalPlan, used: &UsedViews) -> DataFusionResult<Vec<Use>> {
    let mut found: BTreeSet<(RelationId, Option<RelationId>)> =
        used.lock().expect("no panic while the set of views is locked").clone();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = scan.source.downcast_ref::<RelationTable>()
        {
            found.insert((table.relation.relation, table.through));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let read = |(relation, through)| Use { relation, through, privileges: Privileges::SELECT };
    Ok(found.into_iter().map(read).collect())
}
