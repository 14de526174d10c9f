CREATE TABLE api_keys(
  prefix TEXT PRIMARY KEY, hash BLOB NOT NULL CHECK(length(hash)=32), tenant_id INTEGER NOT NULL REFERENCES tenants,
  scopes INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER, last_used INTEGER) STRICT;
CREATE TABLE enroll_tokens(
  hash BLOB PRIMARY KEY CHECK(length(hash)=32), trust INTEGER NOT NULL, pools TEXT NOT NULL, created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL, used_at INTEGER, node_id BLOB) STRICT;
CREATE TABLE node_certificates(
  fingerprint BLOB PRIMARY KEY CHECK(length(fingerprint)=32), node_id BLOB NOT NULL, issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL) STRICT;
CREATE INDEX node_certificates_node ON node_certificates(node_id);
