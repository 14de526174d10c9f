//! `node ls|drain|activate|quarantine`: prover nodes as the operator of a server sees them.

use serde_json::{Value, json};

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, refused},
    output::{bytes, grid},
};
use crate::{
    api::proto,
    store::{Backend, NodeState, Trust},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum NodeAdminVerb {
    /// List the nodes of a server.
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Let a node end what it has and take nothing more.
    Drain(NodeName),
    /// Let a drained or quarantined node take work again.
    Activate(NodeName),
    /// Take a node's work away and refuse its calls.
    Quarantine(NodeName),
}

#[derive(Debug, clap::Args)]
pub(crate) struct NodeName {
    /// nodes/{uuid}
    name: String,
    #[command(flatten)]
    endpoint: Endpoint,
}

pub(crate) async fn run(verb: NodeAdminVerb, out: Out) -> Result<(), CliError> {
    let (args, state) = match verb {
        NodeAdminVerb::Ls { endpoint } => {
            let nodes = all(&mut Client::connect(&endpoint).await?).await?;
            show(&nodes, out);
            return Ok(());
        }
        NodeAdminVerb::Drain(args) => (args, NodeState::Draining),
        NodeAdminVerb::Activate(args) => (args, NodeState::Active),
        NodeAdminVerb::Quarantine(args) => (args, NodeState::Quarantined),
    };
    let mut client = Client::connect(&args.endpoint).await?;
    let node = proto::Node {
        name: args.name,
        state: state.code(),
        ..Default::default()
    };
    let request = proto::UpdateNodeRequest {
        node: Some(node),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["state".to_owned()],
        }),
    };
    let node = client
        .admin
        .update_node(call(request))
        .await
        .map_err(refused)?
        .into_inner();
    show(&[node], out);
    Ok(())
}

async fn all(client: &mut Client) -> Result<Vec<proto::Node>, CliError> {
    let mut nodes = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListNodesRequest {
            page_size: 500,
            page_token,
            ..Default::default()
        };
        let page = client
            .admin
            .list_nodes(call(request))
            .await
            .map_err(refused)?
            .into_inner();
        nodes.extend(page.nodes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(nodes);
        }
    }
}

fn state(code: i32) -> &'static str {
    NodeState::from_code(code).map_or("UNKNOWN", NodeState::name)
}

fn trust(code: i32) -> &'static str {
    Trust::from_code(code).map_or("UNKNOWN", Trust::name)
}

fn systems(node: &proto::Node) -> Vec<&'static str> {
    let capabilities = node.capabilities.iter();
    capabilities
        .flat_map(|c| &c.backends)
        .filter_map(|b| Backend::from_code(b.backend))
        .map(Backend::name)
        .collect()
}

fn show(nodes: &[proto::Node], out: Out) {
    let heading = [
        "node", "name", "state", "trust", "slots", "memory", "score", "ok", "failed", "invalid",
        "lost", "version",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(nodes.iter().map(|n| {
        let slots = n.capabilities.as_ref().map_or(0, |c| c.slots);
        let total = n.capabilities.as_ref().and_then(|c| c.total);
        vec![
            n.name.clone(),
            n.display_name.clone(),
            state(n.state).to_owned(),
            trust(n.trust).to_owned(),
            format!("{}/{slots}", n.running),
            bytes(total.map_or(0, |t| t.ram_bytes)),
            format!("{:.2}", n.score),
            n.ok.to_string(),
            n.failed.to_string(),
            n.invalid.to_string(),
            n.lost.to_string(),
            n.version.clone(),
        ]
    }));
    let values: Vec<Value> = nodes.iter().map(json).collect();
    out.result(&Value::Array(values), &grid(&rows));
}

fn json(n: &proto::Node) -> Value {
    let total = n.capabilities.as_ref().and_then(|c| c.total);
    json!({
        "name": n.name, "display_name": n.display_name, "state": state(n.state), "trust": trust(n.trust), "pools": n.pools,
        "running": n.running, "slots": n.capabilities.as_ref().map_or(0, |c| c.slots), "systems": systems(n),
        "ram_bytes": total.map_or(0, |t| t.ram_bytes), "last_seen": n.last_seen.as_ref().map(|t| t.seconds), "score": n.score,
        "ok": n.ok, "failed": n.failed, "invalid": n.invalid, "lost": n.lost, "version": n.version, "etag": n.etag,
    })
}
