//! `doctor`: whether this machine can serve or prove, and what to do where it cannot.

mod gpu;

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use serde_json::json;

use super::{
    CliError, Out,
    gpu::GpuArg,
    output::{bytes, grid},
};
use crate::{config, node::capabilities, work::slots::Share};

/// Less free disk than this is told.
const LOW_DISK: u64 = 10 << 30;
/// Less memory than this is told.
const LOW_MEMORY: u64 = 4 << 30;
/// The first second that this version can see: 2025-01-01.
const EARLIEST: u64 = 1_735_689_600;

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// The data folder of the server or node.
    #[arg(long, value_name = "DIR", default_value_os_t = config::default_data_dir())]
    data: PathBuf,
    /// The address that the server shall listen on.
    #[arg(long, value_name = "ADDR", default_value = config::DEFAULT_LISTEN)]
    listen: SocketAddr,
    #[command(flatten)]
    gpu: GpuArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Poor,
    Bad,
}

/// One check: what was seen, and what to do about it.
struct Finding {
    what: &'static str,
    health: Health,
    seen: String,
    fix: String,
}

impl Finding {
    fn good(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            health: Health::Good,
            seen: seen.into(),
            fix: String::new(),
        }
    }

    fn not(
        what: &'static str,
        health: Health,
        seen: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            what,
            health,
            seen: seen.into(),
            fix: fix.into(),
        }
    }
}

pub(crate) fn doctor(args: &DoctorArgs, out: Out) -> Result<(), CliError> {
    let findings = [
        version(),
        processor(),
        memory(),
        gpu::check(&args.gpu.choice()?),
        clock(),
        disk(&args.data),
        durability(&args.data),
        lock(&args.data),
        port(args.listen),
        child(),
    ];
    let name = |h: Health| match h {
        Health::Good => "ok",
        Health::Poor => "poor",
        Health::Bad => "bad",
    };
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|f| {
            vec![
                f.what.to_owned(),
                format!("{:4}  {}", name(f.health), f.seen),
            ]
        })
        .collect();
    let mut text = grid(&rows);
    for f in findings.iter().filter(|f| !f.fix.is_empty()) {
        text += &format!("\n{}: {}", f.what, f.fix);
    }
    let checks: Vec<_> = findings
        .iter()
        .map(|f| json!({ "check": f.what, "health": name(f.health), "seen": f.seen, "fix": f.fix }))
        .collect();
    let bad = findings.iter().filter(|f| f.health == Health::Bad).count();
    out.result(&json!({ "checks": checks, "bad": bad }), &text);
    if bad == 0 {
        Ok(())
    } else {
        Err(CliError::failed(format!(
            "{bad} of {} checks are bad",
            findings.len()
        )))
    }
}

fn version() -> Finding {
    Finding::good("zkinfer", env!("CARGO_PKG_VERSION"))
}

fn processor() -> Finding {
    let threads = capabilities::threads();
    let has = capabilities::detect(Share::of(NonZeroUsize::MIN, threads), u64::MAX, u64::MAX);
    let seen = format!("{threads} threads, {}", has.cpu_features.join(" "));
    if has.cpu_features.iter().any(|f| f == "avx512ifma") {
        Finding::good("processor", seen)
    } else {
        let fix = "AVX-512 IFMA makes proofs several times faster; servers from Ice Lake and Zen 4 on have it";
        Finding::not("processor", Health::Poor, seen, fix)
    }
}

fn memory() -> Finding {
    let Some(total) = meminfo("MemTotal:") else {
        return Finding::not(
            "memory",
            Health::Poor,
            "unknown",
            "/proc/meminfo cannot be read",
        );
    };
    let free = meminfo("MemAvailable:").unwrap_or(0);
    let seen = format!("{} of {} available", bytes(free), bytes(total));
    if free < LOW_MEMORY {
        let fix = "`zkinfer quote` says what a circuit needs; larger ones will not be leased to this machine";
        Finding::not("memory", Health::Poor, seen, fix)
    } else {
        Finding::good("memory", seen)
    }
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

fn clock() -> Finding {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    if now < EARLIEST {
        let fix = "certificates and deadlines need the right time; set the clock, and keep it with chrony or systemd-timesyncd";
        return Finding::not("clock", Health::Bad, format!("{now} s after 1970"), fix);
    }
    Finding::good("clock", format!("{now} s after 1970"))
}

/// The nearest folder above `path` that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|p| p.is_dir())
        .unwrap_or(Path::new("."))
}

fn disk(data: &Path) -> Finding {
    let folder = existing(data);
    match rustix::fs::statvfs(folder) {
        Ok(s) => {
            let free = s.f_bavail.saturating_mul(s.f_frsize);
            let seen = format!("{} free at {}", bytes(free), folder.display());
            if free < LOW_DISK {
                let fix = "keys take megabytes to gigabytes; free some space or choose another folder with --data";
                Finding::not("disk", Health::Poor, seen, fix)
            } else {
                Finding::good("disk", seen)
            }
        }
        Err(e) => Finding::not(
            "disk",
            Health::Bad,
            format!("{}: {e}", folder.display()),
            "choose another folder with --data",
        ),
    }
}

/// Whether a file can be written, synced and renamed where the data folder is or will be.
fn durability(data: &Path) -> Finding {
    let folder = existing(data);
    let name = format!(".zkinfer-doctor-{}", uuid::Uuid::new_v4().simple());
    let (old, new) = (folder.join(&name), folder.join(name + ".renamed"));
    let begun = Instant::now();
    let tried = fs::File::create_new(&old)
        .and_then(|mut file| {
            std::io::Write::write_all(&mut file, &[0; 4096])?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&old, &new))
        .and_then(|()| fs::File::open(folder)?.sync_all());
    let took = begun.elapsed();
    for path in [&old, &new] {
        let _ = fs::remove_file(path);
    }
    match tried {
        Ok(()) => Finding::good(
            "durable writes",
            format!(
                "write, sync, rename in {:.1} ms",
                took.as_secs_f64() * 1000.0
            ),
        ),
        Err(e) => Finding::not(
            "durable writes",
            Health::Bad,
            format!("{}: {e}", folder.display()),
            "the data folder must be a local, writable file system",
        ),
    }
}

fn lock(data: &Path) -> Finding {
    let path = data.join("lock");
    let Ok(file) = fs::File::open(&path) else {
        return Finding::good("data folder", format!("{} is free", data.display()));
    };
    match file.try_lock_shared() {
        Ok(()) => {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(data).map_or(0, |m| m.permissions().mode());
            if mode & 0o077 == 0 {
                Finding::good("data folder", format!("{} is free", data.display()))
            } else {
                Finding::not(
                    "data folder",
                    Health::Poor,
                    format!("others can read {}", data.display()),
                    format!("chmod 700 {}", data.display()),
                )
            }
        }
        Err(_) => Finding::not(
            "data folder",
            Health::Poor,
            format!("a running zkinfer uses {}", data.display()),
            "that is as it should be while a server or node runs",
        ),
    }
}

fn port(listen: SocketAddr) -> Finding {
    let seen = |text: &str| format!("{listen} {text}");
    match TcpListener::bind(listen) {
        Ok(_) => Finding::good("address", seen("is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Finding::not(
            "address",
            Health::Poor,
            seen("is in use"),
            "a running server, or another program: choose another with --listen",
        ),
        Err(e) => {
            let fix = if matches!(listen.ip(), IpAddr::V4(a) if !a.is_loopback() && !a.is_unspecified())
            {
                "the address must be one of this machine's"
            } else {
                "choose another with --listen"
            };
            Finding::not("address", Health::Bad, format!("{listen}: {e}"), fix)
        }
    }
}

/// Whether this program can start itself: compile and proofs run in child processes.
fn child() -> Finding {
    let run = std::env::current_exe().and_then(|program| {
        std::process::Command::new(program)
            .arg("--version")
            .output()
    });
    match run {
        Ok(output) if output.status.success() => Finding::good("child processes", "start"),
        Ok(output) => Finding::not(
            "child processes",
            Health::Bad,
            format!("{}", output.status),
            "the program must be able to run itself: compile and proofs are children",
        ),
        Err(e) => Finding::not(
            "child processes",
            Health::Bad,
            e.to_string(),
            "the program must be able to run itself: compile and proofs are children",
        ),
    }
}
