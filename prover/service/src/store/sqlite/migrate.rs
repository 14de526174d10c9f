//! The schema and how older ones become it.

use sqlx::{Row as _, SqlitePool};

use crate::store::{StoreError, TenantId};

/// The schema that this version writes.
pub(super) const SCHEMA_VERSION: i64 = 2;

/// What brings a schema to the next version, in order.
const STEPS: [&[&str]; 2] = [
    &[include_str!("schema.sql")],
    &[include_str!("v2.sql"), include_str!("v2_access.sql")],
];

/// Brings the database to [`SCHEMA_VERSION`] in one transaction; its rows stay.
pub(super) async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer {
            found,
            known: SCHEMA_VERSION,
        });
    }
    let done = usize::try_from(found).map_err(|_| StoreError::Corrupt("schema version"))?;
    for script in STEPS.iter().skip(done).copied().flatten() {
        sqlx::raw_sql(*script).execute(&mut *tx).await?;
    }
    if found == 0 {
        sqlx::query("INSERT INTO tenants(id,name,created_at) VALUES (?,'default',CAST(unixepoch('subsec') * 1000 AS INTEGER))")
            .bind(TenantId::DEFAULT.0)
            .execute(&mut *tx)
            .await?;
        let secret: [u8; 32] = rand::random();
        sqlx::query("INSERT INTO meta(key,value) VALUES ('secret',?)")
            .bind(&secret[..])
            .execute(&mut *tx)
            .await?;
    }
    sqlx::raw_sql("PRAGMA user_version = 2")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::store::{
        Attempt, AttemptOutcome, CircuitId, Digest, FailureClass, FarmStore as _, Job, JobId,
        JobKind, JobState, JobStore as _, TenantId, Trust, UploadId, sqlite::SqliteStore,
    };

    const T: TenantId = TenantId::DEFAULT;

    /// A data folder as the first version left it: a proved job, a private one that ran, one that failed once and waits.
    async fn first_version(path: &std::path::Path) -> sqlx::Result<()> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await?;
        sqlx::raw_sql(include_str!("schema.sql"))
            .execute(&pool)
            .await?;
        let rows = "
            INSERT INTO meta VALUES ('secret', zeroblob(32));
            INSERT INTO tenants VALUES (1,'default',5);
            INSERT INTO artifacts VALUES (@1,10,1,5), (@2,7,6,6), (@3,8,6,6);
            INSERT INTO uploads VALUES (x'00000000000000000000000000000009', @4, 3, 1, 99999999999999);
            INSERT INTO circuits VALUES (x'00000000000000000000000000000001',1,zeroblob(32),4,@1,NULL,@1,3,NULL,
              '{\"program\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"inputs\":[],\"outputs\":[],\"ram_bytes\":1,\"estimated_prove_ms\":2}',
              '{\"proving_key\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"proving_key_bytes\":10,\"verifying_key\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],\"vk_digest\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}',
              '{\"team\":\"a\"}',3,5);
            INSERT INTO jobs VALUES
              (x'00000000000000000000000000000011',1,x'00000000000000000000000000000001',1,5,2,@1,@2,NULL,0,0,zeroblob(32),
               7,8,7,8,7,99999999999999,0,0,3,1,NULL,'{}',4),
              (x'00000000000000000000000000000012',1,x'00000000000000000000000000000001',1,3,2,@2,@3,NULL,1,0,zeroblob(32),
               7,8,7,NULL,7,99999999999999,0,0,3,1,NULL,'{}',3),
              (x'00000000000000000000000000000013',1,x'00000000000000000000000000000001',1,1,2,@3,@2,NULL,0,0,zeroblob(32),
               7,8,7,NULL,7,99999999999999,1,0,3,1,'{\"class\":\"internal\",\"code\":\"X\",\"message\":\"x\",\"attempt\":1}','{}',3);
            INSERT INTO attempts VALUES (x'00000000000000000000000000000011',1,7,8,NULL,2,3), (x'00000000000000000000000000000012',1,7,NULL,NULL,NULL,NULL),
              (x'00000000000000000000000000000013',1,7,8,'{\"class\":\"internal\",\"code\":\"X\",\"message\":\"x\",\"attempt\":1}',NULL,NULL);
            INSERT INTO proofs VALUES (x'00000000000000000000000000000011',1,zeroblob(32),x'0102',zeroblob(32),zeroblob(32),'0.1.0',1,8);
            INSERT INTO job_events(job_id,at,from_state,to_state,failure) VALUES
              (x'00000000000000000000000000000011',7,NULL,1,NULL), (x'00000000000000000000000000000011',7,1,2,NULL), (x'00000000000000000000000000000011',8,2,5,NULL);
            INSERT INTO idempotency VALUES (1,'CreateJob','id',zeroblob(32),x'00000000000000000000000000000011',99999999999999);
            PRAGMA user_version = 1;";
        // @n is the digest that begins with n.
        let rows = (1..=4).fold(rows.to_owned(), |rows, n| {
            rows.replace(&format!("@{n}"), &format!("x'0{n}{}'", "00".repeat(31)))
        });
        sqlx::raw_sql(sqlx::AssertSqlSafe(rows))
            .execute(&pool)
            .await?;
        pool.close().await;
        Ok(())
    }

    fn id(last: u8) -> uuid::Uuid {
        uuid::Uuid::from_u128(u128::from(last))
    }

    fn digest(first: u8) -> Digest {
        let mut bytes = [0; 32];
        bytes[0] = first;
        Digest(bytes)
    }

    #[tokio::test]
    async fn a_data_folder_of_the_first_version_keeps_its_rows() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("db");
        first_version(&path).await.expect("an older database");
        let store = SqliteStore::open(&path).await.expect("it is migrated");

        let job = |last| {
            let store = &store;
            async move { store.job(T, JobId(id(last))).await.expect("kept") }
        };
        let state = |job: &Job| (job.state, job.epoch, job.attempt_count);
        let proved = job(0x11).await;
        assert_eq!(state(&proved), (JobState::Succeeded, 1, 0));
        let proof = store
            .proof(T, proved.id)
            .await
            .expect("read")
            .expect("kept");
        assert_eq!(proof.proof, [1, 2]);
        assert_eq!(
            job(0x12).await.min_trust,
            Trust::Vetted,
            "its input is private"
        );
        assert_eq!(state(&job(0x13).await), (JobState::Queued, 1, 1));
        let outcome = |a: &Attempt| (a.outcome, a.node, a.prove_ms);
        let attempts = store.attempts(T, proved.id).await.expect("read");
        assert_eq!(outcome(&attempts[0]), (AttemptOutcome::Won, None, Some(3)));
        let failed = store.attempts(T, JobId(id(0x13))).await.expect("read");
        assert_eq!(failed[0].outcome, AttemptOutcome::Failed);
        assert_eq!(
            failed[0].failure.as_ref().map(|f| f.class),
            Some(FailureClass::Internal)
        );

        // Cursors of watches go on.
        assert_eq!(store.last_event(T).await.expect("read"), 3);
        let events = store.events_after(T, 1, 10).await.expect("read");
        assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(store.secret().await.expect("read"), [0; 32]);
        assert!(store.circuit(T, CircuitId(id(1))).await.is_ok());
        assert!(store.upload(T, UploadId(id(9))).await.is_ok());
        assert!(store.artifact(T, &digest(1)).await.expect("read").is_some());
        assert!(
            store.artifact(T, &digest(3)).await.expect("read").is_none(),
            "a private input is nobody's artifact"
        );
        assert!(store.has_blob(&digest(3)).await.expect("read"));

        let recovered = store.recover(1000).await.expect("recovered");
        assert_eq!(recovered.requeued, 1);
        assert_eq!(job(0x12).await.lost_count, 1);
        let claimed = store
            .claim(JobKind::ALL)
            .await
            .expect("claimed")
            .expect("a job");
        assert!(claimed.epoch == 2 && store.last_event(T).await.expect("read") == 5);
        let took = store.recent_proofs(10).await.expect("read");
        let took: Vec<_> = took.iter().map(|t| (t.circuit, t.prove_ms)).collect();
        assert_eq!(took, [(CircuitId(id(1)), 3)]);
        store.close().await;
        assert!(
            SqliteStore::open(&path).await.is_ok(),
            "opening again changes nothing"
        );
    }
}
