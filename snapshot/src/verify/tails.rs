//! Tails: the directory, then every part.

use super::report::{Finding, Kind, Report};
use crate::source::Source;
use crate::store::{self, Listed, Store};
use crate::tail::{self, Directory, Error, Name};

pub(super) async fn verify(
    store: &dyn Store,
    cluster_id: &str,
    report: &mut Report,
) -> Result<(), store::Error> {
    for (name, listed) in tail::list(store).await? {
        let directory = match Directory::read(store, &name, cluster_id).await {
            Ok(directory) => directory,
            Err(Error::Store(why)) => {
                if let Some(what) = damage_only(why)? {
                    report.find(Kind::Damaged, &listed.key, None, what);
                }
                continue;
            }
            Err(why) => {
                report.find(Kind::Damaged, &listed.key, None, why.to_string());
                continue;
            }
        };
        report.tails += 1;
        report.stored_bytes += listed.bytes;
        if directory.object_bytes(&name) != listed.bytes {
            let what = "it is not as long as its directory says".to_owned();
            report.find(Kind::Damaged, &listed.key, None, what);
        }
        parts(store, &name, &listed, &directory, report).await?;
    }
    Ok(())
}

async fn parts(
    store: &dyn Store,
    name: &Name,
    listed: &Listed,
    directory: &Directory,
    report: &mut Report,
) -> Result<(), store::Error> {
    for part in &directory.parts {
        let what = match tail::read(store, name, part).await {
            Ok(_) => continue,
            Err(Error::Store(why)) => damage_only(why)?,
            Err(why) => Some(why.to_string()),
        };
        let Some(what) = what else { return Ok(()) };
        report.findings.push(Finding {
            kind: Kind::Damaged,
            key: listed.key.clone(),
            source: Some(Source {
                cluster_id: directory.cluster_id.clone(),
                topic_id: part.topic_id,
                partition: part.partition,
            }),
            offsets: None,
            what: format!(
                "indexes {} to {}: {what}",
                part.first_index, part.last_index
            ),
        });
    }
    Ok(())
}

/// What a read says of the object; None when it was collected since it was listed.
fn damage_only(why: store::Error) -> Result<Option<String>, store::Error> {
    match why {
        store::Error::NotFound(_) => Ok(None),
        store::Error::Length { .. } => Ok(Some(why.to_string())),
        _ => Err(why),
    }
}
