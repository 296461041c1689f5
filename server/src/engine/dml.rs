//! What INSERT, UPDATE and DELETE do to a table's head: final row changes, or the error of the statement.
//!
//! Pure over the head and over what the statement's transaction has gathered for the table: no I/O, no lock, no
//! log. All of a statement's rows are decided before anything is applied. Keys are unique at the end of the
//! statement, so `UPDATE t SET id = id + 1` works.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::row::{OwnedRow, RowConverter, SortField};
use millstream_planner::catalog::TableDefinition;
use millstream_planner::statement::OnConflict;
use millstream_runtime::Result;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::graph::SplitClock;

use super::gathered::OwnChanges;
use super::head::{AcceptedRows, TableHead, row_text};
use crate::session::sqlstate::Condition;
use crate::session::{ErrorObject, SqlError};

/// Computes the row that `DO UPDATE SET` makes: from batches of (old columns, new columns) to physical rows.
pub type Merge<'a> = &'a (dyn Fn(&RecordBatch) -> Result<RecordBatch, SqlError> + Sync);

/// A table as a statement finds it: with every commit applied, and what its transaction has gathered beside.
pub struct Target<'a> {
    /// Every commit.
    pub head: &'a mut TableHead,
    /// What only this transaction sees.
    pub own: Option<&'a mut OwnChanges>,
}

impl Target<'_> {
    fn definition(&self) -> &TableDefinition {
        &self.head.definition
    }

    fn name(&self) -> &str {
        self.head.name()
    }

    /// The clock that rows are held against: the table's, moved on by the transaction's own rows.
    fn clock(&self) -> SplitClock {
        let mut clock = self.head.split_clock();
        if let Some(own) = self.own.as_ref().and_then(|own| own.clock) {
            clock.watermark = clock.watermark.max(own.watermark);
        }
        clock
    }

    fn accept(&self, physical: &RecordBatch) -> Result<AcceptedRows, SqlError> {
        self.head.accept(physical, self.clock())
    }

    fn refuse_below_watermark(&self, rows: &RecordBatch, verb: &str) -> Result<(), SqlError> {
        self.head.refuse_below_watermark(rows, verb, self.clock())
    }

    /// The row under each key, as the newest commit and the transaction's own changes leave it.
    fn find(&mut self, keys: &RecordBatch) -> Result<Vec<Option<RecordBatch>>, SqlError> {
        let mut found = self.head.store.find(keys)?;
        if let Some(own) = &mut self.own {
            own.shadow(keys, &mut found)?;
        }
        Ok(found)
    }
}

/// What a statement does to its table, decided and not yet applied.
#[derive(Debug)]
pub struct Decision {
    /// Final changes, all columns.
    pub changes: Vec<ChangeBatch>,
    /// Rows that came too late, all columns.
    pub late: Option<RecordBatch>,
    /// The rows that RETURNING and the command tag speak of: new ones, for DELETE the old ones.
    pub affected: RecordBatch,
    /// The table's clock afterwards, if rows were added.
    pub clock: Option<SplitClock>,
}

/// `INSERT` of physical rows.
pub fn insert(
    target: &mut Target<'_>,
    physical: &RecordBatch,
    on_conflict: &OnConflict,
    merge: Option<Merge<'_>>,
) -> Result<Decision, SqlError> {
    let AcceptedRows { rows, late, mut clock } = target.accept(physical)?;
    let late = (late.num_rows() > 0).then_some(late);
    if target.definition().input.primary_key.is_empty() {
        let changes = if rows.num_rows() == 0 { vec![] } else { vec![ChangeBatch::append(rows.clone())] };
        return Ok(Decision { changes, late, affected: rows, clock: Some(clock) });
    }
    // Late rows are not among those that are counted here.
    let place = |error: SqlError| if late.is_some() { error.without_row() } else { error };
    let plan = resolve_conflicts(target, &rows, on_conflict, merge.is_some()).map_err(place)?;
    let replaced = concat(&rows, &plan.replaced)?;
    target.refuse_below_watermark(&replaced, "replace")?;
    let added = match merge {
        Some(merge) => merged_rows(target, &rows, &plan, merge, &mut clock)?,
        None => compute::take_record_batch(&rows, &UInt32Array::from(plan.inputs()))?,
    };
    Ok(Decision { changes: replace(&replaced, &added)?, late, affected: added, clock: Some(clock) })
}

/// `UPDATE`: rows of the old columns followed by the new physical columns.
pub fn update(target: &mut Target<'_>, pairs: &RecordBatch) -> Result<Decision, SqlError> {
    let width = target.definition().input.schema.fields().len();
    let pairs = first_per_key(target, pairs)?;
    let old = declared(target, &pairs.project(&(0..width).collect::<Vec<_>>())?)?;
    target.refuse_below_watermark(&old, "update")?;
    let physical = pairs.project(&(width..pairs.num_columns()).collect::<Vec<_>>())?;
    let AcceptedRows { rows: new, late, clock } = target.accept(&physical)?;
    if late.num_rows() > 0 {
        let message = format!("cannot move a row of table \"{}\" below its watermark", target.name());
        return Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
            .with_detail(format!("Failing row contains ({}).", row_text(&late, 0))));
    }
    refuse_duplicate_keys(target, &old, &new)?;
    Ok(Decision { changes: replace(&old, &new)?, late: None, affected: new, clock: Some(clock) })
}

/// `DELETE` of rows with all columns.
pub fn delete(target: &mut Target<'_>, rows: &RecordBatch) -> Result<Decision, SqlError> {
    let rows = declared(target, &first_per_key(target, rows)?)?;
    target.refuse_below_watermark(&rows, "delete")?;
    let none = rows.slice(0, 0);
    Ok(Decision { changes: replace(&rows, &none)?, late: None, affected: rows, clock: None })
}

/// What becomes of the rows of an INSERT into a table with a key.
struct Conflicts {
    /// The stored rows that go.
    replaced: Vec<RecordBatch>,
    /// The rows that come: the input row, and the place in `replaced` of the row that it meets.
    added: Vec<(u32, Option<usize>)>,
}

impl Conflicts {
    fn inputs(&self) -> Vec<u32> {
        self.added.iter().map(|(input, _)| *input).collect()
    }
}

fn resolve_conflicts(
    target: &mut Target<'_>,
    rows: &RecordBatch,
    on_conflict: &OnConflict,
    assigns: bool,
) -> Result<Conflicts, SqlError> {
    let keys = rows.project(&target.definition().input.primary_key)?;
    let encoded = encode(&keys)?;
    let stored = target.find(&keys)?;
    let mut plan = Conflicts { replaced: Vec::new(), added: Vec::new() };
    // Where a key of this statement stands in `plan.added`.
    let mut seen: HashMap<OwnedRow, usize> = HashMap::new();
    for (row, (key, stored)) in encoded.into_iter().zip(stored).enumerate() {
        let input = u32::try_from(row).expect("a batch has less than 2^32 rows");
        let earlier = seen.get(&key).copied();
        if earlier.is_none() && stored.is_none() {
            seen.insert(key, plan.added.len());
            plan.added.push((input, None));
            continue;
        }
        match on_conflict {
            OnConflict::Error => return Err(duplicate_key(target, &keys, row)),
            OnConflict::DoNothing => {}
            OnConflict::DoUpdate => match earlier {
                Some(_) if assigns => {
                    let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
                    return Err(SqlError::new(Condition::CardinalityViolation, message).with_hint(
                        "Ensure that no rows proposed for insertion within the same command have duplicate keys.",
                    ));
                }
                Some(place) => plan.added[place].0 = input,
                None => {
                    seen.insert(key, plan.added.len());
                    plan.added.push((input, Some(plan.replaced.len())));
                    plan.replaced.push(stored.expect("the key is there, and not from this statement"));
                }
            },
        }
    }
    Ok(plan)
}

/// The rows that come when `DO UPDATE SET` computes those that meet a stored row.
fn merged_rows(
    target: &mut Target<'_>,
    rows: &RecordBatch,
    plan: &Conflicts,
    merge: Merge<'_>,
    clock: &mut SplitClock,
) -> Result<RecordBatch, SqlError> {
    let plain: Vec<u32> = plan.added.iter().filter(|(_, old)| old.is_none()).map(|(input, _)| *input).collect();
    let meeting: Vec<(u32, usize)> =
        plan.added.iter().filter_map(|(input, old)| old.map(|old| (*input, old))).collect();
    let plain = compute::take_record_batch(rows, &UInt32Array::from(plain))?;
    if meeting.is_empty() {
        return Ok(plain);
    }
    let old_rows: Vec<RecordBatch> = meeting.iter().map(|(_, old)| plan.replaced[*old].clone()).collect();
    let old = concat(rows, &old_rows)?;
    let inputs = UInt32Array::from(meeting.iter().map(|(input, _)| *input).collect::<Vec<_>>());
    let new = compute::take_record_batch(rows, &inputs)?;
    let merged = target.accept(&merge(&pair(&old, &new)?)?)?;
    if merged.late.num_rows() > 0 {
        let message = format!("cannot move a row of table \"{}\" below its watermark", target.name());
        return Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message));
    }
    clock.watermark = clock.watermark.max(merged.clock.watermark);
    let added = compute::concat_batches(&rows.schema(), [&plain, &merged.rows])?;
    refuse_duplicate_keys(target, &old, &added)?;
    Ok(added)
}

/// New keys must differ from each other and from every stored row that stays.
fn refuse_duplicate_keys(target: &mut Target<'_>, old: &RecordBatch, new: &RecordBatch) -> Result<(), SqlError> {
    let key = target.definition().input.primary_key.clone();
    if key.is_empty() {
        return Ok(());
    }
    let keys = new.project(&key)?;
    let going: std::collections::HashSet<OwnedRow> = encode(&old.project(&key)?)?.into_iter().collect();
    let stored = target.find(&keys)?;
    let mut seen = std::collections::HashSet::new();
    for (row, (key, stored)) in encode(&keys)?.into_iter().zip(stored).enumerate() {
        if stored.is_some() && !going.contains(&key) || !seen.insert(key) {
            return Err(duplicate_key(target, &keys, row));
        }
    }
    Ok(())
}

/// `UPDATE ... FROM` may meet a row several times: the first one counts, as in Postgres.
fn first_per_key(target: &Target<'_>, rows: &RecordBatch) -> Result<RecordBatch, SqlError> {
    let key = &target.definition().input.primary_key;
    if key.is_empty() {
        return Ok(rows.clone());
    }
    let mut seen = std::collections::HashSet::new();
    let first: Vec<u32> = encode(&rows.project(key)?)?
        .into_iter()
        .enumerate()
        .filter(|(_, key)| seen.insert(key.clone()))
        .map(|(row, _)| row as u32)
        .collect();
    if first.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    Ok(compute::take_record_batch(rows, &UInt32Array::from(first))?)
}

fn duplicate_key(target: &Target<'_>, keys: &RecordBatch, row: usize) -> SqlError {
    duplicate(target.head, keys, row)
}

/// The error for a key that is there already.
pub fn duplicate(head: &TableHead, keys: &RecordBatch, row: usize) -> SqlError {
    let names: Vec<&str> = keys.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let constraint = format!("{}_pkey", head.name());
    let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
    SqlError::new(Condition::UniqueViolation, message)
        .with_detail(format!("Key ({})=({}) already exists.", names.join(", "), row_text(keys, row)))
        .about(ErrorObject { constraint: Some(constraint), ..head.named() })
        .with_row(row)
}

/// One batch that takes `old` back and adds `new`.
fn replace(old: &RecordBatch, new: &RecordBatch) -> Result<Vec<ChangeBatch>, SqlError> {
    if old.num_rows() == 0 {
        return Ok(if new.num_rows() == 0 { vec![] } else { vec![ChangeBatch::append(new.clone())] });
    }
    let rows = compute::concat_batches(&old.schema(), [old, new])?;
    let weights = std::iter::repeat_n(-1, old.num_rows()).chain(std::iter::repeat_n(1, new.num_rows()));
    Ok(vec![ChangeBatch::weighted(rows, Int64Array::from_iter_values(weights))])
}

/// Rows with the schema as declared: a query's own nullability is looser.
fn declared(target: &Target<'_>, rows: &RecordBatch) -> Result<RecordBatch, SqlError> {
    Ok(RecordBatch::try_new(Arc::clone(&target.definition().input.schema), rows.columns().to_vec())?)
}

/// Old columns, then new columns.
fn pair(old: &RecordBatch, new: &RecordBatch) -> Result<RecordBatch, SqlError> {
    let fields: Vec<_> = old.schema().fields().iter().chain(new.schema().fields().iter()).cloned().collect();
    let columns = old.columns().iter().chain(new.columns()).cloned().collect();
    Ok(RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)?)
}

fn concat(like: &RecordBatch, batches: &[RecordBatch]) -> Result<RecordBatch, SqlError> {
    Ok(compute::concat_batches(&like.schema(), batches)?)
}

/// Rows as bytes that are equal when the rows are.
pub fn encode(keys: &RecordBatch) -> Result<Vec<OwnedRow>, SqlError> {
    let fields = keys.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let rows = converter.convert_columns(keys.columns())?;
    Ok(rows.iter().map(|row| row.owned()).collect())
}
