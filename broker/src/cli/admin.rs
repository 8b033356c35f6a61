//! A little HTTP, for what Kafka's protocol has no word for.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::exit::{Exit, Failure, Result};
use crate::http::Status;

/// Status and body of a request to an admin listener (`HOST:PORT`). Everything within `wait`.
pub async fn request(
    method: &str,
    address: &str,
    path: &str,
    wait: Duration,
) -> Result<(u16, Value)> {
    send(method, address, path, None, wait).await
}

/// The same with a JSON body.
pub async fn post(address: &str, path: &str, body: &Value, wait: Duration) -> Result<(u16, Value)> {
    send("POST", address, path, Some(body), wait).await
}

/// What a broker says of itself.
pub async fn status(address: &str, wait: Duration) -> Result<Status> {
    let (status, body) = request("GET", address, "/status", wait).await?;
    if status != 200 {
        let why = format!("{address} answered {status} for its status");
        return Err(Failure::with(Exit::Unreachable, why));
    }
    serde_json::from_value(body)
        .map_err(|why| Failure::new(format!("{address} has another /status: {why}")))
}

async fn send(
    method: &str,
    address: &str,
    path: &str,
    body: Option<&Value>,
    wait: Duration,
) -> Result<(u16, Value)> {
    let unreachable = |why: String| {
        Failure::with(Exit::Unreachable, format!("cannot reach {address}: {why}"))
            .next("is --admin the broker's admin listener?")
    };
    let answer = match tokio::time::timeout(wait, exchange(method, address, path, body)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("no answer in time".to_owned())),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else {
        return Err(unreachable("the answer is no HTTP".to_owned()));
    };
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

async fn exchange(
    method: &str,
    address: &str,
    path: &str,
    body: Option<&Value>,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let body = body.map_or_else(String::new, Value::to_string);
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
