//! Sums and averages of intervals: part by part, so that a sum does not depend on the order of its values.
//!
//! A part that does not fit its type is a failure of the group, as with numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::datatypes::{IntervalMonthDayNano, IntervalMonthDayNanoType};

use crate::aggregates::bytes::{Reader, put_i64, put_i128};
use crate::aggregates::sums::{Reading, evaluate_each, present};
use crate::aggregates::{Evaluated, GroupState, Members};
use crate::error::Result;

/// Days of a month where an interval is divided.
const MONTH_DAYS: i128 = 30;

/// Nanoseconds of a day.
const DAY_NANOS: i128 = 86_400_000_000_000;

/// The sums of the parts: 2^63 rows do not overflow them.
#[derive(Clone, Debug, Default)]
pub(super) struct IntervalSum {
    months: i128,
    days: i128,
    nanos: i128,
    count: i64,
}

impl GroupState for IntervalSum {
    fn save(&self, bytes: &mut Vec<u8>) {
        put_i128(bytes, self.months);
        put_i128(bytes, self.days);
        put_i128(bytes, self.nanos);
        put_i64(bytes, self.count);
    }

    fn merge(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        self.months = self.months.wrapping_add(reader.i128()?);
        self.days = self.days.wrapping_add(reader.i128()?);
        self.nanos = self.nanos.wrapping_add(reader.i128()?);
        self.count += reader.i64()?;
        Ok(())
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl IntervalSum {
    /// The sum divided by the count: what is left of months goes into days of which a month has 30, what is left of
    /// days into the time, which is rounded to microseconds.
    fn average(&self) -> (i128, i128, i128) {
        let count = i128::from(self.count);
        let rest_days = self.months % count * MONTH_DAYS;
        // Over the count.
        let rest = self.days % count + rest_days % count;
        let days = self.days / count + rest_days / count + rest / count;
        let micros = (self.nanos + rest % count * DAY_NANOS) / 1_000;
        let half = count / 2 * micros.signum();
        (self.months / count, days, (micros + half) / count * 1_000)
    }
}

pub(super) fn update(states: &mut [IntervalSum], values: &ArrayRef, members: &Members<'_>) {
    let values = values.as_primitive::<IntervalMonthDayNanoType>().values();
    members.for_each(|row, group, weight| {
        let (value, state, times) = (values[row], &mut states[group], i128::from(weight));
        state.months = state.months.wrapping_add(i128::from(value.months) * times);
        state.days = state.days.wrapping_add(i128::from(value.days) * times);
        state.nanos = state.nanos.wrapping_add(i128::from(value.nanoseconds) * times);
        state.count += weight;
    });
}

pub(super) fn evaluate(states: &[IntervalSum], groups: &[u32], reading: Reading) -> Result<Evaluated> {
    let value = |group: usize| {
        let state = &states[group];
        if !present(state.count)? {
            return Ok(Ok(None));
        }
        let (months, days, nanos) = match reading {
            Reading::Sum => (state.months, state.days, state.nanos),
            Reading::Average | Reading::Mean => state.average(),
        };
        Ok(match (i32::try_from(months), i32::try_from(days), i64::try_from(nanos)) {
            (Ok(months), Ok(days), Ok(nanos)) => Ok(Some(IntervalMonthDayNano::new(months, days, nanos))),
            _ => Err("interval out of range"),
        })
    };
    evaluate_each(groups, value, |values| Ok(Arc::new(IntervalMonthDayNanoArray::from(values))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_part_goes_into_the_next() {
        let average = |months, days, hours: i128, count| {
            let nanos = hours * 3_600_000_000_000;
            let (months, days, nanos) = IntervalSum { months, days, nanos, count }.average();
            (months, days, nanos / 3_600_000_000_000)
        };
        assert_eq!(average(0, 1, 2, 2), (0, 0, 13));
        assert_eq!(average(1, 0, 0, 2), (0, 15, 0));
        assert_eq!(average(3, 3, 0, 4), (0, 23, 6));
        assert_eq!(average(-1, 0, 0, 2), (0, -15, 0));
    }
}
