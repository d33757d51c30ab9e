//! The plugin that renders an API's templates, in one exchange. It is called through its body hooks: the context says which template (namespace
//! `gateway`, key `template`) and has what it left of overrides (`request-override`, `response-override` in its own namespace), which are done here, for
//! mappings come between.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use edgeward_core::{
    api::mapping::{Action, writable_field},
    config::OnError,
    phase::Phase,
    reject::{Reject, RejectCode},
};
use edgeward_runtime::{
    Answer, BodyAction, BodyMode, BodyState, ContextValue, Exchange, ExchangeSlot, PluginFailure,
    PluginVersion, RequestHead, ResponseHead, Session,
};
use http::{HeaderMap, HeaderName, Response, StatusCode, header, response::Parts};
use serde::Deserialize;

use super::{GATEWAY, Voice, convert, facts::Known, integration::write};
use crate::{body::Body, finish::Finish, pipeline, snapshot::Fixed};

/// Most bytes of a reason that are logged.
const REASON_MAX: usize = 500;

/// The template engine of an API.
pub(super) struct Engine {
    session: Session,
    exchange: ExchangeSlot,
    /// What the binding wants answered where it fails.
    answer: Option<Response<Body>>,
}

/// Names and values.
type Fields<N> = Vec<(N, Vec<String>)>;

/// What a template of requests wants changed beside the body.
#[derive(Debug, Default)]
pub(super) struct RequestOverrides {
    pub(super) fields: Fields<HeaderName>,
    pub(super) query: Fields<String>,
    pub(super) path: Vec<(String, String)>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    header: BTreeMap<String, Values>,
    path: BTreeMap<String, Values>,
    querystring: BTreeMap<String, Values>,
    status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl Values {
    fn into_list(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::Several(values) => values,
        }
    }
}

/// Whether a plugin can be an engine: it takes whole bodies in both directions.
pub(super) fn can_render(version: &PluginVersion) -> bool {
    let interest = version.interest();
    let whole = |mode: &BodyMode| matches!(mode, BodyMode::Buffer { .. });
    whole(&interest.request_body) && whole(&interest.response_body)
}

impl Engine {
    /// The engine of an exchange, about to see its request. `authorizer` is what the authorizer said.
    pub(super) async fn begin(
        finish: &Finish,
        version: &Arc<PluginVersion>,
        head: &RequestHead,
        authorizer: &BTreeMap<String, String>,
    ) -> Result<Self, Reject> {
        let known = Known {
            headers: Some(&head.headers),
            authorizer,
            ..Known::of(finish)?
        };
        let call = known.call;
        let route = finish
            .route()
            .ok_or_else(|| Reject::new(RejectCode::Internal, "route table out of step"))?;
        let mut request = head.clone();
        // parameters are places in the path that was routed
        request.path.clone_from(&call.path);
        if call.arm.voice == Voice::Rest {
            request.headers.remove(header::CONTENT_LENGTH);
        }
        let mut exchange = Exchange::new(
            finish.request_id.clone(),
            Arc::clone(&route.info),
            call.params.clone(),
            Arc::clone(&finish.conn.peer),
            finish.client.unwrap_or_else(|| finish.conn.peer.address.ip()),
            request,
        );
        if let Some(chain) = &finish.chain {
            (exchange.context, exchange.principal) = chain.said().await;
        }
        let mut context = known.told();
        for (name, value) in authorizer.iter().filter(|(name, _)| *name != "claims") {
            // the claims are an object, which the plugin finds itself
            context["authorizer"][name] = value.as_str().into();
        }
        let variables = serde_json::json!(*call.arm.variables);
        for (key, value) in [("context", context), ("stage-variables", variables)] {
            let value = ContextValue::Json(value.to_string());
            exchange
                .context
                .insert((Arc::clone(&GATEWAY), key.to_owned()), value);
        }
        Ok(Self {
            session: Session::new(version),
            exchange: Some(Box::new(exchange)),
            answer: None,
        })
    }

    /// What a template makes of a request's body.
    ///
    /// # Errors
    /// It fails, or the body is too large.
    pub(super) async fn request(
        &mut self,
        template: &str,
        headers: &mut HeaderMap,
        body: Body,
    ) -> Result<Bytes, Reject> {
        let limit = limit(&self.session.interest().request_body);
        let body = convert::read(headers, body, limit, RejectCode::RequestTooLarge).await?;
        self.name(template)?;
        let action = self
            .session
            .request_body(&mut self.exchange, &body, BodyState::Last)
            .await;
        self.made(Phase::RequestBody, template, action, body)
    }

    /// What a template makes of a response's body.
    ///
    /// # Errors
    /// As [`Engine::request`].
    pub(super) async fn response(
        &mut self,
        template: &str,
        parts: &mut Parts,
        body: Body,
    ) -> Result<Bytes, Reject> {
        let limit = limit(&self.session.interest().response_body);
        let body = convert::read(&mut parts.headers, body, limit, RejectCode::ResponseTooLarge).await?;
        let exchange = self.name(template)?;
        exchange.request_sent = true;
        exchange.response = Some(ResponseHead {
            status: parts.status,
            headers: parts.headers.clone(),
        });
        let action = self
            .session
            .response_body(&mut self.exchange, &body, BodyState::Last)
            .await;
        self.made(Phase::ResponseBody, template, action, body)
    }

    /// What is answered in place of a refusal.
    pub(super) fn take_answer(&mut self) -> Option<Response<Body>> {
        self.answer.take()
    }

    fn name(&mut self, template: &str) -> Result<&mut Exchange, Reject> {
        let exchange = self.exchange.as_deref_mut();
        let exchange = exchange.ok_or_else(|| failed("a plugin call lost the exchange"))?;
        exchange.context.insert(
            (Arc::clone(&GATEWAY), "template".to_owned()),
            ContextValue::Text(template.to_owned()),
        );
        Ok(exchange)
    }

    fn made(
        &mut self,
        phase: Phase,
        template: &str,
        action: Result<BodyAction, PluginFailure>,
        body: Bytes,
    ) -> Result<Bytes, Reject> {
        match action {
            Ok(BodyAction::Replace(made)) => Ok(made),
            Ok(BodyAction::Proceed) => Ok(body),
            Ok(BodyAction::Respond(answer)) => Err(failed(&reason(template, &answer))),
            Err(failure) => {
                pipeline::log(&failure, &self.exchange);
                // a body that was to be mapped does not pass instead: `open` is no choice here
                if let OnError::Respond(fixed) = self.session.version().on_error(phase) {
                    self.answer = Fixed::new(fixed).ok().map(|fixed| fixed.response());
                }
                Err(pipeline::closed(phase, &failure))
            }
        }
    }

    fn told(&self, key: &str) -> Told {
        let name = self.session.version().shared_name();
        let value = self
            .exchange
            .as_deref()
            .and_then(|exchange| exchange.context.get(&(Arc::clone(name), key.to_owned())));
        match value {
            Some(ContextValue::Json(text)) => serde_json::from_str(text).unwrap_or_default(),
            _ => Told::default(),
        }
    }

    /// What the template of requests wants changed.
    ///
    /// # Errors
    /// A field that requests must not choose.
    pub(super) fn of_request(&self) -> Result<RequestOverrides, Reject> {
        let told = self.told("request-override");
        let mut overrides = RequestOverrides {
            query: told
                .querystring
                .into_iter()
                .map(|(name, values)| (name, values.into_list()))
                .collect(),
            path: told
                .path
                .into_iter()
                .filter_map(|(name, values)| Some((name, values.into_list().pop()?)))
                .collect(),
            ..RequestOverrides::default()
        };
        for (name, values) in told.header {
            let field =
                writable_field(&name).map_err(|error| failed(&format!("requestOverride: {error}")))?;
            if field == header::HOST {
                // whom a server is asked as says the API, never a request
                return Err(failed("requestOverride: `host` cannot be set"));
            }
            overrides.fields.push((field, values.into_list()));
        }
        Ok(overrides)
    }

    /// Does what templates want changed of the response's head.
    ///
    /// # Errors
    /// A field that belongs to the gateway.
    pub(super) fn override_response(&self, parts: &mut Parts) -> Result<(), Reject> {
        let told = self.told("response-override");
        let status = told.status.filter(|status| (200..600).contains(status));
        if let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) {
            parts.status = status;
        }
        for (name, values) in told.header {
            let field =
                writable_field(&name).map_err(|error| failed(&format!("responseOverride: {error}")))?;
            write(&mut parts.headers, &field, Action::Overwrite, &values.into_list());
        }
        Ok(())
    }
}

fn limit(mode: &BodyMode) -> u64 {
    match mode {
        BodyMode::Buffer { limit, .. } => *limit,
        BodyMode::None | BodyMode::Stream => 0,
    }
}

/// Why a template made nothing, for the log.
fn reason(template: &str, answer: &Answer) -> String {
    let body = answer.body();
    let text = String::from_utf8_lossy(body.get(..REASON_MAX).unwrap_or(body));
    format!("template `{template}`: {} {text}", answer.status())
}

/// A template that fails is a mistake of the API, not of the client.
fn failed(why: &str) -> Reject {
    Reject::new(RejectCode::ApiConfigurationError, "a template of the API failed").because(why)
}
