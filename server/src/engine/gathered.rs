//! What a transaction has gathered: changes of tables that nobody else sees before its COMMIT.
//!
//! Invariants:
//! - Changes are kept in the order in which they were made, so a savepoint is a number of them.
//! - What is known beside (rows by key, the version that reads see) is a function of the changes, and is made
//!   again where a ROLLBACK TO takes some of them away.
//! - Nothing here is applied to a table: [`commit`](super::commit) does that, and checks everything once more,
//!   because other sessions have gone on meanwhile.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::row::OwnedRow;
use millstream_planner::access::RoleOid;
use millstream_planner::catalog::TableDefinition;
use millstream_planner::statement::Use;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::graph::SplitClock;
use millstream_runtime::limits::CHUNK_ROWS;
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::{RelationStore, RelationVersion, consolidate};

use super::definitions::Definitions;
use super::dml::{Decision, encode};
use super::limits::{STORED_ROWS_BYTES, TRANSACTION_BYTES};
use super::write::StoredChanges;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// Everything that a transaction has changed.
#[derive(Default)]
pub struct Gathered {
    tables: BTreeMap<RelationId, OwnChanges>,
    /// What was defined.
    pub definitions: Definitions,
    /// What its changes needed, each once: COMMIT asks again.
    rights: Vec<Right>,
}

/// A privilege that a change of rows rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Who ran the statement.
    pub role: RoleOid,
    /// What it needed.
    pub needed: Use,
}

/// A place in what was gathered, to come back to.
#[derive(Clone, Default)]
pub struct Mark {
    tables: BTreeMap<RelationId, TableMark>,
    definitions: Definitions,
    rights: usize,
}

#[derive(Clone, Debug)]
struct TableMark {
    changes: usize,
    late: usize,
    clock: Option<SplitClock>,
}

/// The changes of one table.
pub struct OwnChanges {
    definition: TableDefinition,
    changes: Vec<ChangeBatch>,
    late: Vec<RecordBatch>,
    bytes: usize,
    /// Bytes of the changes behind those that are stored.
    loose_bytes: usize,
    /// Nothing was taken back.
    only_adds: bool,
    /// Changes that are in the storage already, in their order.
    stored: Vec<StoredChanges>,
    /// The table's clock behind the rows that were added.
    pub clock: Option<SplitClock>,
    /// Some statement said what to do with keys that are there already.
    pub meets_others: bool,
    /// For a table with a key.
    keys: Option<OwnKeys>,
    /// What reads saw last.
    shown: Option<Shown>,
}

/// What became of keys.
struct OwnKeys {
    /// The rows that the transaction added and that are still there.
    added: RelationStore,
    /// The keys of committed rows that it took away.
    removed: HashSet<OwnedRow>,
}

struct Shown {
    base: Arc<RelationVersion>,
    version: Arc<RelationVersion>,
    /// The changes that are in it.
    changes: usize,
}

impl Gathered {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.definitions.is_empty()
    }

    /// The tables that were changed.
    pub fn tables(&self) -> impl Iterator<Item = RelationId> {
        self.tables.keys().copied()
    }

    /// The changes of a table, if there are any.
    pub fn table(&mut self, table: RelationId) -> Option<&mut OwnChanges> {
        self.tables.get_mut(&table)
    }

    /// The changes of a table that a statement is about to change.
    pub fn touched(&mut self, table: RelationId, definition: &TableDefinition) -> Result<&mut OwnChanges, SqlError> {
        match self.tables.entry(table) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(OwnChanges::new(definition.clone())?)),
        }
    }

    /// Refuses what would make the transaction larger than it may be. `left` is what tables and views may still
    /// take of the machine: rows that only come may fill that, because they become the table as they are.
    pub fn check_room(&self, decision: &Decision, left: usize) -> Result<(), SqlError> {
        let held: usize = self.tables.values().map(|table| table.bytes).sum();
        let more: usize = decision.changes.iter().map(ChangeBatch::memory_bytes).sum();
        let late = decision.late.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        if held + more + late > left {
            let message = format!("out of memory for state: a transaction has gathered {} MiB of rows", held >> 20);
            return Err(SqlError::new(Condition::OutOfMemory, message)
                .with_hint("Drop a view, or start the server with a higher --state-memory-mib."));
        }
        let adds = decision.changes.iter().all(|change| change.weights.is_none());
        let only_adds = adds && self.tables.values().all(|table| table.only_adds);
        if only_adds || held + more + late <= TRANSACTION_BYTES {
            return Ok(());
        }
        let message = format!("a transaction can't change more than {} MiB of rows", TRANSACTION_BYTES >> 20);
        Err(SqlError::new(Condition::ProgramLimitExceeded, message)
            .with_hint("Commit now and then: split the work into several transactions."))
    }

    /// A place to come back to.
    pub fn mark(&self) -> Mark {
        let tables = self.tables.iter().map(|(id, table)| {
            (*id, TableMark { changes: table.changes.len(), late: table.late.len(), clock: table.clock })
        });
        Mark { tables: tables.collect(), definitions: self.definitions.clone(), rights: self.rights.len() }
    }

    /// Forgets what was gathered behind a place.
    pub fn back_to(&mut self, mark: &Mark) -> Result<(), SqlError> {
        self.definitions = mark.definitions.clone();
        self.rights.truncate(mark.rights);
        let tables = std::mem::take(&mut self.tables);
        for (id, table) in tables {
            if let Some(mark) = mark.tables.get(&id) {
                self.tables.insert(id, table.cut(mark)?);
            }
        }
        Ok(())
    }

    /// Notes what a change rests on.
    pub fn rests_on(&mut self, role: RoleOid, needed: &[Use]) {
        for needed in needed {
            let right = Right { role, needed: *needed };
            // A transaction names a handful of relations, however many statements it has.
            if !self.rights.contains(&right) {
                self.rights.push(right);
            }
        }
    }

    /// The parts, for COMMIT.
    pub fn into_parts(self) -> (Definitions, BTreeMap<RelationId, OwnChanges>, Vec<Right>) {
        (self.definitions, self.tables, self.rights)
    }
}

impl OwnChanges {
    fn new(definition: TableDefinition) -> Result<Self, SqlError> {
        let key = definition.input.primary_key.clone();
        let keys = match key.is_empty() {
            true => None,
            false => {
                let added = RelationStore::new(Arc::clone(&definition.input.schema), key)?;
                Some(OwnKeys { added, removed: HashSet::new() })
            }
        };
        let (changes, late) = (Vec::new(), Vec::new());
        Ok(Self {
            definition,
            changes,
            late,
            bytes: 0,
            loose_bytes: 0,
            only_adds: true,
            stored: Vec::new(),
            clock: None,
            meets_others: false,
            keys,
            shown: None,
        })
    }

    /// Takes up what a statement has decided.
    pub fn gather(&mut self, decision: Decision) -> Result<(), SqlError> {
        for change in decision.changes {
            if let Some(keys) = &mut self.keys {
                keys.apply(&change, &self.definition.input.primary_key)?;
            }
            self.bytes += change.memory_bytes();
            self.loose_bytes += change.memory_bytes();
            self.only_adds &= change.weights.is_none();
            self.changes.push(change);
        }
        if let Some(late) = decision.late {
            self.bytes += late.get_array_memory_size();
            self.late.push(late);
        }
        self.clock = decision.clock.or(self.clock);
        Ok(())
    }

    /// Puts what the transaction did to some keys over what the table holds under them.
    pub fn shadow(&mut self, keys: &RecordBatch, found: &mut [Option<RecordBatch>]) -> Result<(), SqlError> {
        let Some(own) = &mut self.keys else { return Ok(()) };
        let added = own.added.find(keys)?;
        let encoded = if own.removed.is_empty() { Vec::new() } else { encode(keys)? };
        for (row, (added, found)) in added.into_iter().zip(found).enumerate() {
            if added.is_some() {
                *found = added;
            } else if encoded.get(row).is_some_and(|key| own.removed.contains(key)) {
                *found = None;
            }
        }
        Ok(())
    }

    /// The table as the transaction sees it: a version with its own changes.
    pub fn shown(&mut self, base: &Arc<RelationVersion>) -> Result<Arc<RelationVersion>, SqlError> {
        let (from, done) = match &self.shown {
            Some(shown) if Arc::ptr_eq(&shown.base, base) => (&shown.version, shown.changes),
            _ => (base, 0),
        };
        let version = match &self.changes[done..] {
            [] => Arc::clone(from),
            more => from.with_changes(more)?.ok_or_else(|| concurrent_update(&self.definition))?,
        };
        let changes = self.changes.len();
        self.shown = Some(Shown { base: Arc::clone(base), version: Arc::clone(&version), changes });
        Ok(version)
    }

    /// The net effect on the rows: batches that only add, or one in which every row stands once.
    pub fn net(&self) -> Result<Vec<ChangeBatch>, SqlError> {
        if self.only_adds {
            return if self.stored.is_empty() { self.joined() } else { Ok(self.changes.clone()) };
        }
        let net = consolidate(&self.definition.input.schema, &self.changes)?;
        Ok(if net.is_empty() { Vec::new() } else { vec![net] })
    }

    /// Rows of many small statements as few batches: each batch is a step of its own for the table.
    fn joined(&self) -> Result<Vec<ChangeBatch>, SqlError> {
        let schema = &self.definition.input.schema;
        let (mut joined, mut small) = (Vec::new(), Vec::new());
        let mut rows = 0;
        for change in &self.changes {
            rows += change.len();
            small.push(&change.rows);
            if rows >= CHUNK_ROWS {
                joined.push(ChangeBatch::append(compute::concat_batches(schema, std::mem::take(&mut small))?));
                rows = 0;
            }
        }
        if rows > 0 {
            joined.push(ChangeBatch::append(compute::concat_batches(schema, small)?));
        }
        Ok(joined)
    }

    /// Changes that are worth an object of their own by now: which, and what they are. Only of a table to which
    /// rows are added and nothing else, because others are netted at COMMIT.
    pub fn storable(&self) -> Option<(std::ops::Range<usize>, Vec<ChangeBatch>)> {
        let from = self.stored.last().map_or(0, |stored| stored.range.end);
        let worth_it = self.only_adds && self.loose_bytes >= STORED_ROWS_BYTES;
        worth_it.then(|| (from..self.changes.len(), self.changes[from..].to_vec()))
    }

    /// Notes that changes are in the storage.
    pub(super) fn note_stored(&mut self, stored: StoredChanges) {
        self.loose_bytes = self.changes[stored.range.end..].iter().map(ChangeBatch::memory_bytes).sum();
        self.stored.push(stored);
    }

    /// The changes that are in the storage, if that is what COMMIT will write.
    pub(super) fn stored(&self) -> Vec<StoredChanges> {
        if self.only_adds { self.stored.clone() } else { Vec::new() }
    }

    /// The table's name, for messages.
    pub fn name(&self) -> &str {
        let qualified = &self.definition.input.name;
        qualified.rsplit_once('.').map_or(qualified.as_str(), |(_, name)| name)
    }

    /// The rows that came too late.
    pub fn late(&self) -> &[RecordBatch] {
        &self.late
    }

    /// The changes up to a mark.
    fn cut(self, mark: &TableMark) -> Result<Self, SqlError> {
        if self.changes.len() == mark.changes && self.late.len() == mark.late {
            return Ok(Self { clock: mark.clock, ..self });
        }
        let mut again = Self { meets_others: self.meets_others, ..Self::new(self.definition)? };
        for change in self.changes.into_iter().take(mark.changes) {
            let affected = RecordBatch::new_empty(Arc::clone(&again.definition.input.schema));
            again.gather(Decision { changes: vec![change], late: None, affected, clock: None })?;
        }
        for late in self.late.into_iter().take(mark.late) {
            again.bytes += late.get_array_memory_size();
            again.late.push(late);
        }
        again.stored = self.stored.into_iter().filter(|stored| stored.range.end <= mark.changes).collect();
        let end = again.stored.last().map_or(0, |stored| stored.range.end);
        again.loose_bytes = again.changes[end..].iter().map(ChangeBatch::memory_bytes).sum();
        again.clock = mark.clock;
        Ok(again)
    }
}

impl OwnKeys {
    fn apply(&mut self, change: &ChangeBatch, key: &[usize]) -> Result<(), SqlError> {
        let (taken, given): (Vec<u32>, Vec<u32>) =
            (0..change.len() as u32).partition(|row| change.weight(*row as usize) < 0);
        if taken.is_empty() {
            self.added.apply(&[ChangeBatch::append(change.rows.clone())])?;
            return Ok(());
        }
        let rows = compute::take_record_batch(&change.rows, &UInt32Array::from(taken.clone()))?;
        let keys = rows.project(key)?;
        let (own, encoded, whole) = (self.added.find(&keys)?, encode(&keys)?, encode(&rows)?);
        let mut own_rows = Vec::new();
        for (place, found) in own.into_iter().enumerate() {
            match found {
                Some(row) if encode(&row)?[0] == whole[place] => own_rows.push(taken[place]),
                _ => drop(self.removed.insert(encoded[place].clone())),
            }
        }
        let weights = std::iter::repeat_n(-1, own_rows.len()).chain(std::iter::repeat_n(1, given.len()));
        let weights = Int64Array::from_iter_values(weights);
        let moved: Vec<u32> = own_rows.into_iter().chain(given).collect();
        let moved = compute::take_record_batch(&change.rows, &UInt32Array::from(moved))?;
        self.added.apply(&[ChangeBatch::weighted(moved, weights)])?;
        Ok(())
    }
}

/// Another session has changed a row that this transaction changes.
pub fn concurrent_update(definition: &TableDefinition) -> SqlError {
    let qualified = &definition.input.name;
    let name = qualified.rsplit_once('.').map_or(qualified.as_str(), |(_, name)| name);
    SqlError::new(Condition::SerializationFailure, "could not serialize access due to concurrent update")
        .with_detail(format!("A row of table \"{name}\" that the transaction changes was changed meanwhile."))
        .with_hint("Nothing was written. Run the transaction again.")
}
