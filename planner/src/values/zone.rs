//! Time zones in which `timestamptz` is shown and read.

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};
use chrono_tz::OffsetName;

/// A time zone: UTC, a fixed offset, or a named one of the IANA database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// Seconds east of UTC.
    Fixed(i32),
    /// With changing offsets.
    Named(chrono_tz::Tz),
}

/// The farthest instants of which the database knows the offset; those beyond take its last one.
const LAST_KNOWN_SECONDS: i64 = 8_000_000_000_000;

impl Zone {
    /// The zone of a name (any case) or of a POSIX specification without daylight saving: `UTC+3`, `<+05>-05` and
    /// also a bare `+02:00` count hours **west** of Greenwich, as in Postgres.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim_matches('\'');
        if ["utc", "z"].iter().any(|utc| utc.eq_ignore_ascii_case(name)) {
            return Some(Self::Utc);
        }
        if let Ok(zone) = chrono_tz::Tz::from_str(name) {
            return Some(Self::Named(zone));
        }
        let any_case = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        match any_case {
            Some(zone) => Some(Self::Named(*zone)),
            None => posix_seconds(name).map(Self::Fixed),
        }
    }

    /// The name as the database spells it; `None` for a fixed offset, whose text is its name.
    pub fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Utc => Some("UTC"),
            Self::Fixed(_) => None,
            Self::Named(zone) => Some(zone.name()),
        }
    }

    /// What clocks of the zone call their time at an instant: `CET`; `None` where only the offset is known.
    pub fn abbreviation_at(self, micros: i64) -> Option<String> {
        match self {
            Self::Utc => Some("UTC".to_string()),
            Self::Fixed(_) => None,
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&naive(micros));
                offset.abbreviation().map(ToString::to_string)
            }
        }
    }

    /// Seconds east of UTC at an instant in microseconds since 1970.
    pub fn offset_at(self, micros: i64) -> i32 {
        match self {
            Self::Utc => 0,
            Self::Fixed(seconds) => seconds,
            Self::Named(zone) => zone.offset_from_utc_datetime(&naive(micros)).fix().local_minus_utc(),
        }
    }

    /// The instant at which clocks of the zone show `local_micros`. Of two, the later one (standard time);
    /// where clocks jump over it, what the clock before the jump would have shown.
    pub fn instant_of(self, local_micros: i64) -> Option<i64> {
        let offset = match self {
            Self::Utc => 0,
            Self::Fixed(seconds) => seconds,
            Self::Named(zone) => {
                let local = naive(local_micros);
                match zone.offset_from_local_datetime(&local).latest() {
                    Some(offset) => offset.fix().local_minus_utc(),
                    None => self.offset_at(local_micros.checked_sub(86_400_000_000)?),
                }
            }
        };
        local_micros.checked_sub(i64::from(offset) * 1_000_000)
    }
}

fn naive(micros: i64) -> NaiveDateTime {
    let seconds = micros.div_euclid(1_000_000).clamp(-LAST_KNOWN_SECONDS, LAST_KNOWN_SECONDS);
    DateTime::from_timestamp(seconds, 0).expect("the seconds were brought into range").naive_utc()
}

/// Seconds east of a POSIX zone: letters or `<...>`, then an offset to the west; the letters may be missing.
fn posix_seconds(text: &str) -> Option<i32> {
    let offset = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?.1,
        None => text.trim_start_matches(|character: char| character.is_ascii_alphabetic()),
    };
    let signed = match offset.as_bytes().first()? {
        b'+' | b'-' => offset_seconds(offset)?,
        _ => offset_seconds(&format!("+{offset}"))?,
    };
    Some(-signed)
}

/// Minutes east of UTC of the abbreviations that Postgres reads beside the names of zones: of one offset each, in the
/// meaning that its default set gives to those that have several (`IST` is Israel's). Sorted.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acdt", 630),
    ("acst", 570),
    ("adt", -180),
    ("aedt", 660),
    ("aest", 600),
    ("akdt", -480),
    ("akst", -540),
    ("ast", -240),
    ("awst", 480),
    ("bst", 60),
    ("cdt", -300),
    ("cest", 120),
    ("cet", 60),
    ("cst", -360),
    ("eat", 180),
    ("edt", -240),
    ("eest", 180),
    ("eet", 120),
    ("est", -300),
    ("gmt", 0),
    ("hkt", 480),
    ("hst", -600),
    ("idt", 180),
    ("ist", 120),
    ("jst", 540),
    ("kst", 540),
    ("mdt", -360),
    ("mest", 120),
    ("mesz", 120),
    ("met", 60),
    ("mez", 60),
    ("mst", -420),
    ("ndt", -150),
    ("nst", -210),
    ("nzdt", 780),
    ("nzst", 720),
    ("pdt", -420),
    ("pht", 480),
    ("pkt", 300),
    ("pst", -480),
    ("sast", 120),
    ("uct", 0),
    ("ut", 0),
    ("utc", 0),
    ("wat", 60),
    ("wdt", 540),
    ("wet", 0),
    ("z", 0),
    ("zulu", 0),
];

/// Seconds east of UTC of an abbreviation of a time (any case). It is a fixed offset even where a zone that changes its
/// clocks has the same name: `CET`.
pub fn abbreviation_seconds(name: &str) -> Option<i32> {
    let name = name.to_ascii_lowercase();
    let found = ABBREVIATIONS.binary_search_by_key(&name.as_str(), |(abbreviation, _)| abbreviation).ok()?;
    Some(ABBREVIATIONS[found].1 * 60)
}

/// Seconds of `+hh`, `+hhmm`, `+hh:mm` and `+hh:mm:ss`, `-` for west.
pub fn offset_seconds(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let parts: Vec<&str> = if digits.contains(':') {
        digits.split(':').collect()
    } else if digits.len() == 4 && digits.is_ascii() {
        vec![&digits[..2], &digits[2..]]
    } else {
        vec![digits]
    };
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty() || part.len() > 2) {
        return None;
    }
    let mut seconds = 0;
    for (part, unit) in parts.iter().zip([3600, 60, 1]) {
        let number: i32 = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
        if unit < 3600 && number > 59 {
            return None;
        }
        seconds += number * unit;
    }
    // Postgres takes offsets below 16 hours.
    (seconds < 16 * 3600).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_offsets() {
        assert_eq!(Zone::named("utc"), Some(Zone::Utc));
        assert_eq!(Zone::named("europe/berlin"), Some(Zone::Named(chrono_tz::Europe::Berlin)));
        assert_eq!(Zone::named("Mars/Base"), None);
        for (name, seconds) in [
            ("UTC+3", -10_800),
            ("FOO-3:30", 12_600),
            ("+02:00", -7_200),
            ("UTC3", -10_800),
            ("<+05>-05", 18_000),
            ("<-03:30>+03:30", -12_600),
        ] {
            assert_eq!(Zone::named(name), Some(Zone::Fixed(seconds)), "{name}");
        }
        for name in ["", "+", "FOO", "<+05", "UTC+3x", "cest"] {
            assert_eq!(Zone::named(name), None, "{name}");
        }
        for (text, seconds) in [
            ("+02", Some(7200)),
            ("-07:52:58", Some(-28_378)),
            ("+0530", Some(19_800)),
            ("+5", Some(18_000)),
            ("+16", None),
            ("+1:60", None),
            ("+", None),
            ("02", None),
            ("+a", None),
            ("+é1", None),
        ] {
            assert_eq!(offset_seconds(text), seconds, "{text}");
        }
    }

    #[test]
    fn abbreviations_are_sorted_and_fixed() {
        assert!(ABBREVIATIONS.is_sorted());
        assert_eq!(abbreviation_seconds("CEST"), Some(7_200));
        assert_eq!(abbreviation_seconds("pst"), Some(-28_800));
        assert_eq!(abbreviation_seconds("Europe/Berlin"), None);
    }

    #[test]
    fn instants_and_offsets_agree_beyond_what_the_database_knows() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.offset_at(1_720_000_000_000_000), 7200);
        assert_eq!(berlin.offset_at(1_704_067_200_000_000), 3600);
        berlin.offset_at(i64::MAX);
        berlin.offset_at(i64::MIN);
        assert_eq!(berlin.instant_of(1_704_070_800_000_000), Some(1_704_067_200_000_000));
        // 2024-03-31 02:30 does not exist: clocks jump from 02:00 to 03:00.
        assert_eq!(berlin.instant_of(1_711_852_200_000_000), Some(1_711_848_600_000_000));
        // 2024-10-27 02:30 comes twice.
        assert_eq!(berlin.instant_of(1_729_996_200_000_000), Some(1_729_992_600_000_000));
    }
}
