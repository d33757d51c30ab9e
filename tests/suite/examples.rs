//! Every folder of `examples/` that has a `gateway.yaml` and an `expect.http`: its requests get the answers it promises.

use std::path::{Path, PathBuf};

use edgeward_tests::{Gateway, Origin, bytes, empty, parse_examples, target_dir, workspace};
use serde_json::Value;

/// Endpoint of the upstream in the examples, and address of the listener.
const UPSTREAM: &str = "127.0.0.1:9000";

fn examples() -> Vec<PathBuf> {
    let Ok(folders) = std::fs::read_dir(workspace().join("examples")) else {
        return Vec::new();
    };
    let mut found: Vec<_> = folders.map(|folder| folder.unwrap().path()).collect();
    found.retain(|folder| folder.join("gateway.yaml").exists() && folder.join("expect.http").exists());
    found.sort();
    found
}

/// The configuration with free ports, the scripted origin and the guests of this build; `None` when the
/// example is not there or a module is not built here.
fn adapted(folder: &Path, origin: &Origin) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join("gateway.yaml")).ok()?;
    let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
    for listener in config["listeners"].as_array_mut().into_iter().flatten() {
        listener["address"] = "127.0.0.1:0".into();
    }
    for upstream in config["upstreams"]
        .as_object_mut()
        .into_iter()
        .flat_map(|upstreams| upstreams.values_mut())
    {
        for endpoint in upstream["endpoints"].as_array_mut().into_iter().flatten() {
            if endpoint == UPSTREAM {
                *endpoint = origin.endpoint().into();
            }
        }
    }
    for plugin in config["plugins"]
        .as_object_mut()
        .into_iter()
        .flat_map(|plugins| plugins.values_mut())
    {
        let module = plugin["module"].as_str().unwrap();
        let path = match module.split_once("target/guests/") {
            Some((_, name)) => target_dir().join("guests").join(name),
            None => folder.join(module),
        };
        if !path.exists() {
            return None;
        }
        plugin["module"] = path.display().to_string().into();
    }
    Some(config)
}

/// The files of an example beside its configuration (keys, rule sets), where relative paths find them.
fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

/// Runs all cases of one example.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
async fn run(name: &str) {
    let folder = workspace().join("examples").join(name);
    let origin = Origin::start();
    let Some(config) = adapted(&folder, &origin) else {
        println!("{name}: skipped, its module is not built on this machine (see `cargo xtask guests`)");
        return;
    };
    let gateway = Gateway::start_in(copied(&folder), config).await;
    let cases = parse_examples(&std::fs::read_to_string(folder.join("expect.http")).unwrap());
    assert!(!cases.is_empty(), "{name}: expect.http has no case");
    for case in cases {
        let what = format!("{name}: {}", case.name);
        let fields: Vec<_> = case
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let body = if case.body.is_empty() {
            empty()
        } else {
            bytes(case.body)
        };
        let reply = gateway.send(&case.method, &case.target, &fields, body).await;
        assert_eq!(reply.status, case.status, "{what}: {}", reply.text());
        for (field, expected) in &case.expected_fields {
            if let Some(absent) = field.strip_prefix('!') {
                assert_eq!(reply.header(absent), "", "{what}: {absent}");
            } else if let Some(part) = expected.strip_prefix('*').and_then(|part| part.strip_suffix('*')) {
                assert!(
                    reply.header(field).contains(part),
                    "{what}: {field}: {}",
                    reply.header(field)
                );
            } else {
                assert_eq!(reply.header(field), expected, "{what}: {field}");
            }
        }
        for text in &case.expected_texts {
            assert!(reply.text().contains(text), "{what}: {text} in {}", reply.text());
        }
    }
}

/// One test per example, and one that none is forgotten.
macro_rules! examples {
    ($($test:ident $name:literal)*) => {
        $(#[tokio::test] async fn $test() { run($name).await; })*

        #[test]
        fn every_example_is_run() {
            let known = [$($name),*];
            for folder in examples() {
                let name = folder.file_name().unwrap().to_str().unwrap();
                assert!(known.contains(&name), "examples/{name} is not in tests/suite/examples.rs");
            }
        }
    };
}

examples! {
    c_does_what_it_promises "c"
    headers_does_what_it_promises "headers"
    javascript_does_what_it_promises "javascript"
    json_does_what_it_promises "json"
    jwt_does_what_it_promises "jwt"
    pipeline_does_what_it_promises "pipeline"
    waf_does_what_it_promises "waf"
}

#[test]
fn the_form_of_expectations_is_understood() {
    let text = "### first\n# a comment\nPOST /a?b=c HTTP/1.1\nx-one: 1\n\nthe body\n\nHTTP/1.1 201 Created\ncontent-type: *json*\n!server:\n\nsome text\nmore\n\n###second\nGET /\nHTTP/1.1 404\n";
    let cases = parse_examples(text);
    assert_eq!(cases.len(), 2);
    let first = &cases[0];
    assert_eq!(
        (first.name.as_str(), first.method.as_str(), first.target.as_str()),
        ("first", "POST", "/a?b=c")
    );
    assert_eq!((first.body.as_str(), first.status), ("the body", 201));
    assert_eq!(
        first.expected_fields,
        [
            ("content-type".to_owned(), "*json*".to_owned()),
            ("!server".to_owned(), String::new())
        ]
    );
    assert_eq!(first.expected_texts, ["some text", "more"]);
    assert_eq!(
        (cases[1].target.as_str(), cases[1].status, cases[1].body.as_str()),
        ("/", 404, "")
    );
}
