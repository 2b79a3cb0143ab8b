//! What is in the file.
//!
//! `records` has each record under its key, behind the number of its write; `order`
//! has the keys by that number, oldest first, with the time from which the record is
//! useless; `state` has what is held in all, the next number, and how far the search
//! for useless ones has come.

use bytes::Bytes;
use redb::{
    Database, Error, ReadableDatabase, ReadableTable, Table, TableDefinition, TableHandle,
    WriteTransaction,
};

use crate::fallback::store::Change;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const ORDER: TableDefinition<'_, u64, (u64, &[u8])> = TableDefinition::new("order");
const STATE: TableDefinition<'_, &str, u64> = TableDefinition::new("state");

const HELD: &str = "held";
const NEXT: &str = "next";
const SWEPT: &str = "swept";
const LAYOUT: &str = "layout";
/// A change of what is in the tables is a new number, and a file of another is set
/// aside.
const THIS_LAYOUT: u64 = 1;

/// The number of its write stands before each record.
const NUMBER: usize = 8;

/// Keys that each batch looks at for useless records.
const SWEEP: usize = 512;

/// A record may have this share of the file at most.
const LARGEST_SHARE: u64 = 16;

/// A page of the database.
const PAGE: usize = 4096;

/// Makes the tables if the file is new.
pub(super) fn prepare(database: &Database) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    let is_new = transaction.list_tables()?.next().is_none();
    let layout = {
        let mut state = transaction.open_table(STATE)?;
        if is_new {
            state.insert(LAYOUT, THIS_LAYOUT)?;
        }
        state.get(LAYOUT)?.map(|layout| layout.value())
    };
    if layout != Some(THIS_LAYOUT) {
        let name = STATE.name();
        return Err(Error::Corrupted(format!(
            "its {name} has the layout {layout:?}, this version uses {THIS_LAYOUT}"
        )));
    }
    drop(Tables::open(&transaction)?);
    transaction.commit()?;
    Ok(())
}

pub(super) fn read(database: &Database, key: &[u8]) -> Result<Option<Bytes>, Error> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    let found = records.get(key)?;
    let record = found.and_then(|found| {
        let record = found.value().get(NUMBER..)?;
        Some(Bytes::copy_from_slice(record))
    });
    Ok(record)
}

/// Makes the changes, each some of them in a transaction: one needs room for what it
/// writes beside what it replaces. How many records were written.
pub(super) fn write(
    database: &Database,
    changes: &[Change],
    most_bytes: u64,
    now_ms: u64,
) -> Result<u64, Error> {
    let mut rest = changes;
    let mut written = 0;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |change: &&Change| {
            bytes += cost(change.key.len(), record_len(change));
            bytes <= most_bytes / LARGEST_SHARE
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        written += write_some(database, some, most_bytes, now_ms)?;
        rest = others;
    }
    Ok(written)
}

fn record_len(change: &Change) -> usize {
    change.record.as_ref().map_or(0, Bytes::len)
}

fn write_some(
    database: &Database,
    changes: &[Change],
    most_bytes: u64,
    now_ms: u64,
) -> Result<u64, Error> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    let mut written = 0;
    for change in changes {
        written += u64::from(tables.change(change, most_bytes)?);
    }
    tables.sweep(now_ms)?;
    tables.make_room(budget(most_bytes))?;
    tables.close()?;
    transaction.commit()?;
    Ok(written)
}

/// Forgets what begins with `prefix`.
pub(super) fn clear(database: &Database, prefix: &[u8]) -> Result<u64, Error> {
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    let mut gone = 0;
    loop {
        let some: Vec<Vec<u8>> = {
            let range = tables.records.range::<&[u8]>(prefix..)?;
            let keys = range.map(|entry| entry.map(|(key, _)| key.value().to_vec()));
            let mut some = Vec::new();
            for key in keys.take(SWEEP) {
                some.push(key?);
            }
            some.retain(|key| key.starts_with(prefix));
            some
        };
        if some.is_empty() {
            break;
        }
        for key in &some {
            gone += u64::from(tables.remove(key)?);
        }
    }
    tables.close()?;
    transaction.commit()?;
    Ok(gone)
}

struct Tables<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    order: Table<'t, u64, (u64, &'static [u8])>,
    state: Table<'t, &'static str, u64>,
    /// What the records cost in all.
    held: u64,
    next: u64,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Error> {
        let state = transaction.open_table(STATE)?;
        let number = |key| Ok::<_, Error>(state.get(key)?.map_or(0, |number| number.value()));
        Ok(Self {
            held: number(HELD)?,
            next: number(NEXT)?,
            records: transaction.open_table(RECORDS)?,
            order: transaction.open_table(ORDER)?,
            state,
        })
    }

    fn close(mut self) -> Result<(), Error> {
        self.state.insert(HELD, self.held)?;
        self.state.insert(NEXT, self.next)?;
        Ok(())
    }

    /// Whether a record was written.
    fn change(&mut self, change: &Change, most_bytes: u64) -> Result<bool, Error> {
        self.remove(&change.key)?;
        let cost = cost(change.key.len(), record_len(change));
        let Some(record) = &change.record else {
            return Ok(false);
        };
        if cost > most_bytes / LARGEST_SHARE {
            return Ok(false);
        }
        let number = self.next;
        self.next += 1;
        let value = [&number.to_le_bytes(), &record[..]].concat();
        self.records.insert(&change.key[..], &value[..])?;
        let entry = (change.useless_at_ms, &change.key[..]);
        self.order.insert(number, entry)?;
        self.held += cost;
        Ok(true)
    }

    /// Whether there was one.
    fn remove(&mut self, key: &[u8]) -> Result<bool, Error> {
        let removed = self.records.remove(key)?.map(|value| {
            let (number, record) = value.value().split_first_chunk().unwrap_or((&[0; 8], &[]));
            (u64::from_le_bytes(*number), cost(key.len(), record.len()))
        });
        let Some((number, cost)) = removed else {
            return Ok(false);
        };
        self.order.remove(number)?;
        self.held = self.held.saturating_sub(cost);
        Ok(true)
    }

    /// Removes the oldest until all that is left has room.
    fn make_room(&mut self, budget: u64) -> Result<(), Error> {
        while self.held > budget {
            let oldest = self
                .order
                .pop_first()?
                .map(|(_, entry)| entry.value().1.to_vec());
            let Some(key) = oldest else {
                self.held = 0;
                break;
            };
            self.remove(&key)?;
        }
        Ok(())
    }

    /// Removes some of those that nobody would use any more. Each batch goes on where
    /// the last one stopped.
    fn sweep(&mut self, now_ms: u64) -> Result<(), Error> {
        let from = self.state.get(SWEPT)?.map_or(0, |swept| swept.value());
        let mut useless = Vec::new();
        let mut seen = 0;
        let mut swept = 0;
        for entry in self.order.range(from..)?.take(SWEEP) {
            let (number, entry) = entry?;
            let (useless_at_ms, key) = entry.value();
            if useless_at_ms <= now_ms {
                useless.push(key.to_vec());
            }
            seen += 1;
            swept = number.value() + 1;
        }
        for key in useless {
            self.remove(&key)?;
        }
        let next = if seen == SWEEP { swept } else { 0 };
        self.state.insert(SWEPT, next)?;
        Ok(())
    }
}

/// What a record takes of the file, about: small ones share pages, which are two
/// thirds full, and a large one has as many pages as the next power of two.
fn cost(key: usize, record: usize) -> u64 {
    // The key stands in two tables.
    let bytes = 2 * key + record + 64;
    let cost = if bytes < PAGE / 2 {
        bytes + bytes / 2
    } else {
        (bytes + 64).next_multiple_of(PAGE).next_power_of_two()
    };
    cost as u64
}

/// What all records may cost: the rest is for what a transaction writes beside what
/// it replaces, and for holes.
fn budget(most_bytes: u64) -> u64 {
    most_bytes / 2
}
