//! A certificate authority (CA) for tests.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

pub const DAY: Duration = Duration::from_secs(86400);

/// A CA with a self-signed certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Issues a certificate for `name`, valid for one day from `from`; returns it and its key, as
    /// PEM.
    pub fn sign(&self, name: &str, from: SystemTime) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = from.into();
        params.not_after = (from + DAY).into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A start of validity so that the certificate is valid now.
pub fn today() -> SystemTime {
    SystemTime::now() - DAY / 2
}

/// Writes certificate files into a directory.
pub struct Files(pub PathBuf);

impl Files {
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    pub fn pair(&self, name: &str, (certificate, key): (String, String)) -> (PathBuf, PathBuf) {
        (
            self.write(&format!("{name}.pem"), &certificate),
            self.write(&format!("{name}.key"), &key),
        )
    }
}
