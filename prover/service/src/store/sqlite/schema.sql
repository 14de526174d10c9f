CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE tenants(
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE artifacts(
  digest BLOB PRIMARY KEY CHECK(length(digest)=32), size INTEGER NOT NULL CHECK(size>=0), kind INTEGER NOT NULL,
  created_at INTEGER NOT NULL) STRICT;
CREATE TABLE uploads(
  id BLOB PRIMARY KEY, digest BLOB UNIQUE NOT NULL CHECK(length(digest)=32), size INTEGER NOT NULL CHECK(size>=0),
  kind INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT;
CREATE TABLE circuits(
  id BLOB PRIMARY KEY, tenant_id INTEGER NOT NULL REFERENCES tenants, fingerprint BLOB NOT NULL CHECK(length(fingerprint)=32),
  backend INTEGER NOT NULL, model_digest BLOB NOT NULL, settings_digest BLOB, calibration_digest BLOB NOT NULL,
  state INTEGER NOT NULL, failure TEXT, compiled TEXT, keys TEXT, labels TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1,
  created_at INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX circuits_live ON circuits(tenant_id,fingerprint) WHERE state IN (1,2,3);
CREATE INDEX circuits_list ON circuits(tenant_id,created_at DESC,id DESC);
CREATE TABLE jobs(
  id BLOB PRIMARY KEY, tenant_id INTEGER NOT NULL REFERENCES tenants, circuit_id BLOB NOT NULL REFERENCES circuits,
  kind INTEGER NOT NULL, state INTEGER NOT NULL, priority INTEGER NOT NULL, dedup_key BLOB NOT NULL CHECK(length(dedup_key)=32),
  input_digest BLOB, input_artifact BLOB, private_input INTEGER NOT NULL, input_dropped INTEGER NOT NULL DEFAULT 0, context BLOB NOT NULL,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, started_at INTEGER, ended_at INTEGER, not_before INTEGER NOT NULL,
  deadline INTEGER, attempt_count INTEGER NOT NULL DEFAULT 0, lost_count INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0, failure TEXT, labels TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1) STRICT;
CREATE UNIQUE INDEX jobs_dedup_live ON jobs(tenant_id,dedup_key) WHERE state IN (1,2,3,4,5);
CREATE INDEX jobs_ready ON jobs(priority DESC,id) WHERE state=1;
CREATE INDEX jobs_held ON jobs(state) WHERE state IN (2,3,4);
CREATE INDEX jobs_deadline ON jobs(deadline) WHERE state IN (1,2,3,4);
CREATE INDEX jobs_private ON jobs(id) WHERE private_input=1 AND input_dropped=0;
CREATE INDEX jobs_list ON jobs(tenant_id,created_at DESC,id DESC);
CREATE TABLE attempts(
  job_id BLOB NOT NULL REFERENCES jobs ON DELETE CASCADE, epoch INTEGER NOT NULL, leased_at INTEGER NOT NULL, ended_at INTEGER,
  failure TEXT, key_load_ms INTEGER, prove_ms INTEGER, PRIMARY KEY(job_id,epoch)) STRICT;
CREATE TABLE proofs(
  job_id BLOB PRIMARY KEY REFERENCES jobs ON DELETE CASCADE, epoch INTEGER NOT NULL, proof_digest BLOB NOT NULL, proof BLOB NOT NULL,
  public_values BLOB NOT NULL, vk_digest BLOB NOT NULL, verifier_version TEXT NOT NULL, verify_ms INTEGER NOT NULL,
  verified_at INTEGER NOT NULL) STRICT;
CREATE TABLE job_events(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id BLOB NOT NULL REFERENCES jobs ON DELETE CASCADE, at INTEGER NOT NULL,
  from_state INTEGER, to_state INTEGER NOT NULL, failure TEXT) STRICT;
CREATE INDEX job_events_at ON job_events(at);
CREATE TABLE idempotency(
  tenant_id INTEGER NOT NULL, method TEXT NOT NULL, request_id TEXT NOT NULL, fingerprint BLOB NOT NULL, resource BLOB NOT NULL,
  expires_at INTEGER NOT NULL, PRIMARY KEY(tenant_id,method,request_id)) STRICT;
