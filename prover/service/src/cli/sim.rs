//! `sim`: a trace of jobs through the scheduler, beside first come, first served.

use std::{
    fs::File,
    io::{self, BufReader, Write as _},
    path::PathBuf,
};

use serde_json::json;

use super::{
    CliError, Out,
    output::{bytes, grid, seconds},
};
use crate::{
    farm::sim::{Machines, Policy, Report, TraceJob, Waits, generate, read_trace, simulate},
    store::Priority,
};

#[derive(Debug, clap::Args)]
pub(crate) struct SimArgs {
    /// The trace, a job a line: {"at_ms", "tenant", "circuit", "priority", "prove_ms", "key_load_ms", "key_bytes", "ram"}; "-" is standard input.
    #[arg(required_unless_present = "generate")]
    trace: Option<PathBuf>,
    /// Print a trace of ten circuits and three tenants, made from this seed, instead.
    #[arg(long, value_name = "SEED", conflicts_with = "trace")]
    generate: Option<u64>,
    /// Jobs of the trace that is made.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    jobs: u32,
    /// Nodes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    nodes: u32,
    /// Slots of a node.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    slots: u32,
    /// Keys that a node keeps loaded.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    cache_keys: u32,
    /// Memory of a node, in GiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    ram: u64,
}

pub(crate) fn sim(args: &SimArgs, out: Out) -> Result<(), CliError> {
    if let Some(seed) = args.generate {
        return print_trace(&generate(seed, args.jobs as usize));
    }
    let trace = match &args.trace {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::open(path)
                .map_err(|e| CliError::usage(format!("{}: {e}", path.display())))?;
            read_trace(BufReader::new(file))
        }
        _ => read_trace(io::stdin().lock()),
    };
    let trace = trace.map_err(CliError::usage)?;
    let machines = Machines {
        nodes: args.nodes,
        slots: args.slots,
        cache_keys: args.cache_keys as usize,
        ram_bytes: args.ram << 30,
    };
    let reports = [Policy::Scheduler, Policy::Fifo].map(|p| simulate(&trace, machines, p));
    let value = json!({
        "nodes": args.nodes, "slots": args.slots, "cache_keys": args.cache_keys,
        "jobs": trace.len(), "reports": reports,
    });
    out.result(&value, &text(&reports));
    Ok(())
}

fn print_trace(jobs: &[TraceJob]) -> Result<(), CliError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for job in jobs {
        let line = serde_json::to_string(job).map_err(CliError::failed)?;
        // A reader that went away is no error of ours.
        if writeln!(out, "{line}").is_err() {
            return Ok(());
        }
    }
    let _ = out.flush();
    Ok(())
}

fn text(reports: &[Report; 2]) -> String {
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let time = |ms: f64| seconds(ms / 1000.0);
    let both = |name: &str, cell: &dyn Fn(&Report) -> String| {
        vec![name.to_owned(), cell(&reports[0]), cell(&reports[1])]
    };
    let mut rows = vec![
        both("", &|r| r.policy.to_owned()),
        both("proven", &|r| r.proven.to_string()),
        both("impossible", &|r| r.impossible.to_string()),
        both("makespan", &|r| time(r.makespan_ms as f64)),
        both("utilisation", &|r| percent(r.utilisation)),
        both("warm starts", &|r| percent(r.warm_share)),
        both("keys loaded", &|r| {
            format!("{} ({})", r.key_loads, bytes(r.key_bytes))
        }),
    ];
    let mut waits = |name: &str, of: &dyn Fn(&Report) -> Waits| {
        rows.push(both(&format!("{name}: mean"), &|r| time(of(r).mean_ms)));
        rows.push(both("  p50", &|r| time(of(r).p50_ms as f64)));
        rows.push(both("  p95", &|r| time(of(r).p95_ms as f64)));
        rows.push(both("  max", &|r| time(of(r).max_ms as f64)));
    };
    waits("wait", &|r| r.waits);
    for class in Priority::ALL.iter().rev().map(|class| class.name()) {
        let of = |r: &Report| r.classes.get(class).copied();
        if of(&reports[0]).is_some() {
            waits(&format!("wait {class}"), &|r| of(r).unwrap_or_default());
        }
    }
    for (name, tenant) in &reports[0].tenants {
        let of = |r: &Report| r.tenants.get(name).cloned().unwrap_or_default();
        rows.push(both(
            &format!("tenant {name}: {} jobs", tenant.jobs),
            &|_| String::new(),
        ));
        rows.push(both("  mean wait", &|r| time(of(r).waits.mean_ms)));
        rows.push(both("  p95 wait", &|r| time(of(r).waits.p95_ms as f64)));
        rows.push(both("  part while others waited", &|r| {
            percent(of(r).contended_share)
        }));
    }
    grid(&rows)
}
