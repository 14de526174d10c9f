//! The Jobs service.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::{answers::Answers, caller, convert, page, proto, watch};
use crate::{
    auth::{crowd::Crowd, trace::TraceContext},
    gateway::Gateway,
    store::TenantId,
};

/// Serves Jobs.
#[derive(Debug, Clone)]
pub(super) struct Jobs {
    pub gateway: Gateway,
    pub secret: [u8; 32],
    pub streams: Arc<Crowd<TenantId>>,
    /// How often a watch looks whether its caller is still let in.
    pub recheck: Duration,
}

impl Jobs {
    /// The gateway, for the resources of the caller.
    fn of<T>(&self, request: &Request<T>) -> Result<Gateway, Status> {
        Ok(self.gateway.of(caller(request)?.tenant))
    }
}

#[tonic::async_trait]
impl proto::jobs_server::Jobs for Jobs {
    async fn create_job(
        &self,
        request: Request<proto::CreateJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let gateway = self.of(&request)?;
        let trace = request.extensions().get::<TraceContext>().cloned();
        let mut wanted = convert::job_request(request.into_inner())?;
        wanted.trace = trace.map(|t| t.headers()).unwrap_or_default();
        let work = gateway.clone();
        let view = gateway
            .detached(async move { work.create_job(wanted).await })
            .await?;
        Ok(Response::new(convert::job(&view)))
    }

    async fn get_job(
        &self,
        request: Request<proto::GetJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let gateway = self.of(&request)?;
        let m = request.get_ref();
        let id = convert::job_id("name", &m.name)?;
        let mut job = convert::job(&gateway.job(id).await?);
        if m.view() == proto::get_job_request::View::Full {
            job.history = gateway
                .attempts(id)
                .await?
                .iter()
                .map(convert::attempt)
                .collect();
        }
        Ok(Response::new(job))
    }

    async fn list_jobs(
        &self,
        request: Request<proto::ListJobsRequest>,
    ) -> Result<Response<proto::ListJobsResponse>, Status> {
        let gateway = self.of(&request)?;
        let m = request.into_inner();
        let filter = convert::job_filter(&m)?;
        let bound = format!("{} jobs {filter:?}", gateway.tenant());
        let page = page::read(&self.secret, &bound, m.page_size, &m.page_token)?;
        let rows = gateway.jobs(&filter, &page).await?;
        let last = rows.last().map(|v| (v.job.created_at, v.job.id.0));
        Ok(Response::new(proto::ListJobsResponse {
            jobs: rows.iter().map(convert::job).collect(),
            next_page_token: page::next(&self.secret, &bound, &page, rows.len(), last),
        }))
    }

    async fn wait_job(
        &self,
        request: Request<proto::WaitJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let gateway = self.of(&request)?;
        let m = request.get_ref();
        let timeout = m
            .timeout
            .as_ref()
            .map(|d| convert::duration("timeout", d))
            .transpose()?;
        let id = convert::job_id("name", &m.name)?;
        let view = gateway
            .wait(id, timeout.unwrap_or(Duration::from_secs(60)))
            .await?;
        Ok(Response::new(convert::job(&view)))
    }

    type WatchJobsStream = Answers<proto::JobEvent>;

    async fn watch_jobs(
        &self,
        request: Request<proto::WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let gateway = self.of(&request)?;
        let caller = caller(&request)?;
        let place = self.streams.enter(gateway.tenant())?;
        let m = request.into_inner();
        let events = watch::stream(gateway, m, caller, self.recheck, place).await?;
        Ok(Response::new(events))
    }

    async fn cancel_job(
        &self,
        request: Request<proto::CancelJobRequest>,
    ) -> Result<Response<proto::Job>, Status> {
        let gateway = self.of(&request)?;
        let m = request.get_ref();
        let (id, etag) = (convert::job_id("name", &m.name)?, convert::etag(&m.etag)?);
        let work = gateway.clone();
        let view = gateway
            .detached(async move { work.cancel(id, etag).await })
            .await?;
        Ok(Response::new(convert::job(&view)))
    }

    async fn get_proof(
        &self,
        request: Request<proto::GetProofRequest>,
    ) -> Result<Response<proto::Proof>, Status> {
        let gateway = self.of(&request)?;
        let m = request.get_ref();
        let (id, encoding) = (
            convert::job_id("job", &m.job)?,
            convert::encoding(m.format)?,
        );
        let (record, data) = gateway.proof(id, encoding).await?;
        Ok(Response::new(convert::proof(id, record, encoding, data)))
    }

    async fn verify_proof(
        &self,
        request: Request<proto::VerifyProofRequest>,
    ) -> Result<Response<proto::VerifyProofResponse>, Status> {
        let gateway = self.of(&request)?;
        let m = request.into_inner();
        let (circuit, encoding) = (
            convert::circuit_id("circuit", &m.circuit)?,
            convert::encoding(m.format)?,
        );
        let refusal = gateway
            .verify_proof(circuit, encoding, m.proof, m.public_values)
            .await?;
        let reason = crate::store::cut(refusal.clone().unwrap_or_default(), 1024);
        Ok(Response::new(proto::VerifyProofResponse {
            valid: refusal.is_none(),
            reason,
        }))
    }
}
