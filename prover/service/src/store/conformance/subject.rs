//! A store under test, and records to put into it.

use crate::store::{
    Backend, Capabilities, CircuitId, CompileFacts, Digest, JobKind, Labels, Millis, NewCircuit,
    NewJob, NewProof, Priority, Resources, SetupFacts, Store, TenantId, Trust,
};

/// A store whose clock a test sets.
#[async_trait::async_trait]
pub(crate) trait Subject {
    /// The store.
    fn store(&self) -> &dyn Store;
    /// Sets its clock, which then stands still.
    fn set_clock(&self, now: Millis);
    /// Makes a tenant.
    async fn add_tenant(&self, name: &str) -> TenantId;
}

pub(crate) fn new_circuit(seed: u8) -> NewCircuit {
    NewCircuit {
        fingerprint: Digest([seed; 32]),
        backend: Backend::UltraGroth,
        model: Digest([1; 32]),
        settings: None,
        calibration: Digest([2; 32]),
        labels: Labels::new(),
        request: None,
        max_queued: 1000,
    }
}

pub(crate) fn new_job(circuit: CircuitId, input: u8) -> NewJob {
    NewJob {
        circuit,
        priority: Priority::Normal,
        input: (Digest([input; 32]), 1),
        identity: Digest([input; 32]),
        input_artifact: None,
        private_input: false,
        input_key: Vec::new(),
        min_trust: Trust::Untrusted,
        pools: Vec::new(),
        trace: Default::default(),
        context: [0; 32],
        allow_cached: true,
        ttl_ms: 1000 * 3_600_000,
        max_attempts: 3,
        labels: Labels::new(),
        request: None,
        max_queued: 1000,
    }
}

pub(crate) fn new_proof(byte: u8) -> NewProof {
    NewProof {
        proof: vec![byte; 8],
        public_values: vec![0; 32],
        vk_digest: [6; 32],
        verifier_version: "test".into(),
        verify_ms: 1,
        key_load_ms: 1,
        prove_ms: 1,
        peak_ram: 1,
    }
}

/// A node with so many slots and so much memory.
pub(crate) fn capabilities(slots: u32, ram_bytes: u64) -> Capabilities {
    Capabilities {
        backends: Backend::ALL.to_vec(),
        total: Resources {
            ram_bytes,
            disk_bytes: 1 << 40,
            ..Resources::default()
        },
        slots,
        ..Capabilities::default()
    }
}

/// A circuit that takes jobs.
pub(crate) async fn ready_circuit(store: &dyn Store, tenant: TenantId, seed: u8) -> CircuitId {
    let created = store.create_circuit(tenant, new_circuit(seed)).await;
    let circuit = created.expect("created").resource.id;
    let kinds = [JobKind::Compile, JobKind::Setup];
    let compile = store
        .claim(&kinds)
        .await
        .expect("claimed")
        .expect("COMPILE");
    let facts = CompileFacts {
        program: [3; 32],
        inputs: vec![],
        outputs: vec![],
        ram_bytes: 1,
        estimated_prove_ms: 1000,
    };
    let compiled = store.commit_compile(compile.id, compile.epoch, facts);
    compiled.await.expect("compiled");
    let setup = store.claim(&kinds).await.expect("claimed").expect("SETUP");
    let facts = SetupFacts {
        proving_key: [4; 32],
        proving_key_bytes: 10,
        verifying_key: [5; 32],
        vk_digest: [6; 32],
    };
    let made = store.commit_setup(setup.id, setup.epoch, facts);
    made.await.expect("set up");
    circuit
}
