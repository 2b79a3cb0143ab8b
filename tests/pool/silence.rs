//! Packets that the kernel drops, and others that it rejects.
//!
//! The server's address is in a network namespace of the test's own, so that the
//! rules touch nobody else. Without the right to make one there is nothing to test.

use std::{
    io::Write,
    net::Ipv4Addr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use resilience_core::pool::{ConnectErrorKind, Pool, PoolError, QueryError};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::support::{SOON, ask, config, postgres, until};

const PORT: u16 = 5432;

/// A namespace with one address in it, behind a link of its own.
struct Host {
    name: String,
    address: Ipv4Addr,
    forwarder: Option<Child>,
}

impl Host {
    /// `None`: this process may not, or there are no tools for it.
    fn start() -> Option<Self> {
        let pid = std::process::id();
        let name = format!("rspool{pid}");
        // A network of four addresses for each process.
        let [_, high, middle, low] = (pid % (1 << 14) * 4).to_be_bytes();
        let network = |host: u8| Ipv4Addr::new(10, 200 | high, middle, low + host);
        let host = Self {
            address: network(2),
            forwarder: None,
            name,
        };
        let (here, there) = (format!("rs{pid}a"), format!("rs{pid}b"));
        let done = run(&["ip", "netns", "add", &host.name])
            && run(&[
                "ip", "link", "add", &here, "type", "veth", "peer", "name", &there, "netns",
                &host.name,
            ])
            && run(&[
                "ip",
                "address",
                "add",
                &format!("{}/30", network(1)),
                "dev",
                &here,
            ])
            && run(&["ip", "link", "set", &here, "up"])
            && host.run(&[
                "ip",
                "address",
                "add",
                &format!("{}/30", host.address),
                "dev",
                &there,
            ])
            && host.run(&["ip", "link", "set", &there, "up"])
            && host.run(&["nft", "add", "table", "inet", "test"]);
        done.then_some(host)
    }

    fn run(&self, command: &[&str]) -> bool {
        let within = ["ip", "netns", "exec", &self.name];
        run(&[&within, command].concat())
    }

    /// What becomes of packets to the server: `drop`, or `reject with tcp reset`.
    fn treat(&self, verdict: &str) {
        let rules = format!(
            "table inet test {{\n chain input {{\n type filter hook input priority 0\n \
             tcp dport {PORT} {verdict}\n }}\n}}\n"
        );
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = nft.stdin.take().unwrap();
        stdin.write_all(rules.as_bytes()).unwrap();
        drop(stdin);
        assert!(nft.wait().unwrap().success());
    }

    fn treat_well(&self) {
        assert!(self.run(&["nft", "flush", "ruleset"]));
    }

    /// Passes what comes to its address on to a socket: those are found by their
    /// path, in whatever namespace.
    fn forward_to(&mut self, socket: &std::path::Path) {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "silence::forwarder"])
            .env("FORWARD_FROM", self.address.to_string())
            .env("FORWARD_TO", socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.forwarder = Some(child);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut forwarder) = self.forwarder.take() {
            let _ = forwarder.kill();
            let _ = forwarder.wait();
        }
        // The link goes with it.
        run(&["ip", "netns", "delete", &self.name]);
    }
}

fn run(command: &[&str]) -> bool {
    Command::new(command[0])
        .args(&command[1..])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[tokio::test]
#[ignore = "is started by the tests here, in their namespace"]
async fn forwarder() {
    let (Ok(from), Some(to)) = (
        std::env::var("FORWARD_FROM"),
        std::env::var_os("FORWARD_TO"),
    ) else {
        return;
    };
    let (from, to): (Ipv4Addr, _) = (from.parse().unwrap(), PathBuf::from(to));
    let listener = TcpListener::bind((from, PORT)).await.unwrap();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let to = to.clone();
        tokio::spawn(async move {
            let mut server = UnixStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}

async fn kind(pool: &Pool) -> ConnectErrorKind {
    match pool.get().await.unwrap_err() {
        PoolError::Unreachable(error) => error.error.kind(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn packets_that_are_dropped_or_rejected_hold_nobody_beyond_its_deadline() {
    let Some(mut host) = Host::start() else {
        eprintln!("SKIP: no right to make a network namespace, or no `ip` and `nft`");
        return;
    };
    let postgres = postgres().await;
    let socket = postgres
        .socket_dir()
        .join(format!(".s.PGSQL.{}", postgres.port()));
    host.forward_to(&socket);
    until("it forwards", async || {
        TcpStream::connect((host.address, PORT)).await.is_ok()
    })
    .await;
    let url = format!("postgres://postgres@{}:{PORT}/app", host.address);
    let limits = "pool_size: 1, max_overflow: 0, connect_timeout: 300ms, query_timeout: 300ms";
    let pool = Pool::new(
        "test",
        &url,
        &config(&format!("{limits}, pool_timeout: 1s")),
    )
    .unwrap();
    let connection = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&connection, "SELECT 1").await, 1);

    host.treat("drop");
    let begun = Instant::now();
    let lost = connection.query("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(lost, QueryError::Timeout { .. }), "{lost}");
    drop(connection);
    assert_eq!(kind(&pool).await, ConnectErrorKind::Timeout);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );

    host.treat_well();
    host.treat("reject with tcp reset");
    until("it is refused", async || {
        kind(&pool).await == ConnectErrorKind::Refused
    })
    .await;

    host.treat_well();
    pool.configure(&config(&format!(
        "{limits}, pool_timeout: {}s",
        SOON.as_secs()
    )));
    let connection = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&connection, "SELECT 2").await, 2);
}
