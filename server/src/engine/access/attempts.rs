//! Logins that fail or take their time, counted per address: whoever guesses waits longer and longer, and nobody else does.
//!
//! What holds: an address is one of IPv4, or the first 64 bits of one of IPv6, which is what one customer has. Failures
//! count for a role from an address, and for the address whatever the role; both are forgotten one by one. A login that
//! succeeds clears what its role has failed from there, not what the address has. This machine is never made to wait:
//! its users and its proxies share one address. The table is bounded; time is passed in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::engine::limits::{
    FAILURE_FORGOTTEN_SECONDS, FAILURE_WAIT_SECONDS_MAX, FAILURES_PER_ADDRESS, FAILURES_PER_ROLE, LOGIN_COUNTS,
    LOGINS_PER_ADDRESS,
};

/// Characters of a role's name that count: as many as a name can have.
const NAME_CHARACTERS: usize = 63;

/// Those who may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl Origin {
    /// Where an address belongs.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                if address.is_loopback() { address.into() } else { IpAddr::from([a, b, c, d, 0, 0, 0, 0]) }
            }
            address => address,
        })
    }

    fn is_this_machine(self) -> bool {
        self.0.is_loopback()
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V6(address) if !address.is_loopback() => write!(f, "{address}/64"),
            address => write!(f, "{address}"),
        }
    }
}

/// The counts of a server.
#[derive(Debug, Default)]
pub struct LoginAttempts {
    counts: Mutex<HashMap<(Origin, Option<String>), Count>>,
    /// For tests, which have no other address: this machine is treated like any.
    spares_nobody: bool,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    /// Passwords that were wrong, less those that are forgotten.
    failures: u32,
    /// When one was counted or forgotten last.
    counted: Instant,
    /// Connections that are logging in, or passwords that are being checked.
    open: u32,
}

/// A connection that is logging in, or a password that is being checked; it is over when this is dropped.
#[derive(Debug)]
pub struct Open {
    attempts: Arc<LoginAttempts>,
    key: (Origin, Option<String>),
}

/// What the operator sees of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginCount {
    /// The address.
    pub origin: String,
    /// The role that was tried; `None` for all of them together.
    pub role: Option<String>,
    /// Wrong passwords.
    pub failures: u32,
    /// Connections that are logging in, or passwords that are being checked.
    pub open: u32,
    /// How long further attempts are refused.
    pub waits: Option<Duration>,
}

impl LoginAttempts {
    /// Counts that spare not even this machine.
    pub fn sparing_nobody() -> Self {
        Self { spares_nobody: true, ..Self::default() }
    }

    fn spares(&self, origin: Origin) -> bool {
        origin.is_this_machine() && !self.spares_nobody
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<(Origin, Option<String>), Count>> {
        self.counts.lock().expect("nothing panics while it is locked")
    }

    /// A connection begins to log in; `None` when too many of its origin do so already.
    pub fn connects(self: &Arc<Self>, origin: Origin, now: Instant) -> Option<Open> {
        let limit = if self.spares(origin) { u32::MAX } else { LOGINS_PER_ADDRESS };
        self.open((origin, None), limit, now)
    }

    /// A password of a role is going to be checked. Who has failed too often waits, for the time in the error; then
    /// one attempt goes at a time.
    pub fn tries(self: &Arc<Self>, origin: Origin, role: &str, now: Instant) -> Result<Open, Duration> {
        let key = (origin, Some(role.chars().take(NAME_CHARACTERS).collect()));
        if self.spares(origin) {
            return Ok(self.open(key, u32::MAX, now).expect("there is no limit"));
        }
        let whole = self.waits(&(origin, None), FAILURES_PER_ADDRESS, now);
        let waits = whole.max(self.waits(&key, FAILURES_PER_ROLE, now));
        let suspect = self.failures(&key, now) >= FAILURES_PER_ROLE;
        match waits {
            Some(waits) => Err(waits),
            None => self.open(key, if suspect { 1 } else { u32::MAX }, now).ok_or(Duration::from_secs(1)),
        }
    }

    /// The password was wrong. Gives back how long the next attempt has to wait, where it has to.
    pub fn failed(&self, origin: Origin, role: &str, now: Instant) -> Option<Duration> {
        let role = (origin, Some(role.chars().take(NAME_CHARACTERS).collect()));
        let address = (origin, None);
        for key in [&role, &address] {
            let mut counts = self.counts();
            let count = entry(&mut counts, key, now);
            count.forget(now);
            count.failures = count.failures.saturating_add(1);
            count.counted = now;
        }
        if self.spares(origin) {
            return None;
        }
        let whole = self.waits(&address, FAILURES_PER_ADDRESS, now);
        whole.max(self.waits(&role, FAILURES_PER_ROLE, now))
    }

    /// The password was right.
    pub fn succeeded(&self, origin: Origin, role: &str) {
        let key = (origin, Some(role.chars().take(NAME_CHARACTERS).collect()));
        if let Some(count) = self.counts().get_mut(&key) {
            count.failures = 0;
        }
    }

    /// What is counted now, where anything is.
    pub fn report(&self, now: Instant) -> Vec<LoginCount> {
        let keys: Vec<_> = self.counts().keys().cloned().collect();
        let rows = keys.into_iter().filter_map(|key| {
            let (failures, open) = (self.failures(&key, now), self.counts().get(&key)?.open);
            let free = if key.1.is_some() { FAILURES_PER_ROLE } else { FAILURES_PER_ADDRESS };
            let waits = if self.spares(key.0) { None } else { self.waits(&key, free, now) };
            (failures > 0 || open > 0).then(|| LoginCount {
                origin: key.0.to_string(),
                role: key.1,
                failures,
                open,
                waits,
            })
        });
        let mut rows: Vec<LoginCount> = rows.collect();
        rows.sort_by(|left, right| (&left.origin, &left.role).cmp(&(&right.origin, &right.role)));
        rows
    }

    fn open(self: &Arc<Self>, key: (Origin, Option<String>), limit: u32, now: Instant) -> Option<Open> {
        let mut counts = self.counts();
        let count = entry(&mut counts, &key, now);
        if count.open >= limit {
            return None;
        }
        count.open += 1;
        drop(counts);
        Some(Open { attempts: Arc::clone(self), key })
    }

    fn failures(&self, key: &(Origin, Option<String>), now: Instant) -> u32 {
        self.counts().get_mut(key).map_or(0, |count| {
            count.forget(now);
            count.failures
        })
    }

    /// How long an attempt has to wait after so many failures, of which the first ones are free.
    fn waits(&self, key: &(Origin, Option<String>), free: u32, now: Instant) -> Option<Duration> {
        let over = self.failures(key, now).checked_sub(free)?;
        let seconds = 1_u64.checked_shl(over).unwrap_or(u64::MAX).min(FAILURE_WAIT_SECONDS_MAX);
        let until = self.counts().get(key)?.counted + Duration::from_secs(seconds);
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

impl Count {
    /// Takes back one failure for every minute that has passed.
    fn forget(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_secs() / FAILURE_FORGOTTEN_SECONDS;
        if passed > 0 && self.failures > 0 {
            self.failures = self.failures.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            self.counted += Duration::from_secs(passed * FAILURE_FORGOTTEN_SECONDS);
        }
    }
}

/// The count of a key. Once the table is full those go that were heard of longest ago, an eighth at a time: so that looking
/// for them costs a newcomer little.
fn entry<'a>(
    counts: &'a mut HashMap<(Origin, Option<String>), Count>,
    key: &(Origin, Option<String>),
    now: Instant,
) -> &'a mut Count {
    if counts.len() >= LOGIN_COUNTS && !counts.contains_key(key) {
        // Open ones are far fewer than the table has room for: they are bounded by the connections.
        let mut idle: Vec<Instant> =
            counts.values().filter(|count| count.open == 0).map(|count| count.counted).collect();
        let (_, newest_to_go, _) = idle.select_nth_unstable(LOGIN_COUNTS / 8);
        let newest_to_go = *newest_to_go;
        counts.retain(|_, count| count.open > 0 || count.counted > newest_to_go);
    }
    counts.entry(key.clone()).or_insert(Count { failures: 0, counted: now, open: 0 })
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.attempts.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            count.open = count.open.saturating_sub(1);
            if count.open == 0 && count.failures == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn origin(address: &str) -> Origin {
        Origin::of(address.parse().unwrap())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_grow_with_failures_and_pass() {
        let (attempts, start) = (Arc::new(LoginAttempts::default()), Instant::now());
        let from = origin("203.0.113.7");
        for _ in 1..FAILURES_PER_ROLE {
            drop(attempts.tries(from, "u", start).unwrap());
            assert_eq!(attempts.failed(from, "u", start), None);
        }
        let mut now = start;
        for expected in [1, 2, 4, 8, 16, 32] {
            assert_eq!(attempts.failed(from, "u", now), Some(seconds(expected)));
            assert_eq!(attempts.tries(from, "u", now).unwrap_err(), seconds(expected));
            now += seconds(expected) - Duration::from_millis(1);
            assert!(attempts.tries(from, "u", now).is_err());
            now += Duration::from_millis(1);
            drop(attempts.tries(from, "u", now).unwrap());
        }
        for _ in 0..100 {
            assert!(attempts.failed(from, "u", now).unwrap() <= seconds(FAILURE_WAIT_SECONDS_MAX));
        }
        // One failure a minute is forgotten, so after a while mistyping is free again.
        now += seconds(FAILURE_FORGOTTEN_SECONDS) * 200;
        assert_eq!(attempts.failed(from, "u", now), None);
    }

    #[test]
    fn nobody_else_waits_and_a_right_password_clears_its_role() {
        let (attempts, now) = (Arc::new(LoginAttempts::default()), Instant::now());
        let from = origin("203.0.113.7");
        for _ in 0..FAILURES_PER_ROLE + 3 {
            attempts.failed(from, "u", now);
        }
        assert!(attempts.tries(from, "u", now).is_err());
        assert!(attempts.tries(from, "v", now).is_ok(), "another role from there");
        assert!(attempts.tries(origin("203.0.113.8"), "u", now).is_ok(), "the role from elsewhere");
        attempts.succeeded(from, "u");
        assert!(attempts.tries(from, "u", now).is_ok());
        // What the address has failed stays: guessing a password with every name is stopped, too.
        for name in 0..FAILURES_PER_ADDRESS {
            attempts.failed(from, &format!("r{name}"), now);
        }
        assert!(attempts.tries(from, "new", now).is_err());
        assert!(attempts.tries(origin("203.0.113.8"), "new", now).is_ok());
    }

    #[test]
    fn after_too_many_failures_one_password_is_checked_at_a_time() {
        let (attempts, mut now) = (Arc::new(LoginAttempts::default()), Instant::now());
        let from = origin("203.0.113.7");
        let many: Vec<_> = (0..50).map(|_| attempts.tries(from, "u", now).unwrap()).collect();
        drop(many);
        for _ in 0..FAILURES_PER_ROLE {
            attempts.failed(from, "u", now);
        }
        now += seconds(1);
        let first = attempts.tries(from, "u", now).unwrap();
        assert!(attempts.tries(from, "u", now).is_err());
        drop(first);
        assert!(attempts.tries(from, "u", now).is_ok());
    }

    #[test]
    fn connections_that_are_logging_in_are_bounded_per_address() {
        let (attempts, now) = (Arc::new(LoginAttempts::default()), Instant::now());
        let slow: Vec<_> =
            (0..LOGINS_PER_ADDRESS).map(|_| attempts.connects(origin("2001:db8::1"), now).unwrap()).collect();
        assert!(attempts.connects(origin("2001:db8::ffff"), now).is_none(), "of one network");
        assert!(attempts.connects(origin("2001:db8:0:1::1"), now).is_some());
        assert!(attempts.connects(origin("203.0.113.7"), now).is_some());
        drop(slow);
        assert!(attempts.connects(origin("2001:db8::1"), now).is_some());
        assert_eq!(attempts.report(now), [], "what is over leaves nothing behind");
    }

    #[test]
    fn this_machine_never_waits() {
        let (attempts, now) = (Arc::new(LoginAttempts::default()), Instant::now());
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            let from = origin(address);
            for _ in 0..100 {
                assert_eq!(attempts.failed(from, "u", now), None, "{address}");
            }
            assert!(attempts.tries(from, "u", now).is_ok(), "{address}");
        }
        assert!(attempts.report(now).iter().all(|count| count.waits.is_none() && count.failures >= 100));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let (attempts, start) = (Arc::new(LoginAttempts::default()), Instant::now());
        let held = attempts.connects(origin("198.51.100.1"), start).unwrap();
        for number in 0..LOGIN_COUNTS as u32 {
            let from = Origin::of(IpAddr::from(number.to_be_bytes()));
            attempts.failed(from, &"x".repeat(10_000), start + Duration::from_millis(u64::from(number)));
        }
        let newest = Origin::of(IpAddr::from((LOGIN_COUNTS as u32 - 1).to_be_bytes()));
        let kept = attempts.counts().len();
        assert!(kept <= LOGIN_COUNTS && kept > LOGIN_COUNTS / 2, "{kept}");
        assert!(attempts.counts().contains_key(&(newest, None)), "the newest stays");
        assert!(attempts.counts().contains_key(&(origin("198.51.100.1"), None)), "it is still open");
        assert!(attempts.counts().keys().all(|(_, role)| role.as_ref().is_none_or(|role| role.len() <= 63)));
        drop(held);
    }

    #[test]
    fn origins_are_shown_as_what_they_are() {
        assert_eq!(origin("2001:db8:1:2:3::4").to_string(), "2001:db8:1:2::/64");
        assert_eq!(origin("::ffff:203.0.113.7").to_string(), "203.0.113.7");
        assert_eq!(origin("::1").to_string(), "::1");
    }
}
