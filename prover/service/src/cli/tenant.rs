//! `tenant create|ls|update`: tenants of a server.

use serde_json::{Value, json};

use super::{
    CliError, Endpoint, Out,
    client::{Client, call, refused},
    output::grid,
};
use crate::api::proto;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TenantVerb {
    /// Make a tenant.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        bounds: Bounds,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// List tenants, oldest first.
    Ls {
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Change a tenant.
    Update {
        /// tenants/{id}
        tenant: String,
        /// Its new name.
        #[arg(long)]
        name: Option<String>,
        /// Turn its callers away, or let them in again.
        #[arg(long, value_name = "true|false")]
        disabled: Option<bool>,
        #[command(flatten)]
        bounds: Bounds,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Bounds {
    /// Its share of the farm, against those of others.
    #[arg(long, value_name = "N")]
    weight: Option<f32>,
    /// Jobs at a time; 0 for no bound of its own.
    #[arg(long, value_name = "N")]
    max_running: Option<u32>,
    /// Jobs that wait; 0 for no bound of its own.
    #[arg(long, value_name = "N")]
    max_queued: Option<u32>,
    /// Bytes of artifacts; 0 for no bound of its own.
    #[arg(long, value_name = "BYTES")]
    max_artifact_bytes: Option<u64>,
    /// Calls a second of each class; 0 for no bound.
    #[arg(long, value_name = "N")]
    requests_per_second: Option<f32>,
}

impl Bounds {
    /// Writes what was given into `tenant`; answers the names of the fields.
    fn write(&self, tenant: &mut proto::Tenant) -> Vec<String> {
        let mut given = Vec::new();
        macro_rules! set {
            ($($field:ident)*) => {$(
                if let Some(value) = self.$field {
                    tenant.$field = value;
                    given.push(stringify!($field).to_owned());
                }
            )*};
        }
        set!(weight max_running max_queued max_artifact_bytes requests_per_second);
        given
    }
}

pub(crate) async fn run(verb: TenantVerb, out: Out) -> Result<(), CliError> {
    match verb {
        TenantVerb::Create {
            name,
            bounds,
            endpoint,
        } => {
            let mut client = Client::connect(&endpoint).await?;
            let mut tenant = proto::Tenant {
                display_name: name,
                ..Default::default()
            };
            bounds.write(&mut tenant);
            let request = proto::CreateTenantRequest {
                tenant: Some(tenant),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let made = client
                .admin
                .create_tenant(call(request))
                .await
                .map_err(refused)?
                .into_inner();
            out.result(&json(&made), &made.name);
            Ok(())
        }
        TenantVerb::Ls { endpoint } => {
            let mut client = Client::connect(&endpoint).await?;
            let tenants = all(&mut client).await?;
            show(&tenants, out);
            Ok(())
        }
        TenantVerb::Update {
            tenant,
            name,
            disabled,
            bounds,
            endpoint,
        } => {
            let mut client = Client::connect(&endpoint).await?;
            let mut change = proto::Tenant {
                name: tenant,
                ..Default::default()
            };
            let mut paths = bounds.write(&mut change);
            if let Some(name) = name {
                change.display_name = name;
                paths.push("display_name".to_owned());
            }
            if let Some(disabled) = disabled {
                change.disabled = disabled;
                paths.push("disabled".to_owned());
            }
            if paths.is_empty() {
                return Err(CliError::usage("say what to change; see --help"));
            }
            let request = proto::UpdateTenantRequest {
                tenant: Some(change),
                update_mask: Some(prost_types::FieldMask { paths }),
            };
            let tenant = client
                .admin
                .update_tenant(call(request))
                .await
                .map_err(refused)?
                .into_inner();
            show(&[tenant], out);
            Ok(())
        }
    }
}

async fn all(client: &mut Client) -> Result<Vec<proto::Tenant>, CliError> {
    let mut tenants = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListTenantsRequest {
            page_size: 500,
            page_token,
        };
        let page = client
            .admin
            .list_tenants(call(request))
            .await
            .map_err(refused)?
            .into_inner();
        tenants.extend(page.tenants);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(tenants);
        }
    }
}

fn show(tenants: &[proto::Tenant], out: Out) {
    let heading = [
        "tenant", "name", "weight", "running", "queued", "bytes", "calls/s", "disabled",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let bound = |n: u64| {
        if n == 0 {
            "-".to_owned()
        } else {
            n.to_string()
        }
    };
    rows.extend(tenants.iter().map(|t| {
        vec![
            t.name.clone(),
            t.display_name.clone(),
            t.weight.to_string(),
            bound(t.max_running.into()),
            bound(t.max_queued.into()),
            bound(t.max_artifact_bytes),
            match t.requests_per_second {
                0.0 => "-".to_owned(),
                rate => rate.to_string(),
            },
            if t.disabled { "yes" } else { "no" }.to_owned(),
        ]
    }));
    let values: Vec<Value> = tenants.iter().map(json).collect();
    out.result(&Value::Array(values), &grid(&rows));
}

fn json(t: &proto::Tenant) -> Value {
    json!({
        "name": t.name, "display_name": t.display_name, "weight": t.weight, "max_running": t.max_running,
        "max_queued": t.max_queued, "max_artifact_bytes": t.max_artifact_bytes,
        "requests_per_second": t.requests_per_second, "disabled": t.disabled, "etag": t.etag,
    })
}
