//! Client of the admin API.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header, response};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use indicatif::ProgressBar;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::output::Output;

/// Largest answer in bytes.
const ANSWER_MAX: usize = 64 << 20;
/// Time a request may take: loading a large plugin takes its time.
const ANSWER_TIME: Duration = Duration::from_secs(600);
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
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// The gateway's admin API.
    #[arg(long, env = "EDGEWARD_ADMIN", default_value = "http://127.0.0.1:9440")]
    admin: String,
    /// File with the admin token [default: ./edgeward-data/admin.token]. The token itself can be in EDGEWARD_TOKEN.
    #[arg(long, env = "EDGEWARD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
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
    base: String,
    token: String,
    http: HttpClient<HttpConnector, UnsyncBoxBody<Bytes, Infallible>>,
}

impl Client {
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Self> {
        let uri: Uri = args
            .admin
            .parse()
            .with_context(|| format!("`{}` is not a URL", args.admin))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            bail!(
                "admin URL `{}` does not begin with `http://<host>`: reach a remote gateway through a tunnel",
                args.admin
            );
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        Ok(Self {
            base: args.admin.trim_end_matches('/').to_owned(),
            token: token(args.token_file.as_deref())?,
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
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
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, kind)
            .body(body)?;
        let exchange = async {
            let response = self.http.request(request).await.with_context(|| {
                format!(
                    "no answer from the gateway at {}: does it run? (--admin, EDGEWARD_ADMIN)",
                    self.base
                )
            })?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!(error))?;
            Ok::<_, anyhow::Error>((parts, body.to_bytes()))
        };
        let (parts, body) = tokio::time::timeout(ANSWER_TIME, exchange)
            .await
            .with_context(|| format!("no answer from {} in time", self.base))??;
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

/// Runs a client command.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

fn token(file: Option<&Path>) -> anyhow::Result<String> {
    if file.is_none()
        && let Ok(token) = std::env::var("EDGEWARD_TOKEN")
    {
        return Ok(token.trim().to_owned());
    }
    let path = file.unwrap_or(Path::new("edgeward-data/admin.token"));
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the admin token in {} (--token-file, EDGEWARD_TOKEN_FILE or EDGEWARD_TOKEN)",
            path.display()
        )
    })?;
    Ok(text.trim().to_owned())
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
        assert_eq!(token(Some(&path)).unwrap(), "secret-token");
        let error = format!("{:#}", token(Some(&dir.path().join("none"))).unwrap_err());
        assert!(
            error.contains("none") && error.contains("EDGEWARD_TOKEN"),
            "{error}"
        );
    }

    #[test]
    fn only_plain_http_urls_are_taken() {
        for bad in ["https://example.com", "127.0.0.1:9440", "ftp://x"] {
            let args = ServerArgs {
                admin: bad.to_owned(),
                token_file: None,
            };
            assert!(Client::new(&args).is_err(), "{bad}");
        }
    }
}
