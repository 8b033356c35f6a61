use super::*;

const WAIT: Duration = Duration::from_secs(5);

async fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(hello(1)).await, Node::start(hello(2)).await);
    one.peers(&[&two]);
    one.up(1).await;
    two.up(1).await;
    (one, two)
}

impl Node {
    /// The requests that came so far, as (id, kind, body).
    async fn requests(&self, count: usize) -> Vec<(u64, u8, Bytes)> {
        self.wait("requests", count, |event| {
            matches!(
                event,
                PeerEvent::Frame {
                    frame: Frame::Request(_),
                    ..
                }
            )
        })
        .await;
        let request = |event: &PeerEvent| match event {
            PeerEvent::Frame {
                frame: Frame::Request(r),
                ..
            } => Some((r.id, r.kind, r.body.clone())),
            _ => None,
        };
        self.events.borrow().iter().filter_map(request).collect()
    }
}

#[test]
fn answers_find_their_questions_in_any_order() {
    run(async {
        let (one, two) = pair().await;
        let asked: Vec<_> = (0..10_u8)
            .map(|kind| {
                one.network
                    .request(NodeId(2), kind, Bytes::from(vec![kind]), WAIT)
            })
            .collect();
        for (id, kind, body) in two.requests(10).await.into_iter().rev() {
            assert_eq!(body, [kind][..]);
            let status = if kind == 7 { 41 } else { 0 };
            two.network
                .respond(NodeId(1), id, status, Bytes::from(vec![kind, kind]))
                .unwrap();
        }
        for (kind, answer) in (0..).zip(asked) {
            let body = Bytes::from(vec![kind, kind]);
            match kind {
                7 => assert_eq!(
                    answer.await,
                    Err(RequestError::Answered { status: 41, body })
                ),
                _ => assert_eq!(answer.await, Ok(body)),
            }
        }
        assert_eq!(one.network.requests.len(), 0);
    });
}

#[test]
fn no_answer_in_time_and_given_up_questions_leave_nothing_behind() {
    run(async {
        let (one, two) = pair().await;
        let short = Duration::from_millis(20);
        let late = one.network.request(NodeId(2), 1, Bytes::new(), short).await;
        assert_eq!(late, Err(RequestError::TimedOut));
        drop(one.network.request(NodeId(2), 2, Bytes::new(), WAIT));
        assert_eq!(one.network.requests.len(), 0);
        for (id, _, _) in two.requests(2).await {
            two.network.respond(NodeId(1), id, 0, Bytes::new()).unwrap();
        }
        two.network
            .respond(NodeId(1), 999, 0, Bytes::new())
            .unwrap();
        let good = one.network.request(NodeId(2), 3, Bytes::new(), WAIT);
        let (id, _, _) = two.requests(3).await[2];
        two.network
            .respond(NodeId(1), id, 0, Bytes::from_static(b"good"))
            .unwrap();
        assert_eq!(good.await, Ok(Bytes::from_static(b"good")));
        assert_eq!(one.count("frame"), 0, "answers are no events");
    });
}

#[test]
fn a_broken_connection_ends_the_waiting() {
    run(async {
        let (one, two) = pair().await;
        let asked = one.network.request(NodeId(2), 1, Bytes::new(), WAIT);
        two.requests(1).await;
        two.network.stop();
        assert_eq!(asked.await, Err(RequestError::Disconnected));
        let unsent = one.network.request(NodeId(2), 1, Bytes::new(), WAIT).await;
        assert_eq!(unsent, Err(RequestError::NotSent(SendError::NotConnected)));
        let nobody = one.network.request(NodeId(9), 1, Bytes::new(), WAIT).await;
        assert_eq!(nobody, Err(RequestError::NotSent(SendError::NotConnected)));
        assert_eq!(one.network.requests.len(), 0);
    });
}

#[test]
fn a_question_that_fits_nowhere_is_not_sent() {
    run(async {
        let (one, _two) = pair().await;
        let body = Bytes::from(vec![0; 5 << 20]);
        let answer = one.network.request(NodeId(2), 1, body, WAIT).await;
        assert_eq!(answer, Err(RequestError::NotSent(SendError::TooLarge)));
        assert!(one.network.is_up(NodeId(2)));
        assert_eq!(one.network.requests.len(), 0);
    });
}
