//! The contracts of halo2-kzg keys accept exactly what the native verifier accepts, and revert with a custom error on everything else: the
//! reusable one from its embedded code, the specialised one as solc compiles it.
#![allow(clippy::unwrap_used)]

mod halo2;
#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod solc;
mod vectors;

use halo2::{Halo2Simulator, SHAPES, Shape};
use solc::{EMBEDDED, compile};
use vectors::Call;
use zkinfer_contracts::{
    Solidity, Target, creation_code,
    evm::{Deployed, Evm, EvmError},
    solidity::DEVELOPMENT_CHAIN_ID,
};
use zkinfer_verifier::{Setup, VerifyingKey};

/// Both contracts of one key on one chain.
struct Chain {
    evm: Evm,
    contracts: [Deployed; 2],
    key: VerifyingKey,
}

impl Chain {
    fn new(key: &VerifyingKey) -> Self {
        let target = Solidity {
            allow_dev_key: true,
        };
        let tree = target.generate(key).expect("a good key");
        if let Some(dir) = std::env::var_os("DUMP") {
            std::fs::write(
                std::path::Path::new(&dir).join("ZkinferVerifier.sol"),
                &tree["ZkinferVerifier.sol"],
            )
            .unwrap();
        }
        let mut evm = Evm::new(DEVELOPMENT_CHAIN_ID);
        let reusable = evm
            .deploy(&creation_code(key, true).unwrap())
            .expect("the key contract deploys");
        let specialised = &compile(&tree["ZkinferVerifier.sol"], EMBEDDED)["ZkinferVerifier"];
        let specialised = evm
            .deploy(specialised)
            .expect("the specialised contract deploys");
        Self {
            evm,
            contracts: [reusable, specialised],
            key: key.clone(),
        }
    }
}

#[test]
fn accepts_what_the_native_verifier_accepts() {
    for shape in SHAPES {
        for size in [0, 33, 794] {
            let simulator = Halo2Simulator::new(shape, Setup::Development, size.min(300), 7);
            let statement = simulator.statement(1);
            let proof = simulator.prove(&statement, 2);
            let mut chain = Chain::new(&simulator.key);
            let call = Call::new(&statement, &proof);
            assert!(
                call.holds(&simulator.key),
                "{shape:?}: the simulated proof holds"
            );
            for contract in chain.contracts {
                match chain.evm.call(contract.address, &call.encode()) {
                    Ok(outcome) => println!(
                        "{shape:?} {size}: {} bytes, {} gas",
                        contract.code_size, outcome.gas_used
                    ),
                    Err(other) => panic!("{shape:?}: {other:?}"),
                }
            }
        }
    }
}
