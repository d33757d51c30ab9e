//! Clients of HTTP/3.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use edgeward_tests::{H3, QuicClient, frame, request_stream, section, within};
use futures_util::future::join_all;
use http::{Method, Request};
use quinn::VarInt;

use crate::{
    site::{Site, status},
    tally::Turn,
};

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("https://example.test{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

async fn connect(site: &Site, client: &QuicClient) -> Result<H3, String> {
    let connection = client.connect(site.tls(), "example.test").await;
    Ok(H3::on(connection.map_err(|error| format!("handshake: {error}"))?).await)
}

/// GET that has to be answered with so many bytes.
async fn bytes(h3: &mut H3, count: usize) -> Result<(), String> {
    let lost = |error: h3::error::StreamError| format!("a stream broke off: {error}");
    let mut stream = h3
        .begin(request(Method::GET, &format!("/bytes/{count}")))
        .await
        .map_err(lost)?;
    stream.finish().await;
    let reply = stream.reply().await.map_err(lost)?;
    status(&reply, 200)?;
    if reply.body.len() != count {
        return Err(format!("{} of {count} bytes", reply.body.len()));
    }
    Ok(())
}

/// Requests, many at once, and an upload.
pub(crate) async fn many_streams(site: Arc<Site>) -> Turn {
    let client = QuicClient::new(site.client("h3"));
    let mut h3 = connect(&site, &client).await?;
    let lost = |error: h3::error::StreamError| format!("a stream broke off: {error}");
    let bearer = site.bearer();
    let mut replies = Vec::new();
    for id in 0..8 {
        let mut get = request(Method::GET, &format!("/pets/{id}"));
        get.headers_mut().insert("authorization", bearer.parse().unwrap());
        let mut stream = h3.begin(get).await.map_err(lost)?;
        stream.finish().await;
        replies.push(stream.reply());
    }
    for reply in join_all(replies).await {
        status(&reply.map_err(lost)?, 200)?;
    }
    let mut upload = h3
        .begin(request(Method::POST, "/echo/upload"))
        .await
        .map_err(lost)?;
    let part = Bytes::from_static(&[b'u'; 10_000]);
    for _ in 0..10 {
        upload.data(part.clone()).await;
    }
    upload.finish().await;
    let reply = upload.reply().await.map_err(lost)?;
    status(&reply, 200)?;
    if reply.body.len() != 100_000 {
        return Err(format!("{} of 100000 bytes came back", reply.body.len()));
    }
    bytes(&mut h3, 200_000).await?;
    Ok("served")
}

/// Requests that are given up in the response, and uploads that end with a reset; the connection serves on.
pub(crate) async fn resets(site: Arc<Site>) -> Turn {
    let client = QuicClient::new(site.client("h3"));
    let mut h3 = connect(&site, &client).await?;
    let head = |method, path| {
        frame(
            1,
            &section(&[
                (":method", method),
                (":scheme", "https"),
                (":path", path),
                (":authority", "example.test"),
            ]),
        )
    };
    let (get, post) = (head("GET", "/bytes/3000000"), head("POST", "/echo/reset"));
    let given_up = VarInt::from_u32(0x10c);
    for _ in 0..4 {
        let (_send, mut receive) = request_stream(&h3.connection, &get, true).await;
        let mut first = [0; 50_000];
        let read = within("the response", receive.read_exact(&mut first)).await;
        read.map_err(|error| format!("a stream broke off: {error}"))?;
        drop(receive.stop(given_up));
        // a head that ends in the middle, and a body
        for sent in [
            post[..post.len() / 2].to_vec(),
            [&post[..], &frame(0, b"some")].concat(),
        ] {
            let (mut send, mut receive) = request_stream(&h3.connection, &sent, false).await;
            drop(send.reset(given_up));
            drop(receive.stop(given_up));
        }
    }
    bytes(&mut h3, 10_000)
        .await
        .map_err(|words| format!("after resets: {words}"))?;
    Ok("reset")
}

/// A client that goes away in the middle of a response, without a word.
pub(crate) async fn gone(site: Arc<Site>) -> Turn {
    let client = QuicClient::with(site.client("h3"), |_| {});
    let mut h3 = connect(&site, &client).await?;
    let lost = |error: h3::error::StreamError| format!("a stream broke off: {error}");
    let mut stream = h3
        .begin(request(Method::GET, "/bytes/3000000"))
        .await
        .map_err(lost)?;
    stream.finish().await;
    stream.head().await.map_err(lost)?;
    stream.part().await.map_err(lost)?;
    // packets go to a socket that nobody reads, from now on
    client.rebind(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)));
    drop(stream);
    drop(h3);
    Ok("aborted")
}

/// A client whose address changes while it has requests.
pub(crate) async fn migrates(site: Arc<Site>) -> Turn {
    let client = QuicClient::new(site.client("h3"));
    let mut h3 = connect(&site, &client).await?;
    for last in 2..6 {
        bytes(&mut h3, 50_000).await?;
        client.rebind(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
        bytes(&mut h3, 50_000)
            .await
            .map_err(|words| format!("after a move: {words}"))?;
    }
    Ok("served")
}

/// A client that comes back and sends its request with its first packet.
pub(crate) async fn early_data(site: Arc<Site>) -> Turn {
    let client = QuicClient::new(site.client("h3"));
    bytes(&mut connect(&site, &client).await?, 1000).await?;
    let connecting = client
        .endpoint
        .connect(site.tls(), "example.test")
        .map_err(|error| error.to_string())?;
    match connecting.into_0rtt() {
        Ok((connection, accepted)) => {
            let mut h3 = H3::on(connection).await;
            let reply = bytes(&mut h3, 1000).await;
            if !within("the handshake", accepted).await {
                // keys of sessions went with a change of the listener: the client would ask again
                return Ok("refused");
            }
            reply?;
            Ok("early")
        }
        Err(connecting) => {
            let connection = within("the handshake", connecting)
                .await
                .map_err(|error| format!("handshake: {error}"))?;
            bytes(&mut H3::on(connection).await, 1000).await?;
            Ok("no session")
        }
    }
}

/// Handshakes that their client gives up at once, or after a moment.
pub(crate) async fn broken_handshakes(site: Arc<Site>) -> Turn {
    for wait in [0, 1, 5, 20] {
        let client = QuicClient::new(site.client("h3"));
        let connecting = client
            .endpoint
            .connect(site.tls(), "example.test")
            .map_err(|error| error.to_string())?;
        // some are done by then, and end with the client
        drop(tokio::time::timeout(Duration::from_millis(wait), connecting).await);
    }
    Ok("broken off")
}
