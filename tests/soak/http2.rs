//! Clients of HTTP/2.

use std::{
    error::Error as _,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use edgeward_tests::{Connection, empty, frames, within};
use futures_util::future::join_all;
use h2::{Reason, client::SendRequest};
use http::Request;
use http_body_util::BodyExt as _;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    http1,
    site::{Site, status},
    tally::Turn,
};

/// A connection by TLS and ALPN.
async fn connect(site: &Site) -> Result<Connection, String> {
    let connection = Connection::tls(site.tls(), "example.test", site.client("h2")).await;
    let connection = connection.map_err(|error| format!("handshake: {error}"))?;
    if connection.is_h2() {
        Ok(connection)
    } else {
        Err("ALPN did not come to h2".into())
    }
}

/// Requests through all plugins, many at once.
pub(crate) async fn many_streams(site: Arc<Site>) -> Turn {
    let mut connection = connect(&site).await?;
    http1::mixed(&site, &mut connection).await?;
    let streams = (0..16).map(|_| {
        let mut connection = connection.share();
        async move { connection.try_send(Request::get("/bytes/20000"), empty()).await }
    });
    for reply in join_all(streams).await {
        let reply = reply.map_err(|error| format!("a stream broke off: {error:?}"))?;
        status(&reply, 200)?;
        if reply.body.len() != 20_000 {
            return Err(format!("{} of 20000 bytes", reply.body.len()));
        }
    }
    Ok("served")
}

/// Responses that are given up in the middle; the connection serves on.
pub(crate) async fn resets(site: Arc<Site>) -> Turn {
    let mut connection = connect(&site).await?;
    for _ in 0..8 {
        let response = connection.open(Request::get("/bytes/2000000"), empty()).await;
        let mut response = response.map_err(|error| format!("a stream broke off: {error:?}"))?;
        let first = within("the first data", response.body_mut().frame()).await;
        if first.is_none_or(|frame| frame.is_err()) {
            return Err("no data".into());
        }
    }
    let reply = connection.try_send(Request::get("/fixed"), empty()).await;
    status(&reply.map_err(|error| format!("after resets: {error:?}"))?, 200)?;
    Ok("reset")
}

/// A session of streams, for what no client does by itself.
async fn session(site: &Site) -> Result<SendRequest<Bytes>, String> {
    let stream = within("connecting", TcpStream::connect(site.tls()))
        .await
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from("example.test").map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::clone(site.client("h2")));
    let stream = within("the handshake", connector.connect(name, stream)).await;
    let stream = stream.map_err(|error| format!("handshake: {error}"))?;
    let (sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(|error| error.to_string())?;
    // its end shows in the sender
    tokio::spawn(connection);
    Ok(sender)
}

/// Uploads that are reset in the middle; the connection serves on.
pub(crate) async fn aborted_uploads(site: Arc<Site>) -> Turn {
    let mut sender = session(&site).await?;
    let text = |error: h2::Error| error.to_string();
    for _ in 0..4 {
        sender = within("leave for a stream", sender.ready()).await.map_err(text)?;
        let post = Request::post("https://example.test/echo/reset")
            .body(())
            .map_err(|error| error.to_string())?;
        let (answer, mut body) = sender.send_request(post, false).map_err(text)?;
        body.send_data(Bytes::from_static(&[b'r'; 16_000]), false)
            .map_err(text)?;
        let answer = within("the answer", answer).await.map_err(text)?;
        if answer.status() != 200 {
            return Err(format!("{} to an upload", answer.status()));
        }
        body.send_reset(Reason::CANCEL);
    }
    sender = within("leave for a stream", sender.ready()).await.map_err(text)?;
    let get = Request::get("https://example.test/fixed")
        .body(())
        .map_err(|error| error.to_string())?;
    let (answer, _) = sender.send_request(get, true).map_err(text)?;
    let answer = within("the answer", answer)
        .await
        .map_err(|error| format!("after resets: {error}"))?;
    if answer.status() != 200 {
        return Err(format!("{} after resets", answer.status()));
    }
    Ok("reset")
}

/// A client that says GOAWAY while its request is under way, in cleartext; the answer comes all the same.
pub(crate) async fn goaway(site: Arc<Site>) -> Turn {
    let mut connection = frames::Frames::connect(site.plain()).await;
    connection.get(1, "/bytes/10000").await;
    // no stream of the gateway's was taken, no error
    connection.frame(frames::kind::GOAWAY, 0, 0, [0; 8]).await;
    match connection.end_of(1).await {
        frames::End::Answer(200) => Ok("served"),
        other => Err(format!("{other:?}")),
    }
}

/// A client of the listener that comes and goes. While it goes, connections are told GOAWAY, and what runs is finished.
pub(crate) async fn passing(site: Arc<Site>) -> Turn {
    let departures = site.departures.load(Relaxed);
    let Some(address) = site.passing() else {
        return Ok("not there");
    };
    let gone = |what: String| {
        let gone = departures != site.departures.load(Relaxed) || site.passing().is_none();
        if gone { Ok("gone meanwhile") } else { Err(what) }
    };
    let stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => return gone(format!("connecting: {error}")),
    };
    let mut connection = match Connection::tls_over(stream, "example.test", site.client("h2")).await {
        Ok(connection) => connection,
        Err(error) => return gone(format!("handshake: {error}")),
    };
    for _ in 0..20 {
        // a departure tells GOAWAY: what was sent before is answered, and what comes after it is not served
        match connection.try_send(Request::get("/bytes/30000"), empty()).await {
            Ok(reply) => {
                status(&reply, 200)?;
                if reply.body.len() != 30_000 {
                    return Err(format!("{} of 30000 bytes", reply.body.len()));
                }
            }
            Err(error) if not_served(&error) => return gone(format!("not served: {error:?}")),
            Err(error) => return Err(format!("a stream broke off: {error:?}")),
        }
        site.rest(Duration::from_millis(200)).await;
    }
    Ok("served")
}

/// Whether a request was surely not served, so that a client may send it again: it was not sent, or refused (RFC 9113 section 8.7).
fn not_served(error: &hyper::Error) -> bool {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_canceled()
        || error.is_closed()
        || source.is_some_and(|error| {
            error.reason() == Some(Reason::REFUSED_STREAM)
                || error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
        })
}
