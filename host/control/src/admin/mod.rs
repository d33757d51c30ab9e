//! The admin API: its table of endpoints. `listen` has its sockets, `auth` finds out who calls and whether they may, `noted` keeps that in the audit log;
//! handlers are in the other files, and what they change goes through `deploy`.

mod apis;
mod auth;
mod certificates;
mod decisions;
mod documents;
mod listen;
mod model;
mod modules;
mod noted;
mod once;
mod openapi;
mod plugins;
mod policy;
mod principals;
mod problem;
mod schemas;
mod status;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post, put},
};
use edgeward_core::{config::Admin, openapi::DOCUMENT_MAX};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{bundle::BUNDLE_MAX, deploy::Deployer, store::StoreError};
use auth::Access;
pub use listen::tls_problem;
use listen::{Local, Socket, Tls};
pub use problem::ApiError;

/// Largest JSON body of most calls, in bytes.
const JSON_MAX: usize = 4 << 20;
/// Time a client may take for a request head, or for the next bytes of a body.
const CLIENT_TIME: Duration = Duration::from_secs(30);
/// Longest time for a whole body.
const BODY_TIME: Duration = Duration::from_secs(15 * 60);
/// Open connections; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// Uploads that are written at the same time; more wait.
const UPLOADS: usize = 16;
/// Time that running requests get to end.
const STOP_TIME: Duration = Duration::from_secs(5);

/// What every handler gets.
#[derive(Clone)]
pub(crate) struct Api {
    deployer: Deployer,
    upload_limit: u64,
    uploads: Arc<Semaphore>,
    repeats: once::Repeats,
    refused: noted::Budget,
    denials: noted::Denials,
    access: Arc<Access>,
}

/// The table of endpoints.
fn router(deployer: Deployer, upload_limit: u64, access: Access, denials: noted::Denials) -> Router {
    let api = Api {
        deployer,
        upload_limit,
        uploads: Arc::new(Semaphore::new(UPLOADS)),
        repeats: once::Repeats::new(),
        refused: noted::Budget::new(),
        denials,
        access: Arc::new(access),
    };
    // what they change has no entity tag
    let unconditional = Router::new()
        .route("/v1/whoami", get(principals::whoami))
        .route(
            "/v1/principals/{parent}/tokens/{name}/rotate",
            post(principals::rotate),
        )
        .route("/v1/status", get(status::status))
        .route("/v1/config", get(status::config))
        .route("/v1/reload", post(status::reload))
        .route("/v1/modules", get(modules::list).post(modules::upload))
        .route("/v1/modules/{digest}", get(modules::read).delete(modules::remove))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/plugins/{name}", get(plugins::read))
        .route("/v1/plugins/{name}/module", put(plugins::put_module))
        .route(
            "/v1/plugins/{name}/versions",
            get(plugins::versions).post(plugins::create),
        )
        .route(
            "/v1/plugins/{name}/versions/{version}",
            get(plugins::version).delete(plugins::remove),
        )
        .route("/v1/plugins/{name}/publish", post(plugins::publish))
        .route("/v1/plugins/{name}/rollback", post(plugins::rollback))
        .route("/v1/plugins/{name}/decisions", delete(decisions::of_plugin))
        .route(
            "/v1/apis/{parent}/stages/{name}/cache/authorizers",
            delete(decisions::of_stage),
        )
        .route("/v1/apis/{parent}/cache/authorizers", delete(decisions::of_api))
        .route("/v1/certificates", get(certificates::list))
        .route(
            "/v1/certificates/{name}",
            get(certificates::read)
                .put(certificates::put)
                .delete(certificates::remove),
        )
        .route(
            "/v1/domains/{parent}/certificates",
            get(certificates::list_of_domain),
        )
        .route(
            "/v1/domains/{parent}/certificates/{name}",
            get(certificates::read_of_domain)
                .put(certificates::put_of_domain)
                .delete(certificates::remove_of_domain),
        )
        .route("/v1/certificates/{name}/renew", post(certificates::renew))
        .route("/v1/imports", post(documents::create))
        .route("/v1/shadows/{name}/counts", get(apis::shadow))
        .route("/v1/policy/explain", post(policy::explain))
        .route("/v1/audit", get(apis::audit))
        .route("/v1/audit/verify", get(apis::verify))
        .route_layer(middleware::from_fn(model::without_conditions));
    let closed = Router::new()
        .route("/v1/apis/{parent}/drift", get(apis::drifted))
        .route(
            "/v1/apis/{parent}/routes/{name}/pipeline",
            get(apis::route_pipeline),
        )
        .route("/v1/apis/{parent}/stages/{name}/arms", get(apis::arms))
        .route("/v1/apis/{parent}/stages/{name}/rollback", post(apis::rollback))
        .route("/v1/apis/{parent}/stages/{name}/promote", post(apis::promote))
        .route("/v1/apis/{parent}/stages/{name}/abort", post(apis::abort))
        .route("/v1/bundle", get(apis::bundle).put(apis::apply))
        .route(
            "/v1/apis/{parent}/openapi",
            get(documents::write).put(documents::change),
        )
        .merge(model::routes())
        .merge(unconditional)
        .route_layer(middleware::from_fn_with_state(api.clone(), noted::compare))
        .route_layer(middleware::from_fn_with_state(api.clone(), once::once))
        .route_layer(middleware::from_fn_with_state(api.clone(), auth::check))
        .route_layer(middleware::from_fn_with_state(api.clone(), noted::note));
    let open = Router::new()
        .route("/healthz", get(status::health))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document));
    closed
        .merge(open)
        .layer(middleware::from_fn(problem::all_errors))
        .layer(middleware::from_fn(guard))
        .with_state(api)
}

/// Status of an answer to a call that made something, or only changed or looked at it.
const fn made(new: bool) -> StatusCode {
    if new { StatusCode::CREATED } else { StatusCode::OK }
}

/// Largest body of a call, in bytes; uploads of modules have a limit of their own.
fn body_max(path: &str) -> usize {
    match *path.split('/').collect::<Vec<_>>() {
        ["", "v1", "bundle"] => BUNDLE_MAX,
        ["", "v1", "imports"] | ["", "v1", "apis", _, "openapi"] => DOCUMENT_MAX,
        _ => JSON_MAX,
    }
}

/// A panic costs one request, and a client that stops sending does not hold it for ever. Its body has an end.
async fn guard(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut request = Request::from_parts(parts, impatient(body));
    DefaultBodyLimit::max(body_max(request.uri().path())).apply(&mut request);
    let answer = std::panic::AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await;
    answer.unwrap_or_else(|_panic| {
        tracing::error!("a handler of the admin API panicked");
        ApiError::internal("a defect in the gateway, see its log").into_response()
    })
}

/// The same body, ending with an error when no bytes come for [`CLIENT_TIME`], or it has not ended after [`BODY_TIME`]: a caller's rights are those of the
/// moment that its call began.
fn impatient(body: Body) -> Body {
    let source = (body.into_data_stream(), Instant::now() + BODY_TIME);
    Body::from_stream(stream::unfold(Some(source), async |source| {
        let (mut source, end) = source?;
        let patience = CLIENT_TIME.min(end.saturating_duration_since(Instant::now()));
        match tokio::time::timeout(patience, source.next()).await {
            Ok(next) => next.map(|chunk| (chunk, Some((source, end)))),
            Err(late) => Some((Err(axum::Error::new(late)), None)),
        }
    }))
}

/// The listening admin API.
pub struct AdminServer {
    address: SocketAddr,
    socket: Option<PathBuf>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    slots: Arc<Semaphore>,
}

/// The admin API cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AdminStartError {
    /// An address or a socket cannot be had.
    #[error("admin API cannot listen on {place}: {source} (`{setting}`)")]
    Listen {
        /// Where.
        place: String,
        /// Name of the setting.
        setting: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The token or a key cannot be read or made.
    #[error("admin token: {0}")]
    Token(#[from] StoreError),
    /// A file of TLS cannot be used.
    #[error("admin API: {0} (`admin.tls`)")]
    Tls(String),
}

impl AdminServer {
    /// Binds what the settings name and serves. Relative paths begin at `base_dir`.
    ///
    /// # Errors
    /// An address cannot be had, or a file not be used.
    pub async fn start(
        deployer: Deployer,
        settings: &Admin,
        base_dir: &Path,
        token_file: PathBuf,
    ) -> Result<Self, AdminStartError> {
        let access = Access::new(auth::root_token(token_file)?, deployer.store().token_key()?);
        let tls = settings.tls.as_ref().map(|tls| Tls::new(tls, base_dir));
        let tls = tls.transpose().map_err(AdminStartError::Tls)?.map(Arc::new);
        let failed = |place: String, setting| {
            move |source| AdminStartError::Listen {
                place,
                setting,
                source,
            }
        };
        let of_address = failed(settings.address.to_string(), "admin.address");
        let listener = TcpListener::bind(settings.address).await;
        let (listener, address) = listener
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .map_err(of_address)?;
        if !address.ip().is_loopback() && tls.is_none() {
            tracing::warn!(%address, "the admin API listens beyond loopback, in cleartext: give it `admin.tls`");
        }
        let mut sockets = vec![Socket::Address(listener, tls)];
        let mut socket = None;
        if let Some(wanted) = &settings.socket {
            let of_socket = failed(wanted.path.display().to_string(), "admin.socket");
            let local = Local::bind(wanted, base_dir).map_err(of_socket)?;
            socket = Some(local.path().to_owned());
            sockets.push(Socket::Local(local));
        }
        let denials = noted::Denials::new();
        let app = router(deployer.clone(), settings.upload_limit.0, access, denials.clone());
        let stop = CancellationToken::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let serve = |socket| {
            let (app, slots, stop) = (app.clone(), Arc::clone(&slots), stop.clone());
            tokio::spawn(listen::accept(socket, app, slots, stop))
        };
        let mut tasks: Vec<_> = sockets.into_iter().map(serve).collect();
        tasks.push(tokio::spawn(denials.tell(deployer, stop.clone())));
        Ok(Self {
            address,
            socket,
            stop,
            tasks,
            slots,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its unix socket is.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Ends it; running requests get a few seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("the admin API panicked");
            }
        }
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        // connections that are left after this time end with the process
        let _late = tokio::time::timeout(STOP_TIME, self.slots.acquire_many(all)).await;
    }
}

#[cfg(test)]
mod tests;
