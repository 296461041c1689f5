//! Checkpoints of a graph: frozen at the end of an epoch, written beside the dataflow, committed by the log.
//!
//! Every operator and relation is a *section*: a base and the deltas on top of it. At a checkpoint a section
//! writes what changed since the one before, or a new base when its deltas have outgrown the old one. One
//! checkpoint is under way at a time, so the frozen deltas are on top of exactly what the last one committed;
//! they are kept until the log entry stands (a failed upload is repeated, it loses nothing).
//!
//! Temporary views take part in no checkpoint: their operators are asked for what changed, so that they need not keep
//! it, and the answer is thrown away.
//!
//! Invariants 2 and 8: a manifest is made from one epoch's freeze alone, and restore takes one manifest whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::instance::NodeId;
use super::master::{Input, Master, Message, Origin, Reply, View, answer};
use super::publisher::Outbox;
use super::relation_state::{base, changes, delta};
use super::runner::ViewState;
use super::split::SplitState;
use super::{GraphId, ViewDeployment};
use crate::batch::ChangeBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CHECKPOINT_OBJECTS_AT_ONCE, DELTA_TO_BASE_RATIO, RETRY_MILLIS_MAX, RETRY_MILLIS_MIN};
use crate::operator::{SnapshotKind, StatePart};
use crate::plan::RelationId;
use crate::relation::{RelationStore, RelationVersion, consolidate};
use crate::source::{Position, SplitId};
use crate::storage::{CheckpointRecord, CheckpointRef, MANIFEST_FORMAT, Manifest, ObjectRef, Record, Section, Storage};
use crate::time::{Epoch, LogPosition, Stamp, Watermark};

/// What a job master knows of its checkpoints.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// The newest committed one.
    pub(super) committed: Option<CheckpointRef>,
    /// Something has changed since the last freeze.
    pub(super) changed: bool,
    /// One is being written.
    pub(super) in_flight: bool,
    /// Why the one that is being written does not get on; it is tried again.
    pub(super) trouble: Option<Error>,
    sections: BTreeMap<String, Written>,
    replies: Vec<Reply<()>>,
}

/// A section as the newest committed checkpoint names it.
#[derive(Clone, Debug)]
struct Written {
    fingerprint: String,
    objects: Vec<ObjectRef>,
}

/// A section's part of a checkpoint that is being written.
struct Frozen {
    name: String,
    fingerprint: String,
    full: bool,
    parts: Vec<StatePart>,
}

/// A committed checkpoint, back at the job master.
pub(super) struct CheckpointDone {
    sections: BTreeMap<String, Written>,
    checkpoint: CheckpointRef,
    outboxes: Vec<(RelationId, Outbox)>,
    positions: BTreeMap<RelationId, BTreeMap<SplitId, Position>>,
}

/// The small state of a graph, in its manifest.
#[derive(Default, Serialize, Deserialize)]
struct GraphRecord {
    sources: BTreeMap<RelationId, SourceRecord>,
    tables: BTreeMap<RelationId, Watermark>,
    views: BTreeMap<RelationId, ViewRecord>,
}

#[derive(Serialize, Deserialize)]
struct SourceRecord {
    splits: Vec<SplitState>,
    merged: Watermark,
    rejected_left: u64,
    late_left: u64,
}

#[derive(Serialize, Deserialize)]
struct ViewRecord {
    fingerprints: Vec<String>,
    watermark: Watermark,
}

/// How far a sink's outboxes go.
#[derive(Serialize, Deserialize)]
struct SinkRecord {
    sequence: u64,
}

fn node_section(node: NodeId) -> String {
    format!("node/{}/{}", node.view.0, node.index)
}

fn relation_section(id: RelationId) -> String {
    format!("relation/{}", id.0)
}

fn rejected_section(id: RelationId) -> String {
    format!("rejected/{}", id.0)
}

fn late_section(id: RelationId) -> String {
    format!("late/{}", id.0)
}

fn outbox_section(id: RelationId, sequence: u64) -> String {
    format!("outbox/{}/{sequence}", id.0)
}

/// The numbers in a section's name.
fn numbers(name: &str) -> Vec<u64> {
    name.split('/').skip(1).filter_map(|number| number.parse().ok()).collect()
}

impl Written {
    fn wants_base(&self) -> bool {
        let (base, deltas) = self
            .objects
            .split_first()
            .map_or((0, 0), |(base, deltas)| (base.bytes, deltas.iter().map(|object| object.bytes).sum()));
        // Many tiny deltas are as bad as large ones: a restore reads every object.
        deltas as f64 > base as f64 * DELTA_TO_BASE_RATIO || self.objects.len() > crate::limits::DELTAS_MAX
    }
}

impl Checkpoints {
    /// The nodes whose next snapshot is a base.
    pub(super) fn full_nodes(&self) -> BTreeSet<NodeId> {
        let grown = self.sections.iter().filter(|(name, written)| name.starts_with("node/") && written.wants_base());
        grown
            .filter_map(|(name, _)| match numbers(name).as_slice() {
                [view, index] => Some(NodeId { view: RelationId(*view as u32), index: *index as u32 }),
                _ => None,
            })
            .collect()
    }

    /// The sections of a graph that joins this one.
    pub(super) fn take_over(&mut self, other: Self) {
        self.sections.extend(other.sections);
        self.changed = true;
    }

    fn freezes_base(&self, name: &str) -> bool {
        self.sections.get(name).is_none_or(Written::wants_base)
    }

    /// A relation's part: a base, or what changed.
    fn freeze_relation(
        &self,
        name: String,
        version: &RelationVersion,
        since: &[ChangeBatch],
    ) -> Result<Option<Frozen>> {
        let full = self.freezes_base(&name);
        let parts = if full {
            base(version)?
        } else {
            let net = consolidate(&version.schema, since)?;
            if net.is_empty() {
                return Ok(None);
            }
            delta(&[net])?
        };
        Ok(Some(Frozen { name, fingerprint: String::new(), full, parts }))
    }

    fn freeze_kept(
        &self,
        name: String,
        all: impl FnOnce() -> Vec<RecordBatch>,
        fresh: Vec<RecordBatch>,
    ) -> Result<Option<Frozen>> {
        let full = self.freezes_base(&name);
        let batches = if full { all() } else { fresh };
        if batches.is_empty() {
            return Ok(None);
        }
        let parts = delta(&batches.into_iter().map(ChangeBatch::append).collect::<Vec<_>>())?;
        Ok(Some(Frozen { name, fingerprint: String::new(), full, parts }))
    }
}

impl Master {
    /// Freezes the state at the end of an epoch and starts to write it.
    pub(super) fn start_checkpoint(
        &mut self,
        snapshots: BTreeMap<NodeId, (SnapshotKind, Vec<StatePart>)>,
    ) -> Result<()> {
        let mut frozen = Vec::new();
        for (node, (kind, parts)) in snapshots.into_iter().filter(|(node, _)| !node.view.is_temporary()) {
            let view = self.views.get(&node.view).ok_or_else(|| Error::internal("state of an unknown view"))?;
            let fingerprint = view.deployment.dataflow.fingerprints().swap_remove(node.index as usize);
            let full = kind == SnapshotKind::Full;
            if full || parts.iter().any(|part| part.rows.num_rows() > 0) {
                frozen.push(Frozen { name: node_section(node), fingerprint, full, parts });
            }
        }
        self.freeze_inputs(&mut frozen)?;
        let outboxes = self.freeze_views(&mut frozen)?;
        let writing = Writing {
            storage: Arc::clone(&self.config.storage),
            graph: self.config.id,
            epoch: self.epoch,
            stamp: self.stamp,
            log_position: self.log_position,
            record: self.graph_record(),
            sinks: self.sink_records(),
            kept: self.kept_sections(),
            frozen,
            outboxes,
            waits: Box::new({
                let sender = self.sender.clone();
                move |trouble| drop(sender.send(Message::CheckpointWaits(trouble)))
            }),
        };
        self.checkpoints.in_flight = true;
        self.checkpoints.changed = false;
        self.checkpoints.replies.append(&mut self.checkpoint_wanted);
        let sender = self.sender.clone();
        self.config.tokio.spawn(async move {
            let done = writing.commit().await;
            drop(sender.send(Message::CheckpointDone(Box::new(done))));
        });
        Ok(())
    }

    fn freeze_inputs(&mut self, frozen: &mut Vec<Frozen>) -> Result<()> {
        for (id, input) in &mut self.inputs {
            if let Origin::Table(table) = &mut input.origin {
                let since = std::mem::take(&mut table.delta);
                frozen.extend(self.checkpoints.freeze_relation(relation_section(*id), &table.version, &since)?);
            }
            for (name, kept) in [(rejected_section(*id), &mut input.rejected), (late_section(*id), &mut input.late)] {
                let fresh = kept.take_fresh();
                frozen.extend(self.checkpoints.freeze_kept(name, || kept.all(), fresh)?);
            }
        }
        Ok(())
    }

    fn freeze_views(&mut self, frozen: &mut Vec<Frozen>) -> Result<Vec<(RelationId, Outbox)>> {
        let mut outboxes = Vec::new();
        for (id, view) in self.views.iter_mut().filter(|(id, _)| !id.is_temporary()) {
            let (since, rejected) = (std::mem::take(&mut view.delta), std::mem::take(&mut view.rejected_delta));
            if let Some(store) = &view.store {
                frozen.extend(self.checkpoints.freeze_relation(relation_section(*id), &store.version(), &since)?);
            }
            frozen.extend(self.checkpoints.freeze_relation(
                rejected_section(*id),
                &view.rejected.version(),
                &rejected,
            )?);
            let Some(outlet) = view.outlet.as_mut().filter(|outlet| !outlet.payloads.is_empty()) else {
                continue;
            };
            outlet.sequence += 1;
            let outbox = Outbox { sequence: outlet.sequence, payloads: std::mem::take(&mut outlet.payloads) };
            let name = outbox_section(*id, outbox.sequence);
            frozen.push(Frozen { name, fingerprint: String::new(), full: true, parts: vec![outbox_part(&outbox)?] });
            outboxes.push((*id, outbox));
        }
        Ok(outboxes)
    }

    /// The sections of what still is there; outboxes only until they are published.
    fn kept_sections(&self) -> BTreeMap<String, Written> {
        let kept = |name: &str| {
            let numbers = numbers(name);
            let id = RelationId(numbers.first().copied().unwrap_or(u64::MAX) as u32);
            match (name.starts_with("outbox/"), numbers.get(1), self.views.get(&id)) {
                (true, Some(sequence), Some(View { outlet: Some(outlet), .. })) => {
                    *sequence > outlet.publishing.published()
                }
                (true, ..) => false,
                (false, ..) => self.views.contains_key(&id) || self.inputs.contains_key(&id),
            }
        };
        self.checkpoints
            .sections
            .iter()
            .filter(|(name, _)| kept(name))
            .map(|(name, written)| (name.clone(), written.clone()))
            .collect()
    }

    fn graph_record(&self) -> GraphRecord {
        let mut record = GraphRecord::default();
        for (id, input) in &self.inputs {
            match &input.origin {
                Origin::Table(table) => {
                    record.tables.insert(*id, table.watermark);
                }
                Origin::Source(source) => {
                    record.sources.insert(
                        *id,
                        SourceRecord {
                            splits: source.splits.values().cloned().collect(),
                            merged: source.merged,
                            rejected_left: input.rejected.left,
                            late_left: input.late.left,
                        },
                    );
                }
            }
        }
        for (id, view) in self.views.iter().filter(|(id, _)| !id.is_temporary()) {
            let fingerprints = view.deployment.dataflow.fingerprints();
            record.views.insert(*id, ViewRecord { fingerprints, watermark: view.watermark });
        }
        record
    }

    fn sink_records(&self) -> BTreeMap<RelationId, SinkRecord> {
        let outlets = self.views.iter().filter_map(|(id, view)| Some((*id, view.outlet.as_ref()?)));
        outlets.map(|(id, outlet)| (id, SinkRecord { sequence: outlet.sequence })).collect()
    }

    /// The log entry stands (or never will).
    pub(super) fn checkpoint_done(&mut self, done: Result<CheckpointDone>) -> Result<()> {
        self.checkpoints.in_flight = false;
        self.checkpoints.trouble = None;
        self.schedule_checkpoint();
        let replies = std::mem::take(&mut self.checkpoints.replies);
        match done {
            Ok(done) => {
                self.checkpoints.sections = done.sections;
                self.shared.set_committed(done.checkpoint.clone());
                self.checkpoints.committed = Some(done.checkpoint);
                self.restarted_well();
                for (id, outbox) in done.outboxes {
                    if let Some(View { outlet: Some(outlet), .. }) = self.views.get(&id) {
                        outlet.publishing.push(outbox);
                    }
                }
                for (id, positions) in done.positions {
                    if let Some(Origin::Source(source)) = self.inputs.get(&id).map(|input| &input.origin)
                        && let Some(pump) = &source.pump
                    {
                        pump.committed(positions);
                    }
                }
                replies.into_iter().for_each(|reply| answer(reply, Ok(())));
                Ok(())
            }
            Err(error) => {
                replies.into_iter().for_each(|reply| answer(reply, Err(error.clone())));
                Err(error)
            }
        }
    }

    /// Goes back to the last committed checkpoint; views that it does not know are filled anew.
    pub(super) fn restore(&mut self, views: Vec<Arc<ViewDeployment>>) -> Result<()> {
        let shown = self.log_position;
        let restored = match self.checkpoints.committed.clone() {
            None => Restored::default(),
            Some(checkpoint) => {
                let storage = Arc::clone(&self.config.storage);
                self.config.tokio.block_on(Restored::read(&storage, &checkpoint))?
            }
        };
        self.checkpoints.sections = restored.sections();
        self.checkpoints.changed = false;
        if let Some(manifest) = &restored.manifest {
            self.epoch.counter = self.epoch.counter.max(manifest.epoch.counter);
            self.stamp = self.stamp.max(manifest.stamp);
            self.log_position = self.log_position.max(manifest.log_position);
        }
        self.restore_inputs(&restored)?;
        let mut states: Vec<(Arc<ViewDeployment>, ViewState)> = Vec::new();
        for view in views {
            match restored.record.views.get(&view.id) {
                None => {
                    self.wait_to_fill(view);
                }
                Some(record) => {
                    check_fingerprints(&view, record)?;
                    let restored_view = self.restore_view(&view, record, &restored)?;
                    self.views.insert(view.id, restored_view);
                    let state = restored.view_state(view.id);
                    states.push((view, state));
                }
            }
        }
        let parts: Vec<_> = states.iter().map(|(view, state)| (view.id, &view.dataflow, Some(state))).collect();
        self.instance = Some(self.runner.deploy(&parts)?);
        self.replay(restored.log_position(), shown)?;
        self.unshown = states.iter().map(|(view, _)| view.id).collect();
        Ok(())
    }

    fn restore_inputs(&mut self, restored: &Restored) -> Result<()> {
        for (id, input) in &mut self.inputs {
            let (rejected, late) = (super::rejected_record_schema(), Arc::clone(&input.relation.schema));
            input.rejected = super::bad_rows::KeptRows::new(Arc::clone(&rejected));
            input.late = super::bad_rows::KeptRows::new(Arc::clone(&late));
            for change in changes(&late, restored.parts(&late_section(*id)))? {
                input.late.restore(change.rows)?;
            }
            let source = match &mut input.origin {
                Origin::Source(source) => source,
                // What came since the checkpoint is fed again, from the log.
                Origin::Table(table) => {
                    table.delta.clear();
                    continue;
                }
            };
            source.splits = source.initial.clone();
            source.merged = Watermark::NONE;
            let Some(record) = restored.record.sources.get(id) else {
                continue;
            };
            source.splits = record.splits.iter().map(|state| (state.split.id.clone(), state.clone())).collect();
            source.merged = record.merged;
            for change in changes(&rejected, restored.parts(&rejected_section(*id)))? {
                input.rejected.restore(change.rows)?;
            }
            (input.rejected.left, input.late.left) = (record.rejected_left, record.late_left);
        }
        Ok(())
    }

    fn restore_view(&self, deployment: &Arc<ViewDeployment>, record: &ViewRecord, restored: &Restored) -> Result<View> {
        let id = deployment.id;
        let mut view = View::new(Arc::clone(deployment), &self.config.tokio, self.waker())?;
        view.watermark = record.watermark;
        if let Some(store) = &mut view.store {
            let schema = Arc::clone(store.schema());
            store.apply(&changes(&schema, restored.parts(&relation_section(id)))?)?;
        }
        let schema = Arc::clone(view.rejected.schema());
        view.rejected.apply(&changes(&schema, restored.parts(&rejected_section(id)))?)?;
        if let Some(outlet) = &mut view.outlet {
            outlet.sequence = restored.sinks.get(&id).map_or(0, |sink| sink.sequence);
            for outbox in restored.outboxes(id)? {
                outlet.publishing.push(outbox);
            }
        }
        Ok(view)
    }

    /// Feeds the commits between the checkpoint and what the graph had taken before it failed.
    fn replay(&mut self, after: LogPosition, through: LogPosition) -> Result<()> {
        let instance = self.instance.ok_or_else(|| Error::internal("a replay without an instance"))?;
        if through <= after {
            return Ok(());
        }
        let tables: BTreeSet<RelationId> = self
            .inputs
            .iter()
            .filter(|(_, input)| matches!(input.origin, Origin::Table(_)))
            .map(|(id, _)| *id)
            .collect();
        let storage = Arc::clone(&self.config.storage);
        let rows = self.config.tokio.block_on(storage.read_rows(after, through, &tables))?;
        for record in rows.into_iter().flat_map(|(_, records)| records) {
            let Some(Input { origin: Origin::Table(table), late, .. }) = self.inputs.get_mut(&record.relation) else {
                continue;
            };
            if record.late {
                for change in record.changes {
                    late.push(change.rows)?;
                }
                continue;
            }
            for batch in &record.changes {
                self.runner.change(instance, record.relation, batch)?;
                table.delta.push(batch.clone());
            }
        }
        self.checkpoints.changed = true;
        Ok(())
    }
}

fn check_fingerprints(view: &ViewDeployment, record: &ViewRecord) -> Result<()> {
    let planned = view.dataflow.fingerprints();
    if planned == record.fingerprints {
        return Ok(());
    }
    Err(Error::data(format!(
        "view \"{}\" is planned otherwise than when its state was written\nthen: {}\nnow:  {}",
        view.name,
        record.fingerprints.join("; "),
        planned.join("; ")
    ))
    .with_hint("Start the release that wrote the state, or drop the view and create it again."))
}

fn outbox_part(outbox: &Outbox) -> Result<StatePart> {
    let fields = vec![Field::new("key_group", DataType::UInt16, false), Field::new("payload", DataType::Binary, false)];
    let groups: ArrayRef = Arc::new(UInt16Array::from(vec![0; outbox.payloads.len()]));
    let payloads: ArrayRef = Arc::new(BinaryArray::from_iter_values(&outbox.payloads));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![groups, payloads])?;
    Ok(StatePart { table: "outbox".to_string(), kind: SnapshotKind::Full, rows })
}

/// A checkpoint on its way to the log.
struct Writing {
    storage: Arc<Storage>,
    graph: GraphId,
    epoch: Epoch,
    stamp: Stamp,
    log_position: LogPosition,
    record: GraphRecord,
    sinks: BTreeMap<RelationId, SinkRecord>,
    kept: BTreeMap<String, Written>,
    frozen: Vec<Frozen>,
    outboxes: Vec<(RelationId, Outbox)>,
    /// Told why something has to be tried again.
    waits: Box<dyn Fn(Error) + Send + Sync>,
}

impl Writing {
    /// Writes objects, manifest and log entry, as often as it takes.
    async fn commit(mut self) -> Result<CheckpointDone> {
        let mut sections = std::mem::take(&mut self.kept);
        let frozen = std::mem::take(&mut self.frozen);
        let written: Vec<(Frozen, ObjectRef)> = futures::stream::iter(frozen)
            .map(|frozen| async {
                let object = self.persistently("state", || self.storage.write_state(self.graph, &frozen.parts)).await?;
                Ok::<_, Error>((frozen, object))
            })
            .buffer_unordered(CHECKPOINT_OBJECTS_AT_ONCE)
            .try_collect()
            .await?;
        for (frozen, object) in written {
            let section = sections
                .entry(frozen.name)
                .or_insert_with(|| Written { fingerprint: frozen.fingerprint, objects: Vec::new() });
            if frozen.full {
                section.objects.clear();
            }
            section.objects.push(object);
        }
        let manifest = self.manifest(&sections)?;
        let checkpoint = self.persistently("manifest", || self.storage.write_manifest(self.graph, &manifest)).await?;
        let record = CheckpointRecord {
            graph: self.graph,
            checkpoint: checkpoint.clone(),
            epoch: self.epoch,
            log_position: self.log_position,
        };
        self.persistently("log entry", || self.storage.append(vec![Record::Checkpoint(record.clone())])).await?;
        let positions = |record: &SourceRecord| {
            record.splits.iter().map(|state| (state.split.id.clone(), state.position)).collect()
        };
        let positions = self.record.sources.iter().map(|(id, record)| (*id, positions(record))).collect();
        Ok(CheckpointDone { sections, checkpoint, outboxes: self.outboxes, positions })
    }

    /// Repeats what fails because the store is away; what was frozen stays until it stands.
    async fn persistently<T, F>(&self, what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut delay = Duration::from_millis(RETRY_MILLIS_MIN);
        loop {
            match attempt().await {
                Err(error) if error.kind == ErrorKind::Unavailable => {
                    tracing::warn!(%error, "the {what} of a checkpoint could not be written, trying again");
                    (self.waits)(error);
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_millis(RETRY_MILLIS_MAX));
                }
                outcome => return outcome,
            }
        }
    }

    fn manifest(&self, sections: &BTreeMap<String, Written>) -> Result<Manifest> {
        let json = |error: serde_json::Error| Error::internal(format!("a manifest has no JSON form: {error}"));
        let section = |(name, written): (&String, &Written)| Section {
            name: name.clone(),
            fingerprint: written.fingerprint.clone(),
            objects: written.objects.clone(),
        };
        Ok(Manifest {
            format: MANIFEST_FORMAT,
            graph: self.graph,
            epoch: self.epoch,
            stamp: self.stamp,
            log_position: self.log_position,
            sections: sections.iter().map(section).collect(),
            inputs: serde_json::to_value(&self.record).map_err(json)?,
            sinks: serde_json::to_value(&self.sinks).map_err(json)?,
        })
    }
}

/// A checkpoint as it was read back.
#[derive(Default)]
struct Restored {
    manifest: Option<Manifest>,
    record: GraphRecord,
    sinks: BTreeMap<RelationId, SinkRecord>,
    parts: BTreeMap<String, Vec<StatePart>>,
}

impl Restored {
    async fn read(storage: &Storage, checkpoint: &CheckpointRef) -> Result<Self> {
        let manifest = storage.read_manifest(checkpoint).await?;
        let damaged = |error: serde_json::Error| Error::data(format!("manifest \"{}\": {error}", checkpoint.manifest));
        let record = GraphRecord::deserialize(&manifest.inputs).map_err(damaged)?;
        let sinks = BTreeMap::deserialize(&manifest.sinks).map_err(damaged)?;
        let objects = manifest
            .sections
            .iter()
            .flat_map(|section| section.objects.iter().map(move |object| (&section.name, object)));
        let total = manifest.objects().count();
        tracing::info!(graph = manifest.graph.0, epoch = %manifest.epoch, objects = total, "restoring a checkpoint");
        // Objects are read several at a time and come back in order: a base, then its deltas.
        let read: Vec<(String, Vec<StatePart>)> =
            futures::stream::iter(objects.map(|(name, object)| (name.clone(), object.clone())))
                .map(|(name, object)| async move { Ok::<_, Error>((name, storage.read_state(&object).await?)) })
                .buffered(CHECKPOINT_OBJECTS_AT_ONCE)
                .try_collect()
                .await?;
        let mut parts: BTreeMap<String, Vec<StatePart>> = BTreeMap::new();
        for (name, read) in read {
            parts.entry(name).or_default().extend(read);
        }
        Ok(Self { record, sinks, parts, manifest: Some(manifest) })
    }

    fn sections(&self) -> BTreeMap<String, Written> {
        let written =
            |section: &Section| Written { fingerprint: section.fingerprint.clone(), objects: section.objects.clone() };
        let sections = self.manifest.iter().flat_map(|manifest| &manifest.sections);
        sections.map(|section| (section.name.clone(), written(section))).collect()
    }

    fn log_position(&self) -> LogPosition {
        self.manifest.as_ref().map_or(LogPosition(0), |manifest| manifest.log_position)
    }

    fn parts(&self, name: &str) -> &[StatePart] {
        self.parts.get(name).map_or(&[], Vec::as_slice)
    }

    fn view_state(&self, view: RelationId) -> ViewState {
        let prefix = format!("node/{}/", view.0);
        let nodes = self.parts.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        nodes.filter_map(|(name, parts)| Some((*numbers(name).get(1)? as u32, parts.clone()))).collect()
    }

    fn outboxes(&self, sink: RelationId) -> Result<Vec<Outbox>> {
        let prefix = format!("outbox/{}/", sink.0);
        let mut outboxes = Vec::new();
        for (name, parts) in self.parts.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
            let damaged = || Error::data(format!("section \"{name}\" is not an outbox"));
            let mut payloads = Vec::new();
            for part in parts {
                let column =
                    part.rows.columns().get(1).and_then(|column| column.as_binary_opt::<i32>()).ok_or_else(damaged)?;
                payloads.extend((0..column.len()).map(|row| Bytes::copy_from_slice(column.value(row))));
            }
            outboxes.push(Outbox { sequence: *numbers(name).get(1).ok_or_else(damaged)?, payloads });
        }
        outboxes.sort_by_key(|outbox| outbox.sequence);
        Ok(outboxes)
    }
}

/// A table as a checkpoint holds it.
pub struct RestoredTable {
    /// Its rows.
    pub store: RelationStore,
    /// Its watermark.
    pub watermark: Watermark,
}

/// The tables of a checkpoint, for the commit writer to build its heads on: rows up to the returned position
/// are in. A table that the checkpoint does not know is left out.
pub async fn restore_tables(
    storage: &Storage,
    checkpoint: &CheckpointRef,
    tables: &[(RelationId, arrow::datatypes::SchemaRef, Vec<usize>)],
) -> Result<(LogPosition, BTreeMap<RelationId, RestoredTable>)> {
    let manifest = storage.read_manifest(checkpoint).await?;
    let record = GraphRecord::deserialize(&manifest.inputs)
        .map_err(|error| Error::data(format!("manifest \"{}\": {error}", checkpoint.manifest)))?;
    let mut restored = BTreeMap::new();
    for (id, schema, key) in tables {
        let Some(watermark) = record.tables.get(id) else {
            continue;
        };
        let mut store = RelationStore::new(Arc::clone(schema), key.clone())?;
        if let Some(section) = manifest.sections.iter().find(|section| section.name == relation_section(*id)) {
            let mut parts = Vec::new();
            for object in &section.objects {
                parts.extend(storage.read_state(object).await?);
            }
            store.apply(&changes(schema, &parts)?)?;
        }
        restored.insert(*id, RestoredTable { store, watermark: *watermark });
    }
    Ok((manifest.log_position, restored))
}
