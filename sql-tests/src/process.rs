//! What a process has used, from Linux' `/proc`, and the arguments of a benchmark.

use std::fs;
use std::str::FromStr;

/// Ticks per second in `/proc/PID/stat`: 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU-seconds of this process so far, user and system, all threads.
pub fn cpu_seconds() -> f64 {
    stat_seconds(13, 14)
}

/// CPU-seconds of the children that were waited for.
pub fn children_cpu_seconds() -> f64 {
    stat_seconds(15, 16)
}

/// The sum of two fields of `/proc/self/stat`, counted from 0.
fn stat_seconds(first: usize, second: usize) -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    // The second field is the program's name in parentheses, which may hold spaces.
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 2].parse::<f64>().expect("times are numbers");
    (ticks(first) + ticks(second)) / TICKS_PER_SECOND
}

/// Forgets the peak of this process' memory.
pub fn reset_peak_memory() {
    fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
}

/// The peak of this process' memory since the last reset, in MiB.
pub fn peak_memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux counts the peak");
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).expect("it is a number of KiB");
    kib / 1024.0
}

/// A line of /proc/ID/status, in KiB.
fn status_kib(process_id: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux counts what is resident");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("it is a number of KiB")
}

/// The memory that a process has now, in KiB.
pub fn memory_kib(process_id: u32) -> u64 {
    status_kib(process_id, "VmRSS:")
}

/// The most memory that a process had since it began, or since [`forget_peak`], in KiB.
pub fn peak_memory_kib(process_id: u32) -> u64 {
    status_kib(process_id, "VmHWM:")
}

/// Lets [`peak_memory_kib`] of a process begin anew (proc(5), `clear_refs`).
pub fn forget_peak(process_id: u32) {
    fs::write(format!("/proc/{process_id}/clear_refs"), "5").expect("a process of one's own can be told so");
}

/// The machine's load over the last minute, and its cores: what figures measured now are worth.
pub fn load() -> String {
    let average = fs::read_to_string("/proc/loadavg").expect("Linux has /proc");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} on {cores} cores", average.split(' ').next().unwrap_or_default())
}

/// The value behind an option of the command line, or what it is unless given.
pub fn option<T: FromStr>(name: &str, otherwise: T) -> T {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    match arguments.next() {
        None => otherwise,
        Some(value) => value.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {value}")),
    }
}

/// What is in the middle of some numbers.
pub fn quantile(numbers: &mut [f64], part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let index = (part * numbers.len() as f64).ceil() as usize;
    numbers[index.clamp(1, numbers.len()) - 1]
}
