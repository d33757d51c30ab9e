//! The admin API: its table of endpoints and its listener. Handlers are in the files beside; what they change goes
//! through `deploy`.

mod apis;
mod auth;
mod certificates;
mod documents;
mod model;
mod modules;
mod noted;
mod openapi;
mod plugins;
mod problem;
mod status;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use edgeward_core::{config::Admin, openapi::DOCUMENT_MAX};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::deploy::Deployer;

pub use auth::Token;
pub use problem::ApiError;

/// Largest JSON body.
const JSON_MAX: usize = 4 << 20;
/// Time a client may take for a request head, or for the next bytes of a body.
const CLIENT_TIME: Duration = Duration::from_secs(30);
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
    repeats: model::Repeats,
    refused: noted::Budget,
}

/// The table of endpoints.
pub fn router(deployer: Deployer, upload_limit: u64, token: Token) -> Router {
    let api = Api {
        deployer,
        upload_limit,
        uploads: Arc::new(Semaphore::new(UPLOADS)),
        repeats: model::repeats(),
        refused: noted::Budget::new(),
    };
    let closed = Router::new()
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
        .route("/v1/certificates", get(certificates::list))
        .route(
            "/v1/certificates/{name}",
            get(certificates::read)
                .put(certificates::put)
                .delete(certificates::remove),
        )
        .route("/v1/certificates/{name}/renew", post(certificates::renew))
        .route("/v1/apis/{parent}/drift", get(apis::drifted))
        .route("/v1/apis/{parent}/stages/{name}/arms", get(apis::arms))
        .route("/v1/apis/{parent}/stages/{name}/rollback", post(apis::rollback))
        .route("/v1/apis/{parent}/stages/{name}/promote", post(apis::promote))
        .route("/v1/apis/{parent}/stages/{name}/abort", post(apis::abort))
        .route("/v1/bundle", get(apis::bundle).put(apis::apply))
        .route(
            "/v1/imports",
            post(documents::create).layer(DefaultBodyLimit::max(DOCUMENT_MAX)),
        )
        .route(
            "/v1/apis/{parent}/openapi",
            get(documents::write)
                .put(documents::change)
                .layer(DefaultBodyLimit::max(DOCUMENT_MAX)),
        )
        .route("/v1/audit", get(apis::audit))
        .route("/v1/audit/verify", get(apis::verify))
        .merge(model::routes())
        .route_layer(middleware::from_fn_with_state(Arc::new(token), auth::check))
        .route_layer(middleware::from_fn_with_state(api.clone(), noted::note));
    let open = Router::new()
        .route("/healthz", get(status::health))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::document));
    closed
        .merge(open)
        .layer(DefaultBodyLimit::max(JSON_MAX))
        .layer(middleware::from_fn(problem::all_errors))
        .layer(middleware::from_fn(guard))
        .with_state(api)
}

/// A panic costs one request, and a client that stops sending does not hold it for ever.
async fn guard(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, impatient(body));
    let answer = std::panic::AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await;
    answer.unwrap_or_else(|_panic| {
        tracing::error!("a handler of the admin API panicked");
        ApiError::internal("a defect in the gateway, see its log").into_response()
    })
}

/// The same body, ending with an error when no bytes come for [`CLIENT_TIME`].
fn impatient(body: Body) -> Body {
    Body::from_stream(stream::unfold(Some(body.into_data_stream()), async |source| {
        let mut source = source?;
        match tokio::time::timeout(CLIENT_TIME, source.next()).await {
            Ok(next) => next.map(|chunk| (chunk, Some(source))),
            Err(late) => Some((Err(axum::Error::new(late)), None)),
        }
    }))
}

/// The listening admin API.
pub struct AdminServer {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl AdminServer {
    /// Binds the address and serves.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(deployer: Deployer, settings: &Admin, token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.address).await?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the admin API listens beyond loopback, in cleartext: put TLS in front");
        }
        let app = router(deployer, settings.upload_limit.0, Token::new(token));
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, app, stop.clone()));
        Ok(Self { address, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it; running requests get a few seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the admin API panicked");
        }
    }
}

async fn accept(listener: TcpListener, app: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let ready = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            both = ready => both,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // usually no file descriptor is left: give others time to end
                tracing::warn!(%error, "the admin API cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let app = app.clone().layer(axum::Extension(model::Source(peer)));
        let stop = stop.clone();
        tokio::spawn(async move {
            serve(socket, app, &stop).await;
            drop(slot);
        });
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    // connections that are left after this time end with the process
    let _late = tokio::time::timeout(STOP_TIME, slots.acquire_many(all)).await;
}

async fn serve(socket: tokio::net::TcpStream, app: Router, stop: &CancellationToken) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_TIME)
        .max_headers(64)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the admin API ended early");
    }
}

#[cfg(test)]
mod tests;
