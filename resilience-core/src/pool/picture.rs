//! A pool as others see it.

use super::inner::Inner;
use crate::snapshot::{HolderSnapshot, PoolSnapshot};

impl Inner {
    pub(super) fn picture(&self) -> PoolSnapshot {
        let counts = self.queue.counts();
        let (server, since, last_connect_error) = self.gate.picture();
        PoolSnapshot {
            name: self.name.to_string(),
            size: counts.limits.total(),
            pool_size: counts.limits.pool_size,
            max_overflow: counts.limits.max_overflow,
            open: counts.open,
            in_use: counts.out(),
            idle: counts.idle,
            waiting: counts.waiting,
            server,
            server_since: Some(since),
            last_connect_error,
            totals: self.stats.totals(),
            wait: self.stats.wait.picture(),
            usage: self.stats.usage.picture(),
            connect: self.stats.connect.picture(),
            query: self.stats.query.picture(),
            holders: self.holders(),
        }
    }

    fn holders(&self) -> Vec<HolderSnapshot> {
        let (now_ns, leak_ns) = (self.clock.now_ns(), self.settings.load().leak_ns);
        let desks: Vec<_> = self.desks.lock().values().cloned().collect();
        let mut holders: Vec<_> = desks
            .iter()
            .filter_map(|desk| desk.picture(now_ns, leak_ns))
            .collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.held_ms));
        holders.truncate(PoolSnapshot::MOST_HOLDERS);
        holders
    }
}
