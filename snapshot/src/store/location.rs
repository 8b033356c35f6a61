//! Where a store is, as people write it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::{Error, Folder, S3, Store};

/// A folder (`/srv/walser`, `file:///srv/walser`) or a bucket (`s3://bucket/prefix?region=...`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of an S3 service.
    S3(Bucket),
}

/// A bucket, and how it is reached. Credentials are the usual chain's: environment, profile, container, instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub bucket: String,
    /// All objects' names begin so; empty or with a `/` at the end.
    pub prefix: String,
    /// `region=`: its region; the environment's when it is not told.
    pub region: Option<String>,
    /// `endpoint=`: another service than Amazon's, as an http or https URL.
    pub endpoint: Option<String>,
    /// `path-style=true`: the bucket's name stands in the path, not in the host's name.
    pub path_style: bool,
    /// `sse=AES256`, `sse=aws:kms`: how the service encrypts the objects.
    pub sse: Option<String>,
    /// `kms-key=`: with which key, for `aws:kms`.
    pub kms_key: Option<String>,
}

/// It is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text} is no place for a store: {why}; write /a/folder or s3://bucket/prefix?region=...&endpoint=...&path-style=true"
)]
pub struct BadLocation {
    text: String,
    why: String,
}

impl Location {
    /// Opens the store. A bucket is not asked for anything yet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        match self {
            Self::Folder(path) => {
                let opened = Folder::open(path).map_err(|why| Error::Refused {
                    key: path.display().to_string(),
                    why: why.to_string(),
                })?;
                Ok(Arc::new(opened))
            }
            Self::S3(bucket) => Ok(Arc::new(S3::open(bucket).await)),
        }
    }
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = |why: &str| BadLocation {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest).map(Self::S3).map_err(|why| bad(&why));
        }
        let path = match text.split_once("://") {
            Some(("file", path)) => path,
            Some(_) => return Err(bad("only file:// and s3:// are known")),
            None => text,
        };
        if !path.starts_with('/') {
            return Err(bad("a folder is written from the root on"));
        }
        Ok(Self::Folder(path.into()))
    }
}

fn bucket(rest: &str) -> Result<Bucket, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err("the bucket has no name".to_owned());
    }
    let mut options: BTreeMap<&str, &str> = BTreeMap::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        options.insert(name, value);
    }
    let mut take = |name: &str| options.remove(name).map(str::to_owned);
    let prefix = prefix.trim_matches('/');
    let found = Bucket {
        bucket: bucket.to_owned(),
        prefix: if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        },
        region: take("region"),
        endpoint: take("endpoint"),
        path_style: match take("path-style").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("path-style is true or false".to_owned()),
        },
        sse: take("sse"),
        kms_key: take("kms-key"),
    };
    if let Some(unknown) = options.keys().next() {
        return Err(format!("{unknown} is no option"));
    }
    if found
        .sse
        .as_deref()
        .is_some_and(|sse| sse != "AES256" && sse != "aws:kms")
    {
        return Err("sse is AES256 or aws:kms".to_owned());
    }
    Ok(found)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::S3(Bucket { bucket, prefix, .. }) => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}
