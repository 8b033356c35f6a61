//! From the log to chunks, on a thread of its own that yields to everything else.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft::types::{EntryKind, GroupId, Index, ReplicaId};
use snapshot::chunk::{self, Finished, Writer};
use snapshot::source::{Incarnation, Source};
use tokio::sync::mpsc;

/// Bytes of the log that are read at once.
const READ_BYTES: u64 = 1 << 20;
/// Pieces that are made ahead of the store.
const PIECES_MAX: usize = 8;
/// Less urgent than what clients wait for: a thirtieth of a processor that somebody else keeps busy.
const NICE: i32 = 15;
/// The same for those who must not fall behind, where all processors are always busy: a quarter.
const NICE_LATE: i32 = 5;

/// It rests when it has worked for so long, between two batches: a member of a chunk is compressed without a rest. The
/// kernel lets whoever runs go on for some milliseconds although somebody more urgent has woken up.
const WORK: Duration = Duration::from_millis(1);

/// Why chunks cannot be made. The log and the store are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] wal::ReadError),
    /// What was read is no continuation.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// Trimmed since, or lost.
    #[error("offset {0} is not in the log here")]
    Gone(i64),
}

/// A part of a chunk.
#[derive(Debug)]
pub(super) enum Piece {
    /// A chunk begins with this offset.
    Begin(i64),
    /// Its next stored bytes.
    Bytes(Bytes),
    /// It ends.
    End(Finished),
}

/// What to make chunks of: all of a replica's records from an offset on.
pub(super) struct Build {
    pub(super) reader: Arc<wal::Reader>,
    pub(super) group: GroupId,
    pub(super) replica: ReplicaId,
    pub(super) source: Source,
    pub(super) incarnation: Incarnation,
    /// First offset; the first chunk begins with the batch that holds it.
    pub(super) from: i64,
    /// First offset beyond.
    pub(super) next_offset: i64,
    /// The last index to look at.
    pub(super) until: Index,
    /// A chunk ends with the batch that brings it to so many bytes.
    pub(super) chunk_bytes: u64,
    /// More waits than there should be: else the thread rests for as long as it works.
    pub(super) is_late: bool,
}

/// This thread has less time than others. NB: it alone, on Linux; where that is refused it is only less polite.
pub(super) fn be_polite(is_late: bool) {
    let nice = if is_late { NICE_LATE } else { NICE };
    let _ = rustix::process::setpriority_process(None, nice);
}

/// Rests for as long as this thread has worked; what it waited for the log or the store is no work.
struct Pace {
    looked: Instant,
    /// This thread's time at the end of the last rest.
    rested: Duration,
}

impl Pace {
    fn new() -> Self {
        Self {
            looked: Instant::now(),
            rested: own_time(),
        }
    }

    /// Whether it did.
    fn maybe_rest(&mut self) -> bool {
        if self.looked.elapsed() < WORK {
            return false;
        }
        let worked = own_time().saturating_sub(self.rested);
        let is_due = worked >= WORK;
        if is_due {
            std::thread::sleep(worked);
            self.rested = own_time();
        }
        self.looked = Instant::now();
        is_due
    }
}

/// Of a processor, that this thread has had.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Who waits for the pieces has gone.
struct Abandoned;

impl Build {
    /// Begins. The pieces of one chunk after the other, or an error, and then nothing.
    pub(super) fn start(self) -> std::io::Result<mpsc::Receiver<Result<Piece, Error>>> {
        let (pieces, made) = mpsc::channel(PIECES_MAX);
        let name = "snapshot".to_owned();
        std::thread::Builder::new().name(name).spawn(move || {
            be_polite(self.is_late);
            if let Err(Some(why)) = self.run(&pieces) {
                let _ = pieces.blocking_send(Err(why));
            }
        })?;
        Ok(made)
    }

    /// All pieces at once.
    pub(super) fn all(self) -> mpsc::Receiver<Result<Piece, Error>> {
        let all = RefCell::new(Vec::new());
        let take = |piece| {
            all.borrow_mut().push(Ok(piece));
            Ok(())
        };
        let outcome = self.make(&take, || ());
        let mut all = all.into_inner();
        if let Err(Failed::Error(why)) = outcome {
            all.push(Err(why));
        }
        let (pieces, made) = mpsc::channel(all.len().max(1));
        for piece in all {
            pieces.try_send(piece).expect("there is room for all");
        }
        made
    }

    /// An error of None: nobody waits.
    fn run(&self, pieces: &mpsc::Sender<Result<Piece, Error>>) -> Result<(), Option<Error>> {
        let send = |piece| pieces.blocking_send(Ok(piece)).map_err(|_| Abandoned);
        let mut pace = Pace::new();
        // On a machine whose processors are all busy whoever asks for a moment of one gets it sooner.
        let rest = || {
            if !self.is_late {
                pace.maybe_rest();
            }
        };
        self.make(&send, rest).map_err(|why| match why {
            Failed::Error(why) => Some(why),
            Failed::Abandoned => None,
        })
    }

    /// May rest after each batch.
    fn make(
        &self,
        send: &impl Fn(Piece) -> Result<(), Abandoned>,
        mut rest: impl FnMut(),
    ) -> Result<(), Failed> {
        if self.from >= self.next_offset {
            return Ok(());
        }
        let first = self
            .reader
            .index_of_offset(self.group, self.replica, self.from)
            .map_err(Error::Log)?;
        let mut next = first.ok_or(Error::Gone(self.from))?;
        let mut chunk: Option<Open> = None;
        let mut reached = None;
        while next <= self.until && reached < Some(self.next_offset) {
            let entries = self
                .reader
                .entries_once(self.group, self.replica, next, self.until, READ_BYTES)
                .map_err(Error::Log)?;
            let Some(last) = entries.last() else { break };
            next = last.index.next();
            for entry in entries.iter().filter(|e| e.kind == EntryKind::Records) {
                if reached >= Some(self.next_offset) {
                    break;
                }
                let open = match &mut chunk {
                    Some(open) => open,
                    None => {
                        let begun = self.begin(reached, &entry.payload, send)?;
                        chunk.insert(begun)
                    }
                };
                open.push(&entry.payload, send)?;
                reached = Some(open.writer.next_offset());
                if open.bytes >= self.chunk_bytes && reached < Some(self.next_offset) {
                    chunk.take().expect("it is open").end(send)?;
                }
                rest();
            }
        }
        if reached != Some(self.next_offset) {
            return Err(Error::Gone(reached.unwrap_or(self.from)).into());
        }
        match chunk {
            Some(open) => Ok(open.end(send)?),
            None => Ok(()),
        }
    }

    /// A chunk that begins where the last one ended, or with the first batch of all.
    fn begin(
        &self,
        reached: Option<i64>,
        batch: &Bytes,
        send: &impl Fn(Piece) -> Result<(), Abandoned>,
    ) -> Result<Open, Failed> {
        let base_offset = protocol::record_batch::BatchHeader::parse(batch)
            .map_or(self.from, |header| header.base_offset);
        let first_offset = reached.unwrap_or(base_offset);
        send(Piece::Begin(first_offset))?;
        let config = chunk::Config::default();
        let writer = Writer::new(config, self.source.clone(), self.incarnation, first_offset);
        Ok(Open { writer, bytes: 0 })
    }
}

struct Open {
    writer: Writer,
    bytes: u64,
}

impl Open {
    fn push(
        &mut self,
        batch: &Bytes,
        send: &impl Fn(Piece) -> Result<(), Abandoned>,
    ) -> Result<(), Failed> {
        self.writer.push(batch).map_err(Error::Chunk)?;
        self.bytes += batch.len() as u64;
        let stored = self.writer.take();
        if !stored.is_empty() {
            send(Piece::Bytes(stored))?;
        }
        Ok(())
    }

    fn end(self, send: &impl Fn(Piece) -> Result<(), Abandoned>) -> Result<(), Abandoned> {
        let next_offset = self.writer.next_offset();
        send(Piece::End(self.writer.finish(next_offset)))
    }
}

enum Failed {
    Error(Error),
    Abandoned,
}

impl From<Error> for Failed {
    fn from(why: Error) -> Self {
        Self::Error(why)
    }
}

impl From<Abandoned> for Failed {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}
