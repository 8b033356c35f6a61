//! A minimal Kafka client written by hand, byte by byte, so that it shares no code (and no
//! misunderstanding) with the broker's own codec. It speaks the older, plain encodings wherever there are any.
//!
//! [`codec`] reads and writes primitive types, [`batch`] builds record batches (also wrong ones),
//! [`requests`] has one function per request that the tests need.

pub mod batch;
pub mod codec;
pub mod groups;
pub mod requests;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use codec::Writer;

/// One TCP connection to one broker; requests are answered one after the other.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

/// Answers above this are taken for a broken broker.
const RESPONSE_MAX: usize = 256 << 20;

impl Connection {
    /// Connects, and bounds every later read and write by `timeout`.
    pub fn open(address: &str, timeout: Duration) -> io::Result<Connection> {
        let resolved = address.to_socket_addrs()?.next();
        let resolved = resolved.ok_or_else(|| io::Error::other("no such address"))?;
        let stream = TcpStream::connect_timeout(&resolved, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            correlation: 0,
        })
    }

    /// Sends a request with a header of version 1 (plain strings) and waits for the body of its
    /// answer.
    pub fn request(&mut self, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        let frame = self.frame(api, version, body);
        self.send(&frame)?;
        self.receive()
    }

    /// A whole frame for the next correlation id: length, header, body.
    pub fn frame(&mut self, api: i16, version: i16, body: &[u8]) -> Vec<u8> {
        self.correlation += 1;
        let mut header = Writer::default();
        header
            .i16(api)
            .i16(version)
            .i32(self.correlation)
            .string(Some("walser-tests"));
        let length = i32::try_from(header.0.len() + body.len()).expect("test frames are small");
        [&length.to_be_bytes()[..], &header.0, body].concat()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one answer, checks its correlation id, and returns what follows.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let (correlation, body) = self.receive_any()?;
        if correlation != self.correlation {
            let expected = self.correlation;
            return Err(io::Error::other(format!(
                "answer {correlation} to {expected}"
            )));
        }
        Ok(body)
    }

    /// Reads one answer: its correlation id and what follows.
    pub fn receive_any(&mut self) -> io::Result<(i32, Vec<u8>)> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if !(4..=RESPONSE_MAX).contains(&length) {
            return Err(io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        let body = answer.split_off(4);
        Ok((
            i32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]),
            body,
        ))
    }

    /// Reads until the broker closes: true if it did within the timeout, and how many bytes came
    /// before.
    pub fn is_closed_by_peer(&mut self) -> (bool, usize) {
        let mut rest = [0; 4096];
        let mut read = 0;
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return (true, read),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return (true, read);
                }
                Err(_) => return (false, read),
            }
        }
    }

    /// Sends nothing more; the other direction stays open.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }
}
