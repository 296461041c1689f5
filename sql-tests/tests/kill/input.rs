//! What a run of the harness produces, and what the views over it have to be, computed apart from the product.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;

pub const PARTITIONS: usize = 3;

pub const AUCTIONS: i64 = 1_000;

/// What the watermark is behind the newest event.
const DELAY_MICROS: i64 = 4_000_000;

/// A record of the topic, as it was produced.
pub enum Record {
    Bid {
        auction: i64,
        price: i64,
        micros: i64,
    },
    /// Not a record of the source.
    Broken,
}

impl Record {
    pub fn random(random: &mut StdRng, number: usize) -> Self {
        if random.random_ratio(1, 2_000) {
            return Self::Broken;
        }
        // One event a millisecond of event time, out of order within the delay; some are an hour late.
        let back = match random.random_ratio(1, 1_000) {
            true => 3_600_000_000,
            false => random.random_range(0..DELAY_MICROS),
        };
        let micros = 1_800_000_000_000_000 + number as i64 * 1_000 - back;
        Self::Bid { auction: random.random_range(0..AUCTIONS), price: random.random_range(1..1_000_000), micros }
    }

    pub fn payload(&self) -> Vec<u8> {
        match self {
            Self::Broken => b"{\"auction\": 1, \"pri".to_vec(),
            Self::Bid { auction, price, micros } => {
                format!(r#"{{"auction":{auction},"bidder":1,"price":{price},"ts":"{}"}}"#, timestamp(*micros)).into()
            }
        }
    }
}

/// A timestamp as the wire shows it; all events are of one day or the day before it.
fn timestamp(micros: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    // 2027-01-15 08:00:00 is 1_800_000_000 seconds after the epoch.
    let day_start = 1_800_000_000_000_000 - 8 * 3_600_000_000;
    let (day, within) = ((micros - day_start).div_euclid(DAY), (micros - day_start).rem_euclid(DAY));
    let (seconds, fraction) = (within / 1_000_000, within % 1_000_000);
    let text = format!("2027-01-{:02} {:02}:{:02}:{:02}", 15 + day, seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// The batch result over the topic, computed apart from the product.
#[derive(Default)]
pub struct Expected {
    /// (window start, auction) to (count, highest price).
    per_minute: BTreeMap<(i64, i64), (i64, i64)>,
    /// Auction to (count, sum of prices).
    per_auction: BTreeMap<i64, (i64, i64)>,
    pub accepted: i64,
    pub late: i64,
    pub rejected: i64,
}

impl Expected {
    pub fn of(partitions: &[Vec<Record>]) -> Self {
        let mut expected = Self::default();
        for records in partitions {
            let mut newest = i64::MIN;
            for record in records {
                let Record::Bid { auction, price, micros } = *record else {
                    expected.rejected += 1;
                    continue;
                };
                // Late is below the watermark of the rows before it in its own split.
                if newest != i64::MIN && micros < newest - DELAY_MICROS {
                    expected.late += 1;
                    continue;
                }
                newest = newest.max(micros);
                expected.accepted += 1;
                let window = micros - micros.rem_euclid(60_000_000);
                let minute = expected.per_minute.entry((window, auction)).or_insert((0, i64::MIN));
                *minute = (minute.0 + 1, minute.1.max(price));
                let total = expected.per_auction.entry(auction).or_default();
                *total = (total.0 + 1, total.1 + price);
            }
        }
        expected
    }

    pub fn per_minute_rows(&self) -> BTreeSet<Vec<String>> {
        let row = |(&(window, auction), &(count, top)): (&(i64, i64), &(i64, i64))| {
            vec![timestamp(window), auction.to_string(), count.to_string(), top.to_string()]
        };
        self.per_minute.iter().map(row).collect()
    }

    /// The join of the bids with the notes that the table holds.
    pub fn noted_rows(&self, notes: &[Note]) -> BTreeSet<Vec<String>> {
        let row = |note: &Note| {
            let (count, sum) = self.per_auction.get(&note.auction)?;
            Some(vec![note.id.to_string(), count.to_string(), sum.to_string()])
        };
        notes.iter().filter_map(row).collect()
    }
}

/// A row of the table that a second client inserts into.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Note {
    pub id: i64,
    pub auction: i64,
}
