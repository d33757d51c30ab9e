//! Clients that are slow: within what the gateway allows, and beyond it.

use std::{sync::Arc, time::Duration};

use edgeward_tests::{H3, QuicClient, Raw, within};
use http::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    site::{IDLE, SLOW, Site},
    tally::Turn,
};

fn begins(answer: &str, status: &str) -> bool {
    answer.starts_with("HTTP/1.1 ") && answer.get(9..12) == Some(status)
}

/// A head byte by byte, whole in time.
pub(crate) async fn head(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    for byte in b"GET /fixed HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" {
        connection.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = connection.to_end().await;
    if begins(&answer, "200") {
        Ok("served")
    } else {
        Err(answer)
    }
}

/// A head that never ends.
pub(crate) async fn endless_head(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    connection.send("GET /fixed HTTP/1.1\r\nhost: a\r\nx-").await;
    let answer = connection.to_end().await;
    if begins(&answer, "408") {
        Ok("408")
    } else {
        Err(format!("to a head without end: {answer:?}"))
    }
}

/// A body in drops, fast enough.
pub(crate) async fn body(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    connection.send("POST /pets/1 HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\nconnection: close\r\nauthorization: ").await;
    connection.send(site.bearer() + "\r\n\r\n").await;
    for _ in 0..20 {
        connection.send([b'b'; 1000]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let answer = connection.to_end().await;
    if begins(&answer, "200") {
        Ok("served")
    } else {
        Err(answer)
    }
}

/// A body that stops.
pub(crate) async fn endless_body(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    connection
        .send("POST /pets/1 HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\nauthorization: ")
        .await;
    connection.send(site.bearer() + "\r\n\r\nbegin").await;
    let answer = connection.to_end().await;
    if begins(&answer, "408") {
        Ok("408")
    } else {
        Err(format!("to a body without end: {answer:?}"))
    }
}

/// A response that is taken in small parts, to its end.
pub(crate) async fn reader(site: Arc<Site>) -> Turn {
    let mut stream = within("connecting", TcpStream::connect(site.plain()))
        .await
        .map_err(|error| error.to_string())?;
    let request = b"GET /bytes/8000000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream
        .write_all(request)
        .await
        .map_err(|error| error.to_string())?;
    let (mut part, mut so_far) = (vec![0; 400_000], 0);
    loop {
        let count = within("a part", stream.read(&mut part))
            .await
            .map_err(|error| format!("after {so_far} bytes: {error}"))?;
        if count == 0 {
            break;
        }
        so_far += count;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if so_far > 8_000_000 {
        Ok("served")
    } else {
        Err(format!("{so_far} bytes came"))
    }
}

/// A response that nobody takes: the gateway ends it.
pub(crate) async fn stalled_reader(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    connection
        .send("GET /bytes/100000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    site.rest(IDLE + Duration::from_secs(8)).await;
    if site.is_over() {
        return Ok("over");
    }
    let count = connection.to_end_bytes().await.len();
    if count < 100_000_000 {
        Ok("cut off")
    } else {
        Err("all came".into())
    }
}

/// The same over HTTP/3.
pub(crate) async fn stalled_reader_h3(site: Arc<Site>) -> Turn {
    let client = QuicClient::new(site.client("h3"));
    let connection = client.connect(site.tls(), "example.test").await;
    let mut h3 = H3::on(connection.map_err(|error| format!("handshake: {error}"))?).await;
    let request = Request::get("https://example.test/bytes/100000000")
        .body(())
        .map_err(|error| error.to_string())?;
    let mut stream = h3.begin(request).await.map_err(|error| error.to_string())?;
    stream.finish().await;
    stream.head().await.map_err(|error| format!("no head: {error}"))?;
    site.rest(IDLE + Duration::from_secs(8)).await;
    if site.is_over() {
        return Ok("over");
    }
    let mut so_far = 0;
    loop {
        match stream.part().await {
            Ok(Some(part)) => so_far += part.len(),
            Ok(None) => return Err(format!("an end after {so_far} bytes")),
            Err(_reset) => return Ok("cut off"),
        }
    }
}

/// A connection that says nothing, and one that says nothing more: both are closed.
pub(crate) async fn idle(site: Arc<Site>) -> Turn {
    let mut silent = Raw::connect(site.plain()).await;
    let mut quiet = Raw::connect(site.plain()).await;
    quiet.send("GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n").await;
    quiet.until("fixed").await;
    let limit = IDLE.max(SLOW) + Duration::from_secs(60);
    for connection in [&mut silent, &mut quiet] {
        let Ok(rest) = tokio::time::timeout(limit, connection.to_end()).await else {
            return Err("an idle connection stays".into());
        };
        if !rest.is_empty() && !begins(&rest, "408") {
            return Err(format!("to nothing: {rest}"));
        }
    }
    Ok("closed by the gateway")
}
