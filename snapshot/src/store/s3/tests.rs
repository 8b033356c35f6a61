//! Against an S3 server in this process, and against one that misbehaves.

use std::net::SocketAddr;
use std::path::Path;

use aws_sdk_s3::config::Credentials;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder as Connection;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{PART_BYTES, S3};
use crate::key::Key;
use crate::store::location::Bucket;
use crate::store::tests::keeps_the_contract;
use crate::store::{Condition, Error, Store};

fn key(text: &str) -> Key {
    Key::parse(text).expect("a name")
}

async fn open(address: SocketAddr, secret: &str) -> S3 {
    let bucket = Bucket {
        bucket: "snapshots".to_owned(),
        prefix: "walser/".to_owned(),
        endpoint: Some(format!("http://{address}")),
        path_style: true,
        ..Bucket::default()
    };
    let credentials = Credentials::new("access", secret, None, None, "tests");
    S3::open_as(&bucket, Some(credentials)).await
}

/// A server over a folder. It ends with the set.
async fn serve(folder: &Path) -> (SocketAddr, JoinSet<()>) {
    std::fs::create_dir_all(folder.join("snapshots")).expect("a bucket");
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).expect("a folder"));
    builder.set_auth(SimpleAuth::from_single("access", "secret"));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            connections.spawn(async move {
                let builder = Connection::new(TokioExecutor::new());
                // A client that goes away is no failure of the server.
                let _ = builder
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    (address, serving)
}

/// A server that answers everything with the same bytes and closes the connection.
async fn answer_all(answer: &'static str) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = [0; 16 << 10];
            let _ = socket.read(&mut asked).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    (address, serving)
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _serving) = serve(folder.path()).await;
    keeps_the_contract(&open(address, "secret").await).await;
}

#[tokio::test]
async fn large_objects_go_in_parts_and_are_there_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _serving) = serve(folder.path()).await;
    let store = open(address, "secret").await;
    let name = key("topics/large.gz");
    let piece = Bytes::from((0..=255).collect::<Vec<u8>>().repeat(3 << 12));
    let mut upload = store.upload(&name).await.expect("begun");
    let pieces = 2 * PART_BYTES / piece.len() + 2;
    for _ in 0..pieces {
        upload.write(piece.clone()).await.expect("written");
    }
    assert!(matches!(
        store.get(&name, 1 << 30).await,
        Err(Error::NotFound(_))
    ));
    upload.finish(Condition::Absent).await.expect("absent");
    let (whole, _) = store.get(&name, 1 << 30).await.expect("there");
    assert_eq!(whole.len(), pieces * piece.len());
    assert!(whole.chunks(piece.len()).all(|part| part == piece));
    let middle = store
        .range(&name, piece.len() as u64 * 3 + 7, 5)
        .await
        .expect("within");
    assert_eq!(middle[..], [7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn lists_go_on_over_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _serving) = serve(folder.path()).await;
    let store = open(address, "secret").await;
    for number in 0..25 {
        let name = key(&format!("many/{number:03}"));
        store
            .put(&name, "x".into(), Condition::None)
            .await
            .expect("stored");
    }
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = store
            .list("many/", after.as_ref(), 10)
            .await
            .expect("a page");
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page.into_iter().map(|listed| listed.key));
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _serving) = serve(folder.path()).await;
    let store = open(address, "wrong").await;
    let why = store.get(&key("a"), 10).await.expect_err("refused");
    assert!(
        matches!(&why, Error::Refused { .. }) && !why.retriable(),
        "{why}"
    );
    assert!(why.to_string().contains("SignatureDoesNotMatch"), "{why}");
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let (address, _serving) = serve(folder.path()).await;
    std::fs::remove_dir(folder.path().join("snapshots")).expect("empty");
    let store = open(address, "secret").await;
    let listed = store.list("", None, 1).await;
    assert!(matches!(&listed, Err(Error::Refused { .. })), "{listed:?}");
}

#[tokio::test]
async fn c3_a_store_that_is_busy_or_away_can_be_asked_again() {
    let busy = "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let throttled = "HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for answer in [busy, throttled, "", "garbage\r\n\r\n"] {
        let (address, _serving) = answer_all(answer).await;
        let store = open(address, "secret").await;
        let why = store.get(&key("a"), 10).await.expect_err("no answer");
        assert!(why.retriable(), "{answer:?}: {why}");
        let put = store.put(&key("a"), "x".into(), Condition::Absent).await;
        assert!(
            put.as_ref().is_err_and(Error::retriable),
            "{answer:?}: {put:?}"
        );
    }
    let (address, serving) = answer_all("").await;
    drop(serving);
    let why = open(address, "secret")
        .await
        .list("", None, 1)
        .await
        .expect_err("away");
    assert!(why.retriable(), "{why}");
}

#[tokio::test]
async fn c3_a_body_that_breaks_off_is_no_object() {
    let short = "HTTP/1.1 200 OK\r\netag: \"x\"\r\ncontent-length: 100\r\nconnection: close\r\n\r\nonly this";
    let (address, _serving) = answer_all(short).await;
    let why = open(address, "secret")
        .await
        .get(&key("a"), 1000)
        .await
        .expect_err("short");
    assert!(why.retriable(), "{why}");
    let long = "HTTP/1.1 200 OK\r\netag: \"x\"\r\nconnection: close\r\n\r\nmore than was asked for";
    let (address, _serving) = answer_all(long).await;
    let done = open(address, "secret").await.get(&key("a"), 5).await;
    assert!(matches!(&done, Err(Error::Length { .. })), "{done:?}");
}
