//! Dates and times as text, and the calendar behind them.
//!
//! The proleptic Gregorian calendar, years before 1 shown as BC. The extremes of the integers are the
//! infinities, as in Postgres.

use std::fmt::Write as _;

use bytes::BytesMut;

use super::style::{DateForm, DateOrder, TextForms, TextStyle};

/// Days from 1970-01-01 to 2000-01-01, where Postgres' binary formats start.
pub const POSTGRES_EPOCH_DAYS: i32 = 10_957;

/// The same in microseconds.
pub const POSTGRES_EPOCH_MICROS: i64 = POSTGRES_EPOCH_DAYS as i64 * DAY_MICROS;

/// Microseconds of a day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month and day of days since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970 of a date; the same source.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Days of a month.
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn put(output: &mut BytesMut, arguments: std::fmt::Arguments<'_>) {
    output.write_fmt(arguments).expect("writing to memory does not fail");
}

/// Writes the date and returns what stands at the end of the whole text.
fn put_civil(output: &mut BytesMut, days: i64, forms: TextForms) -> &'static str {
    let (year, month, day) = civil_from_days(days);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let (first, second) = if forms.order == DateOrder::Dmy { (day, month) } else { (month, day) };
    match forms.date {
        DateForm::Iso => put(output, format_args!("{shown:04}-{month:02}-{day:02}")),
        DateForm::Sql => put(output, format_args!("{first:02}/{second:02}/{shown:04}")),
        DateForm::Postgres => put(output, format_args!("{first:02}-{second:02}-{shown:04}")),
        DateForm::German => put(output, format_args!("{day:02}.{month:02}.{shown:04}")),
    }
    era
}

/// Writes a `date`.
pub fn put_date(output: &mut BytesMut, days: i32, forms: TextForms) {
    match days {
        i32::MAX => output.extend_from_slice(b"infinity"),
        i32::MIN => output.extend_from_slice(b"-infinity"),
        days => {
            let era = put_civil(output, i64::from(days), forms);
            output.extend_from_slice(era.as_bytes());
        }
    }
}

/// Writes a `time`; 24:00:00 is one.
pub fn put_time(output: &mut BytesMut, micros: i64) {
    let seconds = micros / 1_000_000;
    put(output, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    put_fraction(output, micros % 1_000_000);
}

/// Only as many digits as are needed.
fn put_fraction(output: &mut BytesMut, micros: i64) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        put(output, format_args!(".{}", digits.trim_end_matches('0')));
    }
}

/// Writes a `timestamp`.
pub fn put_timestamp(output: &mut BytesMut, micros: i64, forms: TextForms) {
    if !put_infinity(output, micros) {
        let era = put_clock(output, i128::from(micros), forms);
        output.extend_from_slice(era.as_bytes());
    }
}

/// Writes a `timestamptz` as the clocks of a zone show it.
pub fn put_timestamptz(output: &mut BytesMut, micros: i64, style: TextStyle) {
    if put_infinity(output, micros) {
        return;
    }
    let offset = style.zone.offset_at(micros);
    let era = put_clock(output, i128::from(micros) + i128::from(offset) * 1_000_000, style.forms);
    match style.forms.date {
        DateForm::Iso => put_offset(output, offset),
        DateForm::Sql | DateForm::Postgres | DateForm::German => {
            put(output, format_args!(" "));
            match style.zone.abbreviation_at(micros) {
                Some(name) => output.extend_from_slice(name.as_bytes()),
                None => put_offset(output, offset),
            }
        }
    }
    output.extend_from_slice(era.as_bytes());
}

fn put_offset(output: &mut BytesMut, offset: i32) {
    let (sign, seconds) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    put(output, format_args!("{sign}{:02}", seconds / 3600));
    if seconds % 3600 != 0 {
        put(output, format_args!(":{:02}", seconds / 60 % 60));
    }
    if seconds % 60 != 0 {
        put(output, format_args!(":{:02}", seconds % 60));
    }
}

fn put_infinity(output: &mut BytesMut, micros: i64) -> bool {
    match micros {
        i64::MAX => output.extend_from_slice(b"infinity"),
        i64::MIN => output.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

fn put_clock(output: &mut BytesMut, micros: i128, forms: TextForms) -> &'static str {
    let days = micros.div_euclid(i128::from(DAY_MICROS)) as i64;
    let of_day = micros.rem_euclid(i128::from(DAY_MICROS)) as i64;
    if forms.date == DateForm::Postgres {
        return put_ctime(output, days, of_day, forms.order);
    }
    let era = put_civil(output, days, forms);
    output.extend_from_slice(b" ");
    put_time(output, of_day);
    era
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sat Feb 03 04:05:06 2024`: 1970 began on a Thursday.
fn put_ctime(output: &mut BytesMut, days: i64, of_day: i64, order: DateOrder) -> &'static str {
    let (year, month, day) = civil_from_days(days);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let month = MONTHS[month as usize - 1];
    match order {
        DateOrder::Dmy => put(output, format_args!("{weekday} {day:02} {month} ")),
        DateOrder::Mdy | DateOrder::Ymd => put(output, format_args!("{weekday} {month} {day:02} ")),
    }
    put_time(output, of_day);
    put(output, format_args!(" {shown:04}"));
    era
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::zone::Zone;
    use super::*;

    fn shown(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut output = BytesMut::new();
        write(&mut output);
        String::from_utf8(output.to_vec()).unwrap()
    }

    #[test]
    fn the_calendar_goes_both_ways() {
        for days in (-3_000_000..3_000_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!(day <= days_in_month(year, month));
        }
    }

    #[test]
    fn dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (POSTGRES_EPOCH_DAYS, "2000-01-01"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
            (-735_160, "0044-03-15 BC"),
            (2_932_897, "10000-01-01"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(shown(|output| put_date(output, days, TextForms::default())), text);
        }
    }

    #[test]
    fn times() {
        for (micros, text) in [
            (0, "00:00:00"),
            (1, "00:00:00.000001"),
            (14_706_789_000, "04:05:06.789"),
            (86_399_999_999, "23:59:59.999999"),
            (DAY_MICROS, "24:00:00"),
        ] {
            assert_eq!(shown(|output| put_time(output, micros)), text);
        }
    }

    #[test]
    fn timestamps() {
        for (micros, text) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59.999999"),
            (1_704_067_200_100_000, "2024-01-01 00:00:00.1"),
            (-62_135_596_800_000_000, "0001-01-01 00:00:00"),
            (-62_135_596_800_000_001, "0001-12-31 23:59:59.999999 BC"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
            (i64::MAX - 1, "294247-01-10 04:00:54.775806"),
        ] {
            assert_eq!(shown(|output| put_timestamp(output, micros, TextForms::default())), text);
        }
    }

    #[test]
    fn timestamps_with_zones() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let kolkata = Zone::named("Asia/Kolkata").unwrap();
        for (micros, zone, text) in [
            (0, Zone::Utc, "1970-01-01 00:00:00+00"),
            (1_720_000_000_500_000, berlin, "2024-07-03 11:46:40.5+02"),
            (1_704_067_200_000_000, kolkata, "2024-01-01 05:30:00+05:30"),
            (1_704_067_200_000_000, Zone::Fixed(-28_378), "2023-12-31 16:07:02-07:52:58"),
            (-62_135_596_800_000_001, Zone::Utc, "0001-12-31 23:59:59.999999+00 BC"),
            (i64::MAX, berlin, "infinity"),
        ] {
            assert_eq!(shown(|output| put_timestamptz(output, micros, zone.into())), text);
        }
    }

    /// Date, timestamp and timestamptz in Berlin of one moment, as a Postgres 15 wrote them.
    #[test]
    fn styles() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let micros = 1_706_933_106_700_000;
        let march = -63_517_824_000_000_000;
        for (date, order, texts) in [
            (DateForm::Sql, DateOrder::Mdy, ["02/03/2024", "02/03/2024 04:05:06.7", "02/03/2024 05:05:06.7 CET"]),
            (DateForm::Sql, DateOrder::Dmy, ["03/02/2024", "03/02/2024 04:05:06.7", "03/02/2024 05:05:06.7 CET"]),
            (DateForm::German, DateOrder::Dmy, ["03.02.2024", "03.02.2024 04:05:06.7", "03.02.2024 05:05:06.7 CET"]),
            (
                DateForm::Postgres,
                DateOrder::Ymd,
                ["02-03-2024", "Sat Feb 03 04:05:06.7 2024", "Sat Feb 03 05:05:06.7 2024 CET"],
            ),
            (
                DateForm::Postgres,
                DateOrder::Dmy,
                ["03-02-2024", "Sat 03 Feb 04:05:06.7 2024", "Sat 03 Feb 05:05:06.7 2024 CET"],
            ),
        ] {
            let forms = TextForms { date, order, ..TextForms::default() };
            let style = TextStyle { zone: berlin, forms };
            assert_eq!(shown(|output| put_date(output, 19_756, forms)), texts[0]);
            assert_eq!(shown(|output| put_timestamp(output, micros, forms)), texts[1]);
            assert_eq!(shown(|output| put_timestamptz(output, micros, style)), texts[2]);
        }
        let forms = TextForms { date: DateForm::Postgres, ..TextForms::default() };
        assert_eq!(shown(|output| put_timestamp(output, march, forms)), "Fri Mar 15 00:00:00 0044 BC");
        let fixed = TextStyle { zone: Zone::named("<+05>-05").unwrap(), forms };
        assert_eq!(shown(|output| put_timestamptz(output, 0, fixed)), "Thu Jan 01 05:00:00 1970 +05");
        let utc = TextStyle { zone: Zone::Utc, forms };
        assert_eq!(shown(|output| put_timestamptz(output, 0, utc)), "Thu Jan 01 00:00:00 1970 UTC");
    }
}
