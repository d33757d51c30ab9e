//! An API and what it is made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Cors, GatewayResponse, GatewayResponseType};
use crate::config::{Bytes, Time};

/// An API: a set of routes that are published together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Api {
    /// Name for people. Default: the API's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Version, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which of Amazon API Gateway's kinds it is like. Default `HTTP`.
    pub protocol: Protocol,
    /// How requests are read and errors are written. Default `native`.
    pub profile: Profile,
    /// Answer nothing under the API's own name (`{api}.{api-domain}`), only under domains. Default `false`.
    pub disable_default_endpoint: bool,
    /// Browsers of which origins may call it. Without it the gateway says nothing about origins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Media types whose bodies are bytes, not text, where bodies are converted (`REST` in the `apigw` profile); `image/*`, `*/*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binary_media_types: Vec<String>,
    /// Responses of at least this size are compressed when the client asks for it, up to 10 MiB. Default: none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_compression_size: Option<Bytes>,
    /// The plugin binding that renders templates of integrations: one with the module `vtl-transform`. Needed where a template is more than plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_engine: Option<String>,
    /// Who may call it, as a resource policy in the language of IAM. See docs/policies.md. Default: whoever the authorizers let pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
    /// Where API keys come from. Default `HEADER`.
    pub api_key_source: ApiKeySource,
    /// Largest request body, overriding `limits.body`. Default in the `apigw` profile: 10 MiB, as AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<Bytes>,
    /// Of a `WEBSOCKET` API: what a message's route is found by, e.g. `$request.body.action`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_selection_expression: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A kind of API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Amazon API Gateway's REST APIs (v1).
    Rest,
    /// Its HTTP APIs (v2).
    #[default]
    Http,
    /// Its WebSocket APIs.
    Websocket,
}

/// How requests are read and errors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As the RFCs say: 404 for unknown routes, 405 for unknown methods, problem documents.
    #[default]
    Native,
    /// As Amazon API Gateway answers, byte for byte where that is known.
    Apigw,
}

/// Where API keys come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ApiKeySource {
    /// The header field `x-api-key`.
    #[default]
    Header,
    /// An authorizer (`usage-key`).
    Authorizer,
}

/// A route: requests of a method to a path, and what is done with them. Its key (`GET /pets/{id}`, `ANY /files/{proxy+}`, `$default`) is its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[schemars(rename = "ApiRoute")]
pub struct Route {
    /// Name of the operation, for documents and logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_name: Option<String>,
    /// The integration that answers. A route needs one to be deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration: Option<String>,
    /// Plugin bindings, in order, as in `routes[].pipeline` of the configuration file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pipeline: Vec<String>,
    /// The authorizer that decides; runs before the pipeline's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorizer: Option<String>,
    /// Scopes of which a caller needs one, by the `scope` or `scp` that the authorizer's plugin tells of it (facts, or members of its `claims`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization_scopes: Vec<String>,
    /// Only callers with an API key. Default `false`.
    pub api_key_required: bool,
    /// The validator that requests have to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// Parameters by place (`method.request.querystring.page`), and whether a request needs them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, bool>,
    /// Models that bodies are validated against, by media type; `$default` for any other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub request_models: BTreeMap<String, String>,
    /// Largest request body, overriding the API's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<Bytes>,
}

/// What answers: a server, or the gateway itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Integration {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: IntegrationType,
    /// Address: `http://` or `https://`, host, path. `{name}` in the path stands for a path parameter, `${stageVariables.name}` anywhere for a stage
    /// variable. Without a path the request's own is used. With `upstream`, its scheme and port mean nothing and its host is what the server is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// An upstream of the configuration file to send to, instead of the host in `uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Method that the server is asked with; the client's where left out or `ANY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Time to the response head. Default: 29 s for `REST`, 30 s for the others. From 50 ms up, without AWS's upper limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// What the server is told, by place: `integration.request.header.x` (REST) or `overwrite:header.x` (HTTP), from e.g. `method.request.path.id`,
    /// `$request.header.y`, `context.requestId`, `'text'`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_parameters: BTreeMap<String, String>,
    /// Templates of request bodies, by media type. Of a `MOCK` integration: one that gives `{"statusCode": 200}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_templates: BTreeMap<String, String>,
    /// What happens to bodies without a template.
    #[serde(default)]
    pub passthrough_behavior: PassthroughBehavior,
    /// Of `HTTP` and `MOCK` integrations: what becomes of responses. The first whose `selection` fits, else the one without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<IntegrationResponse>,
    /// Of HTTP APIs: what clients are told, by status and place (`append:header.x`, `overwrite:statuscode`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_parameters: BTreeMap<String, BTreeMap<String, String>>,
    /// What becomes of request bodies, of `REST` APIs in the `apigw` profile. Elsewhere bytes are bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_handling: Option<ContentHandling>,
}

/// A kind of integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IntegrationType {
    /// A server that gets the request as it is, with what `request-parameters` change.
    #[serde(rename = "HTTP_PROXY")]
    HttpProxy,
    /// A server that gets only what `request-parameters` and templates give it.
    #[serde(rename = "HTTP")]
    Http,
    /// No server.
    #[serde(rename = "MOCK")]
    Mock,
    /// A function that gets the request as an event.
    #[serde(rename = "AWS_PROXY")]
    AwsProxy,
    /// A service of AWS.
    #[serde(rename = "AWS")]
    Aws,
}

/// What happens to a request body for whose media type there is no template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PassthroughBehavior {
    /// It passes unchanged.
    #[default]
    WhenNoMatch,
    /// It passes if there are no templates at all, else the answer is 415.
    WhenNoTemplates,
    /// The answer is 415.
    Never,
}

/// How AWS converts a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ContentHandling {
    /// From base64 to bytes.
    ConvertToBinary,
    /// From bytes to base64.
    ConvertToText,
}

/// What becomes of a response of an `HTTP` or `MOCK` integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IntegrationResponse {
    /// Regular expression that the server's status has to match from its start (`4` takes each 4xx). Without it, or empty: all that no other takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    /// Status that the client gets.
    pub status: u16,
    /// Header fields that the client gets: `method.response.header.x` from e.g. `integration.response.header.y`, `'text'`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Templates of response bodies, by media type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
    /// What becomes of response bodies, where the integration's says something of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_handling: Option<ContentHandling>,
}

/// A plugin that decides who may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Authorizer {
    /// The plugin binding.
    pub plugin: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How what it says goes together with the API's policy. Default `custom`.
    #[serde(default, rename = "type")]
    pub kind: AuthorizerType,
    /// What tells callers apart: `$request.header.Authorization`, `$request.querystring.x`, `$context.routeKey`, `$stageVariables.x`, or as REST APIs write
    /// them. A request without one of them is refused (401), and the plugin is not asked. Decisions are kept by all of them; without any, none is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity_sources: Vec<String>,
    /// Regular expression that the first source has to match as a whole; else the request is refused (401), and the plugin is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_validation: Option<String>,
    /// How long a decision is kept at most; the plugin says how long it may be. `0s` to `1h`. Default as AWS: `5m` for REST APIs in the
    /// `apigw` profile, else `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_ttl: Option<Time>,
    /// For how long after that a decision still serves while one request asks the plugin anew, so that no others wait for it (RFC 5861). `0s` to `1h`. Default
    /// as AWS: `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Time>,
    /// How callers say who they are, as a security scheme of OpenAPI 3, for those who read an export. Default: by the first header field or query parameter
    /// of `identity-sources`, else by the header field `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Map<String, Value>>,
}

/// What kind of callers an authorizer knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizerType {
    /// Its answer, or the policy that it gives, is enough: either it or the API's policy has to allow the call, and neither may deny it.
    #[default]
    Custom,
    /// Users of a pool: once it knows the caller, the API's policy decides alone.
    Cognito,
    /// Principals of IAM (`sigv4-authorizer`): of the API's own account as `custom`, of another account both have to allow the call.
    Iam,
}

/// A JSON Schema (drafts 4 to 2020-12; 4 where `$schema` does not say) of bodies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Model {
    /// Media type. Default `application/json`.
    #[serde(default = "json")]
    pub content_type: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema.
    pub schema: Value,
}

fn json() -> String {
    "application/json".to_owned()
}

/// What is validated of requests before they go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Validator {
    /// That the required `request-parameters` are there and not blank.
    pub parameters: bool,
    /// The body, against `request-models`.
    pub body: bool,
    /// Whether values have to be of the `format` that a model names (`date-time`, `email`). As AWS, `format` means nothing by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub formats: bool,
}

/// Everything of an API that is deployed together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Definition {
    /// The API itself.
    pub api: Api,
    /// Routes by key.
    pub routes: BTreeMap<String, Route>,
    /// Integrations by name.
    pub integrations: BTreeMap<String, Integration>,
    /// Authorizers by name.
    pub authorizers: BTreeMap<String, Authorizer>,
    /// Models by name.
    pub models: BTreeMap<String, Model>,
    /// Validators by name.
    pub validators: BTreeMap<String, Validator>,
    /// The gateway's own answers, where they are not the usual ones.
    pub gateway_responses: BTreeMap<GatewayResponseType, GatewayResponse>,
}
