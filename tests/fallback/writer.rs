//! A process that keeps answers, for tests that kill it, lock it out, or fill its
//! disk.
//!
//! ```text
//! store-writer storm file PATH     keep new answers without end
//! store-writer storm redis URL
//! store-writer hold PATH           open the file, and keep it open
//! store-writer full-disk DIR       fill the disk of DIR, and make room again
//! store-writer open PATH           open the file, and say what came of it
//! store-writer abort alter PATH AT end at any panic; alter the open file from there on
//! store-writer abort use PATH      end at any panic; open the file and write to it
//! ```
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
    os::unix::fs::FileExt,
    panic,
    path::Path,
    process, thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use resilience_core::fallback::{
    Key, Record, Terms,
    store::{FileStore, RedisRoots, RedisStore, SecondLevel},
};

const FILE_SIZE: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["storm", "file", path] => storm(&SecondLevel::new(FileStore::open(path, FILE_SIZE)?)),
        ["storm", "redis", url] => storm(&SecondLevel::new(RedisStore::new(
            url,
            &RedisRoots::System,
        )?)),
        ["hold", path] => {
            let _store = FileStore::open(path, FILE_SIZE)?;
            say("open")?;
            loop {
                thread::park();
            }
        }
        ["full-disk", dir] => full_disk(Path::new(dir)),
        ["open", path] => match FileStore::open(path, FILE_SIZE) {
            Ok(_) => say("open"),
            Err(error) => say(&format!("refused: {error}")),
        },
        ["abort", "alter", path, at] => abort_on_panic(|| alter(Path::new(path), at.parse()?)),
        ["abort", "use", path] => abort_on_panic(|| use_it(Path::new(path))),
        _ => Err("unknown command: see the head of the source".into()),
    }
}

/// Says `kept N MS`: all answers up to N were kept by that time.
fn storm(second: &SecondLevel) -> Result<(), Box<dyn Error>> {
    let mut number: u64 = 0;
    loop {
        for _ in 0..10 {
            let key = Key::from(number.to_string());
            second.keep("storm", &key, record(number), u64::MAX);
            number += 1;
        }
        let now = UNIX_EPOCH.elapsed()?.as_millis();
        say(&format!("kept {} {now}", number - 1))?;
        thread::sleep(Duration::from_millis(5));
    }
}

fn record(number: u64) -> Record {
    let payload = format!("{number:0>200}");
    Record {
        asked_at_ms: number,
        terms: Terms::default(),
        kind: "number/1".into(),
        payload: payload.into(),
    }
}

/// As a program is that was built with `panic = "abort"`: nothing catches a panic.
fn abort_on_panic(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    panic::set_hook(Box::new(|_| process::abort()));
    run()
}

/// Alters a part of a page of the file that it has open, and goes on with it.
fn alter(path: &Path, at: u64) -> Result<(), Box<dyn Error>> {
    // Small, so that not all of it is in memory.
    let second = SecondLevel::new(FileStore::open(path, 1 << 20)?);
    let keep = || {
        for number in 0..1_000 {
            let key = Key::from(number.to_string());
            second.keep("storm", &key, record(number), u64::MAX);
        }
        second.flush(Duration::from_secs(20))
    };
    let stored = keep();
    say(&format!("open: stored {stored}"))?;
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut part = [0; 300];
    file.read_exact_at(&mut part, at)?;
    file.write_all_at(&part.map(|byte| !byte), at)?;
    for number in 0..1_000 {
        read(&second, &Key::from(number.to_string()));
    }
    let stored = keep();
    say(&format!("altered: stored {stored}"))
}

fn use_it(path: &Path) -> Result<(), Box<dyn Error>> {
    let second = SecondLevel::new(FileStore::open(path, 1 << 20)?);
    for number in 0..1_000 {
        read(&second, &Key::from(number.to_string()));
    }
    let key = Key::from("afterwards");
    second.keep("storm", &key, record(1), u64::MAX);
    let stored = second.flush(Duration::from_secs(20));
    let found = soon(|| read(&second, &key) == Some(record(1)));
    say(&format!("used: {stored} {found}"))
}

/// Expects a small disk of its own in `dir`.
fn full_disk(dir: &Path) -> Result<(), Box<dyn Error>> {
    let second = SecondLevel::new(FileStore::open(dir.join("fallback.redb"), FILE_SIZE)?);
    let key = |number: u64| Key::from(number.to_string());
    second.keep("storm", &key(1), record(1), u64::MAX);
    let stored = second.flush(Duration::from_secs(20));
    say(&format!("before: stored {stored}"))?;

    let filler = dir.join("filler");
    let mut file = fs::File::create(&filler)?;
    while file.write_all(&[1; 4096]).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
    // Open, it would keep its room when it is removed.
    drop(file);
    let large = Record {
        payload: vec![7; 200 << 10].into(),
        ..record(2)
    };
    second.keep("storm", &key(2), large.clone(), u64::MAX);
    let told = soon(|| !second.snapshot().up);
    let error = second.snapshot().last_error.map(|error| error.message);
    say(&format!("full: told {told}, {}", error.unwrap_or_default()))?;
    let found = read(&second, &key(2)) == Some(large.clone());
    say(&format!("full: in memory {found}"))?;

    fs::remove_file(filler)?;
    let stored = second.flush(Duration::from_secs(20));
    let picture = second.snapshot();
    say(&format!(
        "afterwards: stored {stored}, up {}, lost {}, last error {:?}",
        picture.up, picture.not_written, picture.last_error
    ))?;
    for (number, record) in [(1, record(1)), (2, large)] {
        let found = soon(|| read(&second, &key(number)) == Some(record.clone()));
        say(&format!("afterwards: {number} {found}"))?;
    }
    Ok(())
}

fn read(second: &SecondLevel, key: &Key) -> Option<Record> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(second.read("storm", key))
}

fn soon(is: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if is() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// One write, and so a whole line, whenever we are killed.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())?;
    out.flush()?;
    Ok(())
}
