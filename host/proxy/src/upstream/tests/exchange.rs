//! HTTP/1.1 exchanges that go well: reuse, forms, bodies, trailers.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::AsyncWriteExt as _;

use super::*;

#[tokio::test]
async fn a_connection_is_reused_after_the_body_was_read() {
    let server = Server::h1(ok).await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    for _ in 0..5 {
        let sent = call(&pools, &group, get("/")).await.unwrap();
        assert_eq!(sent.attempts, 1);
        assert_eq!(*sent.endpoint, server.address.to_string());
        assert_eq!(text(sent).await, "ok");
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(pools.count(), (1, 0));
    assert_eq!(group.status()[0].in_flight, 0);
}

#[tokio::test]
async fn a_chunked_body_gives_the_connection_back_too() {
    let server = Server::h1(async |_request: Request<Incoming>| {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for part in ["a", "b", "c"] {
                sender.send(data(part)).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        Response::new(body)
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    for _ in 0..3 {
        assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "abc");
        until("connection is back", || pools.count().0 == 1).await;
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_unread_body_closes_the_connection() {
    let server =
        Server::h1(async |_request: Request<Incoming>| Response::new(Body::full(vec![0; 4 << 20]))).await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    for _ in 0..2 {
        let mut sent = call(&pools, &group, get("/")).await.unwrap();
        assert!(sent.response.body_mut().frame().await.unwrap().is_ok());
        assert_eq!(group.status()[0].in_flight, 1);
        drop(sent);
        assert_eq!(group.status()[0].in_flight, 0);
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(pools.count(), (0, 0));
}

/// Sends `request` to a server that answers with the head it got.
async fn echo_head(change: impl FnOnce(&mut Upstream), request: Request<Body>) -> String {
    let server = Server::raw(async |_, mut stream| {
        let head = read_head(&mut stream).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let mut config = upstream(&[&server]);
    change(&mut config);
    text(call(&Pools::new(), &group(&config), request).await.unwrap()).await
}

#[tokio::test]
async fn the_target_is_in_origin_form_and_host_is_kept() {
    assert_eq!(
        echo_head(|_| {}, get("/a/b?c=d")).await,
        "GET /a/b?c=d HTTP/1.1\r\nhost: client.example\r\n\r\n"
    );
    let absolute = Request::builder()
        .uri("http://a.example:81?x")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        echo_head(|_| {}, absolute).await,
        "GET /?x HTTP/1.1\r\nhost: a.example:81\r\n\r\n"
    );
    let mut options = Request::new(Body::empty());
    *options.method_mut() = Method::OPTIONS;
    *options.uri_mut() = "*".parse().unwrap();
    options
        .headers_mut()
        .insert("host", HeaderValue::from_static("a"));
    assert_eq!(
        echo_head(|_| {}, options).await,
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"
    );
}

#[tokio::test]
async fn host_can_be_replaced_and_expect_is_not_forwarded() {
    let mut request = get("/");
    request
        .headers_mut()
        .insert("expect", HeaderValue::from_static("100-continue"));
    *request.version_mut() = http::Version::HTTP_2;
    let head = echo_head(
        |config| config.host = Some("inner.example:8080".to_owned()),
        request,
    )
    .await;
    assert_eq!(head, "GET / HTTP/1.1\r\nhost: inner.example:8080\r\n\r\n");
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let server = Server::raw(async |_, mut stream| {
        while let Some(head) = read_head(&mut stream).await {
            let answer = match head.split(' ').nth(1) {
                Some("/head") => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\netag: \"x\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    let mut head = get("/head");
    *head.method_mut() = Method::HEAD;
    let sent = call(&pools, &group, head).await.unwrap();
    assert_eq!(sent.response.headers()["content-length"], "5");
    assert!(sent.response.body().is_empty());
    for (path, status) in [("/204", 204), ("/304", 304)] {
        let sent = call(&pools, &group, get(path)).await.unwrap();
        assert_eq!(sent.response.status().as_u16(), status);
        assert!(sent.response.body().is_empty());
    }
    assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "ok");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let server = Server::h1(async |request: Request<Incoming>| {
        let collected = request.into_body().collect().await.unwrap();
        let sum = collected
            .trailers()
            .and_then(|trailers| trailers.get("x-sum"))
            .cloned()
            .unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-echo", sum);
        let (sender, body) = channel();
        sender.try_send(data(collected.to_bytes())).unwrap();
        sender.try_send(Ok(Frame::trailers(trailers))).unwrap();
        Response::builder()
            .header("trailer", "x-echo")
            .body(body)
            .unwrap()
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    for round in 0..2 {
        let (sender, body) = channel();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("42"));
        sender.try_send(data("payload")).unwrap();
        sender.try_send(Ok(Frame::trailers(trailers))).unwrap();
        let mut request = post(body);
        request
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("x-sum"));
        request
            .headers_mut()
            .insert("te", HeaderValue::from_static("trailers"));
        let sent = call(&pools, &group, request).await.unwrap();
        let (body, trailers) = sent.response.into_body().collect_limited(100).await.unwrap();
        assert_eq!(body, "payload");
        assert_eq!(trailers.unwrap()["x-echo"], "42");
        assert_eq!(server.connections(), 1, "round {round}");
        until("connection is back", || pools.count().0 == 1).await;
    }
}

#[tokio::test]
async fn a_response_before_the_end_of_the_request_is_passed_on_at_once() {
    let server = Server::h1(async |request: Request<Incoming>| {
        tokio::spawn(request.into_body().collect());
        Response::builder()
            .status(StatusCode::ACCEPTED)
            .body(Body::full("early"))
            .unwrap()
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    let (sender, body) = channel();
    sender.send(data("first")).await.unwrap();
    let sent = call(&pools, &group, post(body)).await.unwrap();
    assert_eq!(sent.response.status(), StatusCode::ACCEPTED);
    assert_eq!(text(sent).await, "early");
    assert_eq!(
        pools.count(),
        (0, 0),
        "the request is not over, so the connection is not free"
    );
    sender.send(data("second")).await.unwrap();
    drop(sender);
    until("connection is back after the upload", || pools.count().0 == 1).await;
    assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "early");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_upload_that_never_ends_does_not_keep_the_connection_for_ever() {
    let server = Server::h1(async |request: Request<Incoming>| {
        tokio::spawn(request.into_body().collect());
        Response::new(Body::full("early"))
    })
    .await;
    let mut config = upstream(&[&server]);
    config.body_timeout = Time::ms(50);
    let pools = Pools::new();
    let (sender, body) = channel();
    sender.send(data("first")).await.unwrap();
    assert_eq!(
        text(call(&pools, &group(&config), post(body)).await.unwrap()).await,
        "early"
    );
    until("upload is given up", || sender.is_closed()).await;
    assert_eq!(pools.count(), (0, 0));
}

#[tokio::test]
async fn bodies_stream_with_backpressure() {
    const SIZE: usize = 64 << 20;
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let server = Server::raw(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            read_head(&mut stream).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let block = vec![7; 64 << 10];
            while count.load(Ordering::SeqCst) < SIZE && stream.write_all(&block).await.is_ok() {
                count.fetch_add(block.len(), Ordering::SeqCst);
            }
            assert!(read_head(&mut stream).await.is_none());
        }
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    let mut sent = call(&pools, &group, get("/")).await.unwrap();
    // Nobody reads: the server stands still once the socket buffers are full.
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(before < SIZE / 2, "{before} bytes were taken without a reader");
    let mut read = 0;
    while let Some(frame) = sent.response.body_mut().frame().await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, SIZE);
    assert_eq!(pools.count(), (1, 0));
}

#[tokio::test]
async fn idle_connections_are_limited_in_number_and_time() {
    let server = Server::h1(ok).await;
    let mut config = upstream(&[&server]);
    config.idle_connections = 2;
    config.idle_timeout = Time::ms(40);
    let (pools, group) = (Pools::new(), group(&config));
    let sent = futures_util::future::join_all((0..5).map(|_| call(&pools, &group, get("/")))).await;
    for sent in sent {
        text(sent.unwrap()).await;
    }
    assert_eq!(server.connections(), 5);
    assert_eq!(pools.count(), (2, 0));
    tokio::time::sleep(Duration::from_millis(60)).await;
    text(call(&pools, &group, get("/")).await.unwrap()).await;
    assert_eq!(server.connections(), 6, "the idle ones were too old");
    until("the last one is swept", || pools.count() == (0, 0)).await;
    config.idle_connections = 0;
    let never = UpstreamGroup::new("never", &config).unwrap();
    text(call(&pools, &never, get("/")).await.unwrap()).await;
    assert_eq!(pools.count(), (0, 0));
}

#[tokio::test]
async fn the_future_of_a_call_is_small_and_can_move_between_threads() {
    const fn assert_send<T: Send>(_: &T) {}
    let (pools, group) = (Pools::new(), group(&config_of(&["127.0.0.1:9"])));
    let sending = send(&pools, &group, get("/"), SendOptions::default());
    assert_send(&sending);
    let size = size_of_val(&sending);
    assert!(size < 4096, "every request moves these {size} bytes");
    let body = size_of::<Body>();
    assert!(body <= 64, "every message moves these {body} bytes");
}
