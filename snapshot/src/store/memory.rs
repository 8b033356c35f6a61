//! A store in memory: for tests and the simulator. It can be told to fail, and to lose answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::{Condition, Error, Later, Listed, Store, Upload, Version};
use crate::digest::Digest;
use crate::key::Key;

/// See the module. Clones share their objects.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<Key, Bytes>,
    /// When they were written.
    modified_ms: BTreeMap<Key, i64>,
    clock_ms: i64,
    requests: Vec<Request>,
    fault: Option<(usize, Fault)>,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `put`, and `finish`.
    Put(Key),
    /// `upload`.
    Upload(Key),
    /// `get` and `range`.
    Get(Key),
    /// `list`.
    List(String),
    /// `delete`.
    Delete(Key),
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen.
    Refused,
    /// It happens, and nobody hears of it.
    AnswerLost,
    /// From here on nothing happens: the process is dead.
    Dead,
}

impl Memory {
    /// The request with this number, counted from 0, fails. The requests are counted anew.
    pub fn fail(&self, number: usize, fault: Fault) {
        let mut inner = self.lock();
        inner.requests.clear();
        inner.fault = Some((number, fault));
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.lock().fault = None;
    }

    /// What the store's clock says from now on. It begins at 0 and stands still.
    pub fn set_clock(&self, now_ms: i64) {
        self.lock().clock_ms = now_ms;
    }

    /// The requests since the last [`Self::fail`].
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// The objects as they are.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.lock().objects.clone()
    }

    /// Replaces an object, or removes it, behind everybody's back.
    pub fn tamper(&self, key: &Key, bytes: Option<Bytes>) {
        let objects = &mut self.lock().objects;
        match bytes {
            Some(bytes) => objects.insert(key.clone(), bytes),
            None => objects.remove(key),
        };
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is asked unless a fault prevents it.
    fn request<T>(
        &self,
        request: Request,
        key: &str,
        work: impl FnOnce(&mut Inner) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut inner = self.lock();
        let number = inner.requests.len();
        inner.requests.push(request);
        let unavailable = |why: &str| Error::Unavailable {
            key: key.to_owned(),
            why: why.to_owned(),
        };
        match inner.fault {
            Some((at, Fault::Refused)) if at == number => Err(unavailable("injected")),
            Some((at, Fault::Dead)) if number >= at => Err(unavailable("dead")),
            Some((at, Fault::AnswerLost)) if at == number => {
                // Also that it could not be done.
                drop(work(&mut inner));
                Err(unavailable("the answer was lost"))
            }
            _ => work(&mut inner),
        }
    }

    fn write(&self, key: &Key, body: &Bytes, condition: &Condition) -> Result<Version, Error> {
        self.request(Request::Put(key.clone()), key.as_str(), |inner| {
            let holds = match (condition, inner.objects.get(key)) {
                (Condition::None, _) | (Condition::Absent, None) => true,
                (Condition::Unchanged(wanted), Some(found)) => version_of(found) == *wanted,
                (Condition::Absent, Some(_)) => false,
                (Condition::Unchanged(_), None) => return Err(Error::NotFound(key.clone())),
            };
            if !holds {
                return Err(Error::Conflict(key.clone()));
            }
            inner.objects.insert(key.clone(), body.clone());
            inner.modified_ms.insert(key.clone(), inner.clock_ms);
            Ok(version_of(body))
        })
    }
}

fn version_of(bytes: &[u8]) -> Version {
    Digest::of(bytes).into()
}

fn at_once<'a, T: Send + 'a>(done: Result<T, Error>) -> Later<'a, T> {
    Box::pin(std::future::ready(done))
}

impl Store for Memory {
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, condition: Condition) -> Later<'a, Version> {
        at_once(self.write(key, &body, &condition))
    }

    fn upload<'a>(&'a self, key: &'a Key) -> Later<'a, Box<dyn Upload>> {
        let begun = self.request(Request::Upload(key.clone()), key.as_str(), |_| Ok(()));
        at_once(begun.map(|()| {
            let upload: Box<dyn Upload> = Box::new(MemoryUpload {
                store: self.clone(),
                key: key.clone(),
                bytes: BytesMut::new(),
            });
            upload
        }))
    }

    fn get<'a>(&'a self, key: &'a Key, bytes_max: usize) -> Later<'a, (Bytes, Version)> {
        let read = self.request(Request::Get(key.clone()), key.as_str(), |inner| {
            let found = inner
                .objects
                .get(key)
                .ok_or_else(|| Error::NotFound(key.clone()))?;
            if found.len() > bytes_max {
                return Err(Error::longer(key, bytes_max));
            }
            Ok((found.clone(), version_of(found)))
        });
        at_once(read)
    }

    fn range<'a>(&'a self, key: &'a Key, position: u64, length: usize) -> Later<'a, Bytes> {
        let read = self.request(Request::Get(key.clone()), key.as_str(), |inner| {
            let found = inner
                .objects
                .get(key)
                .ok_or_else(|| Error::NotFound(key.clone()))?;
            let start = usize::try_from(position).unwrap_or(usize::MAX);
            let end = start.saturating_add(length);
            if end > found.len() {
                return Err(Error::shorter(key, position, length, found.len()));
            }
            Ok(found.slice(start..end))
        });
        at_once(read)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Later<'a, Vec<Listed>> {
        let listed = self.request(Request::List(prefix.to_owned()), prefix, |inner| {
            let named = inner.objects.iter().filter(|(key, _)| {
                key.as_str().starts_with(prefix) && after.is_none_or(|after| *key > after)
            });
            let listed = named.take(limit).map(|(key, bytes)| Listed {
                key: key.clone(),
                bytes: bytes.len() as u64,
                modified_ms: inner.modified_ms.get(key).copied().unwrap_or_default(),
            });
            Ok(listed.collect())
        });
        at_once(listed)
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Later<'a, ()> {
        at_once(
            self.request(Request::Delete(key.clone()), key.as_str(), |inner| {
                inner.objects.remove(key);
                Ok(())
            }),
        )
    }
}

#[derive(Debug)]
struct MemoryUpload {
    store: Memory,
    key: Key,
    bytes: BytesMut,
}

impl Upload for MemoryUpload {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        let request = Request::Put(self.key.clone());
        let written = self.store.request(request, self.key.as_str(), |_| {
            self.bytes.extend_from_slice(&bytes);
            Ok(())
        });
        at_once(written)
    }

    fn finish(self: Box<Self>, condition: Condition) -> Later<'static, Version> {
        let Self { store, key, bytes } = *self;
        at_once(store.write(&key, &bytes.freeze(), &condition))
    }
}
