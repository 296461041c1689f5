//! Processing time of the server: the system's, or moved by hand for tests.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_runtime::graph::Clock;
use millstream_runtime::time::Stamp;

/// The one clock of a server. It stands still while it is set by hand, and never goes back.
#[derive(Debug, Default)]
pub struct ServerClock {
    manual: Mutex<Option<i64>>,
}

impl ServerClock {
    /// Whether it is moved by [`Self::advance`] only.
    pub fn is_manual(&self) -> bool {
        self.manual().is_some()
    }

    /// Stops it where it stands, or lets it follow the system again.
    pub fn set_manual(&self, manual: bool) {
        let mut state = self.manual();
        *state = if manual { state.or_else(|| Some(system_micros())) } else { None };
    }

    /// Moves a manual clock forward; false when it follows the system.
    pub fn advance(&self, micros: i64) -> bool {
        match self.manual().as_mut() {
            None => false,
            Some(now) => {
                *now = now.saturating_add(micros.max(0));
                true
            }
        }
    }

    fn manual(&self) -> std::sync::MutexGuard<'_, Option<i64>> {
        self.manual.lock().expect("nothing panics while the clock is locked")
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Stamp {
        Stamp(self.manual().unwrap_or_else(system_micros))
    }
}

/// Microseconds of the system's clock since 1970.
pub(crate) fn system_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the system's clock is after 1970");
    i64::try_from(since.as_micros()).expect("the year is below 294,000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_moved() {
        let clock = ServerClock::default();
        assert!(!clock.advance(1));
        clock.set_manual(true);
        let before = clock.now();
        assert_eq!(clock.now(), before);
        assert!(clock.advance(5));
        assert_eq!(clock.now(), Stamp(before.0 + 5));
        clock.set_manual(true);
        assert_eq!(clock.now(), Stamp(before.0 + 5), "setting it again does not move it");
    }
}
