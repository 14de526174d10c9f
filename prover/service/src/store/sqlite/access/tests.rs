use super::*;

const SOON: Duration = Duration::from_secs(60);

async fn open() -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = SqliteStore::open(&dir.path().join("db"))
        .await
        .expect("open");
    (dir, store)
}

fn key(prefix: &str) -> NewApiKey {
    NewApiKey {
        prefix: prefix.into(),
        hash: Digest::of(prefix.as_bytes()),
        tenant: TenantId::DEFAULT,
        scopes: Scopes::ALL,
        ttl: None,
        replaces: None,
        request: None,
    }
}

fn request(body: &str) -> Option<RequestKey> {
    Some(RequestKey {
        request_id: "id".into(),
        fingerprint: Digest::of(body.as_bytes()),
    })
}

#[tokio::test]
async fn a_token_is_used_once_and_not_after_its_time() {
    let (_dir, store) = open().await;
    let grant = EnrollGrant {
        trust: Trust::Vetted,
        pools: vec!["gpu".into()],
    };
    let (good, late) = (Digest::of(b"good"), Digest::of(b"late"));
    store
        .create_enroll_token(late, grant.clone(), Duration::ZERO)
        .await
        .expect("create");
    store
        .create_enroll_token(good, grant.clone(), SOON)
        .await
        .expect("create");
    let node = NodeId::fresh();
    let used = async |hash| store.use_enroll_token(hash, node).await.expect("use");
    assert_eq!(used(late).await, None);
    assert_eq!(used(Digest::of(b"other")).await, None);
    assert_eq!(used(good).await, Some(grant));
    assert_eq!(used(good).await, None);
}

#[tokio::test]
async fn a_replaced_key_goes_on_for_the_overlap_and_no_longer() {
    let (_dir, store) = open().await;
    store.create_api_key(key("old")).await.expect("create");
    let replace = |prefix: &str, old: &str, overlap| NewApiKey {
        replaces: Some((old.into(), overlap)),
        scopes: Scopes::NONE,
        ..key(prefix)
    };
    let new = store
        .create_api_key(replace("new", "old", SOON))
        .await
        .expect("rotate");
    assert_eq!(new.scopes, Scopes::ALL);
    let live = async |prefix: &str| {
        let found = store.api_key_by_prefix(prefix).await.expect("read");
        found.is_some_and(|k| k.is_live())
    };
    assert!(live("old").await && live("new").await);
    store
        .create_api_key(replace("newer", "old", Duration::ZERO))
        .await
        .expect("rotate");
    assert!(!live("old").await && live("newer").await);
    assert!(matches!(
        store.create_api_key(replace("late", "old", SOON)).await,
        Err(StoreError::NotFound { kind: "key", .. })
    ));
    let first = store.revoke_api_key("new").await.expect("revoke");
    assert_eq!(store.revoke_api_key("new").await.expect("again"), first);
    assert!(!live("new").await && !live("late").await);
}

#[tokio::test]
async fn a_key_ends_with_its_time_and_with_its_tenant() {
    let (_dir, store) = open().await;
    let short = NewApiKey {
        ttl: Some(Duration::ZERO),
        ..key("short")
    };
    store.create_api_key(short).await.expect("create");
    store.create_api_key(key("long")).await.expect("create");
    let live = async |prefix: &str| {
        let found = store.api_key_by_prefix(prefix).await.expect("read");
        found.is_some_and(|k| k.is_live())
    };
    assert!(!live("short").await && live("long").await);
    let off = TenantChange {
        disabled: Some(true),
        ..TenantChange::default()
    };
    store
        .update_tenant(TenantId::DEFAULT, off, None)
        .await
        .expect("update");
    assert!(!live("long").await);
}

#[tokio::test]
async fn a_repeated_request_makes_no_second_tenant_and_no_second_key() {
    let (_dir, store) = open().await;
    let new = |name: &str, request| NewTenant {
        name: name.into(),
        bounds: TenantBounds::default(),
        request,
    };
    let one = store
        .create_tenant(new("one", request("a")))
        .await
        .expect("create");
    let again = store.create_tenant(new("one", request("a"))).await;
    assert_eq!(again.expect("again"), one);
    assert!(matches!(
        store.create_tenant(new("two", request("b"))).await,
        Err(StoreError::RequestIdReused(_))
    ));
    assert!(matches!(
        store.create_tenant(new("one", None)).await,
        Err(StoreError::Exists { kind: "tenant", .. })
    ));
    let with = |prefix: &str| NewApiKey {
        request: request("k"),
        ..key(prefix)
    };
    store.create_api_key(with("first")).await.expect("create");
    assert!(matches!(
        store.create_api_key(with("second")).await,
        Err(StoreError::Exists { kind: "key", .. })
    ));
    assert_eq!(store.api_keys().await.expect("list").len(), 1);
}

#[tokio::test]
async fn a_tenant_changes_only_at_the_version_that_was_read() {
    let (_dir, store) = open().await;
    let before = store.tenant(TenantId::DEFAULT).await.expect("read");
    let change = TenantChange {
        max_queued: Some(7),
        ..TenantChange::default()
    };
    let after = store
        .update_tenant(before.id, change.clone(), Some(before.version))
        .await
        .expect("update");
    assert_eq!(after.bounds.max_queued, 7);
    assert!(matches!(
        store.update_tenant(before.id, change, Some(before.version)).await,
        Err(StoreError::EtagMismatch { now }) if now == after.version
    ));
}

#[tokio::test]
async fn a_certificate_that_is_over_names_no_node() {
    let (_dir, store) = open().await;
    let node = NodeId::fresh();
    let (good, old) = (Digest::of(b"good"), Digest::of(b"old"));
    store
        .add_node_certificate(old, node, 1, None)
        .await
        .expect("add");
    store
        .add_node_certificate(good, node, i64::MAX, None)
        .await
        .expect("add");
    let of = async |f| store.node_of_certificate(f).await.expect("read");
    assert_eq!(of(good).await, Some(node));
    assert_eq!(of(old).await, None);
}
