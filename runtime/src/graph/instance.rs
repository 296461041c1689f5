//! One subtask's share of a graph: the operators of every view, called directly.
//!
//! Every slot that runs a graph holds an instance with the same nodes. A row goes from operator to operator by
//! direct calls; only where an operator needs its rows dealt out by key, and only when there are several
//! subtasks, an edge crosses to the other instances.
//!
//! Node numbers are (view, index in its plan). Views are numbered in the order of their creation and read only
//! older relations, and a plan's nodes read only lower ones: the order of the numbers is a topological order.
//! At the end of an epoch the instance completes its nodes in that order, waiting at one that still expects
//! barriers. The lowest such node of all instances always gets its barriers, so the wait ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::UInt32Array;

use super::memory::Gauge;
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::operator::{KEY_GROUPS, KeyGroupRange, Operator, Output, Port, Rejected, SnapshotKind, StatePart};
use crate::operators::{self, Distribution};
use crate::plan::{Changes, Dataflow, Operation, PlanNode, RelationId};
use crate::state::key_groups;
use crate::time::Watermark;

/// A node of a graph: a view, and the node's index in the view's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId {
    /// The view or sink.
    pub(crate) view: RelationId,
    /// The index in its plan.
    pub(crate) index: u32,
}

/// Which subtask of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subtask {
    /// From 0.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) count: usize,
}

impl Subtask {
    /// The key groups whose state this subtask holds.
    pub(crate) fn key_groups(self) -> KeyGroupRange {
        let bound = |index: usize| (index * usize::from(KEY_GROUPS)).div_ceil(self.count) as u16;
        bound(self.index)..bound(self.index + 1)
    }

    /// The subtask that holds a key group.
    fn of_group(self, group: u16) -> usize {
        usize::from(group) * self.count / usize::from(KEY_GROUPS)
    }
}

/// What crosses to another instance.
#[derive(Debug)]
pub(crate) enum Crossing {
    /// Rows.
    Rows(ChangeBatch),
    /// The sender's part of the epoch is over; its watermark.
    Barrier(Watermark),
}

/// Carries crossings to the other subtasks.
pub(crate) trait Exchange {
    /// Hands over to subtask `to`, never waiting: admission of new input is what is held back.
    fn send(&mut self, to: usize, node: NodeId, port: Port, crossing: Crossing);
}

/// What an instance is asked at the end of an epoch.
#[derive(Clone, Debug)]
pub(crate) struct EpochEnd {
    /// Watermarks of the relations that come from outside the instance.
    pub(crate) watermarks: Arc<BTreeMap<RelationId, Watermark>>,
    /// Set at a checkpoint: the nodes that write a new base (all others write a delta).
    pub(crate) snapshot: Option<Arc<BTreeSet<NodeId>>>,
    /// Measures all state anew, whatever that costs.
    pub(crate) measure: bool,
}

/// What an instance has to say about an epoch.
#[derive(Debug, Default)]
pub(crate) struct SlotEpoch {
    /// Changes per view.
    pub(crate) changes: BTreeMap<RelationId, Vec<ChangeBatch>>,
    /// Rows that expressions refused, per node.
    pub(crate) rejected: Vec<(NodeId, Rejected)>,
    /// State per node, at a checkpoint.
    pub(crate) snapshots: BTreeMap<NodeId, (SnapshotKind, Vec<StatePart>)>,
    /// Watermark of every view.
    pub(crate) watermarks: BTreeMap<RelationId, Watermark>,
    /// Counters per node, since the last epoch.
    pub(crate) counters: BTreeMap<NodeId, Counters>,
}

/// What a node has done in an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Rows that came in.
    pub(crate) rows_in: u64,
    /// Rows that went out.
    pub(crate) rows_out: u64,
    /// Bytes of state that it keeps at the end of the epoch, as last measured.
    pub(crate) state_bytes: usize,
}

/// Where a node's output goes.
#[derive(Clone, Debug)]
enum Target {
    /// A port of another node.
    Node { node: NodeId, port: Port, route: Route },
    /// The view's own rows.
    View,
}

/// How rows reach a port.
#[derive(Clone, Debug)]
enum Route {
    /// They stay in this subtask.
    Local,
    /// Dealt out by the key groups of these columns.
    Hash(Vec<usize>),
    /// All to subtask 0.
    Single,
}

struct Node {
    /// `None` for a leaf, and for an operator that lives in subtask 0 only and not here.
    operator: Option<Box<dyn Operator>>,
    kind: NodeKind,
    changes: Changes,
    targets: Arc<[Target]>,
    inputs: Vec<PortInput>,
    watermark: Watermark,
    has_base: bool,
    counters: Counters,
    gauge: Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeKind {
    /// Passes the changes of a relation on.
    Leaf(RelationId),
    Operator,
    /// Lives in subtask 0 only; this one's part is to hand barriers on.
    Elsewhere,
}

struct PortInput {
    crosses: bool,
    /// Barriers that are still missing in this epoch, for a port that crosses.
    missing: usize,
    watermark: Watermark,
}

/// One subtask's operators of a graph.
pub(crate) struct Instance {
    subtask: Subtask,
    nodes: BTreeMap<NodeId, Node>,
    /// The leaves that read a relation, in order.
    readers: BTreeMap<RelationId, Vec<NodeId>>,
    done: SlotEpoch,
    ending: Option<Ending>,
}

struct Ending {
    end: EpochEnd,
    /// Completed nodes are below it.
    next: Option<NodeId>,
}

/// An instance of one view's plan, to be merged into others.
pub(crate) struct ViewPart<'a> {
    /// The view.
    pub(crate) view: RelationId,
    /// Its plan.
    pub(crate) dataflow: &'a Dataflow,
    /// State per node index, base first, then deltas; not yet cut to this subtask.
    pub(crate) state: BTreeMap<u32, Vec<StatePart>>,
}

impl Instance {
    /// An instance without nodes.
    pub(crate) fn new(subtask: Subtask) -> Self {
        Self { subtask, nodes: BTreeMap::new(), readers: BTreeMap::new(), done: SlotEpoch::default(), ending: None }
    }

    /// Adds a view's nodes and gives them their state back.
    pub(crate) fn add_view(&mut self, part: ViewPart<'_>) -> Result<()> {
        let ViewPart { view, dataflow, mut state } = part;
        let id = |index: usize| NodeId { view, index: index as u32 };
        for (index, plan) in dataflow.nodes.iter().enumerate() {
            let parts = state.remove(&(index as u32)).unwrap_or_default();
            let inputs: Vec<_> = plan.inputs.iter().map(|input| &dataflow.nodes[input.0]).collect();
            let routes: Vec<Route> = (0..inputs.len()).map(|port| self.route(plan, Port(port as u8))).collect();
            let kind = self.kind_of(&plan.operation, &routes);
            let operator = match kind {
                NodeKind::Operator => {
                    let mut operator = operators::build(plan, &inputs)?;
                    operator.restore(cut(parts, &self.subtask.key_groups())?)?;
                    Some(operator)
                }
                NodeKind::Leaf(_) | NodeKind::Elsewhere => None,
            };
            for (port, (input, route)) in plan.inputs.iter().zip(&routes).enumerate() {
                let target = Target::Node { node: id(index), port: Port(port as u8), route: route.clone() };
                self.add_target(id(input.0), target);
            }
            let inputs = routes.iter().map(|route| PortInput::new(self.subtask.count, route)).collect();
            if let NodeKind::Leaf(relation) = kind {
                self.readers.entry(relation).or_default().push(id(index));
            }
            let node = Node {
                operator,
                kind,
                changes: plan.changes,
                targets: Arc::from([]),
                inputs,
                watermark: Watermark::NONE,
                has_base: false,
                counters: Counters::default(),
                gauge: Gauge::default(),
            };
            self.nodes.insert(id(index), node);
        }
        self.add_target(id(dataflow.nodes.len() - 1), Target::View);
        Ok(())
    }

    /// Says that the nodes of a view were restored: their next snapshot may be a delta.
    pub(crate) fn mark_restored(&mut self, view: RelationId) {
        self.nodes.iter_mut().filter(|(id, _)| id.view == view).for_each(|(_, node)| node.has_base = true);
    }

    /// Takes over the nodes of another instance of the same subtask; neither is in an epoch.
    pub(crate) fn merge(&mut self, other: Self) {
        assert!(self.ending.is_none() && other.ending.is_none(), "instances merge between epochs");
        assert_eq!(self.subtask, other.subtask, "instances merge within a subtask");
        self.nodes.extend(other.nodes);
        for (relation, readers) in other.readers {
            self.readers.entry(relation).or_default().extend(readers);
        }
    }

    /// Takes the nodes of views out.
    pub(crate) fn remove(&mut self, views: &BTreeSet<RelationId>) {
        self.nodes.retain(|id, _| !views.contains(&id.view));
        for readers in self.readers.values_mut() {
            readers.retain(|reader| !views.contains(&reader.view));
        }
    }

    /// Rows of a relation that come from outside the instance.
    pub(crate) fn input(
        &mut self,
        relation: RelationId,
        batch: &ChangeBatch,
        exchange: &mut dyn Exchange,
    ) -> Result<()> {
        let readers = self.readers.get(&relation).cloned().unwrap_or_default();
        readers.into_iter().try_for_each(|reader| self.forward(reader, batch.clone(), exchange))
    }

    /// What came from another subtask.
    pub(crate) fn crossing(
        &mut self,
        node: NodeId,
        port: Port,
        crossing: Crossing,
        exchange: &mut dyn Exchange,
    ) -> Result<()> {
        match crossing {
            Crossing::Rows(batch) => self.deliver(node, port, batch, exchange),
            Crossing::Barrier(watermark) => self.barrier(node, port, watermark),
        }
    }

    /// Starts to end an epoch; [`Self::advance`] does the rest.
    pub(crate) fn end_epoch(&mut self, end: EpochEnd) {
        assert!(self.ending.is_none(), "one epoch ends at a time");
        self.ending = Some(Ending { end, next: self.nodes.keys().next().copied() });
    }

    /// Completes what can be completed; `Some` once the epoch is over.
    pub(crate) fn advance(&mut self, exchange: &mut dyn Exchange) -> Result<Option<SlotEpoch>> {
        let Some(mut ending) = self.ending.take() else {
            return Ok(None);
        };
        while let Some(id) = ending.next {
            let node = &self.nodes[&id];
            if node.inputs.iter().any(|input| input.missing > 0) {
                self.ending = Some(ending);
                return Ok(None);
            }
            self.complete(id, &ending.end, exchange)?;
            ending.next =
                self.nodes.range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded)).next().map(|(id, _)| *id);
        }
        Ok(Some(std::mem::take(&mut self.done)))
    }

    /// All inputs of the node have ended the epoch: its watermark, its net changes, its state, its barrier.
    fn complete(&mut self, id: NodeId, end: &EpochEnd, exchange: &mut dyn Exchange) -> Result<()> {
        let watermark = self.merged_watermark(id, end);
        let node = self.nodes.get_mut(&id).expect("the order names nodes that are there");
        let advanced = watermark > node.watermark;
        node.watermark = node.watermark.max(watermark);
        let watermark = node.watermark;
        for input in &mut node.inputs {
            if input.crosses {
                input.missing = self.subtask.count;
                input.watermark = Watermark::END;
            }
        }
        if node.kind == NodeKind::Operator {
            self.call(id, exchange, |operator, out| {
                if advanced {
                    operator.on_watermark(watermark, out)?;
                }
                operator.on_epoch(out)
            })?;
            if let Some(full) = &end.snapshot {
                self.snapshot(id, full)?;
            }
        }
        let node = self.nodes.get_mut(&id).expect("the order names nodes that are there");
        let mut counters = std::mem::take(&mut node.counters);
        if let Some(operator) = &node.operator {
            node.gauge.count((counters.rows_in + counters.rows_out) as usize);
            counters.state_bytes = node.gauge.bytes(end.measure, || operator.state_bytes());
        }
        self.done.counters.insert(id, counters);
        let targets = Arc::clone(&node.targets);
        for target in targets.iter() {
            self.end_target(id, target, watermark, exchange);
        }
        Ok(())
    }

    fn merged_watermark(&self, id: NodeId, end: &EpochEnd) -> Watermark {
        let node = &self.nodes[&id];
        match node.kind {
            NodeKind::Leaf(relation) => {
                let within = self.done.watermarks.get(&relation);
                within.or_else(|| end.watermarks.get(&relation)).copied().unwrap_or(Watermark::NONE)
            }
            // Constant rows are all there from the beginning: nothing follows.
            NodeKind::Operator | NodeKind::Elsewhere => {
                node.inputs.iter().map(|input| input.watermark).min().unwrap_or(Watermark::END)
            }
        }
    }

    fn snapshot(&mut self, id: NodeId, full: &BTreeSet<NodeId>) -> Result<()> {
        let node = self.nodes.get_mut(&id).expect("the order names nodes that are there");
        let kind = if node.has_base && !full.contains(&id) { SnapshotKind::Delta } else { SnapshotKind::Full };
        let parts = node.operator.as_mut().expect("an operator that is not being called").snapshot(kind)?;
        node.has_base = true;
        if !parts.is_empty() {
            self.done.snapshots.insert(id, (kind, parts));
        }
        Ok(())
    }

    fn end_target(&mut self, from: NodeId, target: &Target, watermark: Watermark, exchange: &mut dyn Exchange) {
        match target {
            Target::View => {
                self.done.watermarks.insert(from.view, watermark);
            }
            Target::Node { node, port, route: Route::Local } => {
                let node = self.nodes.get_mut(node).expect("targets are nodes of the same view");
                node.inputs[usize::from(port.0)].watermark = watermark;
            }
            Target::Node { node, port, route: Route::Hash(_) | Route::Single } => {
                for to in 0..self.subtask.count {
                    if to == self.subtask.index {
                        self.barrier(*node, *port, watermark).expect("targets are nodes of the same view");
                    } else {
                        exchange.send(to, *node, *port, Crossing::Barrier(watermark));
                    }
                }
            }
        }
    }

    fn barrier(&mut self, node: NodeId, port: Port, watermark: Watermark) -> Result<()> {
        let unknown = || Error::internal("a barrier came for a node that is not there");
        let node = self.nodes.get_mut(&node).ok_or_else(unknown)?;
        let input = node.inputs.get_mut(usize::from(port.0)).ok_or_else(unknown)?;
        input.missing = input.missing.checked_sub(1).ok_or_else(|| Error::internal("a barrier came twice"))?;
        input.watermark = input.watermark.min(watermark);
        Ok(())
    }

    /// Hands a node's output to everything behind it.
    fn forward(&mut self, from: NodeId, batch: ChangeBatch, exchange: &mut dyn Exchange) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let node = self.nodes.get_mut(&from).expect("only nodes that are there emit");
        node.counters.rows_out += batch.len() as u64;
        if node.changes == Changes::Append
            && let Some(weights) = &batch.weights
            && weights.values().iter().any(|weight| *weight < 0)
        {
            return Err(Error::internal("a row is taken back on an append-only edge"));
        }
        let targets = Arc::clone(&node.targets);
        for target in targets.iter() {
            match target {
                Target::View => {
                    self.done.changes.entry(from.view).or_default().push(batch.clone());
                    self.input(from.view, &batch, exchange)?;
                }
                Target::Node { node, port, route: Route::Local } => {
                    self.deliver(*node, *port, batch.clone(), exchange)?
                }
                Target::Node { node, port, route: Route::Single } => {
                    self.cross(0, *node, *port, batch.clone(), exchange)?;
                }
                Target::Node { node, port, route: Route::Hash(columns) } => {
                    for (to, part) in self.deal(&batch, columns)? {
                        self.cross(to, *node, *port, part, exchange)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn cross(
        &mut self,
        to: usize,
        node: NodeId,
        port: Port,
        batch: ChangeBatch,
        exchange: &mut dyn Exchange,
    ) -> Result<()> {
        if to == self.subtask.index {
            return self.deliver(node, port, batch, exchange);
        }
        exchange.send(to, node, port, Crossing::Rows(batch));
        Ok(())
    }

    /// The rows by the subtask that holds their key group.
    fn deal(&self, batch: &ChangeBatch, columns: &[usize]) -> Result<Vec<(usize, ChangeBatch)>> {
        let keys: Vec<_> = columns.iter().map(|column| Arc::clone(batch.rows.column(*column))).collect();
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.subtask.count];
        for (row, group) in key_groups(&keys)?.into_iter().enumerate() {
            rows[self.subtask.of_group(group)].push(row as u32);
        }
        let parts = rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        parts.map(|(to, rows)| Ok((to, batch.take(&UInt32Array::from(rows))?))).collect()
    }

    fn deliver(&mut self, node: NodeId, port: Port, batch: ChangeBatch, exchange: &mut dyn Exchange) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let to = self.nodes.get_mut(&node).ok_or_else(|| Error::internal("rows came for a node that is not there"))?;
        to.counters.rows_in += batch.len() as u64;
        self.call(node, exchange, |operator, out| operator.on_batch(port, batch, out))
    }

    /// Calls an operator whose output goes straight on. It is taken out for the call: a plan has no cycles.
    fn call(
        &mut self,
        id: NodeId,
        exchange: &mut dyn Exchange,
        call: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<()>,
    ) -> Result<()> {
        let node = self.nodes.get_mut(&id).expect("callers know the node");
        let mut operator =
            node.operator.take().ok_or_else(|| Error::internal("rows came for an operator that lives elsewhere"))?;
        let result = call(operator.as_mut(), &mut Emitter { instance: self, node: id, exchange });
        self.nodes.get_mut(&id).expect("a call takes no node out").operator = Some(operator);
        result
    }

    fn route(&self, plan: &PlanNode, port: Port) -> Route {
        if self.subtask.count == 1 {
            return Route::Local;
        }
        match operators::distribution(plan, port) {
            Distribution::Any => Route::Local,
            Distribution::Hash(columns) => Route::Hash(columns),
            Distribution::Single => Route::Single,
        }
    }

    fn kind_of(&self, operation: &Operation, routes: &[Route]) -> NodeKind {
        match operation {
            Operation::Relation { id, .. } => NodeKind::Leaf(*id),
            Operation::Values { .. } if self.subtask.index > 0 => NodeKind::Elsewhere,
            _ if self.subtask.index > 0 && routes.iter().any(|route| matches!(route, Route::Single)) => {
                NodeKind::Elsewhere
            }
            _ => NodeKind::Operator,
        }
    }

    fn add_target(&mut self, node: NodeId, target: Target) {
        let node = self.nodes.get_mut(&node).expect("inputs stand before the nodes that read them");
        node.targets = node.targets.iter().cloned().chain([target]).collect();
    }
}

impl PortInput {
    fn new(subtasks: usize, route: &Route) -> Self {
        match route {
            Route::Local => Self { crosses: false, missing: 0, watermark: Watermark::NONE },
            Route::Hash(_) | Route::Single => Self { crosses: true, missing: subtasks, watermark: Watermark::END },
        }
    }
}

/// The state of some key groups, as it stands at a subtask.
fn cut(parts: Vec<StatePart>, groups: &KeyGroupRange) -> Result<Vec<StatePart>> {
    use arrow::array::{AsArray, BooleanArray};
    use arrow::datatypes::UInt16Type;
    if *groups == (0..KEY_GROUPS) {
        return Ok(parts);
    }
    parts
        .into_iter()
        .map(|part| {
            let damaged = || Error::data(format!("state table \"{}\" has no key groups", part.table));
            let column = part.rows.columns().first().ok_or_else(damaged)?;
            let column = column.as_primitive_opt::<UInt16Type>().ok_or_else(damaged)?;
            let mask: BooleanArray = column.values().iter().map(|group| Some(groups.contains(group))).collect();
            Ok(StatePart { rows: arrow::compute::filter_record_batch(&part.rows, &mask)?, ..part })
        })
        .collect()
}

/// An operator's output within an instance.
struct Emitter<'a> {
    instance: &'a mut Instance,
    node: NodeId,
    exchange: &'a mut dyn Exchange,
}

impl Output for Emitter<'_> {
    fn emit(&mut self, batch: ChangeBatch) -> Result<()> {
        self.instance.forward(self.node, batch, self.exchange)
    }

    fn reject(&mut self, rows: Rejected) -> Result<()> {
        if rows.batch.len() != rows.reasons.len() {
            return Err(Error::internal("a refused row needs one reason"));
        }
        self.instance.done.rejected.push((self.node, rows));
        Ok(())
    }
}
