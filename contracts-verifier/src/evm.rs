//! # An EVM in this process
//! The only file that knows revm. Osaka rules, one account that pays nothing, state in memory. It answers whether a contract accepts a call
//! and at what price: gas of execution, without the base price of a transaction and of its calldata.

use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    context::{
        TxEnv,
        result::{ExecutionResult, Output},
    },
    database::{CacheDB, EmptyDB},
    primitives::{Address, Bytes, TxKind, hardfork::SpecId},
};

/// Gas limit of every transaction: the limit of EIP-7825.
pub const GAS_LIMIT: u64 = 1 << 24;

/// A chain with one user.
#[derive(Debug)]
pub struct Evm {
    chain_id: u64,
    db: CacheDB<EmptyDB>,
}

/// A contract that was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// Its address.
    pub address: [u8; 20],
    /// Length of its code in bytes.
    pub code_size: usize,
    /// Gas of the whole transaction.
    pub gas: u64,
}

/// What a call that succeeded gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Gas of execution: without the 21,000 of a transaction and the price of its calldata.
    pub gas_used: u64,
    /// The returned bytes.
    pub output: Vec<u8>,
}

/// Why a transaction did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvmError {
    /// The contract reverted.
    #[error("reverted with 0x{}", hex::encode(.output))]
    Reverted {
        /// Gas of execution.
        gas_used: u64,
        /// The revert data: the selector of a custom error first.
        output: Vec<u8>,
    },
    /// Execution stopped: out of gas, invalid opcode, code too large.
    #[error("execution stopped: {reason}")]
    Halted {
        /// revm's name of the reason.
        reason: String,
    },
    /// The transaction is not valid on this chain.
    #[error("invalid transaction: {reason}")]
    Invalid {
        /// revm's name of the reason.
        reason: String,
    },
}

impl Evm {
    /// An empty chain.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            db: CacheDB::new(EmptyDB::default()),
        }
    }

    /// Creates a contract.
    ///
    /// # Errors
    /// [`EvmError`] unless the contract stands.
    pub fn deploy(&mut self, creation: &[u8]) -> Result<Deployed, EvmError> {
        match self.transact(TxKind::Create, creation)? {
            ExecutionResult::Success {
                gas,
                output: Output::Create(code, Some(address)),
                ..
            } => Ok(Deployed {
                address: address.into_array(),
                code_size: code.len(),
                gas: gas.total_gas_spent(),
            }),
            result => Err(failure(&result, creation)),
        }
    }

    /// Calls a contract and keeps what it changed.
    ///
    /// # Errors
    /// [`EvmError`] unless the call succeeded.
    pub fn call(&mut self, address: [u8; 20], data: &[u8]) -> Result<Outcome, EvmError> {
        match self.transact(TxKind::Call(Address::from(address)), data)? {
            ExecutionResult::Success {
                gas,
                output: Output::Call(output),
                ..
            } => Ok(Outcome {
                gas_used: gas.total_gas_spent().saturating_sub(intrinsic_gas(data)),
                output: output.to_vec(),
            }),
            result => Err(failure(&result, data)),
        }
    }

    fn transact(&mut self, kind: TxKind, data: &[u8]) -> Result<ExecutionResult, EvmError> {
        let invalid = |reason: &dyn std::fmt::Debug| EvmError::Invalid {
            reason: format!("{reason:?}"),
        };
        let mut evm = Context::mainnet()
            .with_db(&mut self.db)
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
                cfg.chain_id = self.chain_id;
                cfg.disable_nonce_check = true;
            })
            .build_mainnet();
        let tx = TxEnv::builder()
            .kind(kind)
            .data(Bytes::copy_from_slice(data))
            .gas_limit(GAS_LIMIT)
            .chain_id(Some(self.chain_id))
            .build()
            .map_err(|error| invalid(&error))?;
        evm.transact_commit(tx).map_err(|error| invalid(&error))
    }
}

/// 21,000 and the price of calldata (EIP-2028).
fn intrinsic_gas(data: &[u8]) -> u64 {
    data.iter()
        .fold(21_000, |gas, byte| gas + if *byte == 0 { 4 } else { 16 })
}

fn failure(result: &ExecutionResult, data: &[u8]) -> EvmError {
    match result {
        ExecutionResult::Revert { gas, output, .. } => EvmError::Reverted {
            gas_used: gas.total_gas_spent().saturating_sub(intrinsic_gas(data)),
            output: output.to_vec(),
        },
        ExecutionResult::Halt { reason, .. } => EvmError::Halted {
            reason: format!("{reason:?}"),
        },
        ExecutionResult::Success { .. } => EvmError::Halted {
            reason: "no contract was created".to_owned(),
        },
    }
}
