//! The parts without sockets.

use std::io::IoSlice;

use super::backoff::Backoff;
use super::queue::{PIECES_MAX, WriteQueue};
use super::*;

fn front(queue: &WriteQueue) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); PIECES_MAX];
    let count = queue.front(&mut slices);
    slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}

#[test]
fn a_queue_gives_back_what_it_was_given_however_it_is_cut() {
    for step in 1..30 {
        let mut queue = WriteQueue::default();
        let pieces: Vec<Bytes> = (0..200_usize)
            .map(|n| Bytes::from(vec![n as u8; n % 7]))
            .collect();
        let expected = pieces.concat();
        assert!(queue.push(pieces[..100].to_vec(), usize::MAX));
        assert!(queue.push(pieces[100..].to_vec(), usize::MAX));
        let mut taken: Vec<u8> = Vec::new();
        while !queue.is_empty() {
            let front = front(&queue);
            let part = front.len().min(step);
            taken.extend(&front[..part]);
            queue.advance(part);
        }
        assert_eq!(taken, expected);
        assert_eq!(queue.cost(), 0);
    }
}

#[test]
fn a_queue_takes_a_chain_whole_or_not_at_all() {
    let mut queue = WriteQueue::default();
    let chain = || vec![Bytes::from_static(b"abc"), Bytes::from_static(b"de")];
    let cost = 5 + 2 * size_of::<Bytes>();
    assert!(!queue.push(chain(), cost - 1));
    assert!(queue.is_empty() && queue.cost() == 0);
    assert!(queue.push(chain(), cost));
    assert!(!queue.push(vec![Bytes::from_static(b"f")], cost));
    assert_eq!((front(&queue), queue.cost()), (b"abcde".to_vec(), cost));
    queue.clear();
    assert!(queue.is_empty() && queue.cost() == 0);
}

#[test]
fn waits_double_with_jitter_up_to_the_maximum() {
    let mut backoff = Backoff::new(20, 1000, 7);
    let mut other = Backoff::new(20, 1000, 8);
    let mut differs = false;
    for whole in [20, 40, 80, 160, 320, 640, 1000, 1000, 1000] {
        let (wait, other) = (backoff.wait(), other.wait());
        let range = Duration::from_millis(whole / 2)..=Duration::from_millis(whole);
        assert!(
            range.contains(&wait) && range.contains(&other),
            "{wait:?} of {whole}"
        );
        differs |= wait != other;
    }
    assert!(differs, "no two nodes dial in step");
    backoff.reset();
    assert!(backoff.wait() <= Duration::from_millis(20));
}

#[test]
fn memory_follows_what_came_and_not_what_was_claimed() {
    let read = 256 << 10;
    let mut buffer = BytesMut::new();
    // A frame that claims 1 GiB, of which 16 MiB come in packets of 1,400 bytes.
    buffer.extend_from_slice(&(1_u32 << 30).to_be_bytes());
    while buffer.len() < 16 << 20 {
        super::link::make_room(&mut buffer, read);
        assert!(
            buffer.capacity() <= 3 * buffer.len() + 2 * read,
            "{}",
            buffer.capacity()
        );
        assert!(
            buffer.capacity() - buffer.len() >= read / 4,
            "room for a read"
        );
        buffer.extend_from_slice(&[0; 1400]);
    }
}
