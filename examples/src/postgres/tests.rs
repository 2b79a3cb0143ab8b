use std::fs;

use super::*;

async fn start(durable: bool) -> TemporaryPostgres {
    let options = PostgresOptions {
        durable,
        ..PostgresOptions::default()
    };
    TemporaryPostgres::start(options).await.unwrap()
}

/// Processes, other than dead ones, that were started for the directory: the
/// server has it on its command line and gives it on to its children.
fn processes_of(directory: &Path) -> Vec<String> {
    let needle = directory.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
            cwd.to_str()?
                .starts_with(needle)
                .then(|| entry.file_name().into_string().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_server_starts_answers_and_leaves_nothing_behind() {
    let postgres = start(false).await;
    let client = connect(&postgres.url()).await.unwrap();
    let row = client.query_one("SELECT 6 * 7", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    let (client, connection) = postgres
        .config_string()
        .parse::<tokio_postgres::Config>()
        .unwrap()
        .connect(NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let row = client
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "app");
    if postgres.installation.has_statements {
        client
            .query("SELECT count(*) FROM pg_stat_statements", &[])
            .await
            .unwrap();
    }

    let directory = postgres.directory().to_owned();
    assert!(!processes_of(&directory).is_empty());
    drop(postgres);
    assert_eq!(processes_of(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill_and_a_restart() {
    let mut postgres = start(true).await;
    let (port, url) = (postgres.port(), postgres.url());
    let client = connect(&url).await.unwrap();
    client
        .batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        .await
        .unwrap();

    postgres.kill();
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
    assert!(connect(&url).await.is_err());
    let directory = postgres.directory().to_owned();
    assert_eq!(processes_of(&directory), Vec::<String>::new());

    postgres.restart().await.unwrap();
    assert_eq!(postgres.port(), port);
    let client = connect(&url).await.unwrap();
    let row = client.query_one("SELECT n FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);

    // And once more by the gentle way, on the same port.
    postgres.stop().await.unwrap();
    assert!(connect(&url).await.is_err());
    postgres.restart().await.unwrap();
    connect(&url).await.unwrap();
}

#[tokio::test]
async fn a_killed_server_that_is_dropped_leaves_no_shared_memory() {
    let mut postgres = start(false).await;
    postgres.kill();
    let pid_file = fs::read_to_string(postgres.directory.data().join("postmaster.pid")).unwrap();
    let id = pid_file
        .lines()
        .nth(6)
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    let there = || {
        let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap();
        segments
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some(&id))
    };
    assert!(there());
    drop(postgres);
    assert!(!there());
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_until_it_is_thawed() {
    let postgres = start(false).await;
    let client = connect(&postgres.url()).await.unwrap();
    postgres.freeze();
    let query = client.query_one("SELECT 1", &[]);
    let mut query = std::pin::pin!(query);
    let short = Duration::from_millis(100);
    assert!(tokio::time::timeout(short, &mut query).await.is_err());
    postgres.thaw();
    assert_eq!(query.await.unwrap().get::<_, i32>(0), 1);

    // A frozen one goes away like any other.
    postgres.freeze();
    let directory = postgres.directory().to_owned();
    drop(postgres);
    assert_eq!(processes_of(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}

#[tokio::test]
async fn freezing_stops_every_backend_also_while_they_come_and_go() {
    let postgres = start(false).await;
    let busy = connect(&postgres.url()).await.unwrap();
    let url = postgres.url();
    let knocking = tokio::spawn(async move {
        loop {
            let _ = connect(&url).await;
        }
    });
    let work = tokio::spawn(async move { busy.query("SELECT pg_sleep(1000)", &[]).await });
    for _ in 0..5 {
        postgres.freeze();
        let all = processes_of(postgres.directory());
        assert!(all.len() >= 2, "{all:?}");
        // SIGSTOP is on its way for a moment; nobody may be left out for ever.
        let until = Instant::now() + Duration::from_secs(10);
        // One that was just leaving is dead, which is as good.
        while all.iter().any(|pid| !matches!(state(pid), 'T' | 'Z')) {
            assert!(Instant::now() < until, "{all:?}");
            tokio::time::sleep(KNOCK).await;
        }
        postgres.thaw();
        connect(&postgres.url()).await.unwrap();
    }
    knocking.abort();
    work.abort();
}

/// As `ps` shows it; one that is gone is as dead as a zombie.
fn state(pid: &str) -> char {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.map_or('Z', |stat| {
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    })
}

#[tokio::test]
async fn a_panic_leaves_nothing_behind() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let postgres = start(false).await;
        tell.send(postgres.directory().to_owned()).unwrap();
        panic!("as a failing test does");
    });
    let directory = told.await.unwrap();
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(processes_of(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_setting_the_server_refuses_is_an_error_with_its_own_words() {
    let options = PostgresOptions {
        settings: vec![("shared_buffers".to_owned(), "a lot".to_owned())],
        ..PostgresOptions::default()
    };
    let error = TemporaryPostgres::start(options)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("shared_buffers"), "{error}");
    assert!(error.contains("postgresql ended"), "{error}");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = PostgresOptions {
        port,
        ..PostgresOptions::default()
    };
    let error = TemporaryPostgres::start(options).await.unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn what_a_killed_owner_left_is_removed_by_the_next_start() {
    let owner = Program::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "postgres::tests::owner_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .spawn()
        .unwrap();
    let line = owner
        .wait_for_line("directory:", Duration::from_secs(60))
        .await
        .unwrap();
    let directory = PathBuf::from(line.split("directory:").nth(1).unwrap());
    owner.signal(Signal::KILL).unwrap();
    let _ = owner.wait_exit(Duration::from_secs(5)).await.unwrap();

    // The kernel has told the server; it takes it a moment to go.
    let until = Instant::now() + Duration::from_secs(10);
    while !processes_of(&directory).is_empty() && Instant::now() < until {
        tokio::time::sleep(KNOCK).await;
    }
    assert_eq!(processes_of(&directory), Vec::<String>::new());
    // Another test that starts now may be removing it, and is not done yet.
    while directory.exists() && Instant::now() < until {
        drop(Directory::create(None).unwrap());
        tokio::time::sleep(KNOCK).await;
    }
    assert!(!directory.exists());
}

/// Not a test of its own: the owner in the test above.
#[tokio::test]
#[ignore = "is started by what_a_killed_owner_left_is_removed_by_the_next_start"]
async fn owner_that_is_killed() {
    let postgres = start(false).await;
    eprintln!("directory:{}", postgres.directory().display());
    std::future::pending::<()>().await;
}
