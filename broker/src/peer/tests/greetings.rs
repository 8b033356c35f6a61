use protocol::peer::{Reason, VersionRange};

use super::*;

/// Node 2 with this greeting and node 1: both must say why not, once, however often they try.
async fn refused(two: Hello, kind: &'static str, reason: Reason) {
    let one = Node::start(hello(1)).await;
    let two = Node::start(two).await;
    two.peers(&[&one]);
    one.refused(kind).await;
    two.refused("by_peer").await;
    two.counted("tries", |stats| stats.errors.get("by_peer") >= Some(&3))
        .await;
    assert_eq!(one.kinds(), [format!("refused {kind}")]);
    assert_eq!(two.kinds(), ["refused by_peer"]);
    let events = two.events.borrow();
    let PeerEvent::Refused {
        refusal: Refusal::ByPeer { reason: told, text },
        node,
        ..
    } = &events[0]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*told, *node), (reason, Some(NodeId(1))));
    assert!(text.contains("node 1"), "names who speaks: {text}");
    let trouble = two.network.stats().peers[&NodeId(1)].trouble.clone();
    assert!(trouble.unwrap().contains(text.as_str()));
}

#[test]
fn another_cluster_is_refused() {
    run(refused(
        Hello {
            cluster: 78,
            ..hello(2)
        },
        "cluster",
        Reason::Cluster,
    ));
}

#[test]
fn another_fingerprint_is_refused() {
    run(refused(
        Hello {
            fingerprint: 6,
            ..hello(2)
        },
        "fingerprint",
        Reason::Fingerprint,
    ));
}

#[test]
fn no_common_version_is_refused() {
    let versions = VersionRange {
        min: VERSIONS.max + 1,
        max: VERSIONS.max + 2,
    };
    run(refused(
        Hello {
            versions,
            ..hello(2)
        },
        "version",
        Reason::Version,
    ));
}

#[test]
fn greetings_are_judged_alike_from_both_sides() {
    let ours = hello(1);
    let kind = |theirs: Hello| handshake::check(&ours, &theirs).map_err(|refusal| refusal.kind());
    assert_eq!(kind(hello(2)), Ok(VERSIONS.max));
    assert_eq!(
        kind(Hello {
            cluster: 0,
            ..hello(2)
        }),
        Ok(VERSIONS.max)
    );
    let wider = VersionRange {
        min: 0,
        max: VERSIONS.max + 3,
    };
    assert_eq!(
        kind(Hello {
            versions: wider,
            ..hello(2)
        }),
        Ok(VERSIONS.max)
    );
    assert_eq!(
        kind(Hello {
            cluster: 1,
            ..hello(2)
        }),
        Err("cluster")
    );
    assert_eq!(
        kind(Hello {
            fingerprint: 1,
            ..hello(2)
        }),
        Err("fingerprint")
    );
    assert_eq!(kind(hello(1)), Err("itself"));
    assert_eq!(
        kind(Hello {
            boot: 1,
            ..hello(1)
        }),
        Err("node_id_taken")
    );
    assert_eq!(
        kind(Hello {
            directory: DirectoryId(1),
            ..hello(1)
        }),
        Err("node_id_taken")
    );
    assert_eq!(
        kind(Hello {
            node: NodeId(0),
            ..hello(2)
        }),
        Err("stranger")
    );
    assert_eq!(
        kind(Hello {
            node: NodeId(-5),
            ..hello(2)
        }),
        Err("stranger")
    );
}

#[test]
fn a_second_node_with_the_same_id_is_refused() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut twin = Raw::connect(&one).await;
        twin.write(&bytes(&Frame::Hello(Hello {
            directory: DirectoryId(3),
            ..hello(1)
        })))
        .await;
        let Some(Frame::Refused(refused)) = twin.read().await else {
            panic!()
        };
        assert_eq!(refused.reason, Reason::Identity);
        assert!(
            refused.text.contains("give every node its own node.id"),
            "{}",
            refused.text
        );
        assert!(twin.read().await.is_none());
        one.refused("node_id_taken").await;
    });
}

#[test]
fn an_address_that_leads_back_or_to_another_node_is_refused_and_harms_nobody() {
    run(async {
        let (one, three) = (Node::start(hello(1)).await, Node::start(hello(3)).await);
        let wrong = vec![
            (NodeId(2), three.address.clone()),
            (NodeId(3), three.address.clone()),
            (NodeId(4), one.address.clone()),
        ];
        one.network.set_peers(wrong);
        one.refused("wrong_node").await;
        one.refused("itself").await;
        one.up(1).await;
        one.counted("tries", |stats| stats.errors.get("wrong_node") >= Some(&4))
            .await;
        one.network.send_frame(NodeId(3), &batch(1)).unwrap();
        three.batch_count(1).await;
        assert_eq!(
            (one.count("down"), three.count("down")),
            (0, 0),
            "{:?}",
            three.kinds()
        );
    });
}

#[test]
fn strangers_are_closed_with_one_word() {
    run(async {
        let mut unknown_kind = bytes(&Frame::Hello(hello(2)));
        unknown_kind[5] = 99;
        let mut bad_magic = bytes(&Frame::Hello(hello(2)));
        bad_magic[6] = b'X';
        let mut torn = bytes(&Frame::Hello(hello(2)));
        torn.truncate(30);
        torn[3] = 26;
        let strangers: [(&str, &[u8]); 10] = [
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            ("TLS", b"\x16\x03\x01"),
            ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("frame length", b"\xff\xff\xff\xff"),
            ("frame length", b"\x7f\xff\xff\xff"),
            ("frame length", b"SSH-2.0-OpenSSH_9.6\r\n"),
            ("does not begin with a greeting", b"\x00\x00\x00\x20abcdef"),
            ("does not begin with a greeting", &unknown_kind),
            ("does not begin with a greeting", &bad_magic),
            ("unreadable greeting", &torn),
        ];
        for (words, garbage) in strangers {
            let one = Node::start(hello(1)).await;
            for _ in 0..3 {
                let mut raw = Raw::connect(&one).await;
                raw.write(garbage).await;
                assert!(raw.read().await.is_none(), "{words}: closed, not answered");
            }
            one.counted("strangers", |stats| {
                stats.errors.get("stranger") == Some(&3)
            })
            .await;
            let events = one.events.borrow();
            assert_eq!(events.len(), 1, "told once");
            let PeerEvent::Refused {
                refusal,
                node: None,
                ..
            } = &events[0]
            else {
                panic!()
            };
            assert!(refusal.to_string().contains(words), "{words}: {refusal}");
        }
    });
}

#[test]
fn who_greets_wrongly_or_answers_garbage_is_refused() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut raw = Raw::connect(&one).await;
        raw.write(&bytes(&Frame::Hello(hello(2)))).await;
        raw.read().await.unwrap();
        raw.write(&bytes(&Frame::Hello(hello(2)))).await;
        one.refused("stranger").await;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        one.network.set_peers(vec![(NodeId(3), address)]);
        for answer in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &bytes(&Frame::Hello(hello(3))),
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(answer).await;
            let mut end = Vec::new();
            let _ = stream.read_to_end(&mut end).await;
        }
        one.counted("strangers", |stats| {
            stats.errors.get("stranger") >= Some(&3)
        })
        .await;
        assert_eq!(one.count("up"), 0);
    });
}

#[test]
fn the_silent_are_closed() {
    run(async {
        let hasty = NodeConfig {
            peer_handshake_timeout_ms: 50,
            ..config()
        };
        let one = Node::with(hello(1), hasty, "127.0.0.1:0").await;
        let mut mute = Raw::connect(&one).await;
        assert!(mute.read().await.is_none());
        let mut unconfirmed = Raw::connect(&one).await;
        unconfirmed.write(&bytes(&Frame::Hello(hello(2)))).await;
        unconfirmed.read().await.unwrap();
        assert!(unconfirmed.read().await.is_none());
        one.counted("silent", |stats| stats.errors.get("silent") == Some(&2))
            .await;
        assert_eq!(one.count("up"), 0);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        one.network.set_peers(vec![(
            NodeId(3),
            listener.local_addr().unwrap().to_string(),
        )]);
        one.counted("silent", |stats| stats.errors.get("silent") >= Some(&3))
            .await;
    });
}

#[test]
fn a_crowd_of_strangers_is_bounded() {
    run(async {
        let few = NodeConfig {
            peer_handshakes_max: 2,
            ..config()
        };
        let one = Node::with(hello(1), few, "127.0.0.1:0").await;
        let first = Raw::connect(&one).await;
        let _second = Raw::connect(&one).await;
        tokio::task::yield_now().await;
        let mut third = Raw::connect(&one).await;
        assert!(third.read().await.is_none());
        one.counted("crowded", |stats| stats.errors.get("crowded") == Some(&1))
            .await;
        drop(first);
        one.counted("room", |stats| stats.errors.get("broken") == Some(&1))
            .await;
        Raw::greeted(&one, hello(2)).await;
        one.up(1).await;
    });
}

#[test]
fn an_unreachable_peer_is_tried_again_until_it_is_there() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let one = Node::start(hello(1)).await;
        one.network.set_peers(vec![(NodeId(2), address.clone())]);
        one.counted("tries", |stats| stats.errors.get("broken") >= Some(&3))
            .await;
        let trouble = one.network.stats().peers[&NodeId(2)].trouble.clone();
        assert_eq!(trouble.as_deref(), Some("connection refused"));
        assert!(one.kinds().is_empty(), "no event: {:?}", one.kinds());
        let _two = Node::with(hello(2), config(), &address).await;
        one.up(1).await;
    });
}
