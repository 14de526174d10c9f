//! `key create|ls|rotate|revoke`: API keys of a server.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, refused},
    output::grid,
    token::{duration, time},
};
use crate::api::proto;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeyVerb {
    /// Make a key; its secret is shown once.
    Create(CreateArgs),
    /// List keys, newest first.
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Make a key in place of another one, which goes on for a while.
    Rotate(RotateArgs),
    /// End a key now.
    Revoke {
        /// keys/{prefix}
        name: String,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// tenants/{id}
    #[arg(long, default_value = "tenants/1")]
    tenant: String,
    /// What the key may do: submit, read, verify, admin; may be repeated. Without it: submit, read and verify.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// How long it lives: 24h, 90d; without it, until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = time)]
    ttl: Option<Duration>,
    #[command(flatten)]
    save: SaveArg,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// keys/{prefix}: the key to replace.
    name: String,
    /// How long the old key goes on: 24h, 7d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    overlap: Duration,
    /// How long the new one lives.
    #[arg(long, value_name = "TIME", value_parser = time)]
    ttl: Option<Duration>,
    #[command(flatten)]
    save: SaveArg,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Debug, clap::Args)]
struct SaveArg {
    /// Write the key to a new file that only you can read, instead of showing it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl SaveArg {
    /// A new file, before there is a key that could be lost.
    fn open(&self) -> Result<Option<std::fs::File>, CliError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let Some(path) = &self.output else {
            return Ok(None);
        };
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map(Some)
            .map_err(|e| CliError::usage(format!("{}: {e}", path.display())))
    }
}

pub(crate) async fn run(verb: KeyVerb, out: Out) -> Result<(), CliError> {
    match verb {
        KeyVerb::Create(args) => {
            let scopes = if args.scope.is_empty() {
                ["submit", "read", "verify"].map(str::to_owned).to_vec()
            } else {
                args.scope
            };
            let request = proto::CreateApiKeyRequest {
                tenant: args.tenant,
                scopes,
                ttl: args.ttl.map(duration),
                request_id: uuid::Uuid::new_v4().to_string(),
                ..Default::default()
            };
            make(request, &args.save, &args.endpoint, out).await
        }
        KeyVerb::Rotate(args) => {
            let request = proto::CreateApiKeyRequest {
                ttl: args.ttl.map(duration),
                request_id: uuid::Uuid::new_v4().to_string(),
                replaces: args.name,
                overlap: Some(duration(args.overlap)),
                ..Default::default()
            };
            make(request, &args.save, &args.endpoint, out).await
        }
        KeyVerb::Ls { endpoint } => list(&endpoint, out).await,
        KeyVerb::Revoke { name, endpoint } => {
            let mut client = Client::connect(&endpoint).await?;
            let request = proto::RevokeApiKeyRequest { name };
            let key = client
                .admin
                .revoke_api_key(call(request))
                .await
                .map_err(refused)?
                .into_inner();
            out.result(&json(&key), &format!("revoked  {}", key.name));
            Ok(())
        }
    }
}

async fn make(
    request: proto::CreateApiKeyRequest,
    save: &SaveArg,
    endpoint: &Endpoint,
    out: Out,
) -> Result<(), CliError> {
    use std::io::Write as _;
    let mut client = Client::connect(endpoint).await?;
    let file = save.open()?;
    let made = client
        .admin
        .create_api_key(call(request))
        .await
        .map_err(refused);
    let made = match (made, &save.output) {
        (Ok(made), _) => made.into_inner(),
        (Err(e), path) => {
            // The file is empty and ours.
            path.as_ref().map(std::fs::remove_file);
            return Err(e);
        }
    };
    let key = made.key.unwrap_or_default();
    let mut value = json(&key);
    let text = match (file, &save.output) {
        (Some(mut file), Some(path)) => {
            writeln!(file, "{}", made.secret)
                .and_then(|()| file.sync_all())
                .map_err(CliError::failed)?;
            value["written"] = json!(path);
            format!("{}  written to {}", key.name, path.display())
        }
        _ => {
            value["secret"] = json!(made.secret);
            made.secret
        }
    };
    out.result(&value, &text);
    Ok(())
}

async fn list(endpoint: &Endpoint, out: Out) -> Result<(), CliError> {
    let mut client = Client::connect(endpoint).await?;
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListApiKeysRequest {
            page_size: 500,
            page_token,
        };
        let page = client
            .admin
            .list_api_keys(call(request))
            .await
            .map_err(refused)?
            .into_inner();
        keys.extend(page.keys);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let heading = ["key", "tenant", "scopes", "expires", "revoked", "last used"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|key| {
        let at = |t: &Option<prost_types::Timestamp>| {
            t.as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        vec![
            key.name.clone(),
            key.tenant.clone(),
            key.scopes.join(","),
            at(&key.expire_time),
            at(&key.revoke_time),
            at(&key.last_used),
        ]
    }));
    let values: Vec<Value> = keys.iter().map(json).collect();
    out.result(&Value::Array(values), &grid(&rows));
    Ok(())
}

fn json(key: &proto::ApiKey) -> Value {
    let at = |t: &Option<prost_types::Timestamp>| t.as_ref().map(|t| t.seconds);
    json!({
        "name": key.name, "tenant": key.tenant, "scopes": key.scopes, "expires": at(&key.expire_time),
        "revoked": at(&key.revoke_time), "last_used": at(&key.last_used),
    })
}
