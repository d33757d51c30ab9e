//! Bodies pass as they come, and no faster than the reader takes them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeward_tests::{Body, Connection, Gateway, Raw, empty, within};
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

/// Bytes of a body that must not fit into the gateway and the buffers of the kernel on its way. Those are the bound: Linux lets the four
/// socket buffers of a way grow to 20 MiB.
const MUCH: usize = 64 << 20;
const BOUND: usize = 32 << 20;

/// An origin for one connection.
async fn origin<F>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await;
    });
    address.to_string()
}

/// `/{path+}` changes each chunk, `/plain/{path+}` does not.
async fn gateway(origin: &str) -> Gateway {
    Gateway::with_plugin(
        origin,
        json!({"module": "body", "config": {"mode": "upper-stream"}}),
    )
    .await
}

async fn connect(gateway: &Gateway, http2: bool) -> Connection {
    if http2 {
        Connection::h2(gateway.address()).await
    } else {
        Connection::h1(gateway.address()).await
    }
}

/// Every way through the gateway: protocol of the client, path, and what becomes of `first` on it.
const WAYS: [(bool, &str, &str); 4] = [
    (false, "/plain/x", "first"),
    (true, "/plain/x", "first"),
    (false, "/x", "FIRST"),
    (true, "/x", "FIRST"),
];

/// How far a counter gets before it stands still. On a machine so slow that a second passes between two steps it is called still too
/// early, which makes the test milder and never fails it.
async fn stands_still(counter: &AtomicUsize) -> usize {
    let mut last = 0;
    within("a standstill", async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = counter.load(SeqCst);
            if now == last && now > 0 {
                return now;
            }
            last = now;
        }
    })
    .await
}

#[tokio::test]
async fn a_client_sees_a_chunk_before_the_origin_sends_the_next() {
    for (http2, path, expected) in WAYS {
        let (seen, go_on) = oneshot::channel();
        let origin = origin(async |stream| {
            let mut stream = Raw::from(stream);
            stream.until("\r\n\r\n").await;
            stream
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            within("the client to see the first chunk", go_on).await.unwrap();
            stream.send("3\r\nend\r\n0\r\n\r\n").await;
        })
        .await;
        let gateway = gateway(&origin).await;
        let mut connection = connect(&gateway, http2).await;
        let mut body = connection
            .open(Request::get(path), empty())
            .await
            .unwrap()
            .into_body();
        let first = within("the first chunk", body.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), expected, "{path}");
        seen.send(()).unwrap();
        let rest = within("the rest", body.collect()).await.unwrap().to_bytes();
        assert_eq!(rest.to_ascii_lowercase(), b"end", "{path}");
    }
}

#[tokio::test]
async fn an_origin_sees_a_chunk_before_the_client_sends_the_next() {
    for (http2, path, expected) in WAYS {
        let (seen, go_on) = oneshot::channel();
        let origin = origin(async move |stream| {
            let mut stream = Raw::from(stream);
            stream.until(expected).await;
            seen.send(()).unwrap();
            stream.until("0\r\n\r\n").await;
            stream.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        })
        .await;
        let gateway = gateway(&origin).await;
        let (chunks, body) = mpsc::channel::<&'static str>(1);
        let body = stream::unfold(body, async |mut body| {
            let chunk = body.recv().await?;
            Some((Ok(Frame::data(Bytes::from(chunk))), body))
        });
        let mut connection = connect(&gateway, http2).await;
        let sending = connection.open(Request::post(path), StreamBody::new(body).boxed_unsync());
        let talking = async move {
            chunks.send("first").await.unwrap();
            within("the origin to see the first chunk", go_on).await.unwrap();
            chunks.send("end").await.unwrap();
        };
        let (response, ()) = tokio::join!(sending, talking);
        assert_eq!(response.unwrap().status(), 204, "{path}");
    }
}

/// A body of [`MUCH`] bytes that counts what was taken of it.
fn counted(taken: &Arc<AtomicUsize>) -> Body {
    let chunk = Bytes::from(vec![b'x'; 64 << 10]);
    let chunks = stream::unfold(Arc::clone(taken), move |taken| {
        let chunk = chunk.clone();
        async move {
            let before = taken.fetch_add(chunk.len(), SeqCst);
            (before < MUCH).then(|| (Ok(Frame::data(chunk)), taken))
        }
    });
    StreamBody::new(chunks).boxed_unsync()
}

#[tokio::test]
async fn an_origin_that_does_not_read_stops_the_client() {
    for http2 in [false, true] {
        let (read, reading) = oneshot::channel::<()>();
        let origin = origin(async |mut stream| {
            within("leave to read", reading).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let mut body = stream.take(MUCH as u64);
            let count = tokio::io::copy(&mut body, &mut tokio::io::sink()).await.unwrap();
            assert_eq!(count, MUCH as u64);
            let answer = "HTTP/1.1 204 No Content\r\n\r\n";
            body.into_inner().write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let gateway = gateway(&origin).await;
        let taken = Arc::new(AtomicUsize::new(0));
        let mut connection = connect(&gateway, http2).await;
        let request = Request::post("/plain/x").header("content-length", MUCH);
        let sending = connection.open(request, counted(&taken));
        let watching = async {
            let stopped = stands_still(&taken).await;
            assert!(stopped < BOUND, "http2 {http2}: {stopped} bytes went nowhere");
            read.send(()).unwrap();
        };
        let (response, ()) = tokio::join!(sending, watching);
        assert_eq!(response.unwrap().status(), 204, "http2 {http2}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_origin() {
    for http2 in [false, true] {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let origin = origin(async move |stream| {
            let mut stream = Raw::from(stream);
            stream.until("\r\n\r\n").await;
            stream
                .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {MUCH}\r\n\r\n"))
                .await;
            let chunk = vec![b'x'; 64 << 10];
            for _ in 0..MUCH / chunk.len() {
                stream.send(&chunk).await;
                count.fetch_add(chunk.len(), SeqCst);
            }
        })
        .await;
        let gateway = gateway(&origin).await;
        let mut connection = connect(&gateway, http2).await;
        let response = connection.open(Request::get("/plain/x"), empty()).await.unwrap();
        let stopped = stands_still(&sent).await;
        assert!(stopped < BOUND, "http2 {http2}: {stopped} bytes went nowhere");
        let body = within("the body", response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes().len(), MUCH, "http2 {http2}");
    }
}
