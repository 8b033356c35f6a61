use super::*;

#[test]
fn one_byte_at_a_time_is_slow_and_right() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut raw = Raw::connect(&one).await;
        for byte in bytes(&Frame::Hello(hello(2))) {
            raw.write(&[byte]).await;
            tokio::task::yield_now().await;
        }
        raw.read().await.unwrap();
        let mut all = bytes(&batch(0));
        for number in 1..20 {
            all.extend(bytes(&batch(number)));
        }
        for byte in all {
            raw.write(&[byte]).await;
            tokio::task::yield_now().await;
        }
        one.batch_count(19).await;
        assert_eq!(one.batches(), (1..20).collect::<Vec<_>>());
        assert_eq!(one.count("down"), 0);
    });
}

#[test]
fn what_follows_the_greeting_at_once_is_not_lost() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut raw = Raw::connect(&one).await;
        let frames = [Frame::Hello(hello(2)), batch(0), batch(5), batch(6)];
        raw.write(&frames.iter().flat_map(bytes).collect::<Vec<u8>>())
            .await;
        one.batch_count(2).await;
        assert_eq!(
            one.kinds()[..4],
            ["up 2 boot 1002", "frame 2", "frame 2", "end"]
        );
    });
}

#[test]
fn a_peer_that_does_not_read_costs_its_queue_and_no_more() {
    run(async {
        let small = NodeConfig {
            peer_queue_max_bytes: 1 << 20,
            ..config()
        };
        let one = Node::with(hello(1), small, "127.0.0.1:0").await;
        let mut raw = Raw::greeted(&one, hello(2)).await;
        one.up(1).await;
        let mut sent = 0;
        let error = loop {
            match one.network.send_frame(NodeId(2), &formation(100_000)) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(one.network.stats().peers[&NodeId(2)].queued_bytes <= 1 << 20);
            assert!(sent < 10_000, "no socket holds a gigabyte");
        };
        assert_eq!(error, SendError::QueueFull);
        assert!(!one.network.is_up(NodeId(2)), "at once");
        assert_eq!(one.count("down"), 0, "but told by the task");
        one.down(DownReason::QueueFull).await;
        let mut got = 0;
        while let Some(frame) = raw.read_or_end().await {
            assert_eq!(frame, formation(100_000));
            got += 1;
        }
        assert!(got < sent);
    });
}

impl Raw {
    /// The next whole frame; none when the stream ends or breaks, in the middle of a frame or not.
    async fn read_or_end(&mut self) -> Option<Frame> {
        timeout(LONG, self.read())
            .await
            .expect("neither a frame nor an end")
    }
}

#[test]
fn a_peer_that_hangs_is_dropped() {
    run(async {
        let hasty = NodeConfig {
            peer_write_stall_max_ms: 500,
            peer_queue_max_bytes: 128 << 20,
            ..config()
        };
        let one = Node::with(hello(1), hasty, "127.0.0.1:0").await;
        let mut raw = Raw::greeted(&one, hello(2)).await;
        one.up(1).await;
        // More than is read below and the kernel may keep on its way (up to 36 MiB).
        for _ in 0..20 {
            one.network
                .send_frame(NodeId(2), &formation(4_000_000))
                .unwrap();
        }
        // Slow is not hung: some progress every 100 ms, for longer than the limit.
        for _ in 0..8 {
            wait::delay(Duration::from_millis(100)).await;
            let mut some = vec![0; 3 << 20];
            raw.stream.read_exact(&mut some).await.unwrap();
            assert_eq!(one.count("down"), 0);
        }
        one.down(DownReason::Stalled).await;
    });
}

#[test]
fn a_large_frame_passes_and_a_larger_one_does_not() {
    run(async {
        let (one, two) = (Node::start(hello(1)).await, Node::start(hello(2)).await);
        one.peers(&[&two]);
        one.up(1).await;
        two.up(1).await;
        let large = formation(3 << 20);
        one.network.send_frame(NodeId(2), &large).unwrap();
        two.wait(
            "large",
            1,
            |e| matches!(e, PeerEvent::Frame { frame, .. } if *frame == large),
        )
        .await;
        let larger = formation(4 << 20);
        assert_eq!(
            one.network.send_frame(NodeId(2), &larger),
            Err(SendError::TooLarge)
        );
        assert!(one.network.is_up(NodeId(2)));
    });
}

#[test]
fn bad_frames_end_the_connection_after_the_good_ones() {
    run(async {
        let mut unknown = bytes(&batch(9));
        unknown[5] = 200;
        let mut cut = bytes(&batch(9));
        cut.pop();
        cut[3] -= 1;
        let late = bytes(&Frame::Hello(hello(2)));
        let bad: [(&str, &[u8]); 5] = [
            ("unknown kind", &unknown),
            ("short", &cut),
            ("greeting", &late),
            ("huge", b"\x7f\xff\xff\xff"),
            ("negative", b"\x80\x00\x00\x00"),
        ];
        for (name, garbage) in bad {
            let one = Node::start(hello(1)).await;
            let mut raw = Raw::greeted(&one, hello(2)).await;
            one.up(1).await;
            raw.write(&[&bytes(&batch(8))[..], garbage, &bytes(&batch(10))[..]].concat())
                .await;
            one.wait(name, 1, |event| matches!(event, PeerEvent::Down { .. }))
                .await;
            assert_eq!(one.batches(), [8], "{name}");
            assert_eq!(
                one.kinds(),
                ["up 2 boot 1002", "frame 2", "end", "down 2 garbage"],
                "{name}"
            );
            assert!(raw.read().await.is_none());
        }
    });
}

#[test]
fn a_frame_that_comes_in_parts_is_whole() {
    run(async {
        let one = Node::start(hello(1)).await;
        let mut raw = Raw::greeted(&one, hello(2)).await;
        one.up(1).await;
        let mut whole = bytes(&formation(3 << 20));
        let rest = whole.split_off(1000);
        raw.write(&whole).await;
        one.counted("part", |stats| {
            stats.peers[&NodeId(2)].received_bytes == 1000
        })
        .await;
        raw.write(&rest).await;
        one.wait("whole", 1, |event| matches!(event, PeerEvent::Frame { .. }))
            .await;
    });
}
