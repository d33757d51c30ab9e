//! APIs in the data plane: which one a request belongs to (`find.rs`), its deployment made ready (`arm.rs`) and what it has served (`counts.rs`), what answers (`integration.rs`, `mock.rs`),
//! and how the gateway speaks for it (`voice.rs`, `cors.rs`). The spine calls these in its order.

pub(crate) mod access;
mod access_log;
mod arm;
mod compress;
mod convert;
pub(crate) mod cors;
mod counts;
mod decode;
mod engine;
mod facts;
pub(crate) mod fields;
mod find;
mod integration;
mod mock;
mod templates;
mod trace;
mod validate;
pub(crate) mod voice;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use edgeward_core::{
    api::{Definition, Domain, LogFormat, Mapping, RouteSettings, RoutingRule, Sticky, coding::Coding},
    reject::{Reject, RejectCode},
    route::Params,
};
use edgeward_runtime::{ContextValue, PluginVersion, RequestHead};
use http::{HeaderMap, HeaderValue, Response, header};

pub use access_log::LogDestination;
pub(crate) use arm::{Arm, Builder, RouteApi};
pub use counts::{ArmCounts, ArmStats};
pub(crate) use find::{Apis, Lookup};
pub(crate) use integration::Integration;
pub(crate) use mock::Mock;
pub(crate) use voice::Voice;

use self::{
    access::{Access, Asked},
    decode::Coded,
    engine::Engine,
    facts::Known,
};
use crate::{
    body::Body,
    finish::Finish,
    handle,
    pipeline::{self, Step},
    snapshot::Route,
};

/// The APIs of a snapshot, as the control plane knows them.
#[derive(Clone, Debug, Default)]
pub struct ApisInput {
    /// Domain under which APIs are reached by their own names.
    pub default_domain: String,
    /// Stages that serve a deployment.
    pub stages: Vec<StageInput>,
    /// Domains by name.
    pub domains: BTreeMap<String, DomainInput>,
    /// There are APIs, whether they are deployed or not.
    pub any: bool,
    /// APIs that do not answer under their own name.
    pub hidden: Vec<Arc<str>>,
}

/// A stage that serves a deployment.
#[derive(Clone, Debug)]
pub struct StageInput {
    /// Id of its API.
    pub api: Arc<str>,
    /// Its name.
    pub stage: Arc<str>,
    /// What it serves.
    pub control: ArmInput,
    /// Another deployment for a part of its requests.
    pub canary: Option<CanaryInput>,
    /// What holds for its routes beside what is deployed.
    pub settings: BTreeMap<String, RouteSettings>,
    /// Form of a line for each request, and where it goes.
    pub access_log: Option<(LogFormat, LogDestination)>,
}

/// A deployment under the variables of a stage.
#[derive(Clone, Debug)]
pub struct ArmInput {
    /// Id of the deployment.
    pub deployment: Arc<str>,
    /// What was deployed.
    pub definition: Arc<Definition>,
    /// Stage variables.
    pub variables: Arc<BTreeMap<String, String>>,
    /// Loaded versions of the plugins that the deployment names.
    pub plugins: BTreeMap<String, Arc<PluginVersion>>,
    /// The plugin that renders its templates, loaded with them.
    pub engine: Option<Arc<PluginVersion>>,
}

/// A deployment for a part of a stage's requests.
#[derive(Clone, Debug)]
pub struct CanaryInput {
    /// What it serves.
    pub arm: ArmInput,
    /// Per cent of requests.
    pub percent: f64,
    /// What requests are kept together by.
    pub sticky: Option<Sticky>,
}

/// A domain with what its paths lead to.
#[derive(Clone, Debug, Default)]
pub struct DomainInput {
    /// The domain.
    pub domain: Domain,
    /// Base-path mappings.
    pub mappings: BTreeMap<String, Mapping>,
    /// Routing rules.
    pub rules: Vec<RoutingRule>,
}

/// Namespace of the context in which plugins of an API's route are told of it.
static GATEWAY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("gateway"));
/// Variables that plugins are told of.
const TOLD: [&str; 20] = [
    "accountId",
    "apiId",
    "customDomain.basePathMatched",
    "deploymentId",
    "domainName",
    "domainPrefix",
    "extendedRequestId",
    "httpMethod",
    "identity.sourceIp",
    "identity.userAgent",
    "isCanaryRequest",
    "operationName",
    "path",
    "protocol",
    "requestId",
    "requestTime",
    "requestTimeEpoch",
    "resourcePath",
    "routeKey",
    "stage",
];

/// What comes before the integration, in the order of Amazon API Gateway: plugins that decide, validation, plugins that change.
pub(crate) async fn before(
    finish: &mut Finish,
    route: &Route,
    params: Params,
    client: IpAddr,
    mut head: RequestHead,
    body: Body,
) -> Result<Step<(RequestHead, Body)>, Reject> {
    let Some(api) = route.api.as_deref() else {
        return Ok(Step::Next((head, body)));
    };
    let validation = api.validation.as_ref();
    let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
    let mut types = head.headers.get_all(header::CONTENT_TYPE).iter();
    if types.next().is_some_and(|first| first.as_bytes().contains(&b',')) || types.next().is_some() {
        // by one a body would be validated or mapped, and by the other read
        return Err(Reject::new(RejectCode::BadRequest, "more than one Content-Type"));
    }
    let coded = if api.reads_body {
        Coded::take(&mut head.headers, &body, RejectCode::UnsupportedMediaType)?
    } else {
        None
    };
    let mut refused = Ok(());
    if let (Some(validation), Some(call)) = (validation, &finish.call) {
        let known = Known {
            headers: Some(&head.headers),
            query: head.query.as_deref(),
            ..Known::new(finish, call)
        };
        // told once it is known who asks
        refused = validation.parameters(&known);
    }
    let (gate, scopes) = (api.authorizer.as_ref(), &*route.info.scopes);
    let (asked, told) = {
        let known = Known {
            headers: Some(&head.headers),
            query: head.query.as_deref(),
            ..Known::of(finish)?
        };
        let told = (!route.chain.is_empty()).then(|| {
            let variables = serde_json::json!(*known.call.arm.variables);
            let mut told = vec![
                ("context", ContextValue::Json(known.told().to_string())),
                ("stage-variables", ContextValue::Json(variables.to_string())),
            ];
            if !scopes.is_empty() {
                let scopes = serde_json::json!(scopes).to_string();
                told.push(("authorization-scopes", ContextValue::Json(scopes)));
            }
            if let Some(sources) = gate.and_then(|gate| gate.told.clone()) {
                told.push(("identity-sources", sources));
            }
            told
        });
        (Asked::of(&known, gate, scopes, &head.headers), told)
    };
    let Some(told) = told else {
        Access::new(asked, Known::of(finish)?.call, gate).before()?;
        refused?;
        let body = match coded {
            Some(coded) => coded.undone(body, route.body_limit),
            None => body,
        };
        let body = validated(route, validation, content_type, body).await?;
        return Ok(Step::Next((head, body)));
    };
    let chain = handle::chain(finish, route, params, client, head);
    chain.tell(&GATEWAY, told).await;
    let mut access = Access::new(asked, Known::of(finish)?.call, gate);
    let body = match coded {
        Some(coded) => {
            // nothing is read of who is refused in any case
            access.before()?;
            // who signs a body signs what is sent
            coded.undone(chain.digest(body).await?, route.body_limit)
        }
        None => body,
    };
    let body = match chain.admit(body, Some(&mut access)).await? {
        Step::Next(body) => body,
        Step::Answer(answer) => return Ok(Step::Answer(answer)),
    };
    refused?;
    let body = validated(route, validation, content_type, body).await?;
    chain.request(body).await
}

async fn validated(
    route: &Route,
    validation: Option<&validate::Validation>,
    content_type: Option<HeaderValue>,
    body: Body,
) -> Result<Body, Reject> {
    let Some(validation) = validation.filter(|validation| validation.reads_body()) else {
        return Ok(body);
    };
    let bytes = pipeline::whole_body(
        body,
        route.body_limit.min(VALIDATED_MAX),
        RejectCode::RequestTooLarge,
    )
    .await?;
    validation.body(content_type.as_ref(), &bytes)?;
    Ok(Body::full(bytes))
}

/// Asks the server of an integration.
pub(crate) async fn integrate(
    finish: &mut Finish,
    route: &Route,
    integration: &Integration,
    mut head: RequestHead,
    body: Body,
) -> Result<Response<Body>, Reject> {
    let call = Known::of(finish)?.call;
    fields::before_mapping(call.arm.voice, &call.signatures, &mut head.headers);
    let wants = integration.reads_authorizer || integration.has_scripts;
    let authorizer = authorizer(finish, wants).await;
    let mut engine = engine(finish, integration.has_scripts, &head, &authorizer).await?;
    let asked = ask(
        finish,
        route,
        integration,
        &authorizer,
        engine.as_mut(),
        head,
        body,
    )
    .await;
    instead(asked, engine)
}

async fn ask(
    finish: &mut Finish,
    route: &Route,
    integration: &Integration,
    authorizer: &BTreeMap<String, String>,
    mut engine: Option<&mut Engine>,
    head: RequestHead,
    body: Body,
) -> Result<Response<Body>, Reject> {
    let fields = if integration.needs_request_later() {
        head.headers.clone()
    } else {
        HeaderMap::new()
    };
    let lenient = finish.conn.listener.lenient.encoded_slashes;
    let known = Known {
        authorizer,
        ..Known::of(finish)?
    };
    let asking = integration.request(known, head, body, lenient, engine.as_deref_mut());
    let (head, body) = asking.await?;
    let response = handle::send(finish, route, &integration.group, head, body, None).await?;
    let known = Known {
        authorizer,
        ..Known::of(finish)?
    };
    integration.response(known, &fields, response, engine).await
}

/// The answer of a MOCK integration.
pub(crate) async fn mock(
    finish: &Finish,
    mock: &Mock,
    mut head: RequestHead,
    body: Body,
) -> Result<Response<Body>, Reject> {
    let call = Known::of(finish)?.call;
    fields::before_mapping(call.arm.voice, &call.signatures, &mut head.headers);
    if call.arm.voice == Voice::Rest {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let wants = mock.reads_authorizer || mock.has_scripts;
    let authorizer = authorizer(finish, wants).await;
    let mut engine = engine(finish, mock.has_scripts, &head, &authorizer).await?;
    let known = Known {
        authorizer: &authorizer,
        ..Known::of(finish)?
    };
    let answered = mock.answer(known, head.headers, body, engine.as_mut()).await;
    instead(answered, engine)
}

/// Who decides about callers of the exchange's route.
fn gate(finish: &Finish) -> Option<&access::Gate> {
    finish.route()?.api.as_ref()?.authorizer.as_deref()
}

/// What the route's authorizer said, where somebody wants to know.
async fn authorizer(finish: &Finish, wanted: bool) -> BTreeMap<String, String> {
    match &finish.chain {
        Some(chain) if wanted => chain.authorizer(gate(finish).map(|gate| &*gate.plugin)).await,
        _ => BTreeMap::new(),
    }
}

/// The same without waiting: nothing where a plugin still works on the exchange, as on the body of a request that was refused meanwhile.
fn authorizer_now(finish: &Finish, wanted: bool) -> BTreeMap<String, String> {
    match &finish.chain {
        Some(chain) if wanted => chain.authorizer_now(gate(finish).map(|gate| &*gate.plugin)),
        _ => BTreeMap::new(),
    }
}

/// The template engine, for integrations that need it.
async fn engine(
    finish: &Finish,
    needed: bool,
    head: &RequestHead,
    authorizer: &BTreeMap<String, String>,
) -> Result<Option<Engine>, Reject> {
    let version = finish.call.as_ref().and_then(|call| call.arm.engine.as_ref());
    match version {
        Some(version) if needed => Engine::begin(finish, version, head, authorizer).await.map(Some),
        _ => Ok(None),
    }
}

/// What the engine's binding wants answered where it failed.
fn instead(result: Result<Response<Body>, Reject>, engine: Option<Engine>) -> Result<Response<Body>, Reject> {
    result.or_else(|reject| engine.and_then(|mut engine| engine.take_answer()).ok_or(reject))
}

/// Largest body that is validated, in bytes: as a JSON document it takes many times that.
const VALIDATED_MAX: u64 = 1 << 20;

/// The API that a request belongs to.
pub(crate) struct Call {
    pub(crate) arm: Arc<Arm>,
    /// The path within the API.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) params: Params,
    /// Base path that led here, under a domain.
    pub(crate) base_path: Option<String>,
    /// Of the request, if the API says something about origins.
    pub(crate) origin: Option<HeaderValue>,
    /// The gateway has answered a preflight.
    pub(crate) preflight: bool,
    /// Credentials of the request that are signatures, where they go no further.
    pub(crate) signatures: Vec<HeaderValue>,
    /// The request's fields, if the gateway's answers name them.
    pub(crate) headers: Option<HeaderMap>,
    /// The coding that the response may get.
    pub(crate) coding: Option<Coding>,
}
