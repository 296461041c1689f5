//! Aggregates with exact arithmetic, able to take back what was added.
//!
//! The result of an aggregate is a function of the multiset of its input rows and nothing else: not of their
//! order, of batch cuts, or of parallelism. [`AggregateStates`] holds one aggregate for many groups, in
//! columns; the incremental operator and the batch engine's wrappers both use it, so that views and ad hoc
//! queries agree to the bit.
//!
//! A result that does not fit its type is a failure of that group, not of the query, and goes away when rows
//! are taken back. Deliberately absent: locale-aware orders.

mod bytes;
mod collect;
mod distinct;
mod float_sum;
mod intervals;
mod ordered;
mod sums;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, Field, IntervalUnit};
use arrow::row::SortField;

use crate::aggregates::bytes::Reader;
use crate::aggregates::collect::Collected;
use crate::aggregates::distinct::DistinctValues;
use crate::aggregates::intervals::IntervalSum;
use crate::aggregates::ordered::{Multiset, RowKeys, Smallest};
use crate::aggregates::sums::{BoolCounts, Count, CountedFloatSum, DecimalSum, IntegerSum, Reading};
use crate::error::{Error, Result};
use crate::plan::AggregateFunction;
use crate::state::fixed;

/// The type of an aggregate's result; an invalid error when it does not take this argument.
pub fn result_type(function: &AggregateFunction, argument: Option<&DataType>) -> Result<DataType> {
    use AggregateFunction as F;
    use DataType as T;
    let Some(argument) = argument else {
        return match function {
            F::Count => Ok(T::Int64),
            other => Err(Error::invalid(format!("{} needs an argument", name(other)))),
        };
    };
    let refused = || Err(Error::invalid(format!("function {}({argument}) does not exist", name(function))));
    match function {
        F::Count => Ok(T::Int64),
        F::Sum => match argument {
            T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 => Ok(T::Int64),
            T::Int64 | T::UInt64 => Ok(T::Decimal128(38, 0)),
            T::Decimal128(_, scale) => Ok(T::Decimal128(38, *scale)),
            T::Decimal256(_, scale) => Ok(T::Decimal256(76, *scale)),
            T::Float32 | T::Float64 | T::Interval(IntervalUnit::MonthDayNano) => Ok(argument.clone()),
            _ => refused(),
        },
        F::Avg => match argument {
            _ if argument.is_integer() => Ok(T::Decimal128(38, AVERAGE_SCALE)),
            T::Decimal128(_, scale) => Ok(T::Decimal128(38, AVERAGE_SCALE.max(*scale))),
            T::Decimal256(_, scale) => Ok(T::Decimal256(76, AVERAGE_SCALE.max(*scale))),
            T::Float32 | T::Float64 => Ok(T::Float64),
            T::Interval(IntervalUnit::MonthDayNano) => Ok(argument.clone()),
            _ => refused(),
        },
        F::Mean => match argument {
            T::Int64 | T::UInt64 => Ok(mean_type(20, 0)),
            _ if argument.is_integer() => Ok(mean_type(10, 0)),
            T::Decimal128(precision, scale) | T::Decimal256(precision, scale) => Ok(mean_type(*precision, *scale)),
            _ => result_type(&F::Avg, Some(argument)),
        },
        F::Min | F::Max => Ok(argument.clone()),
        F::BoolAnd | F::BoolOr => match argument {
            T::Boolean => Ok(T::Boolean),
            _ => refused(),
        },
        F::StringAgg { .. } => match argument {
            T::Utf8 | T::LargeUtf8 | T::Utf8View => Ok(T::Utf8),
            _ => refused(),
        },
        F::ArrayAgg => Ok(T::List(Arc::new(Field::new_list_field(argument.clone(), true)))),
    }
}

/// Digits behind the point of an average of integers, as Postgres shows at least.
const AVERAGE_SCALE: i8 = 16;

/// The digits of a mean of numbers with so many: as many before the point, and behind it sixteen of a mean as small as a
/// smallest one among ten thousand zeros.
fn mean_type(precision: u8, scale: i8) -> DataType {
    /// Sixteen digits, and two groups of four that begin anywhere.
    const MEAN_DIGITS: i8 = 24;
    /// Half of the digits that there are: the other half is left for those before the point.
    const MEAN_DIGITS_MAX: i8 = 38;
    let digits = (MEAN_DIGITS + (scale.max(0) + 3) / 4 * 4).min(MEAN_DIGITS_MAX).max(scale);
    let whole = i32::from(precision) - i32::from(scale);
    match whole + i32::from(digits) <= 38 {
        true => DataType::Decimal128(38, digits),
        false => DataType::Decimal256(76, digits),
    }
}

fn name(function: &AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Count => "count",
        AggregateFunction::Sum => "sum",
        AggregateFunction::Min => "min",
        AggregateFunction::Max => "max",
        AggregateFunction::Avg | AggregateFunction::Mean => "avg",
        AggregateFunction::BoolAnd => "bool_and",
        AggregateFunction::BoolOr => "bool_or",
        AggregateFunction::StringAgg { .. } => "string_agg",
        AggregateFunction::ArrayAgg => "array_agg",
    }
}

/// An aggregate as its states must know it.
#[derive(Clone, Debug)]
pub struct AggregateSpec {
    /// Which aggregate.
    pub function: AggregateFunction,
    /// The argument's type; `None` only for `count(*)`.
    pub argument: Option<DataType>,
    /// Count every different value once.
    pub distinct: bool,
    /// Types and directions of the columns that order `string_agg` and `array_agg`.
    pub order: Vec<(DataType, SortOptions)>,
    /// Whether weights may be negative; append-only input keeps less.
    pub retractable: bool,
}

/// The results of some groups.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// One value per group that was asked for; null where it failed.
    pub values: ArrayRef,
    /// Which of them failed (an index into the groups asked for, rising), and why.
    pub failures: Vec<(usize, String)>,
}

impl Evaluated {
    fn of(values: ArrayRef) -> Self {
        Self { values, failures: Vec::new() }
    }
}

/// Rows of one batch.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// The argument's column; `None` only for `count(*)`.
    pub argument: Option<&'a ArrayRef>,
    /// The columns of the order.
    pub order: &'a [ArrayRef],
    /// Rows where it is not true don't take part.
    pub filter: Option<&'a BooleanArray>,
    /// The group of every row.
    pub groups: &'a [u32],
    /// The weight of every row; `None` means 1, and a weight of 0 is passed over.
    pub weights: Option<&'a [i64]>,
}

/// The rows that take part: row, group, weight.
pub(crate) struct Members<'a> {
    groups: &'a [u32],
    weights: Option<&'a [i64]>,
    nulls: Option<&'a NullBuffer>,
}

impl Members<'_> {
    /// Calls `f(row, group, weight)` for every row that is neither null nor of weight 0.
    #[inline]
    fn for_each(&self, mut f: impl FnMut(usize, usize, i64)) {
        match (self.weights, self.nulls) {
            (None, None) => self.groups.iter().enumerate().for_each(|(row, group)| f(row, *group as usize, 1)),
            (Some(weights), None) => {
                for (row, (group, weight)) in self.groups.iter().zip(weights).enumerate() {
                    if *weight != 0 {
                        f(row, *group as usize, *weight);
                    }
                }
            }
            (weights, Some(nulls)) => {
                for row in nulls.valid_indices() {
                    let weight = weights.map_or(1, |weights| weights[row]);
                    if weight != 0 {
                        f(row, self.groups[row] as usize, weight);
                    }
                }
            }
        }
    }
}

/// What one group holds of one aggregate. The default is the empty group.
trait GroupState: Default {
    fn save(&self, bytes: &mut Vec<u8>);
    /// Adds a saved state.
    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()>;
    fn heap_bytes(&self) -> usize;
}

/// The states of all groups, by what is kept of a group.
enum States {
    Count(Vec<Count>),
    Integers(Vec<IntegerSum>, Reading),
    Decimals(Vec<DecimalSum>, Reading, i8),
    Floats(Vec<CountedFloatSum>, Reading),
    Intervals(Vec<IntervalSum>, Reading),
    Bools(Vec<BoolCounts>, bool),
    SmallestWords(Vec<Smallest<i64>>, bool),
    CountedWords(Vec<Multiset<i64>>, bool),
    SmallestRows(Vec<Smallest<Vec<u8>>>, RowKeys),
    CountedRows(Vec<Multiset<Vec<u8>>>, RowKeys),
    Collected(Collected),
}

/// Runs the same code on the vector of group states of every variant.
macro_rules! each_states {
    ($states:expr, $groups:ident => $code:expr) => {
        match $states {
            States::Count($groups) => $code,
            States::Integers($groups, _) => $code,
            States::Decimals($groups, ..) => $code,
            States::Floats($groups, _) => $code,
            States::Intervals($groups, _) => $code,
            States::Bools($groups, _) => $code,
            States::SmallestWords($groups, _) => $code,
            States::CountedWords($groups, _) => $code,
            States::SmallestRows($groups, _) => $code,
            States::CountedRows($groups, _) => $code,
            States::Collected(Collected { groups: $groups, .. }) => $code,
        }
    };
}

/// One aggregate for many groups, numbered from 0.
pub struct AggregateStates {
    states: States,
    distinct: Option<DistinctValues>,
    result: DataType,
    argument: Option<DataType>,
}

impl AggregateStates {
    /// No groups yet; an invalid error when the aggregate does not take this argument.
    pub fn new(spec: &AggregateSpec) -> Result<Self> {
        let result = result_type(&spec.function, spec.argument.as_ref())?;
        let states = new_states(spec)?;
        // For these a value that comes twice makes no difference.
        let idempotent = matches!(
            spec.function,
            AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::BoolAnd | AggregateFunction::BoolOr
        );
        let distinct = match &spec.argument {
            Some(argument) if spec.distinct && !idempotent => {
                let order = spec.order.iter().map(|(data_type, _)| data_type.clone());
                let types: Vec<DataType> = std::iter::once(argument.clone()).chain(order).collect();
                let rows = RowKeys::new(types.iter().cloned().map(SortField::new).collect())?;
                Some(DistinctValues::new(types, rows)?)
            }
            _ => None,
        };
        Ok(Self { states, distinct, result, argument: spec.argument.clone() })
    }

    /// The type of the results.
    pub fn result_type(&self) -> &DataType {
        &self.result
    }

    /// Makes groups `0..groups` addressable; new ones are empty.
    pub fn resize(&mut self, groups: usize) {
        each_states!(&mut self.states, states => states.resize_with(groups, Default::default));
        if let Some(distinct) = &mut self.distinct {
            distinct.resize(groups);
        }
    }

    /// Empties a group.
    pub fn reset(&mut self, group: u32) {
        each_states!(&mut self.states, states => states[group as usize] = Default::default());
        if let Some(distinct) = &mut self.distinct {
            distinct.reset(group);
        }
    }

    /// Adds the rows of a batch, or takes them back where their weight is negative.
    pub fn update(&mut self, update: Update<'_>) -> Result<()> {
        let filtered = update.filter.map(|filter| filtered_weights(filter, update.weights));
        let weights = filtered.as_deref().or(update.weights);
        let update = Update { filter: None, weights, ..update };
        match (&mut self.distinct, update.argument) {
            (Some(distinct), Some(argument)) => {
                let mut columns = vec![Arc::clone(argument)];
                columns.extend(update.order.iter().cloned());
                let keeps_nulls = matches!(self.states, States::Collected(Collected { keeps_nulls: true, .. }));
                let nulls = if keeps_nulls { None } else { argument.nulls() };
                let members = Members { groups: update.groups, weights: update.weights, nulls };
                let passed = distinct.update(&columns, &members)?;
                update_states(&mut self.states, Update { weights: Some(&passed), ..update })
            }
            _ => update_states(&mut self.states, update),
        }
    }

    /// The results of some groups. A negative count in one of them is an internal error (invariant 6).
    pub fn evaluate(&self, groups: &[u32]) -> Result<Evaluated> {
        if self.distinct.as_ref().is_some_and(DistinctValues::has_negative) {
            return Err(sums::negative());
        }
        match &self.states {
            States::Count(states) => sums::evaluate_counts(states, groups),
            States::Integers(states, reading) => sums::evaluate_integers(states, groups, *reading, &self.result),
            States::Decimals(states, reading, scale) => {
                sums::evaluate_decimals(states, groups, *reading, *scale, &self.result)
            }
            States::Floats(states, reading) => sums::evaluate_floats(states, groups, *reading, &self.result),
            States::Intervals(states, reading) => intervals::evaluate(states, groups, *reading),
            States::Bools(states, all) => sums::evaluate_bools(states, groups, *all),
            States::SmallestWords(states, reversed) => {
                ordered::evaluate_words(states, groups, *reversed, &self.result).map(Evaluated::of)
            }
            States::CountedWords(states, reversed) => {
                ordered::evaluate_words(states, groups, *reversed, &self.result).map(Evaluated::of)
            }
            States::SmallestRows(states, rows) => {
                ordered::evaluate_rows(states, groups, rows, &self.null_key(rows)?).map(Evaluated::of)
            }
            States::CountedRows(states, rows) => {
                ordered::evaluate_rows(states, groups, rows, &self.null_key(rows)?).map(Evaluated::of)
            }
            States::Collected(collected) => collected.evaluate(groups, &self.result).map(Evaluated::of),
        }
    }

    fn null_key(&self, rows: &RowKeys) -> Result<Vec<u8>> {
        let argument = self.argument.as_ref().expect("min and max have an argument");
        Ok(rows.encode(&[arrow::array::new_null_array(argument, 1)])?.row(0).data().to_vec())
    }

    /// The states of some groups as bytes.
    pub fn save(&self, groups: &[u32]) -> BinaryArray {
        if let Some(distinct) = &self.distinct {
            let saved = distinct.save(groups).expect("values that the table holds have an encoding");
            return BinaryArray::from_iter_values(saved);
        }
        let mut builder = BinaryBuilder::new();
        let mut bytes = Vec::new();
        for group in groups {
            bytes.clear();
            each_states!(&self.states, states => states[*group as usize].save(&mut bytes));
            builder.append_value(&bytes);
        }
        builder.finish()
    }

    /// Adds saved states to groups, one by one; a group may appear more than once.
    pub fn merge(&mut self, groups: &[u32], saved: &BinaryArray) -> Result<()> {
        assert_eq!(groups.len(), saved.len(), "one state per group");
        for (group, bytes) in groups.iter().zip(saved) {
            let bytes = bytes.ok_or_else(|| Error::data("an aggregate's state is null"))?;
            let mut reader = Reader::new(bytes);
            match &mut self.distinct {
                Some(distinct) => {
                    let (columns, counts) = distinct.load(&mut reader)?;
                    let groups = vec![*group; counts.len()];
                    let members = Members { groups: &groups, weights: Some(&counts), nulls: None };
                    let passed = distinct.update(&columns, &members)?;
                    let update = Update {
                        argument: Some(&columns[0]),
                        order: &columns[1..],
                        filter: None,
                        groups: &groups,
                        weights: Some(&passed),
                    };
                    update_states(&mut self.states, update)?;
                }
                None => each_states!(&mut self.states, states => states[*group as usize].merge(&mut reader))?,
            }
            reader.finish()?;
        }
        Ok(())
    }

    /// Bytes held; walks over the groups.
    pub fn memory_bytes(&self) -> usize {
        let states = each_states!(&self.states, states => {
            states.capacity() * size_of_element(states) + states.iter().map(GroupState::heap_bytes).sum::<usize>()
        });
        states + self.distinct.as_ref().map_or(0, DistinctValues::memory_bytes)
    }
}

fn size_of_element<T>(_: &[T]) -> usize {
    size_of::<T>()
}

fn filtered_weights(filter: &BooleanArray, weights: Option<&[i64]>) -> Vec<i64> {
    // The kernel takes masks with nulls only.
    let taken = if filter.null_count() > 0 { compute::prep_null_mask_filter(filter) } else { filter.clone() };
    let taken = taken.values();
    match weights {
        None => taken.iter().map(i64::from).collect(),
        Some(weights) => taken.iter().zip(weights).map(|(taken, weight)| if taken { *weight } else { 0 }).collect(),
    }
}

fn new_states(spec: &AggregateSpec) -> Result<States> {
    let reading = match spec.function {
        AggregateFunction::Avg => Reading::Average,
        AggregateFunction::Mean => Reading::Mean,
        _ => Reading::Sum,
    };
    let argument = spec.argument.as_ref();
    Ok(match (&spec.function, argument) {
        (AggregateFunction::Count, _) => States::Count(Vec::new()),
        (AggregateFunction::Sum | AggregateFunction::Avg | AggregateFunction::Mean, Some(argument)) => match argument {
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
                States::Decimals(Vec::new(), reading, *scale)
            }
            DataType::Float32 | DataType::Float64 => States::Floats(Vec::new(), reading),
            DataType::Interval(_) => States::Intervals(Vec::new(), reading),
            _ => States::Integers(Vec::new(), reading),
        },
        (AggregateFunction::Min | AggregateFunction::Max, Some(argument)) => {
            let reversed = spec.function == AggregateFunction::Max;
            if fixed::is_fixed(argument) {
                return Ok(match spec.retractable {
                    true => States::CountedWords(Vec::new(), reversed),
                    false => States::SmallestWords(Vec::new(), reversed),
                });
            }
            let options = SortOptions { descending: reversed, nulls_first: false };
            let rows = RowKeys::new(vec![SortField::new_with_options(argument.clone(), options)])?;
            match spec.retractable {
                true => States::CountedRows(Vec::new(), rows),
                false => States::SmallestRows(Vec::new(), rows),
            }
        }
        (AggregateFunction::BoolAnd, _) => States::Bools(Vec::new(), true),
        (AggregateFunction::BoolOr, _) => States::Bools(Vec::new(), false),
        (AggregateFunction::StringAgg { delimiter }, Some(_)) => {
            States::Collected(Collected::strings(&spec.order, delimiter)?)
        }
        (AggregateFunction::ArrayAgg, Some(argument)) => States::Collected(Collected::arrays(&spec.order, argument)?),
        (function, None) => return Err(Error::invalid(format!("{} needs an argument", name(function)))),
    })
}

fn update_states(states: &mut States, update: Update<'_>) -> Result<()> {
    let all = Members { groups: update.groups, weights: update.weights, nulls: None };
    let Some(argument) = update.argument else {
        return match states {
            States::Count(states) => {
                sums::update_counts(states, &all);
                Ok(())
            }
            _ => Err(Error::internal("only count(*) has no argument")),
        };
    };
    let members = Members { nulls: argument.nulls(), ..all };
    match states {
        States::Count(states) => sums::update_counts(states, &members),
        States::Integers(states, _) => sums::update_integers(states, argument, &members)?,
        States::Decimals(states, ..) => sums::update_decimals(states, argument, &members),
        States::Floats(states, _) => sums::update_floats(states, argument, &members)?,
        States::Intervals(states, _) => intervals::update(states, argument, &members),
        States::Bools(states, _) => sums::update_bools(states, argument.as_boolean(), &members),
        States::SmallestWords(states, reversed) => ordered::offer_words(states, argument, *reversed, &members)?,
        States::CountedWords(states, reversed) => ordered::offer_words(states, argument, *reversed, &members)?,
        States::SmallestRows(states, rows) => {
            ordered::offer_rows(states, &rows.encode(std::slice::from_ref(argument))?, &members)?;
        }
        States::CountedRows(states, rows) => {
            ordered::offer_rows(states, &rows.encode(std::slice::from_ref(argument))?, &members)?;
        }
        States::Collected(collected) => {
            let members = if collected.keeps_nulls { all } else { members };
            collected.update(argument, update.order, &members)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
