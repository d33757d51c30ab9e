//! Tests of what `deploy` makes of a configuration and what is published.

use super::*;

fn config(text: &str) -> Config {
    edgeward_core::config::read(text).unwrap()
}

#[test]
fn an_unknown_plugin_is_refused_with_the_known_names() {
    let with = config(
        "{listeners: [{address: '127.0.0.1:0'}], plugins: {auth: {module: a.wasm}, waf: {module: b.wasm}}}",
    );
    assert!(known(&with, "auth").is_ok());
    let error = known(&with, "aut").unwrap_err().to_string();
    assert!(error.contains("`aut`") && error.contains("auth, waf"), "{error}");
    let without = config("{listeners: [{address: '127.0.0.1:0'}]}");
    assert!(
        known(&without, "auth")
            .unwrap_err()
            .to_string()
            .contains("there are none")
    );
}

#[test]
fn a_failed_reload_is_remembered_until_one_succeeds() {
    let mut status = ReloadStatus::first(0);
    let error = ControlError::invalid("routes[0]", "is wrong");
    for now in [1000, 2000] {
        status.finish(now, Some(&error), Path::new("gateway.yaml"));
    }
    assert_eq!((status.ok, status.failures), (false, 2));
    let last = status.error.as_ref().unwrap();
    assert_eq!(
        last.since, "1970-01-01T00:00:01.000Z",
        "the same error is one error"
    );
    assert_eq!(last.problems, error.problems());
    status.finish(3000, None, Path::new("gateway.yaml"));
    assert!(status.ok && status.error.is_none());
    assert_eq!(status.failures, 2);
}
