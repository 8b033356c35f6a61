//! Sealed JSON objects: the seal says whether one is what was written.

use bytes::Bytes;

use super::{Fate, Fates, Mender, note, one_bit};
use crate::aside::aside;
use crate::key::{self, Key};
use crate::sealed::is_intact;
use crate::store::{self, Version};
use crate::{inventory, manifest};

impl Mender<'_> {
    /// Looks at what is not of one partition: whose the store is, the cluster's metadata, cuts and tails. Mends it.
    ///
    /// # Errors
    /// When the store cannot be asked. What was mended until then is mended.
    pub async fn cluster(&self) -> Result<Fates, store::Error> {
        let mut known = self.donor.objects();
        let mut keys = vec![key::owner()];
        for prefix in [
            key::INCARNATIONS_PREFIX,
            key::METADATA_PREFIX,
            key::CUTS_PREFIX,
        ] {
            inventory::each(self.store(), prefix, |listed| keys.push(listed.key)).await?;
        }
        let listed = |key: &&Key| !keys.contains(key);
        let unlisted: Vec<Key> = known.keys().filter(listed).cloned().collect();
        keys.extend(unlisted);
        let mut fates = Fates::new();
        for key in keys {
            let copy = known.remove(&key);
            let (fate, _) = self.sealed(&key, copy, |_| Ok(())).await?;
            note(&mut fates, key, fate);
        }
        self.tails(&mut fates).await?;
        Ok(fates)
    }

    /// Looks at a sealed object, which has to be more than intact, and mends it. What it is in the end, where it is whole.
    pub(super) async fn sealed(
        &self,
        key: &Key,
        copy: Option<Bytes>,
        check: impl Fn(&[u8]) -> Result<(), String>,
    ) -> Result<(Fate, Option<Bytes>), store::Error> {
        let (found, version) = match self.read_sealed(key).await? {
            Read::Whole(bytes, version) => (Some(bytes), Some(version)),
            // Longer than any: the copy says what it was, if there is one.
            Read::TooLong => (None, None),
            Read::Gone => (None, None),
        };
        let why = match &found {
            None => "it is not there".to_owned(),
            Some(bytes) if is_intact(bytes) => match check(bytes) {
                Ok(()) => return Ok((Fate::Sound, found)),
                // What is intact was written so.
                Err(why) => return Ok((Fate::Left(why), None)),
            },
            Some(_) => "its seal does not match".to_owned(),
        };
        let is_right = |bytes: &Bytes| is_intact(bytes) && check(bytes).is_ok();
        let mut whole = copy.filter(is_right);
        if let (None, Some(found)) = (&whole, found) {
            let turned = aside(move || one_bit::of_sealed(&found)).await;
            whole = turned.map(Bytes::from).filter(is_right);
        }
        let Some(whole) = whole else {
            return Ok((Fate::Left(format!("{why}, and nobody has a copy")), None));
        };
        self.replace(key, version, whole.clone()).await?;
        match self.read_sealed(key).await? {
            Read::Whole(bytes, _) if bytes == whole => Ok((Fate::Mended, Some(whole))),
            Read::Whole(..) | Read::TooLong | Read::Gone => {
                let why = "it was written, and is not there as it was".to_owned();
                Ok((Fate::Left(why), None))
            }
        }
    }

    async fn read_sealed(&self, key: &Key) -> Result<Read, store::Error> {
        match self.store().get(key, manifest::BYTES_MAX).await {
            Ok((bytes, version)) => Ok(Read::Whole(bytes, version)),
            Err(store::Error::NotFound(_)) => Ok(Read::Gone),
            Err(store::Error::Length { .. }) => Ok(Read::TooLong),
            Err(why) => Err(why),
        }
    }
}

enum Read {
    Whole(Bytes, Version),
    TooLong,
    Gone,
}
