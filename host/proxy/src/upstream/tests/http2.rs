//! HTTP/2 upstreams with prior knowledge.

use std::sync::atomic::AtomicBool;

use config::UpstreamProtocol;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;

use super::{super::UpstreamErrorKind, *};

fn h2(server: &Server) -> Upstream {
    let mut config = upstream(&[server]);
    config.protocol = UpstreamProtocol::Http2;
    config
}

#[tokio::test]
async fn requests_share_one_connection() {
    let server = Server::h2(
        |_| {},
        async |request: Request<Incoming>| {
            let text = format!("{} {:?}", request.uri(), request.headers().get("host"));
            Response::new(Body::full(text))
        },
    )
    .await;
    let (pools, group) = (Pools::new(), group(&h2(&server)));
    let sent = futures_util::future::join_all((0..20).map(|_| call(&pools, &group, get("/a?b=c")))).await;
    for sent in sent {
        assert_eq!(text(sent.unwrap()).await, "http://client.example/a?b=c None");
    }
    assert_eq!((server.connections(), pools.count()), (1, (0, 1)));
    let mut config = h2(&server);
    config.host = Some("inner.example".to_owned());
    let replaced = UpstreamGroup::new("replaced", &config).unwrap();
    assert!(
        text(call(&pools, &replaced, get("/")).await.unwrap())
            .await
            .starts_with("http://inner.example/ ")
    );
}

#[tokio::test]
async fn bodies_and_trailers_pass_in_both_directions() {
    let server = Server::h2(
        |_| {},
        async |request: Request<Incoming>| {
            let collected = request.into_body().collect().await.unwrap();
            let trailers = collected.trailers().cloned().unwrap();
            let (sender, body) = channel();
            sender.try_send(data(collected.to_bytes())).unwrap();
            sender.try_send(Ok(Frame::trailers(trailers))).unwrap();
            Response::new(body)
        },
    )
    .await;
    let (sender, body) = channel();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    sender.try_send(data(vec![b'x'; 1 << 20])).unwrap();
    sender.try_send(Ok(Frame::trailers(trailers.clone()))).unwrap();
    let mut request = post(body);
    request
        .headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    let sent = call(&Pools::new(), &group(&h2(&server)), request).await.unwrap();
    let (body, got) = sent.response.into_body().collect_limited(2 << 20).await.unwrap();
    assert_eq!(body.len(), 1 << 20);
    assert_eq!(got, Some(trailers));
}

#[tokio::test]
async fn full_connections_get_company() {
    let gate = Arc::new(Semaphore::new(1));
    let permits = Arc::clone(&gate);
    let server = Server::h2(
        |builder| {
            builder.max_concurrent_streams(2);
        },
        move |_request: Request<Incoming>| {
            let gate = Arc::clone(&permits);
            async move {
                gate.acquire().await.unwrap().forget();
                Response::new(Body::full("ok"))
            }
        },
    )
    .await;
    let (pools, group) = (Pools::new(), group(&h2(&server)));
    text(call(&pools, &group, get("/")).await.unwrap()).await; // the limit is known now
    let mut calls: Vec<_> = (0..2).map(|_| Box::pin(call(&pools, &group, get("/")))).collect();
    for sending in &mut calls {
        assert!(futures_util::FutureExt::now_or_never(sending).is_none());
        tokio::task::yield_now().await;
    }
    let third = async {
        until("second connection", || server.connections() == 2).await;
        gate.add_permits(3);
    };
    let (third, ()) = tokio::join!(call(&pools, &group, get("/")), third);
    text(third.unwrap()).await;
    for sending in calls {
        text(sending.await.unwrap()).await;
    }
    assert_eq!(pools.count(), (0, 2));
}

#[tokio::test]
async fn after_goaway_a_new_connection_is_made() {
    let server = Server::raw(async |_, stream| {
        let service = service_fn(async |request| Ok::<_, Infallible>(ok(request).await));
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = &mut connection => return,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ended = connection.await;
    })
    .await;
    let (pools, group) = (Pools::new(), group(&h2(&server)));
    for count in 1..4 {
        let sent = call(&pools, &group, get("/")).await.unwrap();
        assert_eq!(sent.attempts, 1);
        text(sent).await;
        assert_eq!(server.connections(), count);
        until("goaway arrived", || pools.count() == (0, 0)).await;
    }
}

#[tokio::test]
async fn dropping_a_call_or_a_body_resets_the_stream_and_keeps_the_connection() {
    let ended = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::new(AtomicBool::new(false));
    let flags = (Arc::clone(&ended), Arc::clone(&arrived));
    let server = Server::h2(
        |_| {},
        move |request: Request<Incoming>| {
            let (ended, arrived) = flags.clone();
            async move {
                arrived.store(true, Ordering::SeqCst);
                struct Count(Arc<AtomicUsize>);
                impl Drop for Count {
                    fn drop(&mut self) {
                        self.0.fetch_add(1, Ordering::SeqCst);
                    }
                }
                match request.uri().path() {
                    "/never" => {
                        let _count = Count(ended);
                        std::future::pending().await
                    }
                    "/endless" => {
                        let count = Count(ended);
                        let endless = futures_util::stream::repeat_with(move || {
                            let _kept = &count;
                            data(Bytes::from_static(&[0; 16384]))
                        });
                        Response::new(Body::boxed(StreamBody::new(endless)))
                    }
                    _ => Response::new(Body::full("ok")),
                }
            }
        },
    )
    .await;
    let (pools, group) = (Pools::new(), group(&h2(&server)));
    tokio::select! {
        outcome = call(&pools, &group, get("/never")) => panic!("{outcome:?}"),
        () = until("arrived", || arrived.load(Ordering::SeqCst)) => {}
    }
    until("first reset", || ended.load(Ordering::SeqCst) == 1).await;
    let mut sent = call(&pools, &group, get("/endless")).await.unwrap();
    assert!(sent.response.body_mut().frame().await.unwrap().is_ok());
    drop(sent);
    until("second reset", || ended.load(Ordering::SeqCst) == 2).await;
    assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "ok");
    assert_eq!((server.connections(), group.status()[0].in_flight), (1, 0));
}

#[tokio::test]
async fn a_failing_request_body_is_told_from_a_failing_upstream() {
    let server = Server::h2(
        |_| {},
        async |request: Request<Incoming>| {
            let _broken = request.into_body().collect().await;
            std::future::pending().await
        },
    )
    .await;
    let (sender, body) = channel();
    sender.send(data("12345")).await.unwrap();
    sender.send(Err(BodyError::ClientGone)).await.unwrap();
    let error = call(&Pools::new(), &group(&h2(&server)), post(body))
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, UpstreamErrorKind::RequestBody(BodyError::ClientGone)),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_upstream_that_speaks_http1_is_an_error_in_time() {
    let server = Server::h1(ok).await;
    let mut config = h2(&server);
    config.response_timeout = Time::ms(500);
    config.retry.attempts = 0;
    let error = call(&Pools::new(), &group(&config), get("/")).await.unwrap_err();
    assert!(
        matches!(
            error.kind,
            UpstreamErrorKind::Reset | UpstreamErrorKind::Protocol | UpstreamErrorKind::Connect
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let server = Server::h2(|_| {}, ok).await;
    let mut config = h2(&server);
    config.idle_timeout = Time::ms(10);
    let (pools, group) = (Pools::new(), group(&config));
    text(call(&pools, &group, get("/")).await.unwrap()).await;
    assert_eq!(pools.count(), (0, 1));
    until("closed", || pools.count() == (0, 0)).await;
}
