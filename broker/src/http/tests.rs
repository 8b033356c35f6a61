//! Over real sockets, with a thread that answers in the broker's place.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Question, Status, serve};
use crate::controller::Failure;
use crate::metrics::NodeMetrics;
use protocol::error_code::ErrorCode;

/// Status and body of a request to a server whose questions `answer` answers.
async fn ask(request: &str, answer: impl FnMut(Question) + Send + 'static) -> (u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (send, mut receive) = mpsc::channel(1);
    let _handle = serve(listener, send).expect("a thread");
    let mut answer = answer;
    let answering = tokio::spawn(async move {
        while let Some(question) = receive.recv().await {
            answer(question);
        }
    });
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let text =
        format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut all = String::new();
    stream.read_to_string(&mut all).await.expect("an answer");
    answering.abort();
    let (head, body) = all.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

#[tokio::test]
async fn a_broker_that_is_not_ready_says_why() {
    let not_yet = |question| match question {
        Question::Ready(to) => to
            .send(Err("recovering the log".to_owned()))
            .expect("asked"),
        _ => panic!("another question"),
    };
    let (status, body) = ask("GET /readyz", not_yet).await;
    assert_eq!(status, 503);
    assert!(body.contains("recovering the log"), "{body}");
    let ready = |question| match question {
        Question::Ready(to) => to.send(Ok(())).expect("asked"),
        _ => panic!("another question"),
    };
    let (status, body) = ask("GET /readyz", ready).await;
    assert_eq!(
        (status, body.as_str()),
        (200, "{\"ready\":true,\"schema\":1}")
    );
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_alive_and_not_ready() {
    let (status, body) = ask("GET /readyz", drop).await;
    assert_eq!(status, 503, "{body}");
    let (status, _) = ask("GET /livez", drop).await;
    assert_eq!(status, 200);
    let (status, _) = ask("GET /metrics", drop).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn status_and_metrics_are_what_the_broker_says() {
    let answer = |question| match question {
        Question::Status(to) => {
            drop(to.send(Status {
                schema: 1,
                node_id: 7,
                ..Status::default()
            }));
        }
        Question::Metrics(to) => {
            let mut metrics = NodeMetrics {
                node_id: 7,
                ..NodeMetrics::default()
            };
            metrics.wal.fsyncs = 12;
            drop(to.send(Box::new(metrics)));
        }
        _ => panic!("another question"),
    };
    let (status, body) = ask("GET /status", answer).await;
    assert_eq!(status, 200);
    let shown: Status = serde_json::from_str(&body).expect("a status");
    assert_eq!(shown.node_id, 7);
    let (status, body) = ask("GET /metrics", answer).await;
    assert_eq!(status, 200);
    assert!(body.contains("\nwalser_wal_fsyncs_total 12\n"), "{body}");
}

#[tokio::test]
async fn a_refused_transfer_is_no_success() {
    let refuse = |question| match question {
        Question::Transfer {
            topic,
            partition,
            to,
            answer,
        } => {
            assert_eq!((topic.as_str(), partition, to), ("orders", 3, 2));
            let failure = Failure::new(ErrorCode::UnknownTopicOrPartition, "no topic orders");
            answer.send(Err(failure)).expect("asked");
        }
        _ => panic!("another question"),
    };
    let (status, body) = ask("POST /v1/partitions/orders/3/leader?to=2", refuse).await;
    assert_eq!(status, 404);
    assert!(body.contains("no topic orders"), "{body}");
    let (status, _) = ask("GET /nothing", drop).await;
    assert_eq!(status, 404);
}
