//! Client of the admin API.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, response};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, SizeHint};
use indicatif::ProgressBar;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{door::Door, output::Output};

/// Largest answer in bytes.
const ANSWER_MAX: usize = 64 << 20;
/// Time a request may take: loading a large plugin takes its time.
const ANSWER_TIME: Duration = Duration::from_secs(600);
/// What the client calls itself in the audit log.
const USER_AGENT: &str = concat!("edgeward/", env!("CARGO_PKG_VERSION"));
/// Bytes sent at a time.
const CHUNK: usize = 64 << 10;
/// What may not stand in a segment of a path as it is.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`');

/// Where the gateway is and how to be let in.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServerArgs {
    /// The gateway's admin API: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
    #[arg(long, env = "EDGEWARD_ADMIN", default_value = "http://127.0.0.1:9440")]
    pub(crate) admin: String,
    /// File with a token [default: ./edgeward-data/admin.token, but for `unix:` and with a certificate]. The token itself can be in EDGEWARD_TOKEN.
    #[arg(long, env = "EDGEWARD_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File (PEM) with the CA of an `https:` gateway [default: those of the system].
    #[arg(long, env = "EDGEWARD_ADMIN_CA")]
    pub(crate) admin_ca: Option<PathBuf>,
    /// File (PEM) with a client certificate for an `https:` gateway.
    #[arg(long, env = "EDGEWARD_CLIENT_CERT", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// File (PEM) with its key.
    #[arg(long, env = "EDGEWARD_CLIENT_KEY", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
}

/// The gateway refused.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    detail: String,
    /// Everything that is wrong, as the gateway sent it.
    pub(crate) problems: Vec<Value>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the gateway refused ({}): {}",
            self.status.as_u16(),
            self.detail
        )
    }
}

impl std::error::Error for Refused {}

/// Body of an upload: knows its length, and moves a progress bar.
struct Module {
    rest: Bytes,
    bar: ProgressBar,
}

impl Body for Module {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(CHUNK);
        let chunk = self.rest.split_to(size);
        self.bar.inc(chunk.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A client of one gateway.
pub(crate) struct Client {
    door: Door,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let door = Door::new(args)?;
        // who comes with a certificate or as a user of the machine needs none
        let known = door.is_local() || args.client_cert.is_some();
        Ok(Self {
            token: token(args.token_file.as_deref(), known)?,
            door,
        })
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(
            Method::GET,
            path,
            "application/json",
            Full::new(Bytes::new()).boxed_unsync(),
        )
        .await
    }

    /// POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
        self.send(Method::POST, path, "application/json", body).await
    }

    /// PUT of JSON.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
        self.send(Method::PUT, path, "application/json", body).await
    }

    /// POST of a document.
    pub(crate) async fn post_text(&self, path: &str, text: String) -> anyhow::Result<Value> {
        let body = Full::new(Bytes::from(text)).boxed_unsync();
        self.send(Method::POST, path, "application/yaml", body).await
    }

    /// PUT of a document.
    pub(crate) async fn put_text(&self, path: &str, text: String) -> anyhow::Result<Value> {
        let body = Full::new(Bytes::from(text)).boxed_unsync();
        self.send(Method::PUT, path, "application/yaml", body).await
    }

    /// GET of a document, and the head of the answer.
    pub(crate) async fn get_text(&self, path: &str) -> anyhow::Result<(HeaderMap, String)> {
        let body = Full::new(Bytes::new()).boxed_unsync();
        let (parts, body) = self.exchange(Method::GET, path, "application/json", body).await?;
        let text = String::from_utf8(body.to_vec()).context("the answer is no text")?;
        Ok((parts.headers, text))
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let body = Full::new(Bytes::new()).boxed_unsync();
        self.send(Method::DELETE, path, "application/json", body).await?;
        Ok(())
    }

    /// POST of a module, with progress.
    pub(crate) async fn upload(&self, bytes: Bytes, output: Output) -> anyhow::Result<Value> {
        let bar = output.bytes(bytes.len() as u64);
        bar.set_message("uploading");
        let body = Module {
            rest: bytes,
            bar: bar.clone(),
        }
        .boxed_unsync();
        let answer = self
            .send(Method::POST, "/v1/modules", "application/wasm", body)
            .await;
        bar.finish_and_clear();
        answer
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: UnsyncBoxBody<Bytes, Infallible>,
    ) -> anyhow::Result<Value> {
        let (_parts, body) = self.exchange(method, path, kind, body).await?;
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Sends a request; an answer that says that it was refused is an error.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: UnsyncBoxBody<Bytes, Infallible>,
    ) -> anyhow::Result<(response::Parts, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.door.host())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, kind)
            .body(body)?;
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"))
                .context("the token is not a line of text")?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let exchange = async {
            let mut gateway = self.door.open().await?;
            let response = gateway.send_request(request).await;
            let response =
                response.with_context(|| format!("no answer from the gateway at {}", self.door))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error))?;
            Ok::<_, anyhow::Error>((parts, body.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(ANSWER_TIME, exchange)
            .await
            .with_context(|| format!("no answer from {} in time", self.door))??;
        let status = parts.status;
        if status.is_success() {
            return Ok((parts, body));
        }
        let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let detail = value.get("detail").and_then(Value::as_str).map(str::to_owned);
        let problems = value
            .get("problems")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let detail = detail.unwrap_or_else(|| String::from_utf8_lossy(&body).chars().take(500).collect());
        Err(Refused {
            status,
            detail,
            problems,
        }
        .into())
    }
}

/// Path of a plugin in the API.
pub(crate) fn plugin_path(name: &str, rest: &str) -> String {
    format!("/v1/plugins/{}{rest}", utf8_percent_encode(name, SEGMENT))
}

/// Path of an API of the model in the admin API.
pub(crate) fn api_path(name: &str, rest: &str) -> String {
    format!("/v1/apis/{}{rest}", utf8_percent_encode(name, SEGMENT))
}

/// Path of a certificate in the API.
pub(crate) fn certificate_path(name: &str) -> String {
    format!("/v1/certificates/{}", utf8_percent_encode(name, SEGMENT))
}

/// Path of a principal in the API.
pub(crate) fn principal_path(name: &str, rest: &str) -> String {
    format!("/v1/principals/{}{rest}", utf8_percent_encode(name, SEGMENT))
}

/// Text in a query.
pub(crate) fn in_query(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Runs a client command.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// The token: from a file that is named, from the environment, or from where the gateway puts it, unless its client is known without.
fn token(file: Option<&Path>, known: bool) -> anyhow::Result<Option<String>> {
    if file.is_none() {
        if let Ok(token) = std::env::var("EDGEWARD_TOKEN") {
            return Ok(Some(token.trim().to_owned()));
        }
        if known {
            return Ok(None);
        }
    }
    let path = file.unwrap_or(Path::new("edgeward-data/admin.token"));
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the admin token in {} (--token-file, EDGEWARD_TOKEN_FILE or EDGEWARD_TOKEN)",
            path.display()
        )
    })?;
    Ok(Some(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(plugin_path("auth", "/publish"), "/v1/plugins/auth/publish");
        assert_eq!(
            plugin_path("a/../b?c#d%", ""),
            "/v1/plugins/a%2F..%2Fb%3Fc%23d%25"
        );
    }

    #[test]
    fn a_token_file_that_is_given_wins_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, " secret-token \n").unwrap();
        assert_eq!(token(Some(&path), true).unwrap().unwrap(), "secret-token");
        let error = format!("{:#}", token(Some(&dir.path().join("none")), true).unwrap_err());
        assert!(
            error.contains("none") && error.contains("EDGEWARD_TOKEN"),
            "{error}"
        );
    }
}
