//! An upstream that takes offence at everything that is not strict HTTP/1.1, and answers in each of the ways in which a response can be framed.

use std::{net::SocketAddr, sync::Arc};

use edgeward_core::normalize::{normalize_path, refuse_ambiguous};
use edgeward_proxy::fuzz::strict::{self, Body, Framing, Head, Read, RequestLine};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What it took offence at first.
pub(super) type Offence = Arc<Mutex<Option<String>>>;

/// Field of a response with method and target of its request, as the upstream has seen them.
pub(super) const SEEN: &str = "x-seen";

/// Starts one on the runtime that this is called on.
pub(super) async fn start(offence: Offence) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let offence = Arc::clone(&offence);
            tokio::spawn(async move {
                if let Err(problem) = serve(stream).await {
                    offence.lock().get_or_insert(problem);
                }
            });
        }
    });
    address
}

/// Serves a connection until its client leaves.
async fn serve(mut stream: TcpStream) -> Result<(), String> {
    stream.set_nodelay(true).unwrap();
    let mut input = Vec::new();
    loop {
        let (head, used) = loop {
            match strict::head(&input) {
                Read::Whole(head, used) => break (head, used),
                Read::Wrong(problem) => return Err(format!("{problem}: {}", input.escape_ascii())),
                Read::More => {}
            }
            if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return Ok(()); // a client that goes may leave anything
            }
        };
        let offence = |problem: &str| format!("{problem}: {}", input.escape_ascii());
        let line = check(&head).map_err(offence)?;
        let framing = head.request_framing().map_err(offence)?;
        let body = loop {
            match strict::body(&input[used..], framing) {
                Read::Whole(body, more) => {
                    input.drain(..used + more);
                    break body;
                }
                Read::Wrong(problem) => return Err(format!("{problem}: {}", input.escape_ascii())),
                Read::More => {}
            }
            if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return Ok(());
            }
        };
        // one request at a time is all that a gateway sends
        if !input.is_empty() {
            return Err(format!("bytes behind a request: {}", input.escape_ascii()));
        }
        let (answer, closes) = answer(&line, &body);
        if stream.write_all(&answer).await.is_err() || closes {
            return Ok(());
        }
    }
}

/// What every request that a gateway sends has to be.
fn check(head: &Head) -> Result<RequestLine, &'static str> {
    let line = head.request_line()?;
    if line.minor != 1 {
        return Err("the gateway speaks HTTP/1.1");
    }
    if head.values("host").count() > 1 || head.values("via").count() == 0 {
        return Err("a request through a gateway has one Host field at most, and Via");
    }
    if head.values("x-forwarded-for").count() != 1 || head.values("x-request-id").count() != 1 {
        return Err("the gateway says once whom it forwards for, and which request it is");
    }
    let connection_of_ours = |value: &[u8]| matches!(value, b"te" | b"upgrade");
    if !head.values("connection").all(connection_of_ours) {
        return Err("fields of the client's connection were passed on");
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        if head.values(name).count() > 0 {
            return Err("a field of the client's connection was passed on");
        }
    }
    let target = std::str::from_utf8(&line.target).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    if normalize_path(path).as_deref() != Ok(path) || refuse_ambiguous(path, false).is_err() {
        return Err("the path is not in normal form");
    }
    match head.request_framing()? {
        Framing::Close => Err("a request does not end with its connection"),
        Framing::Length(_) | Framing::Chunked => Ok(line),
    }
}

/// The response, by the first letter of the path, and whether the connection ends with it.
fn answer(line: &RequestLine, body: &Body) -> (Vec<u8>, bool) {
    let target = String::from_utf8_lossy(&line.target).into_owned();
    let seen = format!("{SEEN}: {} {target}\r\n", line.method);
    let is_head = line.method == "HEAD";
    let data = if is_head { &[][..] } else { &body.data };
    match line.target.get(1) {
        Some(b'c') => {
            let mut answer =
                format!("HTTP/1.1 200 OK\r\n{seen}transfer-encoding: chunked\r\n\r\n").into_bytes();
            if !is_head {
                for chunk in data.chunks(7) {
                    answer.extend(format!("{:x};x=y\r\n", chunk.len()).bytes());
                    answer.extend(chunk);
                    answer.extend(b"\r\n");
                }
                answer.extend(b"0\r\nx-sum: 1\r\n\r\n");
            }
            (answer, false)
        }
        // until the connection ends
        Some(b'e') => {
            let head = format!("HTTP/1.1 200 OK\r\n{seen}connection: close\r\n\r\n");
            ([head.as_bytes(), data].concat(), true)
        }
        // two lengths, of which one lies
        Some(b'l') if !is_head => {
            let head = format!(
                "HTTP/1.1 200 OK\r\n{seen}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            );
            (head.into_bytes(), false)
        }
        Some(b'n') => (
            format!("HTTP/1.1 204 No Content\r\n{seen}\r\n").into_bytes(),
            false,
        ),
        Some(b'i') => {
            let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
            let head = format!("{early}HTTP/1.1 404 Not Found\r\n{seen}content-length: 0\r\n\r\n");
            (head.into_bytes(), false)
        }
        _ => {
            let length = body.data.len();
            let head = format!("HTTP/1.1 200 OK\r\n{seen}content-length: {length}\r\n\r\n");
            ([head.as_bytes(), data].concat(), false)
        }
    }
}
