//! `top`: nodes, slots, the queue and what runs, live.

use std::{io::IsTerminal as _, time::Duration};

use serde_json::json;

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, phase_name, refused, state_name},
    output::{bytes, grid},
};
use crate::{
    api::proto,
    store::{Backend, NodeState, Priority, Trust},
};

/// Nodes and running jobs of one screen.
const ROWS: i32 = 50;

#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// Print once and end.
    #[arg(long)]
    once: bool,
    /// Seconds between screens.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    every: f64,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// What one screen shows.
struct Screen {
    stats: proto::ClusterStats,
    nodes: Vec<proto::Node>,
    running: Vec<proto::Job>,
}

pub(crate) async fn top(args: TopArgs, out: Out) -> Result<(), CliError> {
    if !(0.2..=3600.0).contains(&args.every) {
        return Err(CliError::usage(format!(
            "--every: expected 0.2 to 3600 seconds, got {}",
            args.every
        )));
    }
    let mut client = Client::connect(&args.endpoint).await?;
    loop {
        let screen = read(&mut client).await?;
        let clear = !args.once && !out.json && std::io::stdout().is_terminal();
        let text = text(&screen);
        let text = if clear {
            format!("\x1b[H\x1b[2J{text}")
        } else {
            text
        };
        out.result(&value(&screen), &text);
        if args.once {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(args.every)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn read(client: &mut Client) -> Result<Screen, CliError> {
    let stats = client
        .admin
        .get_cluster_stats(call(proto::GetClusterStatsRequest {}))
        .await
        .map_err(refused)?
        .into_inner();
    let request = proto::ListNodesRequest {
        page_size: ROWS,
        ..Default::default()
    };
    let nodes = client.admin.list_nodes(call(request)).await;
    let nodes = nodes.map_err(refused)?.into_inner().nodes;
    let request = proto::ListJobsRequest {
        page_size: ROWS,
        states: vec![
            proto::job::State::Leased.into(),
            proto::job::State::Running.into(),
            proto::job::State::Verifying.into(),
        ],
        ..Default::default()
    };
    let running = client.jobs.list_jobs(call(request)).await;
    let running = running.map_err(refused)?.into_inner().jobs;
    Ok(Screen {
        stats,
        nodes,
        running,
    })
}

fn name<T>(value: Option<T>, name: impl Fn(T) -> &'static str) -> String {
    value.map_or("?", name).to_owned()
}

fn seconds(duration: &Option<prost_types::Duration>) -> f64 {
    duration
        .as_ref()
        .map_or(0.0, |d| d.seconds as f64 + f64::from(d.nanos) / 1e9)
}

fn text(screen: &Screen) -> String {
    let stats = &screen.stats;
    let mut text = format!(
        "{} of {} slots busy on {} active nodes\n\n",
        stats.slots_busy, stats.slots_total, stats.nodes_active
    );
    let heading = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![heading(&[
        "NODE", "STATE", "TRUST", "RUNNING", "SLOTS", "KEYS", "MEMORY", "SCORE", "OK", "FAILED",
        "LOST", "INVALID",
    ])];
    for node in &screen.nodes {
        let has = node.capabilities.clone().unwrap_or_default();
        rows.push(vec![
            if node.display_name.is_empty() {
                node.name.clone()
            } else {
                node.display_name.clone()
            },
            name(NodeState::from_code(node.state), NodeState::name),
            name(Trust::from_code(node.trust), Trust::name),
            node.running.to_string(),
            has.slots.to_string(),
            has.keys.len().to_string(),
            bytes(has.total.map_or(0, |t| t.ram_bytes)),
            format!("{:.2}", node.score),
            node.ok.to_string(),
            node.failed.to_string(),
            node.lost.to_string(),
            node.invalid.to_string(),
        ]);
    }
    text += &grid(&rows);
    if !stats.lanes.is_empty() {
        let mut rows = vec![heading(&[
            "QUEUE", "SYSTEM", "QUEUED", "RUNNING", "OLDEST", "BACKLOG",
        ])];
        for lane in &stats.lanes {
            rows.push(vec![
                name(Priority::from_code(lane.priority), Priority::name),
                name(Backend::from_code(lane.backend), Backend::name),
                lane.queued.to_string(),
                lane.running.to_string(),
                format!("{:.1} s", seconds(&lane.oldest)),
                format!("{:.1} s", seconds(&lane.backlog_gpu_time)),
            ]);
        }
        text += "\n";
        text += &grid(&rows);
    }
    if !screen.running.is_empty() {
        let mut rows = vec![heading(&["JOB", "STATE", "PHASE", "DONE"])];
        for job in &screen.running {
            rows.push(vec![
                job.name.clone(),
                state_name(job.state).to_owned(),
                phase_name(job.phase).to_owned(),
                format!("{:.0}%", job.progress * 100.0),
            ]);
        }
        text += "\n";
        text += &grid(&rows);
    }
    text
}

fn value(screen: &Screen) -> serde_json::Value {
    let nodes: Vec<_> = screen
        .nodes
        .iter()
        .map(|n| {
            json!({
                "name": n.name, "display_name": n.display_name, "state": name(NodeState::from_code(n.state), NodeState::name),
                "trust": name(Trust::from_code(n.trust), Trust::name), "running": n.running, "score": n.score,
                "slots": n.capabilities.as_ref().map_or(0, |c| c.slots), "ok": n.ok, "failed": n.failed, "lost": n.lost,
                "invalid": n.invalid, "version": n.version,
            })
        })
        .collect();
    let lanes: Vec<_> = screen
        .stats
        .lanes
        .iter()
        .map(|l| {
            json!({
                "priority": name(Priority::from_code(l.priority), Priority::name),
                "system": name(Backend::from_code(l.backend), Backend::name), "queued": l.queued, "running": l.running,
                "oldest_seconds": seconds(&l.oldest), "backlog_seconds": seconds(&l.backlog_gpu_time),
            })
        })
        .collect();
    let running: Vec<_> = screen
        .running
        .iter()
        .map(|j| json!({ "job": j.name, "state": state_name(j.state), "phase": phase_name(j.phase), "progress": j.progress }))
        .collect();
    json!({
        "nodes_active": screen.stats.nodes_active, "slots": screen.stats.slots_total, "busy": screen.stats.slots_busy,
        "nodes": nodes, "lanes": lanes, "running": running,
    })
}
