//! The first key: without one nobody could make the others.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use super::ApiSecret;
use crate::store::{AccessStore, BlobError, NewApiKey, Scope, Scopes, StoreError, TenantId, blobs};

/// The name of the file in the data folder.
pub const ADMIN_KEY_FILE: &str = "admin.key";

/// Why there is no first key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FirstKeyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Makes a key with every scope, in a file that only the owner reads, unless a key for administration is live. Answers the file if
/// it made one. The file is written first: a crash between leaves a file whose key the next start records.
///
/// # Errors
/// [`FirstKeyError`].
pub async fn ensure_admin_key(
    store: &(impl AccessStore + ?Sized),
    data: &Path,
) -> Result<Option<PathBuf>, FirstKeyError> {
    for key in store.api_keys().await? {
        if key.scopes.contains(Scope::Admin)
            && let Some(found) = store.api_key_by_prefix(&key.prefix).await?
            && found.is_live()
        {
            return Ok(None);
        }
    }
    let path = data.join(ADMIN_KEY_FILE);
    let kept = match blobs::read_bounded(&path, 4096) {
        Ok(bytes) => String::from_utf8(bytes)
            .ok()
            .and_then(|text| text.trim().parse::<ApiSecret>().ok()),
        Err(_) => None,
    };
    let secret = match kept {
        // A key that was recorded and has ended does not come back.
        Some(secret) if store.api_key_by_prefix(secret.prefix()).await?.is_none() => secret,
        _ => {
            let secret = ApiSecret::fresh();
            write(&path, &secret)?;
            secret
        }
    };
    store
        .create_api_key(NewApiKey {
            prefix: secret.prefix().to_owned(),
            hash: secret.hash(),
            tenant: TenantId::DEFAULT,
            scopes: Scopes::ALL,
            ttl: None,
            replaces: None,
            request: None,
        })
        .await?;
    Ok(Some(path))
}

fn write(path: &Path, secret: &ApiSecret) -> Result<(), FirstKeyError> {
    let staged = path.with_extension("key.new");
    // What is left of an earlier try may have another mode.
    let _ = std::fs::remove_file(&staged);
    let mut file = blobs::private_file(&staged)?;
    writeln!(file, "{}", secret.expose())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&staged, path))
        .map_err(|source| FirstKeyError::File {
            path: path.to_owned(),
            source,
        })?;
    if let Some(folder) = path.parent() {
        blobs::sync_folder(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn the_first_key_is_made_once_and_again_after_the_last_one_ended() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = SqliteStore::open(&dir.path().join("db"))
            .await
            .expect("open");
        let make = async || ensure_admin_key(&store, dir.path()).await.expect("make");
        let path = make().await.expect("a file");
        let mode = std::fs::metadata(&path).expect("metadata").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let read = || -> ApiSecret {
            let text = std::fs::read_to_string(&path).expect("read");
            text.trim().parse().expect("a key")
        };
        let first = read();
        let found = store.api_key_by_prefix(first.prefix()).await.expect("find");
        assert!(found.is_some_and(|f| f.is_live() && first.matches(&f.hash)));
        assert_eq!(make().await, None);
        store.revoke_api_key(first.prefix()).await.expect("revoke");
        assert_eq!(make().await, Some(path.clone()));
        assert_ne!(read().prefix(), first.prefix());
    }
}
