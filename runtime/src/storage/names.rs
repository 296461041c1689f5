//! The names of objects below the storage root.
//!
//! Numbers have 20 digits, so that the order of names is the order of numbers. Objects carry the term of the
//! server that wrote them: it tells whether an object that nothing names can still be under way.

use crate::graph::GraphId;
use crate::time::LogPosition;

/// The layout version.
pub(crate) const FORMAT: &str = "format";
/// Folder of the log.
pub(crate) const LOG: &str = "log";
/// Folder of the snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshot";
/// Folder of rows that are too large for their entry.
pub(crate) const ROWS: &str = "rows";
/// Folder of the graphs' checkpoints.
pub(crate) const GRAPHS: &str = "graph";

/// The object of a log entry.
pub(crate) fn entry(position: LogPosition) -> String {
    format!("{LOG}/{:020}", position.0)
}

/// The object of a snapshot.
pub(crate) fn snapshot(position: LogPosition) -> String {
    format!("{SNAPSHOTS}/{:020}", position.0)
}

/// A name for rows, never given out twice.
pub(crate) fn rows_object(term: u64) -> String {
    format!("{ROWS}/{term}-{}", uuid::Uuid::new_v4())
}

/// A name for a manifest or for state, never given out twice.
pub(crate) fn graph_object(graph: GraphId, term: u64) -> String {
    format!("{GRAPHS}/{}/{term}-{}", graph.0, uuid::Uuid::new_v4())
}

/// The position in the name of a log entry or a snapshot; `None` for a name that is not ours.
pub(crate) fn position(name: &str) -> Option<LogPosition> {
    let (_, number) = name.rsplit_once('/')?;
    (number.len() == 20).then(|| number.parse().ok().map(LogPosition)).flatten()
}

/// The term in the name of an object; `None` for a name that is not ours.
pub(crate) fn term(name: &str) -> Option<u64> {
    let (_, object) = name.rsplit_once('/')?;
    object.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(position(&entry(LogPosition(42))), Some(LogPosition(42)));
        assert_eq!(position(&snapshot(LogPosition(7))), Some(LogPosition(7)));
        assert_eq!(term(&graph_object(GraphId(3), 9)), Some(9));
        assert_eq!(term(&rows_object(11)), Some(11));
        assert_eq!(position("log/7"), None);
        assert_eq!(term("graph/3/readme"), None);
    }

    #[test]
    fn the_order_of_names_is_the_order_of_numbers() {
        assert!(entry(LogPosition(9)) < entry(LogPosition(10)));
    }
}
