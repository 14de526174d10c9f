//! Joining a gateway: a key, a certificate request, a token that works once.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use super::{
    home::{self, Facts, Home, Identity, Locked},
    remote::{self, JoinError},
};
use crate::api::proto;

/// Longest token.
const MAX_TOKEN_BYTES: usize = 8192;

/// Joins the gateway at `gateway` with `token`; the identity is written into the locked folder.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    folder: Locked,
    gateway: &str,
    token: &str,
    name: &str,
) -> Result<Home, JoinError> {
    let gateway = remote::gateway_url(gateway)?;
    let authority = authority_of(token)?;
    let failed = |e: rcgen::Error| JoinError::Key(e.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let key = Zeroizing::new(key.serialize_pem());
    let request = proto::EnrollRequest {
        token: token.to_owned(),
        csr_der: certificate_request(&key)?,
        node_name: name.to_owned(),
    };
    let enrolled = remote::enroll(&gateway, &authority, None, request).await?;
    let facts = Facts {
        node: enrolled.node,
        name: name.to_owned(),
        gateway,
        issued: home::now(),
        expires: enrolled.expires,
    };
    let identity = Identity {
        key,
        certificate: enrolled.certificate,
        authority,
    };
    Ok(folder.join(facts, identity)?)
}

/// A certificate request of the key. Its names are the gateway's to give.
pub(super) fn certificate_request(key: &str) -> Result<Vec<u8>, JoinError> {
    let failed = |e: rcgen::Error| JoinError::Key(e.to_string());
    let key = KeyPair::from_pem(key).map_err(|_| JoinError::Key("no key in node.key".into()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "zkinfer node");
    let request = params.serialize_request(&key).map_err(failed)?;
    Ok(request.der().to_vec())
}

/// The certificate of the gateway's authority, which the token carries, as PEM.
fn authority_of(token: &str) -> Result<String, JoinError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JoinError::Token);
    }
    let mut parts = token.split('.');
    let (Some("zkt1"), Some(secret), Some(authority), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JoinError::Token);
    };
    let secret = URL_SAFE_NO_PAD.decode(secret).map(Zeroizing::new);
    let authority = URL_SAFE_NO_PAD.decode(authority);
    match (secret, authority) {
        (Ok(secret), Ok(authority)) if secret.len() == 32 && !authority.is_empty() => {
            Ok(pem(&authority))
        }
        _ => Err(JoinError::Token),
    }
}

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64);
    let body: String = lines
        .map(|line| String::from_utf8_lossy(line).into_owned() + "\n")
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
}

/// The name of this machine.
pub fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "node".to_owned(),
        name => crate::store::cut(name.to_owned(), 64),
    }
}

/// The folder of a node that nobody configured.
pub fn default_folder() -> std::path::PathBuf {
    let data = crate::config::default_data_dir();
    let base = data.parent().unwrap_or(Path::new("."));
    base.join("zkinfer-node")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_the_authority() {
        let secret = URL_SAFE_NO_PAD.encode([3; 32]);
        let token = format!("zkt1.{secret}.{}", URL_SAFE_NO_PAD.encode([9; 100]));
        let text = authority_of(&token).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\nCQkJ"));
        assert!(text.lines().all(|line| line.len() <= 64));
        let bad = [
            String::new(),
            token.replacen("zkt1", "zkt2", 1),
            token.clone() + ".x",
            token.replacen("zkt1.A", "zkt1.", 1),
            format!("zkt1.{secret}."),
            "zkt1.".to_owned() + &"A".repeat(MAX_TOKEN_BYTES),
        ];
        for text in bad {
            assert!(
                matches!(authority_of(&text), Err(JoinError::Token)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_request_is_signed_by_its_own_key() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let der = certificate_request(&key.serialize_pem()).unwrap();
        let parsed = rcgen::CertificateSigningRequestParams::from_der(&der.into()).unwrap();
        assert_eq!(
            rcgen::PublicKeyData::der_bytes(&parsed.public_key),
            rcgen::PublicKeyData::der_bytes(&key)
        );
    }
}
