ALTER TABLE tenants ADD COLUMN weight REAL NOT NULL DEFAULT 1 CHECK(weight>0);
ALTER TABLE tenants ADD COLUMN max_running INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN max_queued INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN max_artifact_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN requests_per_second REAL NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN vtime REAL NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE tenants ADD COLUMN last_event INTEGER NOT NULL DEFAULT 0;

ALTER TABLE artifacts ADD COLUMN wrapped_key BLOB;
CREATE TABLE artifact_refs(
  digest BLOB NOT NULL REFERENCES artifacts ON DELETE CASCADE, tenant_id INTEGER NOT NULL REFERENCES tenants, kind INTEGER NOT NULL,
  created_at INTEGER NOT NULL, PRIMARY KEY(digest,tenant_id)) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_refs_tenant ON artifact_refs(tenant_id);
CREATE INDEX artifact_refs_age ON artifact_refs(created_at);
INSERT INTO artifact_refs(digest,tenant_id,kind,created_at)
  SELECT digest,1,kind,created_at FROM artifacts
  WHERE digest NOT IN (SELECT input_digest FROM jobs WHERE private_input=1 AND input_digest IS NOT NULL);

CREATE TABLE uploads_v2(
  id BLOB PRIMARY KEY, tenant_id INTEGER NOT NULL REFERENCES tenants, digest BLOB NOT NULL CHECK(length(digest)=32),
  size INTEGER NOT NULL CHECK(size>=0), kind INTEGER NOT NULL, expires_at INTEGER NOT NULL, UNIQUE(tenant_id,digest)) STRICT;
INSERT INTO uploads_v2(id,tenant_id,digest,size,kind,expires_at) SELECT id,1,digest,size,kind,expires_at FROM uploads
  -- Inputs are encrypted from their first byte on: those that were not begin again.
  WHERE kind<>6;
DROP TABLE uploads;
ALTER TABLE uploads_v2 RENAME TO uploads;

CREATE TABLE nodes(
  id BLOB PRIMARY KEY, display_name TEXT NOT NULL, public_key BLOB NOT NULL, trust INTEGER NOT NULL, state INTEGER NOT NULL,
  pools TEXT NOT NULL, capabilities TEXT NOT NULL DEFAULT '{}', session INTEGER NOT NULL DEFAULT 0, online INTEGER NOT NULL DEFAULT 0,
  last_seen INTEGER, score REAL NOT NULL, ok INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  invalid INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0, program TEXT NOT NULL DEFAULT '',
  version INTEGER NOT NULL DEFAULT 1, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE node_keys(
  node_id BLOB NOT NULL REFERENCES nodes ON DELETE CASCADE, circuit_id BLOB NOT NULL REFERENCES circuits ON DELETE CASCADE,
  tier INTEGER NOT NULL, load_ms INTEGER NOT NULL, PRIMARY KEY(node_id,circuit_id)) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN min_trust INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN pools TEXT NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN trace TEXT NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN input_key BLOB;
ALTER TABLE jobs ADD COLUMN min_ram INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN more_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN passed_over INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN passed_since INTEGER;
UPDATE jobs SET min_trust=2 WHERE private_input=1;
CREATE INDEX jobs_retried ON jobs(id) WHERE state=1 AND epoch>0;
CREATE INDEX jobs_lanes ON jobs(priority,tenant_id,circuit_id,id,not_before) WHERE state=1;

ALTER TABLE attempts ADD COLUMN circuit_id BLOB;
ALTER TABLE attempts ADD COLUMN node_id BLOB REFERENCES nodes;
ALTER TABLE attempts ADD COLUMN session INTEGER;
ALTER TABLE attempts ADD COLUMN lease_expires INTEGER;
ALTER TABLE attempts ADD COLUMN overdue_at INTEGER;
ALTER TABLE attempts ADD COLUMN speculative INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN outcome INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN failure_class INTEGER;
ALTER TABLE attempts ADD COLUMN failure_code TEXT;
ALTER TABLE attempts ADD COLUMN peak_ram INTEGER;
ALTER TABLE attempts ADD COLUMN charged_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN invalid_at INTEGER;
UPDATE attempts SET
  circuit_id=(SELECT circuit_id FROM jobs WHERE id=attempts.job_id),
  failure_code=json_extract(failure,'$.code'),
  failure_class=CASE json_extract(failure,'$.class') WHEN 'invalid_request' THEN 1 WHEN 'resource_exceeded' THEN 2 WHEN 'node_fault' THEN 3
    WHEN 'node_lost' THEN 4 WHEN 'proof_invalid' THEN 5 WHEN 'internal' THEN 6 WHEN 'cancelled' THEN 7 WHEN 'deadline' THEN 8 END,
  outcome=CASE WHEN ended_at IS NULL THEN 0
    WHEN EXISTS(SELECT 1 FROM proofs p WHERE p.job_id=attempts.job_id AND p.epoch=attempts.epoch) THEN 1
    WHEN json_extract(failure,'$.class')='node_lost' THEN 3
    WHEN json_extract(failure,'$.class') IN ('cancelled','deadline') THEN 5
    WHEN failure IS NOT NULL THEN 2
    WHEN (SELECT state FROM jobs WHERE id=attempts.job_id)=5 THEN 1
    ELSE 4 END;
CREATE INDEX attempts_open ON attempts(lease_expires) WHERE ended_at IS NULL;
CREATE INDEX attempts_node ON attempts(node_id) WHERE ended_at IS NULL;
CREATE INDEX attempts_invalid ON attempts(node_id,invalid_at) WHERE invalid_at IS NOT NULL;
CREATE INDEX attempts_won ON attempts(ended_at) WHERE outcome=1;

ALTER TABLE proofs ADD COLUMN node_id BLOB REFERENCES nodes;

ALTER TABLE job_events ADD COLUMN tenant_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE job_events ADD COLUMN tenant_seq INTEGER NOT NULL DEFAULT 0;
UPDATE job_events SET tenant_seq=seq;
UPDATE tenants SET last_event=(SELECT coalesce(max(seq),0) FROM job_events) WHERE id=1;
CREATE UNIQUE INDEX job_events_tenant ON job_events(tenant_id,tenant_seq);
