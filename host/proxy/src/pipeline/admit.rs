//! The phases that decide whether a request goes on: plugins inspect it, and say who calls and whether they may.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use edgeward_core::{
    phase::Phase,
    reject::{Reject, RejectCode},
};
use edgeward_runtime::{Answer, BodyMode, BodyState, ContextValue, Decision, ExchangeSlot};
use http::{Response, StatusCode};

use super::{
    Chain, Link, SharedChain, Step, Way, active,
    collect::{Collected, collect, whole},
    lost, respond_with,
    shadow::{Hook, Said},
};
use crate::{
    api::access::{Access, without_api},
    body::Body,
};

impl SharedChain {
    /// Phases that decide whether the request goes on: inspect, authorize. Returns its body. `access`: what else decides, on routes of APIs.
    pub(crate) async fn admit(
        &self,
        mut body: Body,
        mut access: Option<&mut Access<'_>>,
    ) -> Result<Step<Body>, Reject> {
        if self.phases.has(Phase::Inspect) {
            match self.inspect(body).await? {
                Step::Next(next) => body = next,
                Step::Answer(answer) => return Ok(Step::Answer(answer)),
            }
        }
        if let Some(access) = access.as_deref_mut() {
            access.before()?;
        }
        if self.phases.has(Phase::Authorize) {
            body = self.digest(body).await?;
            if let Some(answer) = self.authorize(access).await? {
                return Ok(Step::Answer(answer));
            }
        }
        Ok(Step::Next(body))
    }

    async fn inspect(&self, body: Body) -> Result<Step<Body>, Reject> {
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        let mut wanted = 0;
        for link in active(links, Phase::Inspect) {
            if let BodyMode::Buffer { limit, .. } = link.session.interest().request_body {
                wanted = limit.max(wanted);
            }
        }
        let collected = if wanted > 0 && !body.is_empty() {
            collect(body, wanted).await?
        } else {
            Collected::Unread(body)
        };
        for link in active(links, Phase::Inspect) {
            let (bytes, state): (&[u8], _) = match (&collected, link.session.interest().request_body) {
                (Collected::Whole(bytes, _), BodyMode::Buffer { limit, reject }) => {
                    if bytes.len() as u64 <= limit {
                        (bytes, BodyState::Last)
                    } else if reject {
                        return Err(Way::Request.too_large(limit));
                    } else {
                        (&[], BodyState::TooLarge)
                    }
                }
                (Collected::TooLarge(_), BodyMode::Buffer { limit, reject: true }) => {
                    return Err(Way::Request.too_large(limit));
                }
                (Collected::TooLarge(_), BodyMode::Buffer { reject: false, .. }) => {
                    (&[], BodyState::TooLarge)
                }
                _ => (&[], BodyState::Last),
            };
            let before = link.before(exchange);
            let verdict = link.session.inspect(exchange, bytes, state).await;
            link.after(before, exchange, || {
                (
                    Hook::Inspect(Bytes::copy_from_slice(bytes), state),
                    Said::verdict(&verdict),
                )
            });
            match verdict {
                Ok(verdict) => {
                    if let Some(refused) = judge(link, exchange, verdict)? {
                        return Ok(Step::Answer(refused));
                    }
                }
                Err(failure) => {
                    if let Some(answer) = link.failed(Phase::Inspect, &failure, exchange)? {
                        return Ok(Step::Answer(answer));
                    }
                }
            }
        }
        Ok(Step::Next(collected.into_body()))
    }

    /// Collects and hashes the body, if an authorizer needs that and it was not done.
    pub(crate) async fn digest(&self, body: Body) -> Result<Body, Reject> {
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        let wants = |link: &&mut Link| link.session.interest().request_digest;
        let Some(limit) = active(links, Phase::Authorize)
            .filter(wants)
            .map(|link| link.session.version().body_limit())
            .min()
        else {
            return Ok(body);
        };
        if body.is_empty()
            || exchange
                .as_deref()
                .is_some_and(|exchange| exchange.body_digest.is_some())
        {
            return Ok(body);
        }
        match collect(body, limit).await? {
            Collected::Whole(bytes, trailers) => {
                let digest = digest::digest(&digest::SHA256, &bytes);
                let exchange = exchange.as_deref_mut().ok_or_else(lost)?;
                exchange.body_digest = digest.as_ref().try_into().ok();
                Ok(whole(bytes, trailers))
            }
            // what was not hashed could not be trusted
            Collected::TooLarge(_) | Collected::Unread(_) => Err(Way::Request.too_large(limit)),
        }
    }

    async fn authorize(&self, mut access: Option<&mut Access<'_>>) -> Result<Option<Response<Body>>, Reject> {
        let mut chain = self.lock().await;
        let Chain { exchange, links } = &mut *chain;
        for link in active(links, Phase::Authorize) {
            if let Some(access) = access.as_deref() {
                // that of the binding knows of no APIs and stages
                link.session.keep_decisions(access.asks(link.name())?);
            }
            let before = link.before(exchange);
            let decision = link.session.authorize(exchange).await;
            link.after(before, exchange, || (Hook::Authorize, Said::decision(&decision)));
            match decision {
                Ok(Decision::Allow { .. }) => {
                    let state = exchange.as_deref_mut().ok_or_else(lost)?;
                    match access.as_deref_mut() {
                        Some(access) => access.after(link.name(), state)?,
                        None => without_api(link.name(), state)?,
                    }
                }
                Ok(Decision::Deny {
                    status,
                    reason,
                    headers,
                    ..
                }) => {
                    let code = refusal(status);
                    let mut reject =
                        Reject::new(code, reason).because(format_args!("denied by plugin `{}`", link.name()));
                    reject.status = match code {
                        // what was asked gave no decision, and neither did the authorizer
                        RejectCode::AuthorizerConfiguration => 500,
                        _ => status.as_u16(),
                    };
                    reject.headers = headers;
                    return Err(reject);
                }
                Ok(Decision::Respond(answer)) => {
                    let of_signature = access.as_deref().and_then(|access| access.of_signature(&answer));
                    return match of_signature {
                        Some(reject) => {
                            Err(reject.because(format_args!("refused by plugin `{}`", link.name())))
                        }
                        None => Ok(Some(refused_with(refusal(answer.status()), answer, link.name()))),
                    };
                }
                Err(failure) => {
                    if let Some(answer) = link.failed(Phase::Authorize, &failure, exchange)? {
                        return Ok(Some(answer));
                    }
                }
            }
        }
        // one that failed open does not open what the API's policy closes
        if let Some(access) = access {
            access.unasked(exchange.as_deref_mut().ok_or_else(lost)?)?;
        }
        Ok(None)
    }
}

/// What a refusal of an authorizer is, by its status.
fn refusal(status: StatusCode) -> RejectCode {
    match status.as_u16() {
        401 => RejectCode::Unauthorized,
        502 => RejectCode::AuthorizerConfiguration,
        500.. => RejectCode::AuthorizerFailure,
        _ => RejectCode::AccessDenied,
    }
}

/// A plugin's own answer, which is this refusal for metrics and logs where its status is an error.
fn refused_with(code: RejectCode, answer: Answer, plugin: &str) -> Response<Body> {
    let status = answer.status();
    let mut response = respond_with(answer);
    if status.is_client_error() || status.is_server_error() {
        let reject = Reject::new(code, "the request was refused");
        let mut reject = reject.because(format_args!("answered by plugin `{plugin}`"));
        reject.status = status.as_u16();
        response.extensions_mut().insert(reject);
    }
    response
}

/// Records what an inspection found and refuses if it says so.
fn judge(
    link: &Link,
    exchange: &mut ExchangeSlot,
    verdict: edgeward_runtime::Verdict,
) -> Result<Option<Response<Body>>, Reject> {
    let Some(state) = exchange.as_deref_mut() else {
        return Err(lost());
    };
    let rules: Vec<&str> = verdict.matched.iter().map(|(id, _, _)| id.as_str()).collect();
    if !verdict.labels.is_empty() {
        let labels = ContextValue::Json(serde_json::json!(verdict.labels).to_string());
        state.context.insert(
            (
                Arc::clone(link.session.version().shared_name()),
                "labels".to_owned(),
            ),
            labels,
        );
    }
    if !rules.is_empty() || !verdict.labels.is_empty() {
        tracing::info!(
            target: "waf",
            request_id = state.request_id,
            route = state.route.name,
            plugin = link.name(),
            blocked = verdict.block.is_some(),
            rules = rules.join(","),
            labels = verdict.labels.join(","),
            locations = verdict.matched.iter().map(|(_, _, location)| location.as_str()).collect::<Vec<_>>().join(","),
            "rules matched"
        );
    }
    match verdict.block {
        None => Ok(None),
        Some((_, Some(answer))) => Ok(Some(refused_with(RejectCode::WafFiltered, answer, link.name()))),
        Some((status, None)) => {
            let cause = format!("blocked by plugin `{}`, rules {}", link.name(), rules.join(", "));
            let mut reject = Reject::new(RejectCode::WafFiltered, "the request was blocked").because(cause);
            reject.status = status.as_u16();
            Err(reject)
        }
    }
}
