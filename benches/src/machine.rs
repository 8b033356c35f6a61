//! On what it was measured: without that no figure can be compared with another.

use serde::Serialize;
use std::fs::read_to_string;
use std::path::Path;

/// Facts about this machine, from `/proc`. What cannot be known is absent.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Shape of this object.
    pub schema: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// As the processor calls itself.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: Option<usize>,
    /// Memory of the machine.
    pub memory_bytes: Option<u64>,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Type of the file system that the brokers write to, and what it lies on.
    pub file_system: Option<String>,
    /// Mean of the processes that wanted to run, over the last minute, before the first cell. Whoever else was busy then
    /// has probably disturbed what follows.
    pub load_before: Option<f64>,
    /// The same after the last one, the suite's own processes included.
    pub load_after: Option<f64>,
}

impl Machine {
    /// Looks; `folder` is where the brokers write.
    pub(crate) fn look(folder: &Path) -> Self {
        let line = |file: &str| Some(read_to_string(file).ok()?.trim().to_owned());
        Self {
            schema: "walser.bench.machine/1",
            version: env!("CARGO_PKG_VERSION"),
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)),
            kernel: line("/proc/sys/kernel/osrelease"),
            file_system: line("/proc/self/mountinfo")
                .and_then(|mounts| file_system(&mounts, &folder.canonicalize().ok()?)),
            load_before: load(),
            load_after: None,
        }
    }

    /// Looks at the load again, at the end.
    pub(crate) fn finish(&mut self) {
        self.load_after = load();
    }

    /// In a line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
        let number = |value: Option<f64>| crate::report::number(value, 2);
        format!(
            "walser {}; {} x {}, {} GiB; Linux {}; {}; load {} before, {} after\n",
            self.version,
            self.cores.unwrap_or(0),
            or(&self.cpu),
            self.memory_bytes.unwrap_or(0) >> 30,
            or(&self.kernel),
            or(&self.file_system),
            number(self.load_before),
            number(self.load_after),
        )
    }
}

/// What follows the first `name:` in a file of such lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = read_to_string(file).ok()?;
    let of_name = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(of_name)
}

fn kibibytes(text: &str) -> Option<u64> {
    let number: u64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some(number << 10)
}

fn load() -> Option<f64> {
    let text = read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Type and source of the mount that is nearest above the folder.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let point = place.split_whitespace().nth(4)?.to_owned();
        let mut kind = kind.split_whitespace();
        let shown = format!("{} on {}", kind.next()?, kind.next()?);
        folder.starts_with(&point).then_some((point.len(), shown))
    };
    let above = mounts.lines().filter_map(mount);
    above
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, shown)| shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_above_is_the_folders() {
        let mounts = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      2 1 0:5 / /data rw - xfs /dev/sdb rw\n\
                      3 1 0:6 / /database rw - tmpfs none rw\n";
        let of = |folder: &str| file_system(mounts, Path::new(folder));
        assert_eq!(of("/data/x").as_deref(), Some("xfs on /dev/sdb"));
        assert_eq!(of("/datax").as_deref(), Some("ext4 on /dev/sda1"));
    }

    #[test]
    fn memory_is_in_kibibytes() {
        assert_eq!(kibibytes("16 kB"), Some(16 << 10));
        assert_eq!(kibibytes("16"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_load() {
        let machine = Machine::look(Path::new("."));
        assert!(
            machine.kernel.is_some() && machine.load_before.is_some(),
            "{machine:?}"
        );
        assert!(machine.memory_bytes > Some(1 << 20), "{machine:?}");
    }
}
