//! In which of its forms a value is written: what `DateStyle`, `IntervalStyle`, `extra_float_digits`,
//! `bytea_output` and `TimeZone` choose.
//!
//! The forms stand in the durable log with every definition, because a cast to text follows them: a view goes on
//! writing as it did when it was made.

use serde::{Deserialize, Serialize};

use super::zone::Zone;

/// How values are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TextStyle {
    /// In which zone `timestamptz` is shown.
    pub zone: Zone,
    /// The rest.
    pub forms: TextForms,
}

/// The forms of values that have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TextForms {
    /// `DateStyle`, its first part.
    pub date: DateForm,
    /// `DateStyle`, its second part: also how a date of three short numbers is read.
    pub order: DateOrder,
    /// `IntervalStyle`.
    pub interval: IntervalForm,
    /// `extra_float_digits`: above 0 the shortest text that reads back, else so many digits more (fewer) than 15
    /// for `double precision` and 6 for `real`.
    pub float_digits: i8,
    /// `bytea_output` is `escape`.
    pub bytea_escaped: bool,
}

/// How dates are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DateForm {
    /// `2024-02-03 04:05:06+01`
    #[default]
    Iso,
    /// `02/03/2024 04:05:06 CET`
    Sql,
    /// `Sat Feb 03 04:05:06 2024 CET`
    Postgres,
    /// `03.02.2024 04:05:06 CET`
    German,
}

/// In which order the parts of a date stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DateOrder {
    /// Month, day, year.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day; written as [`DateOrder::Mdy`].
    Ymd,
}

/// How intervals are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IntervalForm {
    /// `1 year 2 mons 3 days 04:05:06`
    #[default]
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`
    Iso8601,
}

impl Default for TextForms {
    fn default() -> Self {
        Self {
            date: DateForm::default(),
            order: DateOrder::default(),
            interval: IntervalForm::default(),
            float_digits: 1,
            bytea_escaped: false,
        }
    }
}

impl From<Zone> for TextStyle {
    fn from(zone: Zone) -> Self {
        Self { zone, forms: TextForms::default() }
    }
}
