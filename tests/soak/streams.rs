//! Streams that stay open: gRPC calls and server-sent events.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeward_tests::{Body, Connection, H3, QuicClient, bytes, empty, within};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::{
    site::{Site, status},
    tally::Turn,
};

/// A body whose messages are sent one by one.
fn messages() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Bytes>| {
        let message = receiver.recv().await?;
        Some((Ok(Frame::data(message)), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

fn call(method: &str) -> http::request::Builder {
    Request::post(format!("/calls/{method}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
}

async fn over_tls(site: &Site, protocol: &str) -> Result<Connection, String> {
    let connection = Connection::tls(site.tls(), "example.test", site.client(protocol)).await;
    connection.map_err(|error| format!("handshake: {error}"))
}

fn lost(error: hyper::Error) -> String {
    format!("the stream broke off: {error:?}")
}

/// Reads so much data.
async fn read(body: &mut Incoming, count: usize) -> Result<(), String> {
    let mut so_far = 0;
    while so_far < count {
        let frame = within("a message", body.frame()).await;
        let frame = frame.ok_or("the stream ended early")?.map_err(lost)?;
        so_far += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(())
}

/// A call that streams both ways, message by message.
pub(crate) async fn calls(site: Arc<Site>) -> Turn {
    let mut connection = over_tls(&site, "h2").await?;
    let (sender, body) = messages();
    let request = call("talk").header("grpc-timeout", "60S");
    let mut answer = connection.open(request, body).await.map_err(lost)?.into_body();
    for size in [5, 5, 1000, 40_000] {
        let sent = sender.send(Bytes::from(vec![b'm'; size])).await;
        sent.map_err(|_closed| "the call takes nothing more")?;
        read(&mut answer, size).await?;
    }
    drop(sender);
    let rest = within("the trailers", answer.collect()).await.map_err(lost)?;
    let code = rest.trailers().and_then(|trailers| trailers.get("grpc-status"));
    if code.is_none_or(|code| code != "0") {
        return Err(format!("trailers {:?}", rest.trailers()));
    }
    // the same connection, and one that nobody answers in time
    let reply = connection
        .try_send(call("silent").header("grpc-timeout", "300m"), bytes("request"))
        .await;
    let reply = reply.map_err(lost)?;
    if reply.header("grpc-status") != "4" {
        return Err(format!("a late call ended with {:?}", reply.headers));
    }
    Ok("called")
}

/// A call that is given up in the middle.
pub(crate) async fn aborted_calls(site: Arc<Site>) -> Turn {
    let mut connection = over_tls(&site, "h2").await?;
    for _ in 0..3 {
        let (sender, body) = messages();
        let mut answer = connection
            .open(call("talk"), body)
            .await
            .map_err(lost)?
            .into_body();
        let sent = sender.send(Bytes::from_static(b"message")).await;
        sent.map_err(|_closed| "the call takes nothing")?;
        read(&mut answer, 7).await?;
    }
    Ok("aborted")
}

/// Events of a stream: all of them, or a few if the client goes.
async fn events(response: Response<Incoming>, all: bool) -> Result<(), String> {
    if response.status() != 200 {
        return Err(format!("{} to events", response.status()));
    }
    let mut body = response.into_body();
    read(&mut body, "data: 0\n\n".len()).await?;
    if all {
        let rest = within("all events", body.collect())
            .await
            .map_err(lost)?
            .to_bytes();
        if rest.len() != 19 * "data: 0\n\n".len() + 10 {
            return Err(format!("{} bytes of events", rest.len()));
        }
    }
    Ok(())
}

/// Clients of event streams; some go away early.
pub(crate) async fn event_streams(site: Arc<Site>) -> Turn {
    for protocol in ["http/1.1", "h2"] {
        for all in [true, false] {
            let mut connection = over_tls(&site, protocol).await?;
            let request = Request::get("/events/20").header("accept", "text/event-stream");
            events(connection.open(request, empty()).await.map_err(lost)?, all).await?;
        }
    }
    let client = QuicClient::new(site.client("h3"));
    let connection = client.connect(site.tls(), "example.test").await;
    let mut h3 = H3::on(connection.map_err(|error| format!("handshake: {error}"))?).await;
    let reply = within("all events", h3.get("/events/20")).await;
    status(&reply, 200)?;
    if reply.text().matches("data: ").count() != 20 {
        return Err(format!("events over HTTP/3: {}", reply.text()));
    }
    // longer than a client's patience
    let mut connection = over_tls(&site, "h2").await?;
    let request = Request::get("/events/1000");
    let response = connection.open(request, empty()).await.map_err(lost)?;
    drop(tokio::time::timeout(Duration::from_secs(2), events(response, true)).await);
    Ok("followed")
}
