//! Whether a caller may call a route of an API: who has to be asked, what was said before, and what the policies of caller and API make of it
//! (sections "Lambda authorizers" and "How API Gateway resource policies affect authorization workflow" of AWS's Developer Guide).

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use edgeward_core::{
    api::{
        Api, Authorizer, AuthorizerType, IdentitySource, Profile, Protocol, mapping::Facts as _, whole_value,
    },
    config::{DecisionCache, Time},
    policy::{
        Action, Authorization, Caller, Context, Decision, Home, Identity, Key, MethodArn, Outcome, Policy,
        Request, Side, Value, Values, Verdict, decide, decide_before,
    },
    reject::{Reject, RejectCode},
};
use edgeward_runtime::{ContextValue, DecisionCounts, DecisionKey, Decisions, Exchange, PluginVersion};
use http::{HeaderMap, HeaderValue, Method, Response, header};
use regex_automata::meta::Regex;

use super::{Call, facts::Known, voice};

/// How long decisions are kept at most where the API does not say: as AWS's REST APIs.
const TTL: Duration = Duration::from_secs(300);
/// Characters of an account's number that are shown.
const ACCOUNT_SHOWN: usize = 4;

/// An authorizer of an API, ready.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Its name in the API.
    pub(crate) name: Arc<str>,
    /// The binding that decides.
    pub(crate) plugin: String,
    kind: AuthorizerType,
    sources: Vec<IdentitySource>,
    /// The same, as its plugin is told of them; none without any.
    pub(super) told: Option<ContextValue>,
    validation: Option<Regex>,
    /// Says how callers say who they are, where one does not.
    challenge: Option<HeaderValue>,
    /// There where decisions are kept.
    pub(crate) decisions: Option<Arc<Decisions>>,
    /// The longest time that they are kept.
    ttl: Duration,
    model: Authorizer,
    version: Arc<PluginVersion>,
}

impl Gate {
    /// Makes one ready. What an earlier one has kept is good for one that is the same, with the same version of its plugin.
    pub(super) fn new(
        name: &str,
        model: &Authorizer,
        api: &Api,
        version: &Arc<PluginVersion>,
        old: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        let usual = match (api.protocol, api.profile) {
            (Protocol::Rest, Profile::Apigw) => TTL,
            _ => Duration::ZERO,
        };
        let ttl = model.result_ttl.map_or(usual, |ttl| ttl.0);
        let sources = model.identity_sources.iter();
        let sources: Vec<_> = sources
            .map(|text| IdentitySource::parse(text))
            .collect::<Result<_, _>>()?;
        let challenge = challenge(name, model, api, sources.first());
        let is_same = |old: &&Arc<Self>| {
            old.model == *model
                && (old.ttl, &old.challenge) == (ttl, &challenge)
                && Arc::ptr_eq(&old.version, version)
        };
        if let Some(old) = old.filter(is_same) {
            return Ok(Arc::clone(old));
        }
        let settings = DecisionCache {
            max_ttl: Time(ttl),
            stale_while_revalidate: model.stale_while_revalidate.unwrap_or(Time::secs(0)),
            ..DecisionCache::default()
        };
        Ok(Arc::new(Self {
            name: name.into(),
            plugin: model.plugin.clone(),
            kind: model.kind,
            validation: model
                .identity_validation
                .as_deref()
                .map(whole_value)
                .transpose()?,
            challenge,
            told: (!sources.is_empty())
                .then(|| ContextValue::Json(serde_json::json!(model.identity_sources).to_string())),
            decisions: (!sources.is_empty() && !ttl.is_zero()).then(|| Decisions::new(&settings)),
            sources,
            ttl,
            model: model.clone(),
            version: Arc::clone(version),
        }))
    }

    /// Its callers are principals of IAM.
    pub(super) fn is_iam(&self) -> bool {
        self.kind == AuthorizerType::Iam
    }

    /// What a decision about this request is kept under, if it is. What is decided may depend on the route's scopes, of which it knows nothing else.
    fn identity(&self, known: &Known<'_>, scopes: &[String]) -> Result<Option<DecisionKey>, Reject> {
        let arm = &known.call.arm;
        let mut hash = digest::Context::new(&digest::SHA256);
        for of in [&arm.api, &arm.stage, &self.name] {
            add(&mut hash, of);
        }
        for scope in scopes {
            add(&mut hash, scope);
        }
        hash.update(&(scopes.len() as u64).to_le_bytes());
        let mut first = true;
        for source in &self.sources {
            let values = source.values(known);
            let fits = |pattern: &Regex| values.first().is_some_and(|value| pattern.is_match(value));
            let is_valid = !first || self.validation.as_ref().is_none_or(fits);
            if values.is_empty() || !is_valid {
                let reject = Reject::new(RejectCode::Unauthorized, "who calls cannot be told");
                let mut reject = reject.because(format_args!(
                    "authorizer `{}`: {source:?} is missing or does not fit, the plugin was not asked",
                    self.name
                ));
                let challenge = self.challenge.iter().cloned();
                reject
                    .headers
                    .extend(challenge.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
                return Err(reject);
            }
            first = false;
            for value in &values {
                add(&mut hash, value);
            }
            // values and, after them, their number: no two lists of lists are written alike
            hash.update(&(values.len() as u64).to_le_bytes());
        }
        let key = || hash.finish().as_ref().try_into().ok();
        Ok(self.decisions.as_ref().and_then(|_kept| key()))
    }

    /// Refuses callers who have none of the scopes of which the route wants one. A plugin that knows of them has refused already, in its own words.
    fn has_scope(&self, exchange: &Exchange) -> Result<(), Reject> {
        let wanted = &exchange.route.scopes;
        if wanted.is_empty() || has_one(wanted, &self.plugin, exchange) {
            return Ok(());
        }
        let code = match self.kind {
            AuthorizerType::Cognito => RejectCode::Unauthorized,
            AuthorizerType::Custom | AuthorizerType::Iam => RejectCode::AccessDenied,
        };
        let scopes = wanted.join(" ");
        let reject = Reject::new(code, "a required scope is missing");
        let mut reject = reject.because(format_args!(
            "the caller has none of the scopes {scopes}, of which the route wants one"
        ));
        // RFC 6750 section 3.1
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"");
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            reject.headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        Err(reject)
    }

    /// Throws kept decisions away: those about a principal, or all.
    pub(crate) fn flush(&self, principal: Option<&str>) -> usize {
        let decisions = self.decisions.as_ref();
        decisions.map_or(0, |decisions| decisions.flush(principal))
    }

    /// How often decisions were kept.
    pub(crate) fn counts(&self) -> Option<DecisionCounts> {
        self.decisions.as_ref().map(|decisions| decisions.counts())
    }
}

/// The challenge of an authorizer (RFC 9110 section 11.6.1), by its security scheme, else for a token in `Authorization`. AWS's REST APIs have none, and its HTTP
/// APIs that of a token.
fn challenge(
    name: &str,
    model: &Authorizer,
    api: &Api,
    first: Option<&IdentitySource>,
) -> Option<HeaderValue> {
    let is_aws = api.profile == Profile::Apigw;
    if is_aws && api.protocol == Protocol::Rest {
        return None;
    }
    let member = |key: &str| model.scheme.as_ref()?.get(key)?.as_str();
    let is_authorization =
        || matches!(first, Some(IdentitySource::Header(name)) if name.eq_ignore_ascii_case("authorization"));
    let challenge = match (member("type"), member("scheme")) {
        (Some("http"), Some(scheme)) if scheme.eq_ignore_ascii_case("basic") => {
            // RFC 7617 section 2; names have no quotes
            format!("Basic realm=\"{name}\", charset=\"UTF-8\"")
        }
        (Some("http"), Some(scheme)) if !scheme.eq_ignore_ascii_case("bearer") => scheme.to_owned(),
        (Some("http" | "oauth2" | "openIdConnect"), _) => "Bearer".to_owned(),
        (None, _) if !is_aws && is_authorization() => "Bearer".to_owned(),
        _ => return None,
    };
    HeaderValue::try_from(challenge).ok()
}

/// Whether a caller has one of some scopes, by what an authorizer says of it: the facts `scope` (RFC 8693 section 4.2) or `scp`, as some issuers call it, or these
/// members of its `claims`.
fn has_one(wanted: &[String], plugin: &str, exchange: &Exchange) -> bool {
    let fact = |key: &str| fact(exchange, plugin, key);
    let is_wanted = |scope: &str| wanted.iter().any(|one| one == scope);
    let has = |said: &serde_json::Value| match said {
        serde_json::Value::String(text) => text.split(' ').any(is_wanted),
        serde_json::Value::Array(items) => items.iter().filter_map(serde_json::Value::as_str).any(is_wanted),
        _ => false,
    };
    let claims = fact("claims");
    let names = ["scope", "scp"];
    names
        .iter()
        .any(|name| has(&fact(name)) || claims.get(name).is_some_and(has))
}

/// What a plugin says of a caller; null where it says nothing of the kind.
fn fact(exchange: &Exchange, plugin: &str, key: &str) -> serde_json::Value {
    match exchange.context.get(&(Arc::from(plugin), key.to_owned())) {
        Some(ContextValue::Text(text)) => text.as_str().into(),
        Some(ContextValue::Json(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(ContextValue::Integer(number)) => (*number).into(),
        Some(ContextValue::Boolean(flag)) => (*flag).into(),
        Some(ContextValue::Number(_) | ContextValue::Bytes(_)) | None => serde_json::Value::Null,
    }
}

fn add(hash: &mut digest::Context, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Where an API is, and who may call it.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) home: Home,
    pub(crate) policy: Option<Policy>,
}

/// What decides about one request.
pub(crate) struct Access<'a> {
    call: &'a Call,
    gate: Option<&'a Gate>,
    asked: Asked,
    /// The gate has decided.
    decided: bool,
}

/// What of a request's head counts.
pub(super) struct Asked {
    method: Method,
    /// What decisions of the gate are kept under, if they are.
    identity: Result<Option<DecisionKey>, Reject>,
    circumstances: Circumstances,
}

impl Asked {
    /// From a head; the answer to who calls is told later.
    pub(super) fn of(
        known: &Known<'_>,
        gate: Option<&Arc<Gate>>,
        scopes: &[String],
        headers: &HeaderMap,
    ) -> Self {
        let finish = known.finish;
        Self {
            method: method(known),
            identity: gate.map_or(Ok(None), |gate| gate.identity(known, scopes)),
            circumstances: Circumstances {
                client: finish.client,
                https: finish.conn.https,
                agent: headers.get(header::USER_AGENT).cloned(),
                referer: headers.get(header::REFERER).cloned(),
                identity: Identity::default(),
            },
        }
    }
}

/// What is called, as policies name it.
pub(super) fn method_arn(known: &Known<'_>) -> MethodArn {
    arn(known.call, &method(known))
}

/// The method that policies look at: GET where HEAD is served by that.
fn method(known: &Known<'_>) -> Method {
    let is_served_by_get = || {
        known
            .context("routeKey")
            .is_some_and(|key| key.starts_with("GET "))
    };
    match known.finish.method {
        Method::HEAD if is_served_by_get() => Method::GET,
        _ => known.finish.method.clone(),
    }
}

/// The path is that which the router has found a route for: without the slash at the end that it does not look at.
fn arn(call: &Call, method: &Method) -> MethodArn {
    let path = &*call.path;
    let path = path
        .strip_suffix('/')
        .filter(|path| !path.is_empty())
        .unwrap_or(path);
    MethodArn::of(&call.arm.ground.home, &call.arm.stage, method.as_str(), path)
}

/// What policies may look at.
struct Circumstances {
    client: Option<IpAddr>,
    https: bool,
    agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    /// Who calls, once an authorizer of the type `iam` has said so.
    identity: Identity,
}

impl Context for Circumstances {
    fn values(&self, key: &Key) -> Values<'_> {
        Values::of(match key {
            Key::SourceIp => self.client.map(Value::Address),
            Key::SecureTransport => Some(Value::Flag(self.https)),
            Key::UserAgent => text(self.agent.as_ref()),
            Key::Referer => text(self.referer.as_ref()),
            key => return self.identity.values(key),
        })
    }
}

fn text(value: Option<&HeaderValue>) -> Option<Value<'_>> {
    value.and_then(|value| value.to_str().ok()).map(Value::Text)
}

impl<'a> Access<'a> {
    /// What decides about a request.
    pub(super) fn new(asked: Asked, call: &'a Call, gate: Option<&'a Arc<Gate>>) -> Self {
        Self {
            call,
            gate: gate.map(|gate| &**gate),
            asked,
            decided: false,
        }
    }

    /// What the API's policy says before anybody is asked who calls.
    ///
    /// # Errors
    /// It refuses already.
    pub(crate) fn before(&self) -> Result<(), Reject> {
        let kind = match self.gate.map(|gate| gate.kind) {
            None => Authorization::None,
            Some(AuthorizerType::Custom) => Authorization::Lambda,
            // the caller is made sure of first
            Some(AuthorizerType::Cognito | AuthorizerType::Iam) => return Ok(()),
        };
        if self.ground().policy.is_none() {
            return Ok(());
        }
        let arn = self.arn();
        let resource = self.resource(&arn, Caller::Anonymous);
        let decision = decide_before(kind, resource);
        decision.map_or(Ok(()), |decision| self.come_of(decision, &arn, None))
    }

    /// Where decisions of a plugin are kept: those of the gate as the API says, of others nowhere.
    ///
    /// # Errors
    /// What tells callers apart is missing.
    pub(crate) fn asks(&self, plugin: &str) -> Result<Option<(Arc<Decisions>, DecisionKey)>, Reject> {
        let Some(gate) = self.gate.filter(|gate| gate.plugin == plugin) else {
            return Ok(None);
        };
        let key = self.asked.identity.clone()?;
        Ok(gate.decisions.clone().zip(key))
    }

    /// What comes of a caller that an authorizer lets pass, perhaps with a policy.
    ///
    /// # Errors
    /// The route wants a scope that the caller does not have, or the policies refuse.
    pub(crate) fn after(&mut self, plugin: &str, exchange: &mut Exchange) -> Result<(), Reject> {
        self.allowed(plugin, exchange, Some(Verdict::from(true)))
    }

    /// The same with what it says by itself, where it says nothing of policies.
    fn allowed(
        &mut self,
        plugin: &str,
        exchange: &mut Exchange,
        by_itself: Option<Verdict>,
    ) -> Result<(), Reject> {
        let granted = exchange.policy.take();
        let gate = self.gate.filter(|gate| gate.plugin == plugin);
        self.decided |= gate.is_some();
        if let Some(gate) = gate {
            gate.has_scope(exchange)?;
        }
        let counts = |gate: &Gate| gate.kind == AuthorizerType::Iam || self.ground().policy.is_some();
        if granted.is_none() && !gate.is_some_and(counts) {
            return Ok(());
        }
        let kind = gate.map_or(AuthorizerType::Custom, |gate| gate.kind);
        // policies of a caller whom another authorizer knows do not see this one's
        self.asked.circumstances.identity = match kind {
            AuthorizerType::Iam => Identity::of(|key| fact(exchange, plugin, key), now()),
            AuthorizerType::Custom | AuthorizerType::Cognito => Identity::default(),
        };
        let identity = &self.asked.circumstances.identity;
        let caller = identity.caller();
        let arn = self.arn();
        let said = match &granted {
            Some(granted) => Some(granted.policy.judge(&self.request(&arn, caller))),
            // a principal of IAM may what its policies say; all others are let pass by the answer itself
            None if kind == AuthorizerType::Iam => None,
            None => by_itself,
        };
        let authorization = match kind {
            AuthorizerType::Custom => Authorization::Lambda,
            AuthorizerType::Cognito => Authorization::Cognito,
            AuthorizerType::Iam if identity.account() == Some(self.ground().home.account()) => {
                Authorization::IamSameAccount
            }
            AuthorizerType::Iam => Authorization::IamCrossAccount,
        };
        let resource = if gate.is_some() {
            self.resource(&arn, caller)
        } else {
            None
        };
        let decision = decide(authorization, said, resource);
        self.come_of(decision, &arn, identity.arn())
    }

    /// The same where the gate has said nothing, because it failed and its binding says to go on without it: where the API has a policy, that has to allow the call.
    ///
    /// # Errors
    /// The policies refuse.
    pub(crate) fn unasked(&mut self, exchange: &mut Exchange) -> Result<(), Reject> {
        match self.gate.filter(|_gate| !self.decided) {
            Some(gate) => self.allowed(&gate.plugin, exchange, None),
            None => Ok(()),
        }
    }

    /// What an authorizer's own answer says of a signature, where it is the API's to say it.
    pub(crate) fn of_signature(&self, answer: &Response<Bytes>) -> Option<Reject> {
        voice::of_signature(self.call.arm.voice, answer)
    }

    fn ground(&self) -> &Ground {
        &self.call.arm.ground
    }

    fn arn(&self) -> MethodArn {
        arn(self.call, &self.asked.method)
    }

    fn request<'r>(&'r self, arn: &'r MethodArn, caller: Caller<'r>) -> Request<'r> {
        Request {
            action: Action::Invoke,
            arn,
            caller,
            now: now(),
            context: &self.asked.circumstances,
        }
    }

    fn resource(&self, arn: &MethodArn, caller: Caller<'_>) -> Option<Verdict> {
        let policy = self.ground().policy.as_ref()?;
        Some(policy.judge(&self.request(arn, caller)))
    }

    fn come_of(&self, decision: Decision, arn: &MethodArn, user: Option<&str>) -> Result<(), Reject> {
        let explicit = match decision.outcome {
            Outcome::Allow => return Ok(()),
            Outcome::ImplicitDeny => "",
            Outcome::ExplicitDeny => " with an explicit deny",
        };
        let by_authorizer = self.gate.is_some_and(|gate| gate.kind == AuthorizerType::Custom);
        // AWS has one text where an authorizer is asked, and another where policies decide alone
        let text = if by_authorizer && !matches!(decision.by, Some((Side::Resource, _))) {
            format!("User is not authorized to access this resource{explicit}")
        } else {
            format!(
                "User: {} is not authorized to perform: execute-api:Invoke on resource: {}{explicit}",
                user.unwrap_or("anonymous"),
                masked(arn.as_str(), self.ground().home.account())
            )
        };
        let by = match decision.by {
            Some((Side::Caller, index)) => format!("statement {index} of the caller's policy"),
            Some((Side::Resource, index)) => format!("statement {index} of the API's policy"),
            None => "no statement allows it".to_owned(),
        };
        Err(Reject::new(RejectCode::PolicyDenied, text).because(by))
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// An ARN whose account shows its end only, as AWS's answers have it.
fn masked(arn: &str, account: &str) -> String {
    let hidden = account.len().saturating_sub(ACCOUNT_SHOWN);
    let shown = account.get(hidden..).unwrap_or_default();
    arn.replacen(
        &format!(":{account}:"),
        &format!(":{}{shown}:", "*".repeat(hidden)),
        1,
    )
}

/// Refuses a policy where there is nothing that it could be about.
///
/// # Errors
/// There is one.
pub(crate) fn without_api(plugin: &str, exchange: &mut Exchange) -> Result<(), Reject> {
    match exchange.policy.take() {
        None => Ok(()),
        Some(_policy) => Err(Reject::new(
            RejectCode::AuthorizerConfiguration,
            "an authorizer of this route failed",
        )
        .because(format_args!(
            "plugin `{plugin}` answers with a policy, which only routes of APIs can have"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_shown_by_their_end() {
        let arn = "arn:aws:execute-api:us-east-2:123456781977:fywvr4qneh/api/GET/x:123456781977:";
        assert_eq!(
            masked(arn, "123456781977"),
            "arn:aws:execute-api:us-east-2:********1977:fywvr4qneh/api/GET/x:123456781977:"
        );
    }
}
