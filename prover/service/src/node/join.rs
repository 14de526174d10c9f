//! Joining a gateway: a key, a certificate request, a token that works once.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use super::{
    home::{self, Facts, Home, Identity, Locked},
    remote::{self, JoinError},
};
use crate::{api::proto, auth::EnrollToken};

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
    let authority = pem(token.parse::<EnrollToken>()?.authority());
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

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
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
    fn an_authority_becomes_text_in_lines() {
        let text = pem(&[9; 100]);
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\nCQkJ"));
        assert!(text.ends_with("\n-----END CERTIFICATE-----\n"));
        assert!(text.lines().all(|line| line.len() <= 64));
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
