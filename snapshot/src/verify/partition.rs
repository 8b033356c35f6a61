//! One partition: its manifests, then every chunk that one of them names, once.

use std::collections::BTreeMap;

use super::report::{Finding, Kind, Report};
use crate::aside::aside;
use crate::chunk::{self, Member, Reader, Summary, check_batches};
use crate::inventory::Objects;
use crate::key::{self, Key};
use crate::manifest::{self, EpochStart, Manifest, Name};
use crate::source::Source;
use crate::store::{self, Listed, Store};

/// A chunk as its manifests name it, with the leader epochs of the newest of them.
struct Named<'a> {
    summary: &'a Summary,
    epochs: &'a [EpochStart],
}

/// Verifies the newest snapshot of a partition: its manifest, and every chunk that it names. One that is known to be
/// there is missing if none is as new. Tells bytes that were read, of how many. The manifest, where there is a sound one.
///
/// # Errors
/// When the store cannot be read. Damage is a finding.
pub async fn newest(
    store: &dyn Store,
    source: &Source,
    known: Option<&Name>,
    report: &mut Report,
    mut told: impl FnMut(u64, u64),
) -> Result<Option<Manifest>, store::Error> {
    let objects = Objects::list(store, &key::manifests_prefix(source)).await?;
    let newest = objects.manifests.into_iter().max_by_key(|(age, _)| *age);
    let age = newest.as_ref().map(|(age, _)| *age);
    if let Some(known) = known.filter(|known| Some(known.age()) > age) {
        let what = "it is the partition's committed snapshot".to_owned();
        report.find(Kind::Missing, &known.key(), Some(source), what);
    }
    let Some((_, listed)) = newest else {
        return Ok(None);
    };
    let found = manifests(store, source, &[listed], report).await?;
    let Some(manifest) = found.into_iter().next() else {
        return Ok(None);
    };
    let sizes = manifest.chunks.iter().map(|named| named.chunk.stored_bytes);
    let (mut done, total) = (0, sizes.sum());
    for named in &manifest.chunks {
        chunk(store, source, named, &manifest.leader_epochs, report).await?;
        done += named.chunk.stored_bytes;
        told(done, total);
    }
    Ok(Some(manifest))
}

/// Verifies one chunk of a manifest with these leader epochs.
pub(crate) async fn chunk(
    store: &dyn Store,
    source: &Source,
    named: &manifest::Chunk,
    epochs: &[EpochStart],
    report: &mut Report,
) -> Result<(), store::Error> {
    let verifying = Verifying {
        store,
        source,
        key: &named.key,
        named: &Named {
            summary: &named.chunk,
            epochs,
        },
    };
    verifying.chunk(report).await
}

pub(super) async fn verify(
    store: &dyn Store,
    source: &Source,
    objects: &[Listed],
    report: &mut Report,
) -> Result<(), store::Error> {
    let manifests = manifests(store, source, objects, report).await?;
    let mut chunks: BTreeMap<&Key, Named<'_>> = BTreeMap::new();
    for manifest in &manifests {
        for named in &manifest.chunks {
            let earlier = chunks.get(&named.key);
            if earlier.is_some_and(|earlier| *earlier.summary != named.chunk) {
                let what = "two manifests describe it differently".to_owned();
                report.find(Kind::Damaged, &named.key, Some(source), what);
            }
            chunks.insert(
                &named.key,
                Named {
                    summary: &named.chunk,
                    epochs: &manifest.leader_epochs,
                },
            );
        }
    }
    for (key, named) in &chunks {
        let verifying = Verifying {
            store,
            source,
            key,
            named,
        };
        verifying.chunk(report).await?;
    }
    for object in objects {
        let name = object.key.as_str();
        if !name.contains("/manifests/") && !chunks.contains_key(&object.key) {
            let what = "no manifest names it".to_owned();
            report.find(Kind::Orphan, &object.key, Some(source), what);
        }
    }
    Ok(())
}

/// The readable manifests, the oldest first.
async fn manifests(
    store: &dyn Store,
    source: &Source,
    objects: &[Listed],
    report: &mut Report,
) -> Result<Vec<Manifest>, store::Error> {
    let mut manifests = Vec::new();
    for object in objects {
        if !object.key.as_str().contains("/manifests/") {
            continue;
        }
        let (bytes, _) = match store.get(&object.key, manifest::BYTES_MAX).await {
            // Collected since it was listed.
            Err(store::Error::NotFound(_)) => continue,
            read => read?,
        };
        report.manifests += 1;
        match Manifest::decode(&bytes, &object.key, source) {
            Ok(manifest) => manifests.push(manifest),
            Err(why) => report.find(Kind::Damaged, &object.key, Some(source), why.to_string()),
        }
    }
    manifests.sort_by_key(Manifest::age);
    Ok(manifests)
}

struct Verifying<'a> {
    store: &'a dyn Store,
    source: &'a Source,
    key: &'a Key,
    named: &'a Named<'a>,
}

impl Verifying<'_> {
    async fn chunk(&self, report: &mut Report) -> Result<(), store::Error> {
        let summary = self.named.summary;
        let whole = (summary.first_offset, summary.next_offset);
        report.chunks += 1;
        let before = report.findings.len();
        let Some(index_bytes) = summary.index_bytes() else {
            let what = "its index is said to be of a length that none has".to_owned();
            self.found(report, Kind::Damaged, whole, what);
            return Ok(());
        };
        let Some(index) = self
            .read(summary.index_position, index_bytes, whole, report)
            .await?
        else {
            return Ok(());
        };
        let reader = match Reader::open(&index, summary, self.source) {
            Ok(reader) => reader,
            Err(why) => {
                self.found(report, Kind::Damaged, whole, why.to_string());
                return Ok(());
            }
        };
        let mut crc = crc32fast::Hasher::new();
        for member in reader.members() {
            let offsets = (member.first_offset, member.next_offset);
            // Its length is within the chunk's, which the index was compared with.
            let length = usize::try_from(member.stored_bytes).unwrap_or(usize::MAX);
            let Some(stored) = self.read(member.position, length, offsets, report).await? else {
                return Ok(());
            };
            crc.update(&stored);
            if let Err(why) = self.member(member.clone(), stored).await {
                self.found(report, Kind::Damaged, offsets, why.to_string());
            }
        }
        crc.update(&index);
        if crc.finalize() != summary.stored_crc32 && report.findings.len() == before {
            let what = "its CRC-32 does not match".to_owned();
            self.found(report, Kind::Damaged, whole, what);
        }
        report.stored_bytes += summary.stored_bytes;
        report.raw_bytes += summary.raw_bytes;
        self.is_no_longer(whole, report).await
    }

    async fn member(&self, member: Member, stored: bytes::Bytes) -> Result<(), chunk::Error> {
        let epochs = self.named.epochs.to_vec();
        aside(move || {
            let raw = Reader::inflate(&member, &stored)?;
            check_batches(&raw, &member, &epochs)
        })
        .await
    }

    /// Reads a part; None when it is not there, which is a finding.
    async fn read(
        &self,
        position: u64,
        length: usize,
        offsets: (i64, i64),
        report: &mut Report,
    ) -> Result<Option<bytes::Bytes>, store::Error> {
        match self.store.range(self.key, position, length).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(why @ store::Error::NotFound(_)) => {
                self.found(report, Kind::Missing, offsets, why.to_string());
                Ok(None)
            }
            Err(why @ store::Error::Length { .. }) => {
                self.found(report, Kind::Damaged, offsets, why.to_string());
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    /// Nothing may follow what is declared.
    async fn is_no_longer(
        &self,
        whole: (i64, i64),
        report: &mut Report,
    ) -> Result<(), store::Error> {
        let end = self.named.summary.stored_bytes;
        let more = self.store.range(self.key, end, 1).await;
        if store::there(more)?.is_some() {
            let what = "bytes follow its end".to_owned();
            self.found(report, Kind::Damaged, whole, what);
        }
        Ok(())
    }

    fn found(&self, report: &mut Report, kind: Kind, offsets: (i64, i64), what: String) {
        report.findings.push(Finding {
            kind,
            key: self.key.clone(),
            source: Some(self.source.clone()),
            offsets: Some(offsets),
            what,
        });
    }
}
