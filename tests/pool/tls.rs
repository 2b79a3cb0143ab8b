//! A server that speaks TLS.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use resilience_core::{
    config::DatabaseConfig,
    pool::{ConnectErrorKind, Connection, Pool, PoolError, TlsRoots},
};
use resilience_examples::{Program, TemporaryPostgres, process::find_binary};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::support::{SOON, ask, config, observer, postgres, until};

const ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
/// The first message of a client that asks for TLS: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// How the first record of a TLS connection begins.
const HANDSHAKE_RECORD: [u8; 1] = [22];

/// An authority that vouches for servers on 127.0.0.1.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn roots(&self) -> TlsRoots {
        TlsRoots::File(self.directory.path().join("ca.pem"))
    }

    /// A certificate of this host and its key, for a server in `data`.
    fn certify(&self, host: &str, data: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let owner = fs::metadata(data).unwrap();
        for (name, content) in [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            let path = data.join(name);
            fs::write(&path, content).unwrap();
            // The server refuses a key that others may read.
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
    }
}

/// A server whose certificate is of this host. Its files lie in its own directory,
/// and are gone with it.
async fn with_certificate(authority: &Authority, host: &str) -> TemporaryPostgres {
    let mut postgres = postgres().await;
    authority.certify(host, &postgres.directory().join("data"));
    // Later and not among the options: the files must be there, and they must
    // belong to the account that the server runs as.
    let statement = "ALTER SYSTEM SET ssl = on";
    observer(&postgres)
        .await
        .batch_execute(statement)
        .await
        .unwrap();
    postgres.restart().await.unwrap();
    postgres
}

fn pool(postgres: &TemporaryPostgres, query: &str, roots: &TlsRoots) -> Pool {
    pool_at(&format!("{}?{query}", postgres.url()), roots)
}

fn pool_at(url: &str, roots: &TlsRoots) -> Pool {
    let config: DatabaseConfig = config("pool_size: 1, max_overflow: 0, pool_timeout: 60s");
    Pool::with_rustls("test", url, &config, roots).unwrap()
}

async fn is_encrypted(connection: &Connection) -> bool {
    ask(connection, ENCRYPTED).await
}

/// What stands in the way, told long before the caller has waited in vain.
async fn refusal_at_once(pool: &Pool) -> String {
    let refused = timeout(Duration::from_secs(20), pool.get());
    match refused.await.expect("no wait for what does not pass") {
        Err(PoolError::Unreachable(error)) => {
            assert_eq!(error.error.kind(), ConnectErrorKind::Tls, "{error}");
            error.to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_is_encrypted_as_the_url_says() {
    let authority = Authority::new();
    let postgres = with_certificate(&authority, "127.0.0.1").await;
    for (mode, encrypted) in [("require", true), ("prefer", true), ("disable", false)] {
        let pool = pool(&postgres, &format!("sslmode={mode}"), &authority.roots());
        let connection = pool.get().await.unwrap();
        assert_eq!(is_encrypted(&connection).await, encrypted, "{mode}");
    }
}

#[tokio::test]
async fn a_server_that_another_authority_vouches_for_is_refused_at_once() {
    let postgres = with_certificate(&Authority::new(), "127.0.0.1").await;
    let another = Authority::new();
    // Also where TLS is only preferred: no way around a bad certificate.
    for mode in ["require", "prefer"] {
        let pool = pool(&postgres, &format!("sslmode={mode}"), &another.roots());
        let said = refusal_at_once(&pool).await;
        assert!(said.contains("certificate"), "{said}");
    }
}

/// What a process says that trusts whom this file names, and nobody else.
async fn with_the_system_trusting(file: &Path, url: &str) -> String {
    let child = Program::new(find_binary("system-roots").unwrap())
        .args(["postgres", url])
        .env("SSL_CERT_FILE", file)
        .env("SSL_CERT_DIR", "")
        .spawn()
        .unwrap();
    let status = child.wait_exit(SOON).await.unwrap();
    let said = child.lines().join("\n");
    assert!(status.success(), "{said}");
    said
}

#[tokio::test]
async fn whom_the_system_trusts_may_vouch_for_a_server_and_nobody_else() {
    let (authority, another) = (Authority::new(), Authority::new());
    let postgres = with_certificate(&authority, "127.0.0.1").await;
    let url = format!("{}?sslmode=require", postgres.url());
    let file = |authority: &Authority| authority.directory.path().join("ca.pem");
    let said = with_the_system_trusting(&file(&authority), &url).await;
    assert_eq!(said, "encrypted true");
    let said = with_the_system_trusting(&file(&another), &url).await;
    assert!(said.contains("certificate"), "{said}");
    // Nobody at all is said before anything is connected to.
    let nobody = authority.directory.path().join("none.pem");
    fs::write(&nobody, "").unwrap();
    let said = with_the_system_trusting(&nobody, &url).await;
    assert!(said.contains("no usable certificate authority"), "{said}");
    assert!(said.contains("SSL_CERT_FILE"), "{said}");
}

#[test]
fn one_bad_certificate_among_good_ones_is_told_by_its_place() {
    let authority = Authority::new();
    let file = authority.directory.path().join("ca.pem");
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&file, authority.issuer.pem() + bad).unwrap();
    let url = "postgres://127.0.0.1/app";
    let error = Pool::with_rustls("test", url, &config(""), &authority.roots()).unwrap_err();
    assert_eq!(error.class(), "pool_config");
    let said = error.to_string();
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    assert!(said.contains("certificate 2: "), "{said}");
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused_at_once() {
    let authority = Authority::new();
    let postgres = with_certificate(&authority, "db.example.com").await;
    let pool = pool(&postgres, "sslmode=require", &authority.roots());
    let said = refusal_at_once(&pool).await;
    assert!(said.contains("db.example.com"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_required_and_taken_where_it_is_preferred() {
    let postgres = postgres().await;
    let authority = Authority::new();
    let roots = authority.roots();
    let required = pool(&postgres, "sslmode=require", &roots);
    let said = refusal_at_once(&required).await;
    assert!(said.contains("does not support TLS"), "{said}");
    let preferred = pool(&postgres, "sslmode=prefer", &roots);
    assert!(!is_encrypted(&preferred.get().await.unwrap()).await);
}

#[tokio::test]
async fn an_abandoned_statement_is_cancelled_over_tls_too() {
    let authority = Authority::new();
    let postgres = with_certificate(&authority, "127.0.0.1").await;
    let wire = Wire::tap(postgres.port()).await;
    let url = postgres
        .url()
        .replace(&postgres.port().to_string(), &wire.port.to_string());
    let pool = pool_at(&format!("{url}?sslmode=require"), &authority.roots());
    let connection = pool.get().await.unwrap();
    let sleep = connection.batch_execute("SELECT pg_sleep(60)");
    assert!(timeout(Duration::from_millis(50), sleep).await.is_err());
    let begun = Instant::now();
    // The same session: it was cancelled, not thrown away.
    assert!(is_encrypted(&connection).await);
    assert!(begun.elapsed() < Duration::from_secs(20), "{begun:?}");
    until("it is counted", async || {
        pool.snapshot().totals.cancelled == 1
    })
    .await;
    assert_eq!(*wire.encrypted.lock().unwrap(), [true, true]);
}

/// What goes over the wire to a server: whether each connection, in its order,
/// is TLS.
struct Wire {
    port: u16,
    encrypted: Arc<Mutex<Vec<bool>>>,
}

impl Wire {
    /// Ends with the runtime of its test.
    async fn tap(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let encrypted = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&encrypted);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, Arc::clone(&seen)));
            }
        });
        Self { port, encrypted }
    }
}

async fn relay(mut client: TcpStream, server: u16, seen: Arc<Mutex<Vec<bool>>>) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    // A client asks for TLS, the server agrees, and a handshake begins.
    let mut question = [0; 8];
    client.read_exact(&mut question).await?;
    server.write_all(&question).await?;
    let is_question = question == SSL_REQUEST;
    if is_question {
        let answer = server.read_u8().await?;
        client.write_u8(answer).await?;
    }
    let mut first = [0];
    client.peek(&mut first).await?;
    seen.lock()
        .unwrap()
        .push(is_question && first == HANDSHAKE_RECORD);
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
