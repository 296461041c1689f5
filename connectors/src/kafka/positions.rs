//! Honest positions: what is wrong with a saved position, in words that name topic, partition and offsets.
//!
//! A position outside what the broker holds, or within a topic that was made anew under the same name, is an
//! error and never a silent reset (invariant 12).

use millstream_runtime::Error;

/// The offsets that a partition holds: from `first` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldOffsets {
    /// The first that is there.
    pub(super) first: u64,
    /// The one after the last.
    pub(super) end: u64,
}

/// What is wrong with reading a partition from `offset`; `None` when nothing is.
pub(super) fn check(topic: &str, partition: i32, offset: u64, held: HeldOffsets) -> Option<Error> {
    let HeldOffsets { first, end } = held;
    if offset < first {
        let error = Error::data(format!(
            "offset {offset} of partition {partition} of kafka topic \"{topic}\" is gone: the broker holds offsets {first} up to {end}"
        ));
        return Some(error.with_hint(
            "Retention or a deletion of records removed what was not read yet. Create the source again to read what is left.",
        ));
    }
    if offset > end {
        let error = Error::data(format!(
            "partition {partition} of kafka topic \"{topic}\" ends at offset {end}, before offset {offset} that is to be read next"
        ));
        return Some(error.with_hint(
            "The topic was created again or lost its last records. Create the source again to read what it holds now.",
        ));
    }
    None
}

/// The topic is another one than the one whose positions were saved; `None` when it is the same, or when one
/// of the two ids is not known (brokers before Kafka 2.8).
pub(super) fn check_incarnation(topic: &str, saved: &str, found: &str) -> Option<Error> {
    if saved.is_empty() || found.is_empty() || saved == found {
        return None;
    }
    let error = Error::data(format!(
        "kafka topic \"{topic}\" was deleted and created again: its id is {found}, the saved positions are of {saved}"
    ));
    Some(error.with_hint("Create the source again to read the new topic."))
}

#[cfg(test)]
mod tests {
    use millstream_runtime::ErrorKind;

    use super::*;

    #[test]
    fn positions_outside_are_named() {
        let held = HeldOffsets { first: 10, end: 20 };
        for offset in [10, 15, 20] {
            assert!(check("t", 0, offset, held).is_none(), "{offset}");
        }
        for (offset, expected) in [(9, "offset 9 of partition 3"), (21, "ends at offset 20")] {
            let error = check("t", 3, offset, held).expect("outside");
            assert_eq!(error.kind, ErrorKind::Data);
            assert!(error.message.contains(expected) && error.message.contains("\"t\""), "{error}");
        }
    }

    #[test]
    fn incarnations_differ_only_when_both_are_known() {
        for (saved, found) in [("a", "a"), ("", "a"), ("a", "")] {
            assert!(check_incarnation("t", saved, found).is_none());
        }
        assert_eq!(check_incarnation("t", "a", "b").expect("differs").kind, ErrorKind::Data);
    }
}
