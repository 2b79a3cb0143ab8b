//! TLS to the server by rustls, and whom it trusts.

use std::{
    error::Error,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Pool, PoolError, error::causes};
use crate::config::DatabaseConfig;

/// The largest file that is read, in bytes: a system's whole bundle has a quarter
/// of a million.
const MAX_FILE: u64 = 4 << 20;
/// How many of a store's complaints are told.
const TOLD: usize = 3;

/// Who may vouch for a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRoots {
    /// Whom the operating system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` name
    /// other places.
    System,
    /// The authorities in this PEM file, and nobody else: what `sslrootcert` is to
    /// `psql`.
    File(PathBuf),
}

/// Why there is nobody to vouch for a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// The file cannot be used.
    #[error("the certificate authorities in {} are not usable: {why}", path.display())]
    File {
        /// The file, as it was given.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system names no authority that can be used.
    #[error("the system has no usable certificate authority: {why}")]
    System {
        /// What stood in the way, or where to put some.
        why: String,
    },
}

impl Pool {
    /// A pool as [`Pool::new`] makes it, over TLS by rustls.
    ///
    /// `sslmode` in the URL decides: `require` takes a connection over TLS or none,
    /// `prefer` (the default) one without where the server offers no TLS, and
    /// `disable` never asks for it. Over TLS, the server's certificate must come
    /// from one of `roots` and name the host of the URL, also with `prefer`. Who
    /// can change what is on the wire can talk `prefer` out of it: only `require`
    /// protects.
    ///
    /// Reads the roots once, and blocks meanwhile: for some milliseconds. A file
    /// that changes later is read by the next pool that is made.
    ///
    /// # Errors
    ///
    /// [`PoolError::Roots`], which names the file and what is wrong with it;
    /// [`PoolError::Url`]. A certificate that is not trusted is an error of
    /// [`Pool::get`], of kind [`Tls`](super::ConnectErrorKind::Tls) and at once.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use resilience_core::{config::DatabaseConfig, pool::{Pool, PoolError, TlsRoots}};
    /// # fn example(config: &DatabaseConfig) -> Result<(), PoolError> {
    /// let roots = TlsRoots::File("/etc/payments/database-ca.pem".into());
    /// let url = "postgres://payments@db.example.com/payments?sslmode=require";
    /// let pool = Pool::with_rustls("payments", url, config, &roots)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_rustls(
        name: &str,
        url: &str,
        config: &DatabaseConfig,
        roots: &TlsRoots,
    ) -> Result<Self, PoolError> {
        Self::with_tls(name, url, config, connector(roots)?)
    }
}

fn connector(roots: &TlsRoots) -> Result<MakeRustlsConnect, RootsError> {
    let roots = match roots {
        TlsRoots::System => of_system()?,
        TlsRoots::File(path) => of_file(path).map_err(|why| RootsError::File {
            path: path.clone(),
            why,
        })?,
    };
    // The provider is named: rustls panics when a process has two and chose none.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has a cipher suite of each version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn of_system() -> Result<RootCertStore, RootsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some are always too odd for somebody; the others do.
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    let complaints: Vec<String> = found
        .errors
        .iter()
        .take(TOLD)
        .map(|error| causes(error))
        .collect();
    if added == 0 {
        let why = match complaints.is_empty() {
            true => "none found; install `ca-certificates`, or set SSL_CERT_FILE".to_owned(),
            false => complaints.join("; "),
        };
        return Err(RootsError::System { why });
    }
    if ignored > 0 || !complaints.is_empty() {
        tracing::debug!(
            "certificate authorities of the system: {added} used, {ignored} not readable: {}",
            complaints.join("; ")
        );
    }
    Ok(roots)
}

/// Every certificate in it must be good: somebody has chosen each.
fn of_file(path: &Path) -> Result<RootCertStore, String> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes"));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&text).enumerate() {
        let wrong =
            |error: &(dyn Error + 'static)| format!("certificate {}: {}", index + 1, causes(error));
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err("no certificate in it; it is to be PEM (`-----BEGIN CERTIFICATE-----`)".into());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(content: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let roots = TlsRoots::File(file.path().to_owned());
        let error = connector(&roots).err().unwrap().to_string();
        let path = file.path().display().to_string();
        assert!(error.contains(&path), "{error}");
        error
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_reason() {
        let path = tempfile::tempdir().unwrap().path().join("ca.pem");
        let error = connector(&TlsRoots::File(path.clone())).err().unwrap();
        let said = error.to_string();
        assert!(said.contains(path.to_str().unwrap()), "{said}");
        assert!(said.contains("No such file"), "{said}");
    }

    #[test]
    fn a_file_without_a_certificate_says_what_it_is_to_be() {
        assert!(refused(b"").contains("BEGIN CERTIFICATE"));
        assert!(refused(b"\x30\x82\x01\x02").contains("BEGIN CERTIFICATE"));
    }

    #[test]
    fn one_bad_certificate_among_good_ones_is_told_by_its_place() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let said = refused(format!("{}{bad}", key.cert.pem()).as_bytes());
        assert!(said.contains("certificate 2: "), "{said}");
    }

    #[test]
    fn a_file_that_never_ends_is_not_read_to_its_end() {
        let error = connector(&TlsRoots::File("/dev/zero".into()))
            .err()
            .unwrap();
        assert!(error.to_string().contains("larger than"), "{error}");
    }

    #[test]
    fn a_good_file_is_taken() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key.cert.pem()).unwrap();
        assert!(connector(&TlsRoots::File(file.path().to_owned())).is_ok());
    }
}
