//! Which endpoint gets a request: round robin, least request, passive ejection, active checks.

use std::sync::atomic::AtomicBool;

use config::{ActiveHealth, Balance};
use tokio_util::sync::CancellationToken;

use super::*;

async fn named(name: &'static str) -> Server {
    Server::h1(move |_request| std::future::ready(Response::new(Body::full(name)))).await
}

async fn broken(_request: Request<Incoming>) -> Response<Body> {
    Response::builder()
        .status(500)
        .body(Body::full("broken"))
        .unwrap()
}

#[tokio::test]
async fn round_robin_goes_around() {
    let servers = [named("a").await, named("b").await, named("c").await];
    let (pools, group) = (
        Pools::new(),
        group(&upstream(&[&servers[0], &servers[1], &servers[2]])),
    );
    let mut seen = String::new();
    for _ in 0..6 {
        seen += &text(call(&pools, &group, get("/")).await.unwrap()).await;
    }
    assert!("abcabcabc".contains(&seen), "{seen}");
}

#[tokio::test]
async fn least_request_avoids_the_busy_one() {
    let (slow, fast) = (
        Server::h1(async |_request: Request<Incoming>| std::future::pending().await).await,
        named("fast").await,
    );
    let mut config = upstream(&[&slow, &fast]);
    config.balance = Balance::LeastRequest;
    let (pools, group) = (Pools::new(), group(&config));
    let mut stuck = Vec::new();
    for _ in 0..30 {
        let mut sending = Box::pin(call(&pools, &group, get("/")));
        tokio::select! {
            sent = &mut sending => assert_eq!(text(sent.unwrap()).await, "fast"),
            () = tokio::time::sleep(Duration::from_millis(20)) => stuck.push(sending),
        }
    }
    assert!(
        stuck.len() <= 1,
        "{} requests went to the busy endpoint",
        stuck.len()
    );
}

#[tokio::test]
async fn failures_in_a_row_eject_an_endpoint_and_time_brings_it_back() {
    let (bad, good) = (Server::h1(broken).await, named("good").await);
    let mut config = upstream(&[&bad, &good]);
    config.health.passive.eject_time = Time::secs(2);
    config.health.passive.failures = 3;
    let (pools, group) = (Pools::new(), group(&config));
    let mut failures = 0;
    for _ in 0..40 {
        let sent = call(&pools, &group, get("/")).await.unwrap();
        failures += u32::from(sent.response.status().is_server_error());
        text(sent).await;
        if failures == 3 {
            break;
        }
    }
    let status = group.status();
    assert!(status[0].ejected && !status[1].ejected, "{status:?}");
    for _ in 0..4 {
        assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "good");
    }
    until("ejection is over", || !group.status()[0].ejected).await;
    // on probation one failure is enough
    let mut again = 0;
    while again == 0 {
        let sent = call(&pools, &group, get("/")).await.unwrap();
        again += u32::from(sent.response.status().is_server_error());
    }
    assert!(group.status()[0].ejected);
}

#[tokio::test]
async fn the_last_endpoint_is_never_ejected() {
    let servers = [Server::h1(broken).await, Server::h1(broken).await];
    let (pools, group) = (Pools::new(), group(&upstream(&[&servers[0], &servers[1]])));
    for _ in 0..40 {
        text(call(&pools, &group, get("/")).await.unwrap()).await;
    }
    assert_eq!(
        group.status().iter().filter(|endpoint| endpoint.ejected).count(),
        1
    );
}

#[tokio::test]
async fn active_checks_take_an_endpoint_out_and_back_in_and_all_out_means_all_in() {
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let server = Server::h1(move |request: Request<Incoming>| {
        let well = asked.load(Ordering::SeqCst);
        async move {
            let checking = request.uri().path() == "/health";
            assert!(!checking || request.headers()["user-agent"] == "edgeward-health");
            Response::builder()
                .status(if checking && !well { 500 } else { 200 })
                .body(Body::full("ok"))
                .unwrap()
        }
    })
    .await;
    let other = named("other").await;
    let mut config = upstream(&[&server, &other]);
    config.health.active = Some(ActiveHealth {
        path: "/health".to_owned(),
        interval: Time::ms(10),
        unhealthy_after: 2,
        healthy_after: 2,
        ..ActiveHealth::default()
    });
    let (pools, both) = (Pools::new(), group(&config));
    config.endpoints.truncate(1);
    let alone = group(&config);
    let shutdown = CancellationToken::new();
    let tasks = [&both, &alone].map(|group| tokio::spawn(Arc::clone(group).run_background(shutdown.clone())));
    well.store(false, Ordering::SeqCst);
    until("both groups see it", || {
        !both.status()[0].healthy && !alone.status()[0].healthy
    })
    .await;
    for _ in 0..6 {
        assert_eq!(text(call(&pools, &both, get("/")).await.unwrap()).await, "other");
    }
    assert_eq!(
        text(call(&pools, &alone, get("/")).await.unwrap()).await,
        "ok",
        "better than nothing"
    );
    well.store(true, Ordering::SeqCst);
    until("it is back", || both.status()[0].healthy).await;
    shutdown.cancel();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(5), task)
            .await
            .unwrap()
            .unwrap();
    }
}
