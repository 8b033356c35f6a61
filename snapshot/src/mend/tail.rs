//! Tails: the name says what the directory is, and that what the parts are.

use bytes::Bytes;

use super::{Fate, Fates, Mender, note, one_bit};
use crate::aside::aside;
use crate::store;
use crate::tail::{self, Directory, Entry, Name, Part};

/// Longer ones are not held in memory to be mended.
const TAIL_BYTES_MAX: u64 = 256 << 20;

impl Mender<'_> {
    pub(super) async fn tails(&self, fates: &mut Fates) -> Result<(), store::Error> {
        for (name, listed) in tail::list(self.store()).await? {
            let fate = self.tail(&name, listed.bytes).await?;
            note(fates, listed.key, fate);
        }
        Ok(())
    }

    async fn tail(&self, name: &Name, bytes: u64) -> Result<Fate, store::Error> {
        if bytes > TAIL_BYTES_MAX {
            return Ok(Fate::Left("it is too long to be looked at".to_owned()));
        }
        let key = name.key();
        let length = usize::try_from(bytes).expect("it is bounded");
        let (found, version) = match self.store().get(&key, length).await {
            // Collected since it was listed.
            Err(store::Error::NotFound(_)) => return Ok(Fate::Sound),
            Err(why @ store::Error::Length { .. }) => return Ok(Fate::Left(why.to_string())),
            read => read?,
        };
        let Some(directory) = self.directory(name, &found) else {
            let why = "nobody knows what its directory was".to_owned();
            return Ok(Fate::Left(why));
        };
        let head = usize::try_from(name.directory_bytes).expect("it was inflated");
        let mut whole = directory.0;
        let mut at = head;
        for part in directory.1.parts {
            let length = usize::try_from(part.stored_bytes).expect("parts are bounded");
            let stored = found.slice(at.min(found.len())..(at + length).min(found.len()));
            at += length;
            match self.part(&part, stored).await {
                Some(stored) => whole.extend_from_slice(&stored),
                None => {
                    let Part {
                        first_index,
                        last_index,
                        ..
                    } = part;
                    let why = format!(
                        "nobody has a copy of indexes {first_index} to {last_index} of partition {} of topic {}",
                        part.partition, part.topic_id
                    );
                    return Ok(Fate::Left(why));
                }
            }
        }
        if whole == found {
            return Ok(Fate::Sound);
        }
        let whole = Bytes::from(whole);
        self.replace(&key, Some(version), whole.clone()).await?;
        match store::there(self.store().get(&key, whole.len()).await)? {
            Some((found, _)) if found == whole => Ok(Fate::Mended),
            Some(_) | None => {
                let why = "it was written, and is not there as it was".to_owned();
                Ok(Fate::Left(why))
            }
        }
    }

    /// The directory, stored and read.
    fn directory(&self, name: &Name, found: &Bytes) -> Option<(Vec<u8>, Directory)> {
        let length = usize::try_from(name.directory_bytes).ok()?;
        let mut stored = found.get(..length)?.to_vec();
        let decode = |stored: &[u8]| Directory::decode(stored, name, self.store_id).ok();
        let directory = decode(&stored).or_else(|| {
            one_bit::of_crc(&mut stored, name.directory_crc32)?;
            decode(&stored)
        })?;
        Some((stored, directory))
    }

    /// The stored bytes of a part: those that are there, from copies, or with one bit turned back.
    async fn part(&self, part: &Part, stored: Bytes) -> Option<Bytes> {
        if tail::decode(&stored, part).is_ok() {
            return Some(stored);
        }
        let copies = self.copies(part).await;
        let of = part.clone();
        let made = aside(move || {
            let (_, made) = tail::part_of(&copies);
            tail::decode(&made, &of).is_ok().then_some(made)
        });
        if let Some(made) = made.await {
            return Some(made.into());
        }
        let mut turned = stored.to_vec();
        one_bit::of_crc(&mut turned, part.stored_crc32)?;
        tail::decode(&turned, part).is_ok().then(|| turned.into())
    }

    async fn copies(&self, part: &Part) -> Vec<Entry> {
        let place = (part.topic_id, part.partition);
        let mut entries: Vec<Entry> = Vec::new();
        let (mut next, mut bytes) = (part.first_index, 0);
        while next <= part.last_index && bytes <= part.raw_bytes {
            let more = self.donor.entries(place, next, part.last_index).await;
            let follows = |(at, entry): &(u64, Entry)| entry.index == *at;
            let more = (next..=part.last_index).zip(more).take_while(follows);
            let before = entries.len();
            entries.extend(more.map(|(_, entry)| entry));
            if entries.len() == before {
                break;
            }
            bytes += entries[before..]
                .iter()
                .map(|e| e.payload.len() as u64)
                .sum::<u64>();
            next = entries.last().map_or(next, |entry| entry.index + 1);
        }
        entries
    }
}
