//! A real node: deployment through alloy, gas estimation, refusal of a tampered proof. anvil comes from `$ANVIL` or the pinned npm
//! package.

mod halo2;
#[path = "../../verifier/tests/simulator/mod.rs"]
mod simulator;
mod solc;
mod vectors;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use alloy::{
    network::TransactionBuilder,
    primitives::{Address, Bytes},
    providers::{Provider, ProviderBuilder},
    rpc::types::TransactionRequest,
};
use halo2::{Shape, valid_halo2};
use simulator::{SYSTEMS, valid};
use vectors::{Call, selector, word};
use zkinfer_contracts::{
    Solidity, Target, creation_code,
    solidity::{calldata_verify, key_creation_code, verifier_creation_code},
};

/// A node that ends with the test.
struct Anvil {
    child: Child,
    url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ANVIL") {
        return path.into();
    }
    let os = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    };
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let package = format!("../.ci/node_modules/@foundry-rs/anvil-{os}-{arch}/bin/anvil");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
    assert!(
        path.is_file(),
        "no anvil: run `npm ci --prefix .ci`, or set $ANVIL to its path"
    );
    path
}

impl Anvil {
    fn start(chain_id: u64) -> Self {
        let mut child = Command::new(binary())
            .args([
                "--port",
                "0",
                "--hardfork",
                "osaka",
                "--chain-id",
                &chain_id.to_string(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("anvil starts");
        let stdout = child.stdout.take().expect("piped");
        let mut anvil = Self {
            child,
            url: String::new(),
        };
        let mut lines = BufReader::new(stdout).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("Listening on ")
                .map(|address| address.trim().to_owned())
        });
        anvil.url = format!("http://{}", address.expect("anvil says where it listens"));
        // Keep the pipe open and empty.
        std::thread::spawn(move || lines.for_each(drop));
        anvil
    }
}

async fn deploy(provider: &impl Provider, from: Address, creation: Vec<u8>) -> Option<Address> {
    let request = TransactionRequest::default()
        .with_from(from)
        .with_deploy_code(Bytes::from(creation));
    let receipt = provider
        .send_transaction(request)
        .await
        .ok()?
        .get_receipt()
        .await
        .ok()?;
    receipt
        .status()
        .then_some(receipt.contract_address)
        .flatten()
}

fn call_of(from: Address, to: Address, data: Vec<u8>) -> TransactionRequest {
    TransactionRequest::default()
        .with_from(from)
        .with_to(to)
        .with_input(Bytes::from(data))
}

#[tokio::test]
async fn a_real_node_accepts_a_proof_and_refuses_a_tampered_one() {
    let anvil = Anvil::start(31_337);
    let provider = ProviderBuilder::new().connect_http(anvil.url.parse().expect("a URL"));
    let from = provider.get_accounts().await.expect("anvil has accounts")[0];
    for system in SYSTEMS {
        let (simulator, statement, proof) = valid(system, 794);
        let creation = creation_code(&simulator.key, true).expect("a good key");
        let to = deploy(&provider, from, creation)
            .await
            .expect("the contract deploys");
        let data = calldata_verify(&statement, &proof);

        let output = provider
            .call(call_of(from, to, data.clone()))
            .await
            .expect("accepted");
        assert_eq!(output.as_ref(), word(1));
        let estimate = provider
            .estimate_gas(call_of(from, to, data.clone()))
            .await
            .expect("an estimate");
        let request = call_of(from, to, data.clone()).with_gas_limit(estimate);
        let sent = provider.send_transaction(request).await.expect("sent");
        let receipt = sent.get_receipt().await.expect("mined");
        assert!(receipt.status(), "the estimate is enough");
        assert!(
            estimate >= receipt.gas_used,
            "estimate {estimate}, used {}",
            receipt.gas_used
        );
        println!("{system}: estimate {estimate}, used {}", receipt.gas_used);

        // Whatever gas a call is given, it says 1 or it fails; it never succeeds with another answer.
        let mut failed = 0;
        for gas in (25_000..=receipt.gas_used + 20_000).step_by(1_999) {
            let starved = provider
                .call(call_of(from, to, data.clone()).with_gas_limit(gas))
                .await;
            failed += usize::from(starved.is_err());
            if let Ok(output) = starved {
                assert_eq!(output.as_ref(), word(1), "{gas} gas");
            }
        }
        assert!(failed > 0, "some limits are too low");

        let mut tampered = Call::new(&statement, &proof);
        tampered.tensors[400] ^= 1;
        let error = provider
            .call(call_of(from, to, tampered.encode()))
            .await
            .expect_err("refused");
        let revert = error
            .as_error_resp()
            .and_then(|response| response.as_revert_data())
            .expect("revert data");
        assert_eq!(revert.as_ref(), selector("InvalidProof()"));
        assert!(
            provider
                .estimate_gas(call_of(from, to, tampered.encode()))
                .await
                .is_err()
        );
        let request = call_of(from, to, tampered.encode()).with_gas_limit(1_000_000);
        let receipt = provider
            .send_transaction(request)
            .await
            .expect("sent")
            .get_receipt()
            .await
            .expect("mined");
        assert!(!receipt.status(), "a tampered proof reverts on chain");
    }
}

#[tokio::test]
async fn a_real_node_accepts_a_halo2_proof_by_key_contract_and_by_specialised_contract() {
    let anvil = Anvil::start(31_337);
    let provider = ProviderBuilder::new().connect_http(anvil.url.parse().expect("a URL"));
    let from = provider.get_accounts().await.expect("anvil has accounts")[0];
    let (simulator, statement, proof) = valid_halo2(Shape::Model, 74);
    let verifier = deploy(&provider, from, verifier_creation_code().to_vec())
        .await
        .expect("the verifier deploys");
    let target = Solidity {
        allow_dev_key: true,
    };
    let tree = target.generate(&simulator.key).expect("a good key");
    let source = &tree["ZkinferVerifier.sol"];
    let specialised = solc::compile(source, solc::EMBEDDED)["ZkinferVerifier"].clone();
    let by_key = key_creation_code(&simulator.key, true, verifier.into_array());
    let by_key = by_key.expect("a good key");
    for (name, creation) in [("reusable", by_key), ("specialised", specialised)] {
        let to = deploy(&provider, from, creation)
            .await
            .expect("the contract deploys");
        let data = calldata_verify(&statement, &proof);
        let estimate = provider
            .estimate_gas(call_of(from, to, data.clone()))
            .await
            .expect("an estimate");
        let request = call_of(from, to, data.clone()).with_gas_limit(estimate);
        let sent = provider.send_transaction(request).await.expect("sent");
        let receipt = sent.get_receipt().await.expect("mined");
        assert!(receipt.status(), "the estimate is enough");
        println!("{name}: estimate {estimate}, used {}", receipt.gas_used);

        // Whatever gas a call is given, it says 1 or it fails.
        let mut failed = 0;
        for gas in (45_000..=receipt.gas_used + 20_000).step_by(7_919) {
            let starved = provider
                .call(call_of(from, to, data.clone()).with_gas_limit(gas))
                .await;
            failed += usize::from(starved.is_err());
            if let Ok(output) = starved {
                assert_eq!(output.as_ref(), word(1), "{gas} gas");
            }
        }
        assert!(failed > 0, "some limits are too low");

        let mut tampered = Call::new(&statement, &proof);
        tampered.tensors[40] ^= 1;
        let error = provider
            .call(call_of(from, to, tampered.encode()))
            .await
            .expect_err("refused");
        let revert = error
            .as_error_resp()
            .and_then(|response| response.as_revert_data())
            .expect("revert data");
        assert_eq!(revert.as_ref(), selector("InvalidProof()"));
        let request = call_of(from, to, tampered.encode()).with_gas_limit(1_000_000);
        let sent = provider.send_transaction(request).await.expect("sent");
        let receipt = sent.get_receipt().await.expect("mined");
        assert!(!receipt.status(), "a tampered proof reverts on chain");
    }
}

#[tokio::test]
async fn a_development_key_does_not_deploy_on_another_chain() {
    let anvil = Anvil::start(1);
    let provider = ProviderBuilder::new().connect_http(anvil.url.parse().expect("a URL"));
    let from = provider.get_accounts().await.expect("anvil has accounts")[0];
    for system in SYSTEMS {
        let (simulator, ..) = valid(system, 40);
        let creation = creation_code(&simulator.key, true).expect("a good key");
        assert_eq!(deploy(&provider, from, creation).await, None);
    }
}
