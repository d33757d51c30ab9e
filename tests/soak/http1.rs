//! Clients of HTTP/1.1, in cleartext and TLS.

use std::sync::Arc;

use bytes::Bytes;
use edgeward_tests::{Connection, Raw, bytes, chunked, empty};
use http::Request;

use crate::{
    site::{Site, status},
    tally::Turn,
};

/// Requests through all plugins, with what each of them has to do, on a connection.
pub(crate) async fn mixed(site: &Site, connection: &mut Connection) -> Turn {
    let bearer = site.bearer();
    let lost = |error: hyper::Error| format!("the connection broke off: {error:?}");
    for id in 0..3 {
        let request = Request::get(format!("/pets/{id}")).header("authorization", &bearer);
        let reply = connection.try_send(request, empty()).await.map_err(lost)?;
        status(&reply, 200)?;
        let json = reply.json();
        if json["user"] != "alice" || json["plan"] != "gold" {
            return Err(format!("the origin was told {json}"));
        }
        if !["one", "two", "three"].contains(&reply.header("x-release")) {
            return Err(format!("release {:?}", reply.header("x-release")));
        }
    }
    let request = Request::get("/shaped/1").header("authorization", &bearer);
    let reply = connection.try_send(request, empty()).await.map_err(lost)?;
    status(&reply, 200)?;
    if reply.json().get("secret").is_some() {
        return Err("the secret was not removed".into());
    }
    let request = Request::get("/pets/1");
    status(&connection.try_send(request, empty()).await.map_err(lost)?, 401)?;
    let request = Request::get("/pets/1?q=1%27%20OR%20%271%27=%271").header("authorization", &bearer);
    status(&connection.try_send(request, empty()).await.map_err(lost)?, 403)?;
    let request = Request::get("/nowhere");
    status(&connection.try_send(request, empty()).await.map_err(lost)?, 404)?;
    let reply = connection
        .try_send(Request::get("/bytes/100000"), empty())
        .await
        .map_err(lost)?;
    status(&reply, 200)?;
    if reply.body.len() != 100_000 || reply.header("x-mark") != "soak" {
        return Err(format!(
            "{} bytes, mark {:?}",
            reply.body.len(),
            reply.header("x-mark")
        ));
    }
    let body = Bytes::from(vec![b'y'; 50_000]);
    let reply = connection
        .try_send(Request::post("/echo/known"), bytes(body.clone()))
        .await
        .map_err(lost)?;
    status(&reply, 200)?;
    if reply.body != body {
        return Err(format!("{} of 50000 bytes came back", reply.body.len()));
    }
    Ok("served")
}

/// A connection that is used again, in cleartext.
pub(crate) async fn keep_alive(site: Arc<Site>) -> Turn {
    mixed(&site, &mut Connection::h1(site.plain()).await).await
}

/// The same over TLS.
pub(crate) async fn keep_alive_tls(site: Arc<Site>) -> Turn {
    let connection = Connection::tls(site.tls(), "example.test", site.client("http/1.1")).await;
    let mut connection = connection.map_err(|error| format!("handshake: {error}"))?;
    mixed(&site, &mut connection).await
}

/// Several requests at once, one behind the other.
pub(crate) async fn pipelined(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    let mut requests = "GET /fixed HTTP/1.1\r\nhost: a\r\n\r\n".repeat(4);
    requests += "GET /bytes/1000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    connection.send(requests).await;
    let answers = connection.to_end().await;
    let served = answers.matches("HTTP/1.1 200 OK\r\n").count();
    if served != 5 || answers.matches("\r\n\r\nfixed").count() != 4 {
        return Err(format!(
            "{served} of 5 answers: {}",
            answers.chars().take(300).collect::<String>()
        ));
    }
    Ok("served")
}

/// An upload in chunks.
pub(crate) async fn chunked_upload(site: Arc<Site>) -> Turn {
    let chunks = vec![Bytes::from_static(&[b'z'; 10_000]); 40];
    let mut connection = Connection::h1(site.plain()).await;
    let reply = connection
        .try_send(Request::post("/echo/chunked"), chunked(chunks))
        .await;
    let reply = reply.map_err(|error| format!("the connection broke off: {error:?}"))?;
    status(&reply, 200)?;
    if reply.body.len() != 400_000 {
        return Err(format!("{} of 400000 bytes came back", reply.body.len()));
    }
    Ok("served")
}

/// A client that goes away in the middle of its upload.
pub(crate) async fn aborted_upload(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    connection
        .send("POST /echo/gone HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        .await;
    connection.send(vec![b'a'; 100_000]).await;
    let answer = connection.until("\r\n\r\n").await;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(format!("an answer {answer:?}"));
    }
    Ok("aborted")
}

/// A client that goes away in the middle of a response.
pub(crate) async fn aborted_download(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.plain()).await;
    connection
        .send("GET /bytes/5000000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await;
    let begin = connection.bytes(200_000).await;
    if !begin.starts_with(b"HTTP/1.1 200 OK\r\n") {
        return Err("another answer".into());
    }
    Ok("aborted")
}

/// An upstream that answers 503, or breaks off before or in its answer: one in some. What is safe is tried again.
pub(crate) async fn flaky(site: Arc<Site>) -> Turn {
    let mut connection = Connection::h1(site.plain()).await;
    match connection.try_send(Request::get("/flaky/get"), empty()).await {
        Ok(reply) => match reply.status {
            200 => Ok("served"),
            // three attempts, none of which went well
            502 => Ok("502"),
            503 => Ok("503"),
            _ => Err(format!("{}: {}", reply.status, reply.text())),
        },
        Err(error) if error.is_body_write_aborted() || error.is_incomplete_message() || error.is_closed() => {
            Ok("broken off")
        }
        Err(error) => {
            // the second half of a response that did not come
            let text = format!("{error:?}");
            if text.contains("Body") {
                Ok("broken off")
            } else {
                Err(text)
            }
        }
    }
}

/// An upstream that is not there at times.
pub(crate) async fn sometimes(site: Arc<Site>) -> Turn {
    let mut connection = Connection::h1(site.plain()).await;
    let reply = connection.try_send(Request::get("/sometimes"), empty()).await;
    let reply = reply.map_err(|error| format!("the connection broke off: {error:?}"))?;
    match reply.status {
        200 => Ok("served"),
        502 => Ok("502"),
        503 => Ok("503"),
        _ => Err(format!("{}: {}", reply.status, reply.text())),
    }
}
