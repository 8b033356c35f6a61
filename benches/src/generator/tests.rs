use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

/// One byte a request, one byte an answer: `b'+'` acknowledges, all else refuses.
struct Bytes;

impl Dialect for Bytes {
    fn ask(&mut self, _id: u64, out: &mut Vec<u8>) -> Asked {
        out.push(b'?');
        Asked { partition: 0 }
    }

    fn answer(&mut self, inbox: &[u8]) -> Result<Option<Answer>, String> {
        let Some(byte) = inbox.first() else {
            return Ok(None);
        };
        let verdict = match byte {
            b'+' => Verdict::Acked { offset: 0 },
            _ => Verdict::Refused("refused".into()),
        };
        Ok(Some(Answer {
            bytes: 1,
            requests: 1,
            verdict,
        }))
    }
}

fn load(inflight: usize, rate: Option<f64>, measured_ms: u64) -> Load {
    Load {
        inflight,
        rate,
        requests: None,
        warm: Duration::ZERO,
        measured: Duration::from_millis(measured_ms),
    }
}

/// Runs a load against a server that is given its one connection.
fn against(load: &Load, serve: impl FnOnce(TcpStream) + Send) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (served, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || serve(served));
        run(load, Instant::now(), vec![(client, Bytes)]).unwrap()
    })
}

fn answer_all(mut socket: TcpStream, mut answer: impl FnMut(u64) -> u8) {
    let (mut bytes, mut number) = ([0; 1024], 0);
    while let Ok(read @ 1..) = socket.read(&mut bytes) {
        let answers: Vec<u8> = (0..read as u64).map(|i| answer(number + i)).collect();
        number += read as u64;
        if socket.write_all(&answers).is_err() {
            return;
        }
    }
}

#[test]
fn every_request_is_acknowledged_or_an_error_and_never_both() {
    let mut asked = 0;
    let outcome = against(&load(7, None, 50), |socket| {
        answer_all(socket, |number| {
            asked = number + 1;
            if number.is_multiple_of(1000) {
                b'!'
            } else {
                b'+'
            }
        });
    });
    assert!(outcome.errors["refused"] >= 1);
    assert_eq!(outcome.acked.len() as u64 + outcome.errors_total(), asked);
}

#[test]
fn closed_loop_never_has_more_than_its_requests_on_the_way() {
    let mut most = 0;
    against(&load(5, None, 50), |mut socket| {
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = socket.read(&mut bytes) {
            most = most.max(read);
            let _ = socket.write_all(&vec![b'+'; read]);
        }
    });
    assert!((1..=5).contains(&most), "{most}");
}

#[test]
fn a_closed_connection_loses_its_requests() {
    let outcome = against(&load(3, None, 1_000), |mut socket| {
        let mut first = [0; 3];
        let _ = socket.read_exact(&mut first);
    });
    assert_eq!(outcome.errors["connection closed"], 3);
    assert_eq!(outcome.acks, 0);
}

#[test]
fn only_errors_end_the_run_before_its_window_does() {
    let outcome = against(&load(1, None, 60_000), |socket| {
        answer_all(socket, |_| b'!')
    });
    assert!(outcome.errors_total() > 1_000);
    assert_eq!(outcome.acks, 0);
}

/// A server that stops for 100 ms: a client that waited for answers before it sent again would see
/// one slow request; the schedule sees all that should have been sent meanwhile.
#[test]
fn open_loop_counts_from_the_intended_instant() {
    let outcome = against(&load(1, Some(1_000.0), 300), |socket| {
        answer_all(socket, |number| {
            if number == 50 {
                thread::sleep(Duration::from_millis(100));
            }
            b'+'
        });
    });
    assert_eq!(outcome.latency_ns.len(), 300);
    let slow = outcome.latency_ns.count_between(50_000_000, 200_000_000);
    assert!(slow >= 40, "only {slow} requests waited 50 ms or more");
    assert_eq!(outcome.lag_ns.len(), 300);
}

#[test]
fn a_load_without_requests_is_refused() {
    let none: Vec<(TcpStream, Bytes)> = Vec::new();
    assert!(run(&load(1, None, 1), Instant::now(), none).is_err());
}
