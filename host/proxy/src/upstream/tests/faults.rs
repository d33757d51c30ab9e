//! HTTP/1.1 exchanges that go wrong: stale connections, timeouts, clients and upstreams that leave, retries.

use std::sync::atomic::AtomicBool;

use http::Method;
use tokio::io::AsyncWriteExt as _;

use super::{super::UpstreamErrorKind, *};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers one request per connection, then closes without saying so.
async fn closes_after_each() -> Server {
    Server::raw(async |_, mut stream| {
        read_head(&mut stream).await.unwrap();
        stream.write_all(OK).await.unwrap();
    })
    .await
}

/// Answers the first request of the first connection, swallows the second one there and closes; answers on all others.
async fn closes_on_the_second_request() -> Server {
    Server::raw(async |number, mut stream| {
        while read_head(&mut stream).await.is_some() {
            stream.write_all(OK).await.unwrap();
            if number == 0 {
                read_head(&mut stream).await.unwrap();
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_idle_is_not_used() {
    let server = closes_after_each().await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    for count in 1..5 {
        let sent = call(&pools, &group, get("/")).await.unwrap();
        assert_eq!(sent.attempts, 1);
        text(sent).await;
        assert_eq!(server.connections(), count);
    }
    assert!(!group.status()[0].ejected);
}

#[tokio::test]
async fn a_safe_request_that_meets_a_closing_connection_goes_out_again_uncounted() {
    let server = closes_on_the_second_request().await;
    let mut config = upstream(&[&server]);
    config.retry.attempts = 0;
    let (pools, group) = (Pools::new(), group(&config));
    text(call(&pools, &group, get("/")).await.unwrap()).await;
    let sent = call(&pools, &group, get("/")).await.unwrap();
    assert_eq!(sent.attempts, 1);
    assert_eq!(text(sent).await, "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_unsafe_request_that_may_have_arrived_is_never_sent_twice() {
    let server = closes_on_the_second_request().await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    text(call(&pools, &group, get("/")).await.unwrap()).await;
    let error = call(&pools, &group, post(Body::full("pay"))).await.unwrap_err();
    assert!(matches!(error.kind, UpstreamErrorKind::Reset), "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_given_up() {
    let server = Server::raw(
        async |_, mut stream| {
            while read_head(&mut stream).await.is_some() {}
        },
    )
    .await;
    let mut config = upstream(&[&server]);
    config.response_timeout = Time::ms(50);
    let (pools, group) = (Pools::new(), group(&config));
    let error = call(&pools, &group, get("/")).await.unwrap_err();
    assert!(
        matches!(error.kind, UpstreamErrorKind::ResponseTimeout),
        "{error}"
    );
    assert_eq!(error.attempts, 1, "a timeout is not retried");
    assert_eq!((pools.count(), group.status()[0].in_flight), ((0, 0), 0));
    // The same with the time of the route.
    let options = SendOptions {
        timeout: Some(Duration::from_millis(30)),
        ..SendOptions::default()
    };
    let error = send(&pools, &group, get("/"), options).await.unwrap_err();
    assert!(
        matches!(error.kind, UpstreamErrorKind::ResponseTimeout),
        "{error}"
    );
}

#[tokio::test]
async fn a_slow_client_does_not_count_against_the_upstream() {
    let server = Server::h1(async |request: Request<Incoming>| {
        let (body, _) = Body::from_client(request.into_body())
            .collect_limited(100)
            .await
            .unwrap();
        Response::new(Body::full(body))
    })
    .await;
    let mut config = upstream(&[&server]);
    config.response_timeout = Time::ms(60);
    let (sender, body) = channel();
    tokio::spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            sender.send(data("x")).await.unwrap();
        }
    });
    assert_eq!(
        text(call(&Pools::new(), &group(&config), post(body)).await.unwrap()).await,
        "xxxxx"
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_read_the_request_is_given_up() {
    let server = Server::raw(async |_, stream| {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut config = upstream(&[&server]);
    config.response_timeout = Time::ms(80);
    let endless = futures_util::stream::repeat_with(|| data(Bytes::from_static(&[0; 65536])));
    let request = post(Body::boxed(StreamBody::new(endless)));
    let error = call(&Pools::new(), &group(&config), request).await.unwrap_err();
    assert!(
        matches!(error.kind, UpstreamErrorKind::ResponseTimeout),
        "{error}"
    );
}

#[tokio::test]
async fn a_failing_request_body_is_told_from_a_failing_upstream() {
    let server = Server::h1(async |request: Request<Incoming>| {
        let _broken = Body::from_client(request.into_body()).collect_limited(100).await;
        std::future::pending().await
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    for (failure, limit) in [
        (BodyError::ClientGone, 100),
        (BodyError::Timeout, 100),
        (BodyError::ClientGone, 3),
    ] {
        let (sender, body) = channel();
        sender.send(data("12345")).await.unwrap();
        sender.send(Err(failure.clone())).await.unwrap();
        let error = call(&pools, &group, post(body.with_limit(limit)))
            .await
            .unwrap_err();
        let expected = if limit == 3 {
            BodyError::TooLarge { limit }
        } else {
            failure
        };
        let UpstreamErrorKind::RequestBody(got) = &error.kind else {
            panic!("{error:?}")
        };
        assert_eq!(got.to_string(), expected.to_string());
    }
    assert!(!group.status()[0].ejected);
    assert_eq!((pools.count(), group.status()[0].in_flight), ((0, 0), 0));
}

#[tokio::test]
async fn a_response_body_that_stops_or_breaks_off_fails() {
    for stops in [true, false] {
        let server = Server::raw(move |_, mut stream| async move {
            read_head(&mut stream).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfour")
                .await
                .unwrap();
            if stops {
                std::future::pending::<()>().await;
            }
        })
        .await;
        let mut config = upstream(&[&server]);
        config.body_timeout = Time::ms(50);
        let (pools, group) = (Pools::new(), group(&config));
        let sent = call(&pools, &group, get("/")).await.unwrap();
        let error = sent.response.into_body().collect_limited(100).await.unwrap_err();
        match stops {
            true => assert!(matches!(error, BodyError::Timeout), "{error}"),
            false => assert!(matches!(error, BodyError::Upstream(_)), "{error}"),
        }
        assert_eq!((pools.count(), group.status()[0].in_flight), ((0, 0), 0));
    }
}

#[tokio::test]
async fn dropping_the_call_closes_the_connection() {
    let (arrived, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let flags = (Arc::clone(&arrived), Arc::clone(&closed));
    let server = Server::raw(move |_, mut stream| {
        let (arrived, closed) = flags.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            arrived.store(true, Ordering::SeqCst);
            assert!(read_head(&mut stream).await.is_none());
            closed.store(true, Ordering::SeqCst);
        }
    })
    .await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    tokio::select! {
        outcome = call(&pools, &group, get("/")) => panic!("{outcome:?}"),
        () = until("request arrived", || arrived.load(Ordering::SeqCst)) => {}
    }
    until("upstream saw the end", || closed.load(Ordering::SeqCst)).await;
    assert_eq!((pools.count(), group.status()[0].in_flight), ((0, 0), 0));
}

#[tokio::test]
async fn nonsense_from_the_upstream_is_a_protocol_error() {
    for answer in [
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let server = Server::raw(move |_, mut stream| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let mut config = upstream(&[&server]);
        config.retry.attempts = 0;
        let error = call(&Pools::new(), &group(&config), get("/")).await.unwrap_err();
        assert!(
            matches!(error.kind, UpstreamErrorKind::Protocol),
            "{answer}: {error:?}"
        );
    }
}

/// A port where nobody listens.
fn refused() -> String {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[tokio::test]
async fn a_refused_connection_is_retried_elsewhere_even_for_a_stream() {
    let server = Server::h1(async |request: Request<Incoming>| {
        let (body, _) = Body::from_client(request.into_body())
            .collect_limited(100)
            .await
            .unwrap();
        Response::new(Body::full(body))
    })
    .await;
    let mut config = upstream(&[&server]);
    config.endpoints.push(refused());
    let (pools, group) = (Pools::new(), group(&config));
    let mut attempts = Vec::new();
    for _ in 0..4 {
        let (sender, body) = channel();
        sender.send(data("whole")).await.unwrap();
        drop(sender);
        let sent = call(&pools, &group, post(body)).await.unwrap();
        attempts.push(sent.attempts);
        assert_eq!(text(sent).await, "whole");
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 1, 2, 2]);
}

#[tokio::test]
async fn a_refused_connection_without_alternative_is_an_error() {
    let group = group(&config_of(&[&refused()]));
    let error = call(&Pools::new(), &group, get("/")).await.unwrap_err();
    assert!(matches!(error.kind, UpstreamErrorKind::Connect), "{error}");
    assert_eq!(error.attempts, 2);
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

async fn overloaded(_request: Request<Incoming>) -> Response<Body> {
    Response::builder().status(503).body(Body::full("busy")).unwrap()
}

/// Attempts and status of a request to one endpoint that says 503 and one that is well, beginning with the former.
async fn against_overloaded(
    change: impl Fn(&mut Upstream),
    request: impl Fn() -> Request<Body>,
) -> Vec<(u8, u16)> {
    let (bad, good) = (Server::h1(overloaded).await, Server::h1(ok).await);
    let mut config = upstream(&[&bad, &good]);
    change(&mut config);
    let (pools, group) = (Pools::new(), group(&config));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let sent = call(&pools, &group, request()).await.unwrap();
        seen.push((sent.attempts, sent.response.status().as_u16()));
        text(sent).await;
    }
    assert!(
        bad.connections() <= 1 && good.connections() <= 1,
        "a drained answer keeps its connection"
    );
    seen.sort_unstable();
    seen
}

#[tokio::test]
async fn a_status_is_retried_only_where_that_is_safe_and_allowed() {
    let put = || {
        let mut request = post(Body::full("x"));
        *request.method_mut() = Method::PUT;
        request
    };
    let retried = [(1, 200), (1, 200), (2, 200), (2, 200)];
    let not_retried = [(1, 200), (1, 200), (1, 503), (1, 503)];
    assert_eq!(against_overloaded(|_| {}, || get("/")).await, retried);
    assert_eq!(against_overloaded(|_| {}, put).await, retried);
    assert_eq!(
        against_overloaded(|_| {}, || post(Body::full("x"))).await,
        not_retried
    );
    assert_eq!(
        against_overloaded(|config| config.retry.attempts = 0, || get("/")).await,
        not_retried
    );
    assert_eq!(
        against_overloaded(|config| config.retry.budget = 0.0, || get("/")).await,
        not_retried
    );
    assert_eq!(
        against_overloaded(|config| config.retry.on_status = vec![502], || get("/")).await,
        not_retried
    );
}

#[tokio::test]
async fn retries_end_with_the_budget() {
    let server = Server::h1(overloaded).await;
    let (pools, group) = (Pools::new(), group(&upstream(&[&server])));
    let mut attempts = 0;
    for _ in 0..40 {
        let sent = call(&pools, &group, get("/")).await.unwrap();
        attempts += u32::from(sent.attempts);
        text(sent).await;
    }
    assert_eq!(
        attempts,
        40 + 10,
        "ten retries are always there, and a fifth of forty is less"
    );
}
