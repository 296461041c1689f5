//! Time zones in which `timestamptz` is shown and read.

use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone};

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
    /// The zone of a name (any case) or of an ISO offset such as `+02:00`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim_matches('\'');
        if ["utc", "gmt", "z", "zulu", "etc/utc"].contains(&name.to_ascii_lowercase().as_str()) {
            return Some(Self::Utc);
        }
        if let Some(seconds) = offset_seconds(name) {
            return Some(Self::Fixed(seconds));
        }
        if let Ok(zone) = chrono_tz::Tz::from_str(name) {
            return Some(Self::Named(zone));
        }
        chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name)).map(|zone| Self::Named(*zone))
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
