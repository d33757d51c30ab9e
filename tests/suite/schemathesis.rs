//! The admin API does what its OpenAPI document says: schemathesis makes requests of it, good and bad, and looks at the answers.

use edgeward_tests::{
    Process, guest,
    real::{python, python_has, run},
    workspace,
};
use serde_json::json;
use tokio::process::Command;

use crate::process::{config, write};

/// Cases for each operation, beside those that cover its parameters.
const EXAMPLES: &str = "8";

#[tokio::test]
async fn the_admin_api_is_as_its_document_says() {
    if !python_has("schemathesis").await {
        return;
    }
    let origin = edgeward_tests::Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let module = guest("mark");
    let mut config = config(&origin);
    config["plugins"]["0"] = json!({"module": module});
    write(folder.path(), &config);
    let process = Process::start(folder.path());
    // something that is there
    let bundle = json!({
        "apis": {"0": {
            "integrations": {"0": {"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"}},
            "routes": {"GET /": {"integration": "0"}},
            "stages": {"0": {"auto-deploy": true}},
        }},
        "api-keys": {"0": {}},
        "usage-plans": {"0": {"keys": ["0"], "stages": [{"api": "0", "stage": "0"}]}},
        "waf": {"0": {"plugins": ["0"]}},
        "shadows": {"0": {"version": 0}},
    });
    let made = process
        .admin("PUT", "/v1/bundle", edgeward_tests::bytes(bundle.to_string()))
        .await;
    assert_eq!(made.status, 200, "{}", made.text());
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ];
    let mut command = Command::new(python().with_file_name("schemathesis"));
    command
        .current_dir(folder.path())
        // modules are not something that it can make by itself
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "SCHEMATHESIS_HOOKS",
            workspace().join("tests/real/schemathesis_modules.py"),
        )
        .env("EDGEWARD_MODULE", &module)
        .arg("run")
        .arg(format!("http://{}/openapi.json", process.admin))
        .args(["--header", &format!("Authorization: Bearer {}", process.token())])
        .args(["--checks", &checks.join(",")])
        .args([
            "--max-examples",
            EXAMPLES,
            "--seed",
            "1",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--continue-on-failure", "--warnings", "off", "--no-color"]);
    let output = run(&mut command).await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // it was let in to the end
    let status = process.admin("GET", "/v1/status", edgeward_tests::empty()).await;
    assert_eq!(status.status, 200, "{}", status.text());
    assert!(!process.log().contains("panicked"), "{}", process.log());
}
