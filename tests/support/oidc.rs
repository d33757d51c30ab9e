//! An OpenID provider of another make: npm's oidc-provider, run by Node (`tests/real/oidc/provider.mjs`).

use std::{net::SocketAddr, process::Stdio};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Request;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{Connection, Reply, bytes, paths, real::is_there, within};

/// A running provider; ends when dropped.
pub struct OpenIdProvider {
    address: SocketAddr,
    _running: Child,
    // it ends where it cannot write
    _output: Lines<BufReader<ChildStdout>>,
}

impl OpenIdProvider {
    /// Starts one on a free port. None where Node or the package is not installed, which was said then: unlike other clients it is not required, since the Node of
    /// older systems does not run it.
    pub async fn start() -> Option<Self> {
        let folder = paths::target_dir().join("clients/oidc");
        if !folder.join("installed.json").exists() {
            println!(
                "skipped: npm's oidc-provider is not installed (cargo xtask clients, with Node 20 or newer)"
            );
            return None;
        }
        let mut command = Command::new("node");
        command
            .arg(paths::workspace().join("tests/real/oidc/provider.mjs"))
            .arg(&folder);
        // it ends with its standard input, which is at its end already
        if !is_there("npm's oidc-provider", &mut command).await {
            return None;
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut running = command.spawn().unwrap();
        let mut output = BufReader::new(running.stdout.take().unwrap()).lines();
        loop {
            let line = within("the provider's start", output.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("the provider does not start"));
            if let Some(address) = line.strip_prefix("listening on http://") {
                return Some(Self {
                    address: address.parse().unwrap(),
                    _running: running,
                    _output: output,
                });
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is called, with `http://`.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token for the client `caller`, good for ten minutes. `resource` is one of `provider.mjs`, such as `urn:pets:es256`; `scope` is `pets.read`,
    /// `pets.write` or both.
    pub async fn token(&self, resource: &str, scope: &str) -> String {
        let form = format!("grant_type=client_credentials&resource={resource}&scope={scope}");
        let reply = self.post("/token", form).await;
        reply.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Revokes a token that is no JWT.
    pub async fn revoke(&self, token: &str) {
        self.post("/token/revocation", format!("token={token}")).await;
    }

    /// Has it do one of the things that `provider.mjs` lists: `rotate`, `retire`, `mode/down` ...
    pub async fn control(&self, what: &str) {
        self.post(&format!("/test/{what}"), String::new()).await;
    }

    /// What it says of itself, by `provider.mjs`.
    pub async fn state(&self) -> Value {
        self.post("/test/state", String::new()).await.json()
    }

    async fn post(&self, path: &str, form: String) -> Reply {
        let client = format!("Basic {}", BASE64_STANDARD.encode("caller:s3cret"));
        let request = Request::post(path)
            .header("authorization", client)
            .header("content-type", "application/x-www-form-urlencoded");
        let reply = Connection::h1(self.address)
            .await
            .send(request, bytes(form))
            .await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply
    }
}
