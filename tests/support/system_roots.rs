//! A process that trusts whom the system trusts, for tests that set that: a process
//! reads it from its environment, which a test cannot change for itself alone.
//!
//! ```text
//! system-roots postgres URL    connect with a pool
//! system-roots redis URL       keep an answer
//! ```
//!
//! It says `encrypted true`, `stored true`, or what stands in the way.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    io::{self, Write},
    time::Duration,
};

use resilience_core::{
    config::Config,
    fallback::{
        Key, Record, Terms,
        store::{RedisRoots, RedisStore, SecondLevel},
    },
    pool::{Pool, TlsRoots},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = match args[..] {
        ["postgres", url] => postgres(url).await.unwrap_or_else(|error| causes(&*error)),
        ["redis", url] => redis(url).unwrap_or_else(|error| causes(&*error)),
        _ => return Err("unknown command: see the head of the source".into()),
    };
    writeln!(io::stdout(), "{said}")?;
    Ok(())
}

async fn postgres(url: &str) -> Result<String, Box<dyn Error>> {
    let config = Config::default();
    let pool = Pool::with_rustls("test", url, config.database(), &TlsRoots::System)?;
    let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = pool.get().await?.query_one(ssl, &[]).await?;
    Ok(format!("encrypted {}", row.get::<_, bool>(0)))
}

fn redis(url: &str) -> Result<String, Box<dyn Error>> {
    let second = SecondLevel::new(RedisStore::new(url, &RedisRoots::System)?);
    let record = Record {
        asked_at_ms: 1,
        terms: Terms::default(),
        kind: "text/1".into(),
        payload: "1.08".into(),
    };
    second.keep("rates", &Key::from("EUR"), record, u64::MAX);
    // A refused certificate is told long before that.
    let mut stored = false;
    for _ in 0..200 {
        stored = second.flush(Duration::from_millis(100));
        if stored || second.snapshot().last_error.is_some() {
            break;
        }
    }
    let error = second.snapshot().last_error.filter(|_| !stored);
    Ok(error.map_or_else(|| format!("stored {stored}"), |error| error.message))
}

fn causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        said += &format!(": {error}");
        next = error.source();
    }
    said
}
