//! The listener on real sockets, with a service that the test answers for.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::Server;
use super::connection::{Peer, Service};
use super::limits::Limits;
use super::output::Slot;

/// Keeps slots until the test fills them; a frame beginning with `!` is echoed at once, `~` wants no answer.
#[derive(Default)]
struct Fake {
    held: RefCell<VecDeque<(Bytes, Slot)>>,
    came: tokio::sync::Notify,
}

impl Service for Fake {
    fn knows(&self, key: i16, version: i16) -> bool {
        key == 0 && version == 9
    }

    fn call(&self, _: &Rc<Peer>, frame: Bytes, slot: Slot) {
        match frame.first() {
            Some(b'!') => slot.fill(framed(&frame)),
            Some(b'~') => slot.no_answer(),
            _ => self.held.borrow_mut().push_back((frame, slot)),
        }
        self.came.notify_one();
    }
}

impl Fake {
    /// Waits until so many requests are held.
    async fn holds(&self, count: usize) {
        while self.held.borrow().len() < count {
            self.came.notified().await;
        }
    }

    /// Answers the held request at this place.
    fn answer(&self, at: usize) {
        let (frame, slot) = self.held.borrow_mut().remove(at).expect("a held request");
        slot.fill(framed(&frame));
    }
}

/// In two pieces, so that answers are gathered.
fn framed(body: &[u8]) -> Vec<Bytes> {
    let length = u32::try_from(body.len()).expect("a small body");
    vec![
        Bytes::copy_from_slice(&length.to_be_bytes()),
        Bytes::copy_from_slice(body),
    ]
}

fn frame(body: &[u8]) -> Vec<u8> {
    framed(body).concat()
}

async fn start(limits: Limits) -> (Rc<Server>, Rc<Fake>, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let fake = Rc::new(Fake::default());
    let server = Server::serve(
        Rc::clone(&fake) as Rc<dyn Service>,
        listener,
        limits,
        std::future::ready(()),
    );
    (server, fake, address)
}

async fn connect(address: std::net::SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

async fn answer(client: &mut TcpStream) -> Vec<u8> {
    let length = client.read_u32().await.expect("an answer's length") as usize;
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.expect("an answer");
    body
}

/// Whether the server has closed the connection, without having sent anything.
async fn is_closed(client: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(client.read(&mut byte).await, Ok(0) | Err(_))
}

/// Runs a test on the one thread, bounded in time.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let bounded = tokio::time::timeout(Duration::from_secs(20), test);
        bounded.await.expect("the test ends in time");
    });
}

#[test]
fn answers_leave_in_the_order_of_requests() {
    run(async {
        let (_server, fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        let all = [
            frame(b"a"),
            frame(b"!now"),
            frame(b"b"),
            frame(b"~none"),
            frame(b"c"),
        ]
        .concat();
        client.write_all(&all).await.expect("sent");
        fake.holds(3).await;
        fake.answer(2);
        fake.answer(1);
        let early = tokio::time::timeout(Duration::from_millis(50), client.read_u32()).await;
        assert!(
            early.is_err(),
            "nothing leaves before the first answer is there"
        );
        fake.answer(0);
        for expected in [&b"a"[..], b"!now", b"b", b"c"] {
            assert_eq!(answer(&mut client).await, expected);
        }
    });
}

#[test]
fn a_request_byte_by_byte_is_a_request() {
    run(async {
        let (_server, _fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        client.set_nodelay(true).expect("an option");
        for byte in frame(b"!slow and steady") {
            client.write_all(&[byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        assert_eq!(answer(&mut client).await, b"!slow and steady");
    });
}

#[test]
fn large_requests_and_answers_pass_whole() {
    run(async {
        let (server, _fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        client.write_all(&frame(b"!hello")).await.expect("sent");
        assert_eq!(answer(&mut client).await, b"!hello");
        let mut body: Vec<u8> = (0..9_000_000_u32).map(|i| (i % 251) as u8).collect();
        body[0] = b'!';
        let (mut read, mut write) = client.split();
        let sent = async { write.write_all(&frame(&body)).await.expect("sent") };
        let received = async {
            let mut back = vec![0; body.len() + 4];
            read.read_exact(&mut back).await.expect("an answer");
            back
        };
        let ((), back) = tokio::join!(sent, received);
        assert!(back[4..] == body[..], "the answer is the request");
        assert_eq!(server.figures().memory_bytes, 0);
        assert_eq!(server.figures().sent_bytes, (body.len() + 4 + 10) as u64);
    });
}

#[test]
fn what_is_no_request_closes_its_connection_only() {
    run(async {
        let (_server, _fake, address) = start(Limits::default()).await;
        let mut good = connect(address).await;
        let giant = 0x7fff_ffff_u32.to_be_bytes();
        let large = [&(1_u32 << 20).to_be_bytes()[..], b"\0\x05\0\x01"].concat();
        let hello = b"\x16\x03\x01\x02\x00\x01\x00";
        for bad in [
            &hello[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\xff\xff\xff",
            &giant[..],
            &large,
        ] {
            let mut client = connect(address).await;
            client.write_all(bad).await.expect("sent");
            assert!(is_closed(&mut client).await, "{bad:?}");
        }
        good.write_all(&frame(b"!still here")).await.expect("sent");
        assert_eq!(answer(&mut good).await, b"!still here");
    });
}

#[test]
fn a_large_first_request_of_a_known_kind_is_taken() {
    run(async {
        let (_server, fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        let mut body = vec![0; 100_000];
        body[3] = 9;
        client.write_all(&frame(&body)).await.expect("sent");
        fake.holds(1).await;
        fake.answer(0);
        assert_eq!(answer(&mut client).await, body);
    });
}

#[test]
fn a_slot_that_is_given_up_closes_the_connection() {
    run(async {
        let (_server, fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        client
            .write_all(&[frame(b"a"), frame(b"!b")].concat())
            .await
            .expect("sent");
        fake.holds(1).await;
        fake.held.borrow_mut().clear();
        assert!(
            is_closed(&mut client).await,
            "b must not be taken for the answer of a"
        );
    });
}

#[test]
fn a_half_closed_connection_gets_its_answers() {
    run(async {
        let (_server, fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        client.write_all(&frame(b"last words")).await.expect("sent");
        client.shutdown().await.expect("half closed");
        fake.holds(1).await;
        fake.answer(0);
        assert_eq!(answer(&mut client).await, b"last words");
        assert!(is_closed(&mut client).await);
    });
}

#[test]
fn connections_above_the_limit_are_turned_away() {
    run(async {
        let limits = Limits {
            connections_max: 2,
            ..Limits::default()
        };
        let (server, _fake, address) = start(limits).await;
        let mut first = connect(address).await;
        let mut second = connect(address).await;
        for client in [&mut first, &mut second] {
            client.write_all(&frame(b"!x")).await.expect("sent");
            assert_eq!(answer(client).await, b"!x");
        }
        let mut third = connect(address).await;
        assert!(is_closed(&mut third).await);
        assert_eq!(server.figures().refused, 1);
        drop(first);
        loop {
            let mut next = connect(address).await;
            if next.write_all(&frame(b"!y")).await.is_ok() && next.read_u32().await.is_ok() {
                break;
            }
        }
    });
}

#[test]
fn full_memory_stops_reading_and_goes_on_after_an_answer() {
    run(async {
        let limits = Limits {
            memory_bytes_max: 1000,
            ..Limits::default()
        };
        let (server, fake, address) = start(limits).await;
        let mut hog = connect(address).await;
        hog.write_all(&frame(&[b'h'; 1000])).await.expect("sent");
        fake.holds(1).await;
        let mut other = connect(address).await;
        other.write_all(&frame(b"!x")).await.expect("sent");
        let early = tokio::time::timeout(Duration::from_millis(50), other.read_u32()).await;
        assert!(early.is_err(), "no request is read while memory is used up");
        assert_eq!(server.figures().memory_bytes, 1004);
        fake.answer(0);
        assert_eq!(answer(&mut other).await, b"!x");
    });
}

#[test]
fn a_client_that_takes_no_answers_is_not_read() {
    run(async {
        let limits = Limits {
            response_bytes_max: 1 << 20,
            ..Limits::default()
        };
        let (server, _fake, address) = start(limits).await;
        let mut client = connect(address).await;
        client.write_all(&frame(b"!small")).await.expect("sent");
        assert_eq!(answer(&mut client).await, b"!small");
        let (mut read, mut write) = client.into_split();
        let request = frame(&[b"!".as_slice(), &[7; 100_000]].concat());
        let writer = tokio::task::spawn_local(async move {
            for _ in 0..400 {
                write.write_all(&request).await.expect("sent");
            }
            write
        });
        let stuck = tokio::time::timeout(Duration::from_millis(300), writer);
        assert!(
            stuck.await.is_err(),
            "40 MB of answers do not fit into sockets and 1 MiB"
        );
        assert!(
            server
                .connections
                .borrow()
                .values()
                .all(|c| c.output.waiting_bytes() < 3 << 20)
        );
        let mut rest = vec![0; 400 * 100_005];
        read.read_exact(&mut rest)
            .await
            .expect("all answers, once they are read");
    });
}

#[test]
fn stalls_and_silence_end_a_connection() {
    run(async {
        let limits = Limits {
            stall_max: Duration::from_millis(100),
            idle_max: Duration::from_millis(100),
            first_frame_max: Duration::from_millis(100),
            ..Limits::default()
        };
        let (_server, fake, address) = start(limits).await;
        let mut silent = connect(address).await;
        let mut stalled = connect(address).await;
        stalled
            .write_all(&frame(b"unfinished")[..7])
            .await
            .expect("sent");
        let mut idle = connect(address).await;
        idle.write_all(&frame(b"!x")).await.expect("sent");
        let mut waiting = connect(address).await;
        waiting.write_all(&frame(b"long poll")).await.expect("sent");
        assert_eq!(answer(&mut idle).await, b"!x");
        for client in [&mut silent, &mut stalled, &mut idle] {
            assert!(is_closed(client).await);
        }
        fake.holds(1).await;
        fake.answer(0);
        assert_eq!(
            answer(&mut waiting).await,
            b"long poll",
            "who waits for us is not idle"
        );
    });
}

#[test]
fn a_stop_answers_what_was_received() {
    run(async {
        let (server, fake, address) = start(Limits::default()).await;
        let mut client = connect(address).await;
        client.write_all(&frame(b"in flight")).await.expect("sent");
        fake.holds(1).await;
        let stop = tokio::task::spawn_local({
            let server = Rc::clone(&server);
            async move { server.shutdown(Duration::from_secs(10)).await }
        });
        tokio::task::yield_now().await;
        assert!(!stop.is_finished());
        fake.answer(0);
        assert_eq!(answer(&mut client).await, b"in flight");
        assert!(is_closed(&mut client).await);
        stop.await.expect("stopped");
        assert!(
            TcpStream::connect(address).await.is_err(),
            "nobody listens any more"
        );
    });
}

/// Answers everything at once with the same bytes, and remembers how much waited to be sent at most.
struct Generous {
    answer: Bytes,
    waiting_max: std::cell::Cell<usize>,
    calls: std::cell::Cell<usize>,
}

impl Service for Generous {
    fn knows(&self, _: i16, _: i16) -> bool {
        true
    }

    fn call(&self, _: &Rc<Peer>, _: Bytes, slot: Slot) {
        let output = slot.output();
        slot.fill(vec![self.answer.clone()]);
        let waiting = output.waiting_bytes().max(self.waiting_max.get());
        self.waiting_max.set(waiting);
        self.calls.set(self.calls.get() + 1);
    }
}

#[test]
fn twenty_five_thousand_requests_at_once_do_not_make_as_many_answers_at_once() {
    const REQUESTS: usize = 25_000;
    const ANSWER: usize = 16 << 10;
    const WAITING: usize = 1 << 20;
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = Rc::new(Generous {
            answer: Bytes::from(vec![7; ANSWER]),
            waiting_max: Default::default(),
            calls: Default::default(),
        });
        let limits = Limits {
            response_bytes_max: WAITING,
            ..Limits::default()
        };
        let ready = std::future::ready(());
        let _server = Server::serve(
            Rc::clone(&service) as Rc<dyn Service>,
            listener,
            limits,
            ready,
        );
        let (mut from, mut to) = connect(address).await.into_split();
        let requests = frame(&[1; 36]).repeat(REQUESTS);
        let sending = tokio::task::spawn_local(async move {
            to.write_all(&requests).await.expect("sent");
            to
        });
        // Nobody takes an answer: what fits into the sockets and the bound is made, and no more.
        let (mut before, mut turns) = (0, 0);
        while before == 0 || turns < 10_000 {
            turns = if before == service.calls.get() {
                turns + 1
            } else {
                0
            };
            before = service.calls.get();
            tokio::task::yield_now().await;
        }
        assert!(before < REQUESTS / 4, "{before} answers were made");
        let mut taken = 0;
        let mut buffer = vec![0; 1 << 20];
        while taken < REQUESTS * ANSWER {
            let bytes = from.read(&mut buffer).await.expect("answers");
            assert!(bytes > 0, "closed after {taken} bytes");
            taken += bytes;
        }
        assert_eq!(service.calls.get(), REQUESTS);
        let most = service.waiting_max.get();
        assert!(most < WAITING + ANSWER, "{most} bytes waited");
        drop(sending.await);
    });
}

#[test]
fn open_requests_of_a_connection_are_bounded_and_all_are_answered() {
    run(async {
        let limits = Limits {
            open_requests_max: 3,
            ..Limits::default()
        };
        let (_server, fake, address) = start(limits).await;
        let mut client = connect(address).await;
        let all: Vec<u8> = (0..10u8).flat_map(|n| frame(&[n])).collect();
        client.write_all(&all).await.expect("sent");
        for n in 0..10 {
            fake.holds(3.min(10 - n)).await;
            assert!(fake.held.borrow().len() <= 3);
            fake.answer(0);
            assert_eq!(answer(&mut client).await, [n as u8]);
        }
    });
}
