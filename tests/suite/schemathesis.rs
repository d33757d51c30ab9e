//! The admin API does what its OpenAPI document says: schemathesis makes requests of it, good and bad, and looks at the answers.

use edgeward_tests::{
    Process,
    real::{python, python_has, run},
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
    write(folder.path(), &config(&origin));
    let process = Process::start(folder.path());
    // something that is there
    let bundle = json!({"apis": {"0": {
        "integrations": {"0": {"type": "HTTP_PROXY", "uri": "http://127.0.0.1:1/"}},
        "routes": {"GET /": {"integration": "0"}},
        "stages": {"0": {"auto-deploy": true}},
    }}});
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
    // modules are not something that it can make
    let without = ["/v1/modules", "/v1/plugins/{name}/module"];
    let mut command = Command::new(python().with_file_name("schemathesis"));
    command
        .current_dir(folder.path())
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
    for path in without {
        command.args(["--exclude-path", path]);
    }
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
