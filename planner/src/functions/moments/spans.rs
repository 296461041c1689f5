//! `age`, `justify_*`, `isfinite` and OVERLAPS.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::{DataFusionError, Result};

use super::clock::{Local, interval, is_infinite, local_of, out_of_range, shifted};
use super::frame::{Datum, Definition, Kind, Row, overload};
use crate::error::PlanError;
use crate::values::Zone;
use crate::values::datetime::{DAY_MICROS, days_in_month};

pub(super) const AGE: Definition = Definition {
    name: "age",
    overloads: &[
        overload(&[Kind::Timestamp, Kind::Timestamp], Kind::Interval, |row| age(row, Zone::Utc)),
        overload(&[Kind::Timestamptz, Kind::Timestamptz], Kind::Interval, |row| age(row, row.zone()?)),
        // Of one moment: its age today, which is put before it where the call is bound.
        overload(&[Kind::Timestamp], Kind::Interval, |_| Err(unbound_age())),
        overload(&[Kind::Timestamptz], Kind::Interval, |_| Err(unbound_age())),
    ],
    strict: true,
};

pub(super) const JUSTIFY_HOURS: Definition = Definition {
    name: "justify_hours",
    overloads: &[overload(&[Kind::Interval], Kind::Interval, |row| {
        let mut parts = Parts::of(row.interval(0));
        parts.hours_to_days();
        parts.agree_days();
        parts.finish()
    })],
    strict: true,
};

pub(super) const JUSTIFY_DAYS: Definition = Definition {
    name: "justify_days",
    overloads: &[overload(&[Kind::Interval], Kind::Interval, |row| {
        let mut parts = Parts::of(row.interval(0));
        parts.days_to_months();
        if parts.months > 0 && parts.days < 0 {
            (parts.months, parts.days) = (parts.months - 1, parts.days + MONTH_DAYS);
        } else if parts.months < 0 && parts.days > 0 {
            (parts.months, parts.days) = (parts.months + 1, parts.days - MONTH_DAYS);
        }
        parts.finish()
    })],
    strict: true,
};

pub(super) const JUSTIFY_INTERVAL: Definition = Definition {
    name: "justify_interval",
    overloads: &[overload(&[Kind::Interval], Kind::Interval, |row| {
        let mut parts = Parts::of(row.interval(0));
        parts.hours_to_days();
        parts.days_to_months();
        if parts.months > 0 && (parts.days < 0 || (parts.days == 0 && parts.micros < 0)) {
            (parts.months, parts.days) = (parts.months - 1, parts.days + MONTH_DAYS);
        } else if parts.months < 0 && (parts.days > 0 || (parts.days == 0 && parts.micros > 0)) {
            (parts.months, parts.days) = (parts.months + 1, parts.days - MONTH_DAYS);
        }
        parts.agree_days();
        parts.finish()
    })],
    strict: true,
};

pub(super) const ISFINITE: Definition = Definition {
    name: "isfinite",
    overloads: &[
        overload(&[Kind::Date], Kind::Boolean, |row| Ok(Datum::Boolean(!matches!(row.days(0), i32::MAX | i32::MIN)))),
        overload(&[Kind::Timestamp], Kind::Boolean, |row| Ok(Datum::Boolean(!is_infinite(row.micros(0))))),
        overload(&[Kind::Timestamptz], Kind::Boolean, |row| Ok(Datum::Boolean(!is_infinite(row.micros(0))))),
        overload(&[Kind::Interval], Kind::Boolean, |_| Ok(Datum::Boolean(true))),
    ],
    strict: true,
};

use Kind::{Interval as I, Time as C, Timestamp as T, Timestamptz as Z};

/// The function behind `(a, b) OVERLAPS (c, d)`; an end may be a length.
pub(super) const OVERLAPS: Definition = Definition {
    name: "overlaps",
    overloads: &[
        overload(&[C, C, C, C], Kind::Boolean, |row| Ok(overlaps(row, |column| row.time(column)))),
        overload(&[T, T, T, T], Kind::Boolean, |row| Ok(overlaps(row, |column| row.micros(column)))),
        overload(&[T, I, T, I], Kind::Boolean, |row| span_overlaps(row, [true, true], Zone::Utc)),
        overload(&[T, I, T, T], Kind::Boolean, |row| span_overlaps(row, [true, false], Zone::Utc)),
        overload(&[T, T, T, I], Kind::Boolean, |row| span_overlaps(row, [false, true], Zone::Utc)),
        overload(&[Z, Z, Z, Z], Kind::Boolean, |row| Ok(overlaps(row, |column| row.micros(column)))),
        overload(&[Z, I, Z, I], Kind::Boolean, |row| span_overlaps(row, [true, true], row.zone()?)),
        overload(&[Z, I, Z, Z], Kind::Boolean, |row| span_overlaps(row, [true, false], row.zone()?)),
        overload(&[Z, Z, Z, I], Kind::Boolean, |row| span_overlaps(row, [false, true], row.zone()?)),
    ],
    strict: false,
};

const MONTH_DAYS: i64 = 30;

fn unbound_age() -> DataFusionError {
    DataFusionError::External(Box::new(PlanError::internal("age() was bound without the day")))
}

/// The difference of two moments in years, months and days of the calendar and a time of the clock.
fn age(row: &Row<'_>, zone: Zone) -> Result<Datum> {
    let (end, begin) = (row.micros(0), row.micros(1));
    if is_infinite(end) || is_infinite(begin) {
        return Err(out_of_range());
    }
    let negative = end < begin;
    let (end, begin) = (Local::of(local_of(zone, end)), Local::of(local_of(zone, begin)));
    // The later one less the earlier one; what is borrowed is a month of the earlier one.
    let (later, earlier) = if negative { (begin, end) } else { (end, begin) };
    let mut micros = later.of_day - earlier.of_day;
    let mut days = i64::from(later.day) - i64::from(earlier.day);
    let mut months = (later.year - earlier.year) * 12 + i64::from(later.month) - i64::from(earlier.month);
    while micros < 0 {
        (micros, days) = (micros + DAY_MICROS, days - 1);
    }
    while days < 0 {
        days += i64::from(days_in_month(earlier.year, earlier.month));
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    interval(sign * months, sign * days, i128::from(sign * micros)).map(Datum::Interval)
}

/// An interval while its parts flow into one another.
struct Parts {
    months: i64,
    days: i64,
    micros: i64,
}

impl Parts {
    fn of(interval: IntervalMonthDayNano) -> Self {
        Self { months: interval.months.into(), days: interval.days.into(), micros: interval.nanoseconds / 1_000 }
    }

    fn hours_to_days(&mut self) {
        self.days += self.micros / DAY_MICROS;
        self.micros %= DAY_MICROS;
    }

    fn days_to_months(&mut self) {
        self.months += self.days / MONTH_DAYS;
        self.days %= MONTH_DAYS;
    }

    /// Gives the time the sign of the days.
    fn agree_days(&mut self) {
        if self.days > 0 && self.micros < 0 {
            (self.days, self.micros) = (self.days - 1, self.micros + DAY_MICROS);
        } else if self.days < 0 && self.micros > 0 {
            (self.days, self.micros) = (self.days + 1, self.micros - DAY_MICROS);
        }
    }

    fn finish(self) -> Result<Datum> {
        interval(self.months, self.days, i128::from(self.micros)).map(Datum::Interval)
    }
}

/// With lengths for the ends that are `spans`.
fn span_overlaps(row: &Row<'_>, spans: [bool; 2], zone: Zone) -> Result<Datum> {
    let mut periods = [(None, None); 2];
    for (pair, span) in spans.into_iter().enumerate() {
        let begin = value(row, pair * 2, |column| row.micros(column));
        let end = match (span, begin) {
            (false, _) => value(row, pair * 2 + 1, |column| row.micros(column)),
            (true, Some(begin)) if !row.is_null(pair * 2 + 1) => {
                Some(shifted(zone, begin, row.interval(pair * 2 + 1), 1)?)
            }
            (true, _) => None,
        };
        periods[pair] = (begin, end);
    }
    Ok(overlap(periods))
}

fn overlaps(row: &Row<'_>, read: impl Fn(usize) -> i64) -> Datum {
    overlap([(value(row, 0, &read), value(row, 1, &read)), (value(row, 2, &read), value(row, 3, &read))])
}

fn value(row: &Row<'_>, column: usize, read: impl Fn(usize) -> i64) -> Option<i64> {
    (!row.is_null(column)).then(|| read(column))
}

/// A begin and an end.
type Period = (Option<i64>, Option<i64>);

/// Whether two periods share a moment. The ends of a period may come in either order, and its later one is no part of
/// it unless it is the earlier one, too. With an end that is NULL that may still be known.
fn overlap(periods: [Period; 2]) -> Datum {
    let ordered = |(begin, end): Period| match (begin, end) {
        (Some(begin), Some(end)) => Some((begin.min(end), Some(begin.max(end)))),
        (Some(one), None) | (None, Some(one)) => Some((one, None)),
        (None, None) => None,
    };
    let (Some(first), Some(second)) = (ordered(periods[0]), ordered(periods[1])) else { return Datum::Null };
    let (earlier, later) = if first.0 <= second.0 { (first, second) } else { (second, first) };
    match (earlier.1, later.1) {
        (Some(_), Some(_)) if earlier.0 == later.0 => Datum::Boolean(true),
        (Some(end), _) if earlier.0 < later.0 && later.0 < end => Datum::Boolean(true),
        (Some(_), Some(_)) => Datum::Boolean(false),
        _ => Datum::Null,
    }
}
