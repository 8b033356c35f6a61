use super::*;

#[test]
fn frames_arrive_in_order_both_ways() {
    run(async {
        let (one, two) = (Node::start(hello(1)).await, Node::start(hello(2)).await);
        one.peers(&[&two]);
        two.peers(&[&one]);
        one.up(1).await;
        two.up(1).await;
        for number in 1..=1000 {
            one.network.send_frame(NodeId(2), &batch(number)).unwrap();
            two.network.send_frame(NodeId(1), &batch(number)).unwrap();
        }
        for node in [&one, &two] {
            node.batch_count(1000).await;
            assert_eq!(node.batches(), (1..=1000).collect::<Vec<_>>());
            assert_eq!(node.kinds()[0].split(' ').next(), Some("up"));
            assert_eq!(node.kinds().last().unwrap(), "end");
            assert!(node.count("end") < 1000, "reads bring more than one frame");
        }
        let stats = &one.network.stats().peers[&NodeId(2)];
        assert_eq!(
            (stats.sent_frames, stats.received_frames, stats.connects),
            (1000, 1000, 1)
        );
        assert!(stats.up && stats.queued_bytes == 0 && stats.trouble.is_none());
    });
}

#[test]
fn either_side_may_know_the_address_alone() {
    run(async {
        for knows in [1, 2] {
            let (one, two) = (Node::start(hello(1)).await, Node::start(hello(2)).await);
            if knows == 1 {
                one.peers(&[&two])
            } else {
                two.peers(&[&one])
            }
            one.up(1).await;
            two.up(1).await;
            two.network.send_frame(NodeId(1), &batch(7)).unwrap();
            one.batch_count(1).await;
        }
    });
}

#[test]
fn a_peer_that_dies_is_found_again_with_its_new_life() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut two = Node::start(hello(2)).await;
        one.peers(&[&two]);
        for life in 2..6 {
            one.up(life - 1).await;
            let address = two.address.clone();
            two.network.stop();
            drop(two);
            one.wait("down", life - 1, |event| {
                matches!(event, PeerEvent::Down { .. })
            })
            .await;
            assert!(!one.network.is_up(NodeId(2)));
            assert_eq!(
                one.network.send_frame(NodeId(2), &batch(1)),
                Err(SendError::NotConnected)
            );
            let boot = life as u64;
            two = Node::with(Hello { boot, ..hello(2) }, config(), &address).await;
        }
        one.up(5).await;
        let expected: Vec<String> = [1002, 2, 3, 4, 5]
            .iter()
            .flat_map(|boot| [format!("up 2 boot {boot}"), "down 2 closed".to_owned()])
            .take(9)
            .collect();
        assert_eq!(one.kinds(), expected);
    });
}

#[test]
fn two_that_dial_each_other_at_once_end_up_with_one_connection() {
    run(async {
        for round in 0..40 {
            // The higher one does not leave the dialling to the lower one for long.
            let eager = NodeConfig {
                peer_retry_min_ms: 1,
                ..config()
            };
            let one = Node::with(hello(1), config(), "127.0.0.1:0").await;
            let two = Node::with(hello(2), eager, "127.0.0.1:0").await;
            two.peers(&[&one]);
            wait::delay(Duration::from_micros(9_000 + 100 * round)).await;
            one.peers(&[&two]);
            one.up(1).await;
            two.up(1).await;
            // What follows the settling is not lost.
            wait::delay(Duration::from_millis(30)).await;
            let ups = (one.count("up"), two.count("up"));
            assert!(
                ups.0 <= 3 && ups.1 <= 3,
                "{:?} {:?}",
                one.kinds(),
                two.kinds()
            );
            assert_eq!(one.count("up"), one.count("down") + 1, "{:?}", one.kinds());
            assert_eq!(two.count("up"), two.count("down") + 1, "{:?}", two.kinds());
            one.network.send_frame(NodeId(2), &batch(1)).unwrap();
            two.batch_count(1).await;
        }
    });
}

#[test]
fn a_newer_connection_replaces_the_older_and_silences_it() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut old = Raw::greeted(&one, hello(2)).await;
        one.up(1).await;
        let mut new = Raw::greeted(
            &one,
            Hello {
                boot: 5,
                ..hello(2)
            },
        )
        .await;
        one.up(2).await;
        assert_eq!(
            one.kinds(),
            ["up 2 boot 1002", "down 2 replaced", "up 2 boot 5"]
        );
        assert!(old.read().await.is_none());
        let _ = old.stream.write_all(&bytes(&batch(66))).await;
        new.write(&bytes(&batch(67))).await;
        one.batch_count(1).await;
        assert_eq!(one.batches(), [67]);
        assert_eq!(one.network.stats().peers[&NodeId(2)].connects, 2);
    });
}

#[test]
fn an_unconfirmed_greeting_replaces_nothing() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut good = Raw::greeted(&one, hello(2)).await;
        one.up(1).await;
        let mut bad = Raw::connect(&one).await;
        bad.write(&bytes(&Frame::Hello(hello(2)))).await;
        assert!(matches!(bad.read().await, Some(Frame::HelloReply(_))));
        drop(bad);
        one.counted("broken", |stats| stats.errors.get("broken") == Some(&1))
            .await;
        good.write(&bytes(&batch(3))).await;
        one.batch_count(1).await;
        assert_eq!(one.kinds(), ["up 2 boot 1002", "frame 2", "end"]);
    });
}

#[test]
fn removed_peers_lose_their_connection_and_moved_ones_are_found() {
    run(async {
        let (one, two) = (Node::start(hello(1)).await, Node::start(hello(2)).await);
        one.peers(&[&two]);
        one.up(1).await;
        one.peers(&[]);
        one.down(DownReason::Removed).await;
        assert!(one.network.stats().peers.is_empty());
        two.down(DownReason::Closed).await;
        let moved = Node::start(Hello {
            boot: 9,
            ..hello(2)
        })
        .await;
        one.network.set_peers(vec![
            (NodeId(2), two.address.clone()),
            (NodeId(1), "x:1".to_owned()),
        ]);
        two.network.stop();
        one.peers(&[&moved]);
        moved.up(1).await;
        one.wait(
            "moved",
            1,
            |e| matches!(e, PeerEvent::Up { hello, .. } if hello.boot == 9),
        )
        .await;
    });
}

#[test]
fn without_a_cluster_id_only_formation_passes_until_it_is_known() {
    run(async {
        let one = Node::start(Hello {
            cluster: 0,
            ..hello(1)
        })
        .await;
        let two = Node::start(Hello {
            cluster: 0,
            ..hello(2)
        })
        .await;
        one.peers(&[&two]);
        two.peers(&[&one]);
        two.up(1).await;
        one.up(1).await;
        one.network.send_frame(NodeId(2), &batch(1)).unwrap();
        one.network.send_frame(NodeId(2), &formation(9)).unwrap();
        let is_formation = |event: &PeerEvent| matches!(event, PeerEvent::Frame { frame, .. } if *frame == formation(9));
        two.wait("formation", 1, is_formation).await;
        assert_eq!(two.batches().len(), 0);
        assert_eq!(two.network.stats().peers[&NodeId(1)].unformed_frames, 1);

        one.network.set_cluster(ClusterId(77));
        one.network.set_cluster(ClusterId(77));
        one.up(2).await;
        two.up(2).await;
        one.network.send_frame(NodeId(2), &formation(9)).unwrap();
        two.wait("formation", 2, is_formation).await;
        two.network.set_cluster(ClusterId(77));
        two.up(3).await;
        one.up(3).await;
        one.network.send_frame(NodeId(2), &batch(2)).unwrap();
        two.batch_count(1).await;
        assert_eq!(two.batches(), [2]);
    });
}

#[test]
fn a_handler_may_call_anything() {
    run(async {
        let two = Node::start(hello(2)).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let handle: Rc<RefCell<std::rc::Weak<Network>>> = Rc::default();
        let (inner, seen) = (Rc::clone(&handle), Rc::new(Cell::new(0)));
        let count = Rc::clone(&seen);
        let one = Network::start(hello(1), Rc::new(config()), listener, move |event| {
            let network = inner.borrow().upgrade().unwrap();
            bump(&count);
            match event {
                PeerEvent::Up { node, .. } => network.send_frame(node, &batch(1)).unwrap(),
                PeerEvent::Frame { node, .. } => {
                    let huge = vec![Bytes::from(vec![0; 5 << 20])];
                    assert_eq!(network.send(node, huge), Err(SendError::QueueFull));
                    assert!(!network.is_up(node));
                    network.set_peers(Vec::new());
                    assert!(!network.stats().peers[&node].up);
                }
                PeerEvent::Down { .. } => network.stop(),
                PeerEvent::BatchEnd | PeerEvent::Refused { .. } => {}
            }
        });
        *handle.borrow_mut() = Rc::downgrade(&one);
        one.set_peers(vec![(NodeId(2), two.address.clone())]);
        two.batch_count(1).await;
        two.network.send_frame(NodeId(1), &batch(2)).unwrap();
        two.down(DownReason::Closed).await;
        assert_eq!(seen.get(), 4, "up, frame, end, down");
    });
}
