//! How much memory this process may use.

use std::fs::read_to_string;

/// The machine's RAM, or the container's limit where that is lower. None where neither can be read.
#[must_use]
pub fn ram_bytes() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    let container = read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| limit(&text));
    machine.into_iter().chain(container).min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// "max" is no limit.
fn limit(memory_max: &str) -> Option<u64> {
    memory_max.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let text = "MemFree:  5 kB\nMemTotal:       24676736 kB\n";
        assert_eq!(total(text), Some(24_676_736 * 1024));
        assert_eq!((total("MemTotal: x kB"), total("")), (None, None));
        assert_eq!(
            (limit("max\n"), limit("1073741824\n")),
            (None, Some(1 << 30))
        );
        assert!(ram_bytes().is_some_and(|bytes| bytes > 64 << 20));
    }
}
