//! DNS names and wrong configurations.

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    super::{UpstreamConfigError, UpstreamErrorKind, endpoint::Endpoint},
    *,
};

#[tokio::test]
async fn a_name_is_resolved_with_the_first_request() {
    let server = Server::h1(ok).await;
    let mut config = config_of(&[&format!("localhost:{}", server.address.port())]);
    config.retry.attempts = 0;
    let (pools, group) = (Pools::new(), group(&config));
    assert!(group.status().is_empty());
    for _ in 0..4 {
        // `localhost` may be `::1` as well, where nobody listens: an address of the same name is not a retry.
        let sent = call(&pools, &group, get("/")).await.unwrap();
        assert_eq!(sent.attempts, 1);
        text(sent).await;
    }
    assert_eq!(group.status()[0].target, config.endpoints[0]);
}

#[tokio::test]
async fn background_resolution_keeps_known_endpoints() {
    let group = group(&config_of(&["localhost:9"]));
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&group).run_background(shutdown.clone()));
    until("resolved", || !group.status().is_empty()).await;
    shutdown.cancel();
    task.await.unwrap();
    let before = group.endpoints.load_full();
    assert!(group.resolve().await);
    let after = group.endpoints.load_full();
    assert!(
        before
            .iter()
            .zip(after.iter())
            .all(|(before, after)| Arc::ptr_eq(before, after))
    );
}

#[tokio::test]
async fn a_changed_address_is_used_and_the_old_one_is_gone() {
    let first = Server::h1(|_| async { Response::new(Body::full("first")) }).await;
    let second = Server::h1(|_| async { Response::new(Body::full("second")) }).await;
    let mut config = config_of(&["moving.example:80"]);
    config.dns_refresh = Time::ms(20);
    let addresses = Arc::new(Mutex::new(Ok(vec![first.address])));
    let answers = Arc::clone(&addresses);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let lookup = move |host, port| {
        assert_eq!((host, port), ("moving.example".to_owned(), 80));
        count.fetch_add(1, Ordering::SeqCst);
        let answer = answers.lock().clone().map_err(std::io::Error::from);
        Box::pin(std::future::ready(answer)) as _
    };
    let (pools, group) = (
        Pools::new(),
        UpstreamGroup::with_lookup("test", &config, Box::new(lookup)).unwrap(),
    );
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&group).run_background(shutdown.clone()));
    assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "first");
    let now = |address: SocketAddr| {
        let status = group.status();
        status.len() == 1 && *status[0].address == *address.to_string()
    };
    assert!(now(first.address), "{:?}", group.status());
    *addresses.lock() = Ok(vec![second.address]);
    until("the new address is known", || now(second.address)).await;
    // the idle connection to the old one is not taken either
    for _ in 0..4 {
        assert_eq!(
            text(call(&pools, &group, get("/")).await.unwrap()).await,
            "second"
        );
    }
    // a name that stops resolving keeps its last address, and is asked for again
    *addresses.lock() = Err(std::io::ErrorKind::TimedOut);
    let before = asked.load(Ordering::SeqCst);
    until("asked again", || asked.load(Ordering::SeqCst) > before + 2).await;
    assert_eq!(
        text(call(&pools, &group, get("/")).await.unwrap()).await,
        "second"
    );
    *addresses.lock() = Ok(vec![first.address, second.address]);
    until("both are known", || group.status().len() == 2).await;
    shutdown.cancel();
    task.await.unwrap();
    assert_eq!(first.connections(), 1);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_an_error_until_an_address_is_known() {
    let server = Server::h1(ok).await;
    let (pools, group) = (Pools::new(), group(&config_of(&["nowhere.invalid:80"])));
    let error = call(&pools, &group, get("/")).await.unwrap_err();
    assert!(matches!(error.kind, UpstreamErrorKind::NoEndpoint), "{error}");
    assert_eq!(error.attempts, 0);
    // Once there was an address, it is kept when the name stops resolving.
    let known = Endpoint::new(server.address, 0, &group.config.health);
    group.endpoints.store(Arc::new(vec![known]));
    assert!(!group.resolve().await);
    assert_eq!(text(call(&pools, &group, get("/")).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn nothing_to_do_in_the_background_ends_at_once() {
    group(&config_of(&["127.0.0.1:9"]))
        .run_background(CancellationToken::new())
        .await;
}

#[test]
fn wrong_configurations_are_named() {
    let build = |config: &Upstream| UpstreamGroup::new("x", config).map(|_| ()).unwrap_err();
    for endpoint in [
        "",
        "host",
        "host:0",
        "host:99999",
        ":80",
        "user@host:80",
        "http://host:80",
        "::1:80",
        "a b:80",
    ] {
        let error = build(&config_of(&[endpoint]));
        assert!(
            matches!(&error, UpstreamConfigError::Endpoint(text) if text == endpoint),
            "{endpoint}: {error}"
        );
    }
    assert!(matches!(build(&config_of(&[])), UpstreamConfigError::NoEndpoints));
    let mut config = config_of(&["[::1]:80", "10.0.0.1:80", "a.example:80"]);
    assert_eq!(group(&config).status().len(), 2);
    config.host = Some("a b".to_owned());
    assert!(matches!(build(&config), UpstreamConfigError::Host(_)));
    config.host = None;
    config.tls = Some(config::UpstreamTls {
        ca: Some("no-such-file.pem".into()),
        ..Default::default()
    });
    assert!(build(&config).to_string().contains("no-such-file.pem"));
}
