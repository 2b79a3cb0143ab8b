//! TLS to the server by rustls, and whom it trusts.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use redis::{Client, IntoConnectionInfo, TlsCertificates};
use rustls::crypto::{CryptoProvider, ring};

use super::RedisStoreError;

/// The largest file that is read, in bytes: a system's whole bundle has a quarter
/// of a million.
const MAX_FILE: u64 = 4 << 20;

/// Who may vouch for a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisRoots {
    /// Whom the operating system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` name
    /// other places.
    System,
    /// The authorities in this PEM file, and nobody else.
    File(PathBuf),
}

impl RedisRoots {
    pub(super) fn client(&self, url: &str) -> Result<Client, RedisStoreError> {
        let wrong = |error: redis::RedisError| RedisStoreError::Url(error.to_string());
        let info = url.into_connection_info().map_err(wrong)?;
        let is_tls = matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. });
        match self {
            Self::File(path) if is_tls => {
                let refused = |why| RedisStoreError::Roots {
                    path: path.display().to_string(),
                    why,
                };
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(of_file(path).map_err(refused)?),
                };
                Client::build_with_tls(info, certificates)
                    .map_err(|error| refused(error.to_string()))
            }
            _ => Client::open(info).map_err(wrong),
        }
    }
}

fn of_file(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes"));
    }
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    if !text.windows(BEGIN.len()).any(|part| part == BEGIN) {
        return Err("no certificate in it; it is to be PEM (`-----BEGIN CERTIFICATE-----`)".into());
    }
    Ok(text)
}

/// The client asks for the process's own choice, and panics when a process has two
/// and chose none.
pub(super) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Somebody who chose in the meantime is right too.
        let _ = ring::default_provider().install_default();
    }
}
