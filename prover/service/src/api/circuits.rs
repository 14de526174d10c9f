//! The Circuits service.

use tonic::{Request, Response, Status};

use super::{caller, convert, page, proto};
use crate::gateway::Gateway;

/// Serves Circuits.
#[derive(Debug, Clone)]
pub(super) struct Circuits {
    pub gateway: Gateway,
    pub secret: [u8; 32],
}

impl Circuits {
    /// The gateway, for the resources of the caller.
    fn of<T>(&self, request: &Request<T>) -> Result<Gateway, Status> {
        Ok(self.gateway.of(caller(request)?.tenant))
    }
}

#[tonic::async_trait]
impl proto::circuits_server::Circuits for Circuits {
    async fn create_circuit(
        &self,
        request: Request<proto::CreateCircuitRequest>,
    ) -> Result<Response<proto::Circuit>, Status> {
        let gateway = self.of(&request)?;
        let wanted = convert::circuit_request(request.into_inner())?;
        let work = gateway.clone();
        let circuit = gateway
            .detached(async move { work.create_circuit(wanted).await })
            .await?;
        Ok(Response::new(convert::circuit(&circuit)))
    }

    async fn get_circuit(
        &self,
        request: Request<proto::GetCircuitRequest>,
    ) -> Result<Response<proto::Circuit>, Status> {
        let circuit = self
            .of(&request)?
            .circuit(convert::circuit_id("name", &request.get_ref().name)?)
            .await?;
        Ok(Response::new(convert::circuit(&circuit)))
    }

    async fn list_circuits(
        &self,
        request: Request<proto::ListCircuitsRequest>,
    ) -> Result<Response<proto::ListCircuitsResponse>, Status> {
        let gateway = self.of(&request)?;
        let m = request.into_inner();
        let filter = convert::circuit_filter(&m)?;
        let bound = format!("{} circuits {filter:?}", gateway.tenant());
        let page = page::read(&self.secret, &bound, m.page_size, &m.page_token)?;
        let rows = gateway.circuits(&filter, &page).await?;
        let last = rows.last().map(|c| (c.created_at, c.id.0));
        Ok(Response::new(proto::ListCircuitsResponse {
            circuits: rows.iter().map(convert::circuit).collect(),
            next_page_token: page::next(&self.secret, &bound, &page, rows.len(), last),
        }))
    }

    async fn get_verifier(
        &self,
        request: Request<proto::GetVerifierRequest>,
    ) -> Result<Response<proto::GetVerifierResponse>, Status> {
        let gateway = self.of(&request)?;
        let m = request.get_ref();
        let circuit = convert::circuit_id("name", &m.name)?;
        let files = match m.target() {
            proto::VerifierTarget::Unspecified | proto::VerifierTarget::Solidity => {
                gateway.solidity(circuit).await?
            }
            proto::VerifierTarget::Substrate => gateway.substrate(circuit).await?,
        };
        Ok(Response::new(convert::verifier_files(files)))
    }
}
