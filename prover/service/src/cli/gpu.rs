//! Which GPUs a verb uses.

use super::CliError;
use crate::work::device::{Chosen, Compute, GpuChoice};

/// The variable that stands for `--gpu` where that is not given.
const VARIABLE: &str = "ZKINFER_GPU";

/// Which GPUs prove.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct GpuArg {
    /// The GPUs that prove: auto (every one that can be used, else the CPU), none, or numbers as the driver counts, like 0,2. By default what
    /// ZKINFER_GPU says, or auto.
    #[arg(long, value_name = "auto|none|N,…")]
    gpu: Option<GpuChoice>,
}

impl GpuArg {
    /// What was asked for.
    pub(crate) fn choice(&self) -> Result<GpuChoice, CliError> {
        if let Some(choice) = &self.gpu {
            return Ok(choice.clone());
        }
        match std::env::var(VARIABLE) {
            Ok(text) => text
                .parse()
                .map_err(|e| CliError::usage(format!("{VARIABLE}: {e}"))),
            Err(_) => Ok(GpuChoice::default()),
        }
    }

    /// The GPUs of this machine that were asked for.
    pub(crate) fn chosen(&self) -> Result<Chosen, CliError> {
        Chosen::of_this_machine(&self.choice()?).map_err(CliError::usage)
    }
}

/// Which GPUs prove, and what of their memory.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct GpuArgs {
    #[command(flatten)]
    which: GpuArg,
    /// Memory of a GPU for the tables of one key, which speed up its proofs; 0 for none. By default half of what is free.
    #[arg(long, value_name = "BYTES")]
    pub(crate) gpu_table_bytes: Option<u64>,
}

impl GpuArgs {
    /// The GPUs of this machine that were asked for.
    pub(crate) fn chosen(&self) -> Result<Chosen, CliError> {
        self.which.chosen()
    }

    /// What computes the proofs of this process.
    pub(crate) fn compute(&self) -> Result<Compute, CliError> {
        let choice = self.which.choice()?;
        let chosen = Chosen::of_this_machine(&choice).map_err(CliError::usage)?;
        let compute = Compute::first_of(&chosen, &choice).map_err(CliError::failed)?;
        tracing::info!("proofs run on {}", compute.line());
        Ok(compute)
    }
}
