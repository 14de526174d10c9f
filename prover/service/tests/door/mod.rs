//! A server that asks who calls, and callers of every kind.
#![allow(dead_code)]

use std::sync::Arc;

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig},
};
use tonic_types::StatusExt as _;
use zkinfer_service::{
    api::{
        proto::{
            self, admin_client::AdminClient, artifacts_client::ArtifactsClient,
            circuits_client::CircuitsClient, jobs_client::JobsClient,
        },
        server::{self, Running},
    },
    config::ServeConfig,
};

use crate::fake::FakeWork;

/// A server with authentication.
pub struct Door {
    pub running: Running,
    pub data: tempfile::TempDir,
    /// The first key.
    pub admin_key: String,
}

/// What a caller says it is.
#[derive(Clone)]
pub struct Credential(pub Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            let headers = request.metadata_mut();
            headers.insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub type Line = InterceptedService<Channel, Credential>;

/// A caller.
#[derive(Clone)]
pub struct Caller {
    pub line: Line,
    pub artifacts: ArtifactsClient<Line>,
    pub circuits: CircuitsClient<Line>,
    pub jobs: JobsClient<Line>,
    pub admin: AdminClient<Line>,
}

impl Caller {
    pub fn new(channel: Channel, credential: Option<&str>) -> Self {
        let value = credential.map(|c| MetadataValue::try_from(c).unwrap());
        let line = InterceptedService::new(channel, Credential(value));
        Self {
            artifacts: ArtifactsClient::new(line.clone()),
            circuits: CircuitsClient::new(line.clone()),
            jobs: JobsClient::new(line.clone()),
            admin: AdminClient::new(line.clone()),
            line,
        }
    }

    /// Any call that needs the scope `read`.
    pub async fn look(&mut self) -> Result<(), Status> {
        let request = proto::ListJobsRequest::default();
        self.jobs.list_jobs(request).await.map(drop)
    }
}

impl Door {
    /// A server that asks for keys, changed by `change`.
    pub async fn open(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = ServeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data: data.path().join("data"),
            ..ServeConfig::default()
        };
        config.access.auth = true;
        config.access.address_rate = Some(0.0);
        config.limits.drain_timeout = std::time::Duration::from_millis(200);
        change(&mut config);
        let running = server::start(&config, Arc::new(FakeWork(Arc::default())))
            .await
            .unwrap();
        let path = running.admin_key.clone().unwrap();
        let admin_key = std::fs::read_to_string(path).unwrap().trim().to_owned();
        Self {
            running,
            data,
            admin_key,
        }
    }

    pub async fn channel(&self) -> Channel {
        let address = self.running.address;
        let endpoint = match &self.running.authority {
            None => Channel::from_shared(format!("http://{address}")).unwrap(),
            Some(authority) => {
                let pem = std::fs::read(authority).unwrap();
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
                let endpoint = Channel::from_shared(format!("https://{address}")).unwrap();
                endpoint.tls_config(tls).unwrap()
            }
        };
        endpoint.connect().await.unwrap()
    }

    /// A caller with this Authorization header.
    pub async fn says(&self, credential: Option<&str>) -> Caller {
        Caller::new(self.channel().await, credential)
    }

    /// A caller with this key.
    pub async fn with(&self, key: &str) -> Caller {
        self.says(Some(&format!("Bearer {key}"))).await
    }

    pub async fn admin(&self) -> Caller {
        self.with(&self.admin_key).await
    }

    /// A tenant with this name; answers tenants/{id}.
    pub async fn tenant(&self, name: &str, requests_per_second: f32) -> String {
        let tenant = proto::Tenant {
            display_name: name.into(),
            requests_per_second,
            ..Default::default()
        };
        let request = proto::CreateTenantRequest {
            tenant: Some(tenant),
            request_id: String::new(),
        };
        let made = self.admin().await.admin.create_tenant(request).await;
        made.unwrap().into_inner().name
    }

    /// A key of a tenant: its name and its secret.
    pub async fn key(&self, tenant: &str, scopes: &[&str]) -> (String, String) {
        let request = proto::CreateApiKeyRequest {
            tenant: tenant.into(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            ..Default::default()
        };
        self.make_key(request).await.unwrap()
    }

    pub async fn make_key(
        &self,
        request: proto::CreateApiKeyRequest,
    ) -> Result<(String, String), Status> {
        let made = self.admin().await.admin.create_api_key(request).await?;
        let made = made.into_inner();
        Ok((made.key.unwrap().name, made.secret))
    }
}

pub fn seconds(n: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: n,
        nanos: 0,
    })
}

/// The constant for programs in an error.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|e| e.reason)
        .unwrap_or_default()
}
