//! Background work of an upstream: names are resolved again, and endpoints are asked whether they are well. Runs on the control runtime, never on a
//! worker.

use std::{sync::Arc, time::Duration};

use edgeward_core::config::{ActiveHealth, UpstreamProtocol};
use futures_util::StreamExt as _;
use http::{
    Request,
    header::{HOST, HeaderValue, USER_AGENT},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{connect, endpoint::Endpoint, error::Failed, group::UpstreamGroup};
use crate::body::Body;

/// Checks under way at once per upstream.
const CHECKS_MAX: usize = 32;

/// Bytes of a check's answer that are read.
const ANSWER_MAX: u64 = 64 * 1024;

/// No interval is shorter than this, whatever the configuration says.
const SHORTEST: Duration = Duration::from_millis(10);

impl UpstreamGroup {
    /// Resolves names every `dns-refresh` (sooner after a failure) and runs the active checks, until `shutdown`. Returns at once when the upstream
    /// needs neither. Each group needs exactly one such task while it is in use.
    pub async fn run_background(self: Arc<Self>, shutdown: CancellationToken) {
        let work = async { tokio::join!(self.refresh_names(), self.check_all()) };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = work => {}
        }
    }

    async fn refresh_names(&self) {
        if !self.has_names() {
            return;
        }
        let refresh = self.config.dns_refresh.0.max(SHORTEST);
        let mut after_failure = Duration::from_secs(1).min(refresh);
        loop {
            if self.resolve().await {
                after_failure = Duration::from_secs(1).min(refresh);
                tokio::time::sleep(jitter(refresh)).await;
            } else {
                tokio::time::sleep(jitter(after_failure)).await;
                after_failure = (after_failure * 2).min(refresh);
            }
        }
    }

    async fn check_all(&self) {
        let Some(active) = &self.config.health.active else {
            return;
        };
        let interval = active.interval.0.max(SHORTEST);
        loop {
            let round = Instant::now();
            let endpoints = self.endpoints.load_full();
            futures_util::stream::iter(endpoints.iter())
                .for_each_concurrent(CHECKS_MAX, |endpoint| self.check(active, endpoint))
                .await;
            tokio::time::sleep_until(round + jitter(interval)).await;
        }
    }

    async fn check(&self, active: &ActiveHealth, endpoint: &Endpoint) {
        let problem = match tokio::time::timeout(active.timeout.0, self.ask(active, endpoint)).await {
            Ok(Ok(status)) if (200..400).contains(&status) => None,
            Ok(Ok(status)) => Some(format!("answered with status {status}")),
            Ok(Err(Failed { kind, source })) => {
                Some(source.map_or_else(|| format!("{kind:?}"), |source| format!("{kind:?}: {source}")))
            }
            Err(_elapsed) => Some(format!("no answer within {}", active.timeout)),
        };
        match endpoint.checked(problem.is_none()) {
            Some(true) => {
                tracing::info!(upstream = %self.name, endpoint = %endpoint.name, "endpoint is healthy again");
            }
            Some(false) => {
                let problem = problem.unwrap_or_default();
                tracing::warn!(upstream = %self.name, endpoint = %endpoint.name, problem, "endpoint is unhealthy");
            }
            None => {}
        }
    }

    /// GET on a connection of its own: whether new connections work is part of the question.
    async fn ask(&self, active: &ActiveHealth, endpoint: &Endpoint) -> Result<u16, Failed> {
        let mut request = Request::new(());
        if let Ok(uri) = active.path.parse() {
            *request.uri_mut() = uri;
        }
        let host = match &self.host {
            Some((host, _)) => Some(host.clone()),
            None => HeaderValue::from_str(self.target(endpoint).authority.as_str()).ok(),
        };
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static("edgeward-health"));
        super::request::prepare(self, &mut request);
        match self.config.protocol {
            UpstreamProtocol::Http1 => {
                let connection = connect::h1(self, endpoint).await?;
                let (response, exchange) = connection
                    .send(&request, Body::empty(), None)
                    .await
                    .map_err(|unanswered| unanswered.failed)?;
                let status = response.status().as_u16();
                exchange.read_to_end(ANSWER_MAX).await;
                Ok(status)
            }
            UpstreamProtocol::Http2 => {
                let connection = connect::h2(self, endpoint).await?;
                let response = connection
                    .stream()
                    .send(&request, Body::empty())
                    .await
                    .map_err(|unanswered| unanswered.failed)?;
                Ok(response.status().as_u16())
            }
        }
    }
}

/// Ten per cent around `time`, so that many gateways do not ask in step.
fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.9 + fastrand::f64() * 0.2)
}
