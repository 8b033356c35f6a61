//! The leader's side of produce requests, for `benches/instructions` to count: what is neither
//! `produce_at_leader` nor `acknowledge_at_leader` is left out there.
//!
//!     instructions RECORD_BYTES REQUESTS_A_TICK TICKS

use bytes::Bytes;
use produce_path::{Brokers, batch, request};

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .map(|arg| arg.parse().expect("a number"))
        .collect();
    let [size, together, ticks] = numbers[..] else {
        panic!("instructions RECORD_BYTES REQUESTS_A_TICK TICKS");
    };
    let mut brokers = Brokers::new();
    let request = request(batch(size));
    for _ in 0..ticks {
        // Each from a read of its own, as off a socket: the batch is copied once.
        let frames: Vec<_> = (0..together)
            .map(|_| Bytes::copy_from_slice(&request))
            .collect();
        brokers.produce_at_leader(&frames);
        brokers.follow();
        let acknowledged = brokers.acknowledge_at_leader();
        assert_eq!(acknowledged, together, "every request is acknowledged");
        brokers.rest();
    }
    let stored = brokers.leader().offsets(brokers.group());
    let stored = stored.expect("it still leads");
    assert_eq!(stored.high_watermark, (together * ticks) as i64);
    println!("{} requests", together * ticks);
}
