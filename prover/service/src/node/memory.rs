//! Memory as the system tells it.

use std::path::Path;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// In memory now.
    pub(crate) resident: u64,
    /// The most that was in memory.
    pub(crate) peak: u64,
    /// Private writable mappings, what `RLIMIT_DATA` counts.
    pub(crate) data: u64,
}

/// Keeps what this process holds, keys and inputs among it, out of core files and other processes' sight.
pub(crate) fn hide() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// What process `pid` uses (`None`: this one); `None` when it is gone.
pub(crate) fn of(pid: Option<u32>) -> Option<Usage> {
    let path = match pid {
        Some(pid) => format!("/proc/{pid}/status"),
        None => "/proc/self/status".to_owned(),
    };
    let status = std::fs::read_to_string(path).ok()?;
    Some(Usage {
        resident: field(&status, "VmRSS:")?,
        peak: field(&status, "VmHWM:")?,
        data: field(&status, "VmData:")?,
    })
}

/// The bytes of a line `NAME   123 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// The memory that this machine, or the control group of this process, has.
pub(crate) fn total() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| field(&text, "MemTotal:"));
    machine
        .unwrap_or(u64::MAX)
        .min(group_limit().unwrap_or(u64::MAX))
}

/// The lowest memory limit of the control groups above this process.
fn group_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
    let limits = folder
        .ancestors()
        .take_while(|f| f.starts_with("/sys/fs/cgroup"));
    limits
        .filter_map(|f| std::fs::read_to_string(f.join("memory.max")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process_and_this_machine() {
        let usage = of(None).expect("/proc is mounted");
        assert!(usage.resident > 0 && usage.peak >= usage.resident && usage.data > 0);
        assert_eq!(
            of(Some(std::process::id())).map(|u| u.peak >= usage.peak),
            Some(true)
        );
        assert!(total() > usage.resident);
        assert_eq!(of(Some(u32::MAX)), None);
    }

    #[test]
    fn lines_that_are_no_sizes_are_nothing() {
        let text = "VmRSS:\t 12 kB\nVmHWM: many kB\nVmData: 18446744073709551615 kB\n";
        assert_eq!(field(text, "VmRSS:"), Some(12 << 10));
        assert_eq!(
            (field(text, "VmHWM:"), field(text, "VmData:")),
            (None, None)
        );
    }
}
