//! A bucket of an S3 service as a store.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{Builder, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};

use super::location::Bucket;
use super::{Condition, Error, Later, Listed, Store, Upload, Version};
use crate::key::Key;

/// A part of a multipart upload; the service takes 5 MiB at least, and 10,000 parts.
const PART_BYTES: usize = 8 << 20;
/// A request is tried so often before it is an error. Whoever asked decides when to begin anew.
const TRIES: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one try of one request: a part at 140 KiB/s.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);

/// See the module. Clones share connections.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: Arc<Bucket>,
}

impl S3 {
    /// A bucket, with the credentials of the usual chain. Nothing is asked for yet.
    pub async fn open(bucket: &Bucket) -> Self {
        Self::open_as(bucket, None).await
    }

    /// A bucket, with these credentials.
    pub async fn open_as(bucket: &Bucket, credentials: Option<Credentials>) -> Self {
        let ring = tls::Provider::Rustls(CryptoMode::Ring);
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(ring)
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(TRY_TIMEOUT)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES));
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        if let Some(region) = &bucket.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &bucket.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let mut config = Builder::from(&loader.load().await).force_path_style(bucket.path_style);
        if bucket.endpoint.is_some() && bucket.region.is_none() {
            // Others than Amazon have no regions, but a signature has one.
            config = config.region(Region::from_static("us-east-1"));
        }
        Self {
            client: Client::from_conf(config.build()),
            bucket: Arc::new(bucket.clone()),
        }
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.bucket.prefix)
    }

    fn sse(&self) -> Option<ServerSideEncryption> {
        self.bucket.sse.as_deref().map(ServerSideEncryption::from)
    }

    async fn put_whole(
        &self,
        key: &Key,
        body: Bytes,
        condition: Condition,
    ) -> Result<Version, Error> {
        let (absent, unchanged) = headers_of(condition);
        let put = self.client.put_object().bucket(&self.bucket.bucket);
        let put = put.key(self.name(key)).body(ByteStream::from(body));
        let put = put.set_if_none_match(absent).set_if_match(unchanged);
        let put = put.set_server_side_encryption(self.sse());
        let put = put.set_ssekms_key_id(self.bucket.kms_key.clone());
        let done = put.send().await.map_err(|why| error_of(key, &why))?;
        version_of(key, done.e_tag())
    }

    async fn read(
        &self,
        key: &Key,
        range: Option<String>,
        bytes_max: usize,
    ) -> Result<(Bytes, Version), Error> {
        let get = self.client.get_object().bucket(&self.bucket.bucket);
        let get = get.key(self.name(key)).set_range(range);
        let mut found = get.send().await.map_err(|why| error_of(key, &why))?;
        let version = version_of(key, found.e_tag())?;
        let declared = found.content_length().and_then(|l| usize::try_from(l).ok());
        let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0).min(bytes_max));
        loop {
            let piece = found.body.try_next().await;
            let piece = piece.map_err(|why| Error::Unavailable {
                key: key.to_string(),
                why: format!("the answer broke off: {why}"),
            })?;
            let Some(piece) = piece else {
                break;
            };
            if bytes.len() + piece.len() > bytes_max {
                return Err(Error::longer(key, bytes_max));
            }
            bytes.extend_from_slice(&piece);
        }
        if declared.is_some_and(|declared| declared != bytes.len()) {
            return Err(Error::Unavailable {
                key: key.to_string(),
                why: format!("the answer ended after {} bytes", bytes.len()),
            });
        }
        Ok((bytes.freeze(), version))
    }

    async fn read_range(&self, key: &Key, position: u64, length: usize) -> Result<Bytes, Error> {
        let short = |why: String| Error::Length {
            key: key.clone(),
            why: format!("{length} bytes from {position} on were wanted, {why}"),
        };
        let Some(last) = position
            .checked_add(length as u64)
            .and_then(|end| end.checked_sub(1))
            .filter(|last| i64::try_from(*last).is_ok())
        else {
            return Err(short("which nothing is as long as".to_owned()));
        };
        if length == 0 {
            return Ok(Bytes::new());
        }
        let range = format!("bytes={position}-{last}");
        let (bytes, _) = self.read(key, Some(range), length).await?;
        if bytes.len() != length {
            return Err(short(format!("{} are there", bytes.len())));
        }
        Ok(bytes)
    }

    async fn list_page(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Listed>, Error> {
        let mut listed = Vec::new();
        let mut after = after.map(|after| self.name(after));
        while listed.len() < limit {
            let wanted = i32::try_from((limit - listed.len()).min(1000)).unwrap_or(1000);
            let page = self.client.list_objects_v2().bucket(&self.bucket.bucket);
            let page = page.prefix(format!("{}{prefix}", self.bucket.prefix));
            let page = page.set_start_after(after.take()).max_keys(wanted);
            let page = page
                .send()
                .await
                .map_err(|why| error_of_name(prefix, &why))?;
            for object in page.contents() {
                let Some(name) = object.key() else {
                    continue;
                };
                after = Some(name.to_owned());
                // What has another name is none of ours.
                let key = name.strip_prefix(&self.bucket.prefix).and_then(Key::parse);
                listed.extend(key.map(|key| {
                    Listed {
                        key,
                        bytes: object
                            .size()
                            .and_then(|size| u64::try_from(size).ok())
                            .unwrap_or(0),
                        modified_ms: object
                            .last_modified()
                            .and_then(|modified| modified.to_millis().ok())
                            .unwrap_or(0),
                    }
                }));
            }
            if page.is_truncated() != Some(true) || after.is_none() {
                break;
            }
        }
        Ok(listed)
    }
}

impl Store for S3 {
    fn put<'a>(&'a self, key: &'a Key, body: Bytes, condition: Condition) -> Later<'a, Version> {
        Box::pin(self.put_whole(key, body, condition))
    }

    fn upload<'a>(&'a self, key: &'a Key) -> Later<'a, Box<dyn Upload>> {
        // Nothing is asked for before there is a first part.
        let upload: Box<dyn Upload> = Box::new(Multipart {
            store: self.clone(),
            key: key.clone(),
            waiting: BytesMut::new(),
            id: None,
            parts: Vec::new(),
        });
        Box::pin(std::future::ready(Ok(upload)))
    }

    fn get<'a>(&'a self, key: &'a Key, bytes_max: usize) -> Later<'a, (Bytes, Version)> {
        Box::pin(self.read(key, None, bytes_max))
    }

    fn range<'a>(&'a self, key: &'a Key, position: u64, length: usize) -> Later<'a, Bytes> {
        Box::pin(self.read_range(key, position, length))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a Key>,
        limit: usize,
    ) -> Later<'a, Vec<Listed>> {
        Box::pin(self.list_page(prefix, after, limit))
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Later<'a, ()> {
        Box::pin(async move {
            let delete = self.client.delete_object().bucket(&self.bucket.bucket);
            match delete.key(self.name(key)).send().await {
                Ok(_) => Ok(()),
                Err(why) => match error_of(key, &why) {
                    Error::NotFound(_) => Ok(()),
                    why => Err(why),
                },
            }
        })
    }
}

/// An object in parts. What is shorter than a part is put whole.
#[derive(Debug)]
struct Multipart {
    store: S3,
    key: Key,
    waiting: BytesMut,
    /// The service's name for the upload, once it has begun.
    id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl Multipart {
    async fn begin(&mut self) -> Result<String, Error> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let bucket = &self.store.bucket;
        let begin = self
            .store
            .client
            .create_multipart_upload()
            .bucket(&bucket.bucket);
        // NB: said here, or a service may refuse the parts that are named with theirs at the end.
        let begin = begin.checksum_algorithm(ChecksumAlgorithm::Crc32);
        let begin = begin.key(self.store.name(&self.key));
        let begin = begin.set_server_side_encryption(self.store.sse());
        let begin = begin.set_ssekms_key_id(bucket.kms_key.clone());
        let begun = begin
            .send()
            .await
            .map_err(|why| error_of(&self.key, &why))?;
        let id = begun.upload_id().ok_or_else(|| Error::Unavailable {
            key: self.key.to_string(),
            why: "the service gave an upload no name".to_owned(),
        })?;
        self.id = Some(id.to_owned());
        Ok(id.to_owned())
    }

    async fn part(&mut self, bytes: Bytes) -> Result<(), Error> {
        let id = self.begin().await?;
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let part = self
            .store
            .client
            .upload_part()
            .bucket(&self.store.bucket.bucket);
        let part = part
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .key(self.store.name(&self.key))
            .upload_id(id)
            .part_number(number);
        let done = part.body(ByteStream::from(bytes)).send().await;
        let done = done.map_err(|why| error_of(&self.key, &why))?;
        let part = CompletedPart::builder().part_number(number);
        let part = part.set_e_tag(done.e_tag().map(str::to_owned));
        let part = part.set_checksum_crc32(done.checksum_crc32().map(str::to_owned));
        self.parts.push(part.build());
        Ok(())
    }

    async fn complete(mut self, condition: Condition) -> Result<Version, Error> {
        let rest = self.waiting.split().freeze();
        if self.id.is_none() {
            return self.store.put_whole(&self.key, rest, condition).await;
        }
        if !rest.is_empty() {
            self.part(rest).await?;
        }
        let (absent, unchanged) = headers_of(condition);
        let parts = std::mem::take(&mut self.parts);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let complete = self.store.client.complete_multipart_upload();
        let complete = complete.bucket(&self.store.bucket.bucket);
        let complete = complete
            .key(self.store.name(&self.key))
            .set_upload_id(self.id.clone());
        let complete = complete.set_if_none_match(absent).set_if_match(unchanged);
        let done = complete.multipart_upload(parts).send().await;
        let done = done.map_err(|why| match error_of(&self.key, &why) {
            // The upload is not there: an earlier try may have completed it.
            Error::NotFound(key) => Error::Unavailable {
                key: key.to_string(),
                why: "the upload is gone, or completed already".to_owned(),
            },
            why => why,
        })?;
        self.id = None;
        version_of(&self.key, done.e_tag())
    }
}

impl Upload for Multipart {
    fn write(&mut self, bytes: Bytes) -> Later<'_, ()> {
        Box::pin(async move {
            self.waiting.extend_from_slice(&bytes);
            while self.waiting.len() >= PART_BYTES {
                let part = self.waiting.split_to(PART_BYTES).freeze();
                self.part(part).await?;
            }
            Ok(())
        })
    }

    fn finish(self: Box<Self>, condition: Condition) -> Later<'static, Version> {
        Box::pin(self.complete(condition))
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let abort = self.store.client.abort_multipart_upload();
        let abort = abort.bucket(&self.store.bucket.bucket);
        let abort = abort.key(self.store.name(&self.key)).upload_id(id);
        // What cannot be aborted costs space until the bucket's own rule for unfinished uploads removes it.
        runtime.spawn(async move { abort.send().await });
    }
}

/// `If-None-Match` and `If-Match`.
fn headers_of(condition: Condition) -> (Option<String>, Option<String>) {
    match condition {
        Condition::None => (None, None),
        Condition::Absent => (Some("*".to_owned()), None),
        Condition::Unchanged(Version(tag)) => (None, Some(tag)),
    }
}

fn version_of(key: &Key, tag: Option<&str>) -> Result<Version, Error> {
    let tag = tag.ok_or_else(|| Error::Unavailable {
        key: key.to_string(),
        why: "the service named no version (ETag)".to_owned(),
    })?;
    Ok(Version(tag.to_owned()))
}

fn error_of<E>(key: &Key, why: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = why
        .raw_response()
        .map(|response| response.status().as_u16());
    match (
        status,
        why.as_service_error().and_then(ProvideErrorMetadata::code),
    ) {
        (Some(404), code) if code != Some("NoSuchBucket") => Error::NotFound(key.clone()),
        (Some(412), _) => Error::Conflict(key.clone()),
        (Some(416), _) => Error::Length {
            key: key.clone(),
            why: "it ends before what was wanted".to_owned(),
        },
        _ => error_of_name(key.as_str(), why),
    }
}

fn error_of_name<E>(key: &str, why: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let status = why
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    let (key, why) = (key.to_owned(), in_words(&why));
    match status {
        // 408 and 409 are races and time; 429 and 5xx are the service's own trouble; 0 never arrived.
        0 | 408 | 409 | 429 | 500.. => Error::Unavailable { key, why },
        _ => Error::Refused { key, why },
    }
}

/// An error and what caused it, each once: the library's own text for it repeats all of it as its data structures.
fn in_words(why: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(why), |why| why.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    words.join(": ")
}
