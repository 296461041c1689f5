//! Intervals as text, in the four styles of Postgres.

use std::fmt::Write as _;

use bytes::BytesMut;

use super::style::IntervalForm;

/// An interval in its parts; those of the time of day share the sign of `micros`.
struct Parts {
    years: i32,
    months: i32,
    days: i32,
    negative_time: bool,
    hours: u64,
    minutes: u64,
    seconds: u64,
    fraction: u64,
}

impl Parts {
    fn of(months: i32, days: i32, micros: i64) -> Self {
        let magnitude = micros.unsigned_abs();
        let seconds = magnitude / 1_000_000;
        Self {
            years: months / 12,
            months: months % 12,
            days,
            negative_time: micros < 0,
            hours: seconds / 3600,
            minutes: seconds / 60 % 60,
            seconds: seconds % 60,
            fraction: magnitude % 1_000_000,
        }
    }

    fn has_time(&self) -> bool {
        self.hours != 0 || self.minutes != 0 || self.has_seconds()
    }

    fn has_seconds(&self) -> bool {
        self.seconds != 0 || self.fraction != 0
    }

    fn has_date(&self) -> bool {
        self.years != 0 || self.months != 0 || self.days != 0
    }
}

fn put(output: &mut BytesMut, arguments: std::fmt::Arguments<'_>) {
    output.write_fmt(arguments).expect("writing to memory does not fail");
}

/// Only as many digits as are needed.
fn put_fraction(output: &mut BytesMut, micros: u64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        put(output, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

/// Writes an `interval`.
pub fn put_interval(output: &mut BytesMut, months: i32, days: i32, micros: i64, form: IntervalForm) {
    let parts = Parts::of(months, days, micros);
    match form {
        IntervalForm::Postgres => put_postgres(output, &parts),
        IntervalForm::PostgresVerbose => put_verbose(output, &parts),
        IntervalForm::SqlStandard => put_standard(output, &parts),
        IntervalForm::Iso8601 => put_iso(output, &parts),
    }
}

fn put_postgres(output: &mut BytesMut, parts: &Parts) {
    let mut first = true;
    let mut after_negative = false;
    for (count, unit) in [(parts.years, "year"), (parts.months, "mon"), (parts.days, "day")] {
        if count == 0 {
            continue;
        }
        let space = if first { "" } else { " " };
        // A positive part behind a negative one says so.
        let plus = if after_negative && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        put(output, format_args!("{space}{plus}{count} {unit}{plural}"));
        first = false;
        after_negative = count < 0;
    }
    if first || parts.has_time() {
        let space = if first { "" } else { " " };
        let sign = match parts.negative_time {
            true => "-",
            false if after_negative => "+",
            false => "",
        };
        put(output, format_args!("{space}{sign}{:02}:{:02}:{:02}", parts.hours, parts.minutes, parts.seconds));
        put_fraction(output, parts.fraction);
    }
}

/// The first part that is not zero decides whether all of it is `ago`; the others are written relative to it.
fn put_verbose(output: &mut BytesMut, parts: &Parts) {
    put(output, format_args!("@"));
    let mut ago = None;
    let time = |count: u64| if parts.negative_time { -i128::from(count) } else { i128::from(count) };
    let units = [
        (i128::from(parts.years), "year"),
        (i128::from(parts.months), "mon"),
        (i128::from(parts.days), "day"),
        (time(parts.hours), "hour"),
        (time(parts.minutes), "min"),
    ];
    for (count, unit) in units {
        if count == 0 {
            continue;
        }
        let shown = if *ago.get_or_insert(count < 0) { -count } else { count };
        let plural = if shown == 1 { "" } else { "s" };
        put(output, format_args!(" {shown} {unit}{plural}"));
    }
    if parts.has_seconds() {
        let negative = parts.negative_time != *ago.get_or_insert(parts.negative_time);
        put(output, format_args!(" {}{}", if negative { "-" } else { "" }, parts.seconds));
        put_fraction(output, parts.fraction);
        let one = parts.seconds == 1 && parts.fraction == 0;
        put(output, format_args!(" sec{}", if one { "" } else { "s" }));
    }
    match ago {
        None => put(output, format_args!(" 0")),
        Some(true) => put(output, format_args!(" ago")),
        Some(false) => {}
    }
}

/// The standard knows intervals of months and intervals of days, with one sign each; what mixes them has a sign
/// before every part.
fn put_standard(output: &mut BytesMut, parts: &Parts) {
    let (has_months, has_time) = (parts.years != 0 || parts.months != 0, parts.has_time());
    let has_days = parts.days != 0 || has_time;
    let negative = parts.years < 0 || parts.months < 0 || parts.days < 0 || (has_time && parts.negative_time);
    let positive = parts.years > 0 || parts.months > 0 || parts.days > 0 || (has_time && !parts.negative_time);
    let time = |output: &mut BytesMut| {
        put(output, format_args!("{}:{:02}:{:02}", parts.hours, parts.minutes, parts.seconds));
        put_fraction(output, parts.fraction);
    };
    let (years, months) = (parts.years.unsigned_abs(), parts.months.unsigned_abs());
    if !has_months && !has_days {
        put(output, format_args!("0"));
    } else if (has_months && has_days) || (negative && positive) {
        let sign = |negative: bool| if negative { '-' } else { '+' };
        let months_sign = sign(parts.years < 0 || parts.months < 0);
        put(output, format_args!("{months_sign}{years}-{months} {:+} ", parts.days));
        put(output, format_args!("{}", sign(parts.negative_time)));
        time(output);
    } else {
        put(output, format_args!("{}", if negative { "-" } else { "" }));
        if has_months {
            put(output, format_args!("{years}-{months}"));
        } else {
            if parts.days != 0 {
                put(output, format_args!("{} ", parts.days.unsigned_abs()));
            }
            time(output);
        }
    }
}

fn put_iso(output: &mut BytesMut, parts: &Parts) {
    if !parts.has_date() && !parts.has_time() {
        return put(output, format_args!("PT0S"));
    }
    put(output, format_args!("P"));
    for (count, unit) in [(parts.years, 'Y'), (parts.months, 'M'), (parts.days, 'D')] {
        if count != 0 {
            put(output, format_args!("{count}{unit}"));
        }
    }
    if parts.has_time() {
        put(output, format_args!("T"));
    }
    let sign = if parts.negative_time { "-" } else { "" };
    for (count, unit) in [(parts.hours, 'H'), (parts.minutes, 'M')] {
        if count != 0 {
            put(output, format_args!("{sign}{count}{unit}"));
        }
    }
    if parts.has_seconds() {
        put(output, format_args!("{sign}{}", parts.seconds));
        put_fraction(output, parts.fraction);
        put(output, format_args!("S"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    /// Months, days and microseconds, and the text in the four styles.
    type Shown = ((i32, i32, i64), [&'static str; 4]);

    /// As a Postgres 15 wrote them.
    const SHOWN: &[Shown] = &[
        ((0, 0, 0), ["00:00:00", "@ 0", "0", "PT0S"]),
        (
            (14, 3, 14_706_789_000),
            [
                "1 year 2 mons 3 days 04:05:06.789",
                "@ 1 year 2 mons 3 days 4 hours 5 mins 6.789 secs",
                "+1-2 +3 +4:05:06.789",
                "P1Y2M3DT4H5M6.789S",
            ],
        ),
        ((1, 1, 0), ["1 mon 1 day", "@ 1 mon 1 day", "+0-1 +1 +0:00:00", "P1M1D"]),
        (
            (-14, 3, -14_706_000_000),
            [
                "-1 years -2 mons +3 days -04:05:06",
                "@ 1 year 2 mons -3 days 4 hours 5 mins 6 secs ago",
                "-1-2 +3 -4:05:06",
                "P-1Y-2M3DT-4H-5M-6S",
            ],
        ),
        ((-1, 0, 1_000_000), ["-1 mons +00:00:01", "@ 1 mon -1 sec ago", "-0-1 +0 +0:00:01", "P-1MT1S"]),
        ((0, -1, HOUR), ["-1 days +01:00:00", "@ 1 day -1 hours ago", "+0-0 -1 +1:00:00", "P-1DT1H"]),
        ((0, 0, -1), ["-00:00:00.000001", "@ 0.000001 secs ago", "-0:00:00.000001", "PT-0.000001S"]),
        ((24, 0, 0), ["2 years", "@ 2 years", "2-0", "P2Y"]),
        ((0, 0, 100 * HOUR), ["100:00:00", "@ 100 hours", "100:00:00", "PT100H"]),
        ((0, 1, 0), ["1 day", "@ 1 day", "1 0:00:00", "P1D"]),
        ((0, -1, -HOUR), ["-1 days -01:00:00", "@ 1 day 1 hour ago", "-1 1:00:00", "P-1DT-1H"]),
        ((12, -1, 0), ["1 year -1 days", "@ 1 year -1 days", "+1-0 -1 +0:00:00", "P1Y-1D"]),
        ((-24, 0, 0), ["-2 years", "@ 2 years ago", "-2-0", "P-2Y"]),
        ((0, 0, 60_500_000), ["00:01:00.5", "@ 1 min 0.5 secs", "0:01:00.5", "PT1M0.5S"]),
        ((0, 1, -1_000_000), ["1 day -00:00:01", "@ 1 day -1 sec", "+0-0 +1 -0:00:01", "P1DT-1S"]),
    ];

    #[test]
    fn every_style_writes_what_postgres_writes() {
        let forms =
            [IntervalForm::Postgres, IntervalForm::PostgresVerbose, IntervalForm::SqlStandard, IntervalForm::Iso8601];
        for ((months, days, micros), texts) in SHOWN {
            for (form, text) in forms.iter().zip(texts) {
                let mut output = BytesMut::new();
                put_interval(&mut output, *months, *days, *micros, *form);
                assert_eq!(std::str::from_utf8(&output).unwrap(), *text, "{form:?}");
            }
        }
    }

    #[test]
    fn the_smallest_interval_is_written() {
        let mut output = BytesMut::new();
        put_interval(&mut output, 0, 0, i64::MIN, IntervalForm::Postgres);
        assert_eq!(std::str::from_utf8(&output).unwrap(), "-2562047788:00:54.775808");
        for form in [IntervalForm::PostgresVerbose, IntervalForm::SqlStandard, IntervalForm::Iso8601] {
            output.clear();
            put_interval(&mut output, i32::MIN, i32::MIN, i64::MIN, form);
            assert!(!output.is_empty());
        }
    }
}
