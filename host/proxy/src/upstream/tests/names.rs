//! DNS names and wrong configurations.

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
