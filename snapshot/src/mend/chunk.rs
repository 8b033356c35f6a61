//! A chunk that is made anew: member by member, from what is left of it and from copies.

use bytes::Bytes;

use super::copies::{Copies, part, split};
use super::{Error, Fate, Mender, one_bit, quarantine};
use crate::aside::aside;
use crate::chunk::{self, Finished, Member, Reader, Summary, Writer};
use crate::digest::Digest;
use crate::key::{self, Key};
use crate::manifest::{Chunk, EpochStart};
use crate::source::{Incarnation, Source};
use crate::store::{self, Condition, Upload};
use crate::verify::{self, Report};

/// A longer object is not held in memory for the sake of one bit.
const HELD_BYTES_MAX: u64 = 16 << 20;

impl Mender<'_> {
    /// Looks at a chunk of a manifest, and makes it anew if it is not what the manifest says.
    ///
    /// # Errors
    /// When the store cannot be asked. Nothing was written then that is not whole.
    pub async fn chunk(
        &self,
        source: &Source,
        named: &Chunk,
        epochs: &[EpochStart],
    ) -> Result<Fate, store::Error> {
        let Some(found) = self.is_wrong(source, named, epochs).await? else {
            return Ok(Fate::Sound);
        };
        let why = match self.chunk_in_place(source, named).await {
            Ok(Some(upload)) => {
                self.publish(&named.key, upload).await?;
                return self.looked_at(source, named, epochs).await;
            }
            // Another compressor; perhaps the old bytes can be had nevertheless.
            Ok(None) => None,
            Err(Error::Store(why)) => return Err(why),
            Err(why) => Some(why),
        };
        if let Some(upload) = self.turned_back(source, named, epochs).await? {
            self.publish(&named.key, upload).await?;
            return self.looked_at(source, named, epochs).await;
        }
        Ok(match why {
            None => Fate::OtherBytes,
            Some(why) => Fate::Left(format!("{found}; {why}")),
        })
    }

    /// Makes a chunk with the same records under another name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn chunk_anew(
        &self,
        source: &Source,
        named: &Chunk,
        epochs: &[EpochStart],
        (key, incarnation): (Key, Incarnation),
    ) -> Result<Chunk, Error> {
        let (summary, upload) = self.make(source, named, &key, incarnation).await?;
        upload.finish(Condition::None).await?;
        let made = Chunk {
            key,
            chunk: summary,
        };
        match self.is_wrong(source, &made, epochs).await? {
            None => Ok(made),
            Some(why) => Err(Error::Differs(why)),
        }
    }

    /// What is wrong with it.
    async fn is_wrong(
        &self,
        source: &Source,
        named: &Chunk,
        epochs: &[EpochStart],
    ) -> Result<Option<String>, store::Error> {
        let mut report = Report::default();
        verify::chunk(self.store(), source, named, epochs, &mut report).await?;
        Ok(report.findings.first().map(ToString::to_string))
    }

    async fn looked_at(
        &self,
        source: &Source,
        named: &Chunk,
        epochs: &[EpochStart],
    ) -> Result<Fate, store::Error> {
        Ok(match self.is_wrong(source, named, epochs).await? {
            None => Fate::Mended,
            Some(why) => Fate::Left(format!("it was made anew, and {why}")),
        })
    }

    /// NB: whatever it is that lies under this name, what is published is what all manifests say of it.
    async fn publish(&self, key: &Key, upload: Box<dyn Upload>) -> Result<(), store::Error> {
        quarantine::keep_aside(self.store(), key).await?;
        upload.finish(Condition::None).await.map(drop)
    }

    /// None when the copies make other stored bytes of the same records.
    async fn chunk_in_place(
        &self,
        source: &Source,
        named: &Chunk,
    ) -> Result<Option<Box<dyn Upload>>, Error> {
        let Some((incarnation, _)) = key::chunk_written(&named.key) else {
            return Err(Error::Differs(format!("{} is no chunk's name", named.key)));
        };
        let (summary, upload) = self.make(source, named, &named.key, incarnation).await?;
        Ok((summary == named.chunk).then_some(upload))
    }

    /// Makes the object, short of finishing it: the same records, in the same members.
    async fn make(
        &self,
        source: &Source,
        named: &Chunk,
        key: &Key,
        incarnation: Incarnation,
    ) -> Result<(Summary, Box<dyn Upload>), Error> {
        let wanted = &named.chunk;
        let mut copies = Copies::new(self, source, named);
        let mut made = Making {
            writer: Some(Writer::new(
                self.chunks,
                source.clone(),
                incarnation,
                wanted.first_offset,
            )),
            upload: self.store().upload(key).await?,
        };
        if let Some(reader) = self.index(source, named).await? {
            for (number, member) in reader.members().iter().enumerate() {
                let raw = self.member(&mut copies, named, number, member).await?;
                made.push(split(&raw)).await?;
            }
        } else {
            copies.salvage().await?;
            let mut at = wanted.first_offset;
            while at < wanted.next_offset {
                let batches = copies.batches(at, wanted.next_offset).await?;
                if batches.is_empty() {
                    return Err(no_copy(at, wanted.next_offset));
                }
                at = made.push(batches).await?;
            }
        }
        let (summary, upload) = made.end(wanted.next_offset).await?;
        let identity = |of: &Summary| {
            let offsets = (of.first_offset, of.next_offset);
            (offsets, of.max_timestamp, of.raw_bytes, of.raw_sha256)
        };
        match identity(&summary) == identity(wanted) {
            true => Ok((summary, upload)),
            false => Err(Error::Differs("the copies are other records".to_owned())),
        }
    }

    /// What is known of its members.
    async fn index(&self, source: &Source, named: &Chunk) -> Result<Option<Reader>, store::Error> {
        let summary = &named.chunk;
        if let Some(length) = summary.index_bytes()
            && let Some(index) =
                part(self.store(), &named.key, summary.index_position, length).await?
            && let Ok(reader) = Reader::open(&index, summary, source)
        {
            return Ok(Some(reader));
        }
        let held = self.archive.held_reader(source, named);
        Ok(held.map(|reader| (*reader).clone()))
    }

    /// The records of a member: as they are in the object, in memory, or elsewhere.
    async fn member(
        &self,
        copies: &mut Copies<'_>,
        named: &Chunk,
        number: usize,
        member: &Member,
    ) -> Result<Bytes, Error> {
        let length = usize::try_from(member.stored_bytes).unwrap_or(usize::MAX);
        let stored = part(self.store(), &named.key, member.position, length).await?;
        if let Some(stored) = stored {
            let of = member.clone();
            if let Ok(raw) = aside(move || Reader::inflate(&of, &stored)).await {
                return Ok(raw);
            }
        }
        if let Some(raw) = self.archive.held_records(copies.source(), named, number) {
            return Ok(raw);
        }
        let mut raw: Vec<u8> = Vec::new();
        let mut at = member.first_offset;
        while at < member.next_offset {
            let batches = copies.batches(at, member.next_offset).await?;
            let Some(last) = batches.last() else {
                return Err(no_copy(at, member.next_offset));
            };
            at = next_of(last);
            raw.extend(batches.iter().flat_map(|batch| batch.iter()));
        }
        match raw.len() as u64 == member.raw_bytes && Digest::of(&raw) == member.raw_sha256 {
            true => Ok(raw.into()),
            false => Err(Error::Differs(format!(
                "the copies of offsets {} to {} are other records",
                member.first_offset,
                member.next_offset - 1
            ))),
        }
    }

    /// The object with one bit turned back, if that makes it whole.
    async fn turned_back(
        &self,
        source: &Source,
        named: &Chunk,
        epochs: &[EpochStart],
    ) -> Result<Option<Box<dyn Upload>>, store::Error> {
        let summary = named.chunk.clone();
        let (Some(index_bytes), true) = (
            summary.index_bytes(),
            summary.stored_bytes <= HELD_BYTES_MAX,
        ) else {
            return Ok(None);
        };
        let length = usize::try_from(summary.stored_bytes).expect("it is bounded");
        let Some(found) = part(self.store(), &named.key, 0, length).await? else {
            return Ok(None);
        };
        let (of, epochs) = (source.clone(), epochs.to_vec());
        let turn_back = move || {
            let mut found = found.to_vec();
            one_bit::of_crc(&mut found, summary.stored_crc32)?;
            let index = &found[found.len() - index_bytes..];
            let reader = Reader::open(index, &summary, &of).ok()?;
            for member in reader.members() {
                let from = usize::try_from(member.position).ok()?;
                let stored = found.get(from..)?;
                let stored = stored.get(..usize::try_from(member.stored_bytes).ok()?)?;
                let raw = Reader::inflate(member, stored).ok()?;
                chunk::check_batches(&raw, member, &epochs).ok()?;
            }
            Some(Bytes::from(found))
        };
        let Some(whole) = aside(turn_back).await else {
            return Ok(None);
        };
        let mut upload = self.store().upload(&named.key).await?;
        upload.write(whole).await?;
        Ok(Some(upload))
    }
}

/// A chunk on its way into the store.
struct Making {
    /// On a thread of its own while it works.
    writer: Option<Writer>,
    upload: Box<dyn Upload>,
}

const BACK: &str = "the writer comes back from its work";

impl Making {
    /// Adds batches. The first offset beyond them.
    async fn push(&mut self, batches: Vec<Bytes>) -> Result<i64, Error> {
        let mut writer = self.writer.take().expect(BACK);
        let work = move || {
            let pushed = batches.iter().try_for_each(|batch| writer.push(batch));
            let stored = writer.take();
            (writer, stored, pushed)
        };
        let (writer, stored, pushed) = aside(work).await;
        let next_offset = self.writer.insert(writer).next_offset();
        pushed.map_err(|why| Error::Differs(why.to_string()))?;
        if !stored.is_empty() {
            self.upload.write(stored).await?;
        }
        Ok(next_offset)
    }

    async fn end(self, next_offset: i64) -> Result<(Summary, Box<dyn Upload>), Error> {
        let Self { writer, mut upload } = self;
        let writer = writer.expect(BACK);
        if writer.raw_bytes() == 0 || writer.next_offset() > next_offset {
            return Err(Error::Differs("the copies end elsewhere".to_owned()));
        }
        let Finished { summary, rest } = aside(move || writer.finish(next_offset)).await;
        upload.write(rest).await?;
        Ok((summary, upload))
    }
}

fn next_of(batch: &Bytes) -> i64 {
    let header = protocol::record_batch::BatchHeader::parse(batch);
    header.map_or(i64::MAX, |header| header.last_offset().saturating_add(1))
}

fn no_copy(at: i64, below: i64) -> Error {
    Error::NoCopy { at, below }
}
