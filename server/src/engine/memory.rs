//! How much memory there is: the machine's, or what a control group leaves of it.

/// The share of the machine's memory that is state's unless an option says otherwise: queries, queues and what the
/// process and its allocator take beside that have the rest.
const STATE_TENTHS: usize = 6;

/// The budget of a machine that does not say what it has.
const STATE_BYTES_UNKNOWN: usize = 4 << 30;

/// Bytes of state that a server keeps unless an option says otherwise.
pub(super) fn state_bytes_default() -> usize {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let smallest: Option<usize> = machine.into_iter().chain(group).min();
    smallest.map_or(STATE_BYTES_UNKNOWN, |bytes| bytes / 10 * STATE_TENTHS)
}

/// `MemTotal` of Linux' `/proc/meminfo`.
fn machine_bytes(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::machine_bytes;

    #[test]
    fn the_machine_says_what_it_has() {
        assert_eq!(machine_bytes("MemTotal:       16384 kB\nMemFree:  1 kB\n"), Some(16 << 20));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
    }
}
