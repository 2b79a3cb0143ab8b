//! A Redis that speaks TLS.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use resilience_core::fallback::store::{RedisRoots, RedisStore, SecondLevel};
use resilience_examples::{Program, TemporaryRedis, ports::free_port, process::find_binary};
use tempfile::TempDir;

use crate::support::{SOON, keep, read_soon, server_with, store, until};

/// An authority, and a server on 127.0.0.1 that it vouches for.
struct Ground {
    _server: TemporaryRedis,
    directory: TempDir,
    port: u16,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Ground {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        for (name, content) in [
            ("ca.pem", authority.pem()),
            ("stranger.pem", self::authority().pem()),
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let path = |name| directory.path().join(name).display().to_string();
        let port = free_port().unwrap();
        let server = server_with(&[
            ("tls-port", &port.to_string()),
            ("tls-cert-file", &path("server.crt")),
            ("tls-key-file", &path("server.key")),
            ("tls-ca-cert-file", &path("ca.pem")),
            ("tls-auth-clients", "no"),
        ])
        .await;
        Self {
            _server: server,
            directory,
            port,
        }
    }

    fn second(&self, host: &str, roots: &str) -> SecondLevel {
        let roots = RedisRoots::File(self.directory.path().join(roots));
        let url = format!("rediss://{host}:{}", self.port);
        SecondLevel::new(RedisStore::new(&url, &roots).unwrap())
    }
}

#[tokio::test]
async fn a_server_that_a_file_of_roots_vouches_for_is_used_over_tls() {
    let ground = Ground::new().await;
    let second = ground.second("127.0.0.1", "ca.pem");
    store(&second, "EUR", "1.08").await;
    let other = ground.second("127.0.0.1", "ca.pem");
    assert_eq!(read_soon(&other, "EUR").await, "1.08");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_and_one_of_another_name_are_refused() {
    let ground = Ground::new().await;
    for (host, roots) in [("127.0.0.1", "stranger.pem"), ("localhost", "ca.pem")] {
        let second = ground.second(host, roots);
        keep(&second, "EUR", "1.08");
        until("the certificate is refused", || {
            let error = second.snapshot().last_error;
            error.is_some_and(|error| error.message.contains("certificate"))
        })
        .await;
        assert_eq!(second.snapshot().written, 0);
    }
}

#[tokio::test]
async fn whom_the_system_trusts_may_vouch_for_a_server_and_nobody_else() {
    let ground = Ground::new().await;
    let url = format!("rediss://127.0.0.1:{}", ground.port);
    for (roots, said) in [("ca.pem", "stored true"), ("stranger.pem", "certificate")] {
        // A process reads it from its environment, which is not to be changed in here.
        let child = Program::new(find_binary("system-roots").unwrap())
            .args(["redis", &url])
            .env("SSL_CERT_FILE", ground.directory.path().join(roots))
            .env("SSL_CERT_DIR", "")
            .spawn()
            .unwrap();
        let status = child.wait_exit(SOON).await.unwrap();
        let lines = child.lines();
        assert!(status.success() && lines.len() == 1, "{lines:#?}");
        assert!(lines[0].contains(said), "{roots}: {lines:#?}");
    }
}
