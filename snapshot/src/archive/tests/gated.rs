//! A store that answers reads when it is told to.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::key::Key;
use crate::store::memory::Memory;
use crate::store::{Condition, Later, Listed, Store, Upload, Version};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Gated {
    pub(super) store: Memory,
    gate: Arc<Semaphore>,
    asked: watch::Sender<usize>,
}

impl Gated {
    pub(super) fn new(store: Memory) -> Self {
        Self {
            store,
            gate: Arc::new(Semaphore::new(0)),
            asked: watch::Sender::new(0),
        }
    }

    /// Lets so many reads through.
    pub(super) fn let_through(&self, reads: usize) {
        self.gate.add_permits(reads);
    }

    /// Reads that have been asked for.
    pub(super) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until so many reads have been asked for.
    pub(super) async fn until_asked(&self, reads: usize) {
        let mut asked = self.asked.subscribe();
        let reached = asked.wait_for(|asked| *asked >= reads).await;
        drop(reached.expect("the sender is here"));
    }

    async fn pass(&self) {
        self.asked.send_modify(|asked| *asked += 1);
        self.gate.acquire().await.expect("open").forget();
    }
}

impl Store for Gated {
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, condition: Condition) -> Later<'a, Version> {
        self.store.put(key, body, condition)
    }

    fn upload<'a>(&'a self, key: &'a Key) -> Later<'a, Box<dyn Upload>> {
        self.store.upload(key)
    }

    fn get<'a>(&'a self, key: &'a Key, bytes_max: usize) -> Later<'a, (Bytes, Version)> {
        Box::pin(async move {
            self.pass().await;
            self.store.get(key, bytes_max).await
        })
    }

    fn range<'a>(&'a self, key: &'a Key, position: u64, length: usize) -> Later<'a, Bytes> {
        Box::pin(async move {
            self.pass().await;
            self.store.range(key, position, length).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Later<'a, Vec<Listed>> {
        self.store.list(prefix, after, limit)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Later<'a, ()> {
        self.store.delete(key)
    }
}
