//! A deployment under the variables of a stage, ready to serve. Made once; the next snapshot takes it over if nothing that it is made of has changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use edgeward_core::{
    api::{
        Authorizer, Definition, Integration as IntegrationModel, IntegrationType, Logging, Protocol,
        Route as RouteModel, RouteKey, RouteSettings, uri,
    },
    config::{Aws, Limits, Problem, Upstream, UpstreamTls},
    phase::Phases,
    policy::{Policy, PolicyKind},
    reject::{Reject, RejectCode},
    route::{BuildError, Match, Params, RouteSpec, Router},
};
use edgeward_runtime::{PluginVersion, RouteInfo};
use http::{HeaderMap, Method};

use super::{
    ArmInput, CanaryInput, Integration, Mock, StageInput, Voice,
    access::{Gate, Ground},
    access_log::StageLog,
    compress::Compressing,
    cors::Cors,
    counts::ArmStats,
    engine::can_render,
    find::{Apis, Canary, Stage, voice},
    validate::Validation,
    voice::Responses,
};
use crate::{
    metrics::RouteStats,
    pipeline::{Part, Shadow},
    snapshot::{Route, Table, Target},
    upstream::UpstreamGroup,
};

/// Largest request body in the `apigw` profile, as AWS, in bytes.
const AWS_BODY: u64 = 10 << 20;
/// Methods that AWS's `ANY` stands for.
static AWS_ANY: [Method; 7] = [
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
];

/// A deployment, ready to serve.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) api: Arc<str>,
    pub(crate) stage: Arc<str>,
    pub(crate) deployment: Arc<str>,
    pub(crate) voice: Voice,
    /// Whether it is the canary, where there is one.
    pub(crate) is_canary: Option<bool>,
    pub(crate) variables: Arc<BTreeMap<String, String>>,
    /// Where the API is, and who may call it.
    pub(crate) ground: Ground,
    /// Its authorizers by name, where a route has them.
    pub(crate) gates: BTreeMap<String, Arc<Gate>>,
    pub(crate) table: Table,
    /// Routes with a greedy parameter, where they come after all others; their positions begin at `greedy_from`.
    greedy: Option<Router>,
    greedy_from: usize,
    default: Option<usize>,
    pub(crate) cors: Option<Cors>,
    pub(crate) responses: Responses,
    /// There where responses are compressed.
    pub(crate) compressing: Option<Compressing>,
    pub(crate) stats: Arc<ArmStats>,
    /// There where requests have a line in a log of their own.
    pub(crate) access_log: Option<StageLog>,
    settings: BTreeMap<String, RouteSettings>,
    /// Counts routes that are not counted by themselves.
    pub(crate) rest: Option<Arc<RouteStats>>,
    /// Renders templates.
    pub(crate) engine: Option<Arc<PluginVersion>>,
    definition: Arc<Definition>,
    plugins: BTreeMap<String, Arc<PluginVersion>>,
    groups: BTreeMap<String, Arc<UpstreamGroup>>,
    limit: u64,
}

/// What a route of an API has beyond others.
#[derive(Debug)]
pub(crate) struct RouteApi {
    pub(crate) operation: Option<String>,
    /// Which requests are in the gateway's log.
    pub(crate) logging: Logging,
    pub(crate) validation: Option<Validation>,
    /// Whether the gateway looks into bodies of requests.
    pub(crate) reads_body: bool,
    /// Who decides about callers.
    pub(crate) authorizer: Option<Arc<Gate>>,
}

impl Arm {
    /// Whether the request's fields are asked for at the end.
    pub(super) fn keeps_fields(&self) -> bool {
        self.responses.read_request() || self.access_log.as_ref().is_some_and(|log| log.reads_fields)
    }

    /// Whether a route is counted with others.
    pub(crate) fn is_rest(&self, route: &Route) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| Arc::ptr_eq(rest, &route.stats))
    }

    /// The route of a request, by the precedence of the API's kind.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn route(
        &self,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(usize, Params), Reject> {
        let mut allowed = Vec::new();
        match self.table.router.find(None, path, method, headers) {
            Match::Found(index, params) => return Ok((index, params)),
            Match::MethodNotAllowed(methods) => allowed = methods,
            Match::NotFound => {}
        }
        if let Some(greedy) = &self.greedy {
            match greedy.find(None, path, method, headers) {
                Match::Found(index, params) => return Ok((self.greedy_from + index, params)),
                Match::MethodNotAllowed(methods) => allowed.extend(methods),
                Match::NotFound => {}
            }
        }
        if let Some(index) = self.default {
            return Ok((index, Params::default()));
        }
        if allowed.is_empty() || self.voice == Voice::Http {
            return Err(Reject::new(
                RejectCode::RouteNotFound,
                format!("no route for {path}"),
            ));
        }
        Err(crate::handle::method_not_allowed(method, &allowed))
    }
}

/// Whether a server is named by its address, and not by the configuration.
fn is_address(name: &str) -> bool {
    name.contains("://")
}

/// What routes of an arm have in common, as it is made.
#[derive(Default)]
struct Made {
    groups: BTreeMap<String, Arc<UpstreamGroup>>,
    gates: BTreeMap<String, Arc<Gate>>,
}

/// Makes arms for one snapshot.
pub(crate) struct Builder<'a> {
    pub(crate) limits: &'a Limits,
    /// What ARNs are made of.
    pub(crate) aws: &'a Aws,
    /// Upstreams of the configuration.
    pub(crate) upstreams: &'a BTreeMap<String, Arc<UpstreamGroup>>,
    /// Versions that run beside those of the plugins, by name of the binding.
    pub(crate) shadows: &'a BTreeMap<String, Arc<Shadow>>,
    pub(crate) previous: Option<&'a Apis>,
    /// Servers that integrations name, by address.
    pub(crate) groups: BTreeMap<String, Arc<UpstreamGroup>>,
    /// Logs of stages, for both arms.
    pub(crate) logs: BTreeMap<(Arc<str>, Arc<str>), StageLog>,
}

/// An authorizer of a route, one for all routes that name it.
fn gate(
    name: &str,
    model: &Authorizer,
    input: &ArmInput,
    gates: &mut BTreeMap<String, Arc<Gate>>,
    old: Option<&Arc<Arm>>,
) -> Result<Arc<Gate>, String> {
    if let Some(known) = gates.get(name) {
        return Ok(Arc::clone(known));
    }
    let version = input.plugins.get(&model.plugin);
    let version = version.ok_or_else(|| format!("plugin `{}` is not loaded", model.plugin))?;
    let before = old.and_then(|old| old.gates.get(name));
    let gate = Gate::new(name, model, &input.definition.api, version, before)?;
    gates.insert(name.to_owned(), Arc::clone(&gate));
    Ok(gate)
}

/// The counters of a route: its own, those of before where it had some, or those of all that have none.
fn counted(
    stage: &StageInput,
    key: &str,
    old: Option<&Arc<Arm>>,
    rest: Option<&Arc<RouteStats>>,
) -> Arc<RouteStats> {
    if let Some(rest) = rest.filter(|_| RouteSettings::of(&stage.settings, key).metrics == Some(false)) {
        return Arc::clone(rest);
    }
    let own = old.and_then(|old| {
        let mut routes = old.table.routes.iter();
        routes.find(|route| route.info.name == key && !old.is_rest(route))
    });
    own.map_or_else(Arc::default, |route| Arc::clone(&route.stats))
}

impl Builder<'_> {
    /// A stage; `None` when it has problems.
    pub(super) fn stage(&mut self, input: &StageInput, problems: &mut Vec<Problem>) -> Option<Stage> {
        let before = self
            .previous
            .and_then(|apis| apis.stage(&input.api, &input.stage));
        let before = before.cloned();
        let role = input.canary.as_ref().map(|_canary| false);
        let old = before.as_ref().map(|stage| &stage.control);
        let control = self.arm(input, &input.control, role, old, problems);
        let canary = match &input.canary {
            None => None,
            Some(CanaryInput { arm, percent, sticky }) => {
                let old = before
                    .as_ref()
                    .and_then(|stage| stage.canary.as_ref())
                    .map(|canary| &canary.arm);
                let arm = self.arm(input, arm, Some(true), old, problems)?;
                Some(Canary::new(arm, *percent, sticky.as_ref()))
            }
        };
        Some(Stage {
            control: control?,
            canary,
        })
    }

    fn arm(
        &mut self,
        stage: &StageInput,
        input: &ArmInput,
        is_canary: Option<bool>,
        old: Option<&Arc<Arm>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Arc<Arm>> {
        if let Some(old) = old.filter(|old| self.is_same(old, stage, input, is_canary)) {
            for (name, group) in old.groups.iter().filter(|(name, _)| is_address(name)) {
                self.groups.insert(name.clone(), Arc::clone(group));
            }
            return Some(Arc::clone(old));
        }
        let before = problems.len();
        let place = format!("apis.{}.stages.{}", stage.api, stage.stage);
        let built = self.build(stage, input, is_canary, old, &place, problems);
        (problems.len() == before)
            .then_some(built)
            .flatten()
            .map(Arc::new)
    }

    fn is_same(&self, old: &Arm, stage: &StageInput, input: &ArmInput, is_canary: Option<bool>) -> bool {
        // one of the configuration that has gone is a change, too
        let upstreams = || {
            let mut named = old.groups.iter().filter(|(name, _)| !is_address(name));
            named.all(|(name, group)| {
                self.upstreams
                    .get(name)
                    .is_some_and(|now| Arc::ptr_eq(now, group))
            })
        };
        let plugins = || {
            old.plugins.len() == input.plugins.len()
                && old.plugins.iter().all(|(name, version)| {
                    input
                        .plugins
                        .get(name)
                        .is_some_and(|now| Arc::ptr_eq(now, version))
                })
        };
        let followed = || {
            let mut parts = old.table.routes.iter().flat_map(|route| &route.chain);
            parts.all(|part| {
                part.shadow.as_ref().map(Arc::as_ptr)
                    == self.shadows.get(part.version.name()).map(Arc::as_ptr)
            })
        };
        old.deployment == input.deployment
            && self
                .aws
                .home(&stage.api)
                .is_ok_and(|home| home == old.ground.home)
            && followed()
            && old.is_canary == is_canary
            && old.limit == self.limits.body.0
            && old.settings == stage.settings
            && match (&old.access_log, &stage.access_log) {
                (None, None) => true,
                (Some(old), Some((format, destination))) => old.is(format, destination),
                _ => false,
            }
            && old.variables == input.variables
            && old.engine.as_ref().map(Arc::as_ptr) == input.engine.as_ref().map(Arc::as_ptr)
            && (Arc::ptr_eq(&old.definition, &input.definition) || old.definition == input.definition)
            && plugins()
            && upstreams()
    }

    fn build(
        &mut self,
        stage: &StageInput,
        input: &ArmInput,
        is_canary: Option<bool>,
        old: Option<&Arc<Arm>>,
        place: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Arm> {
        let definition = &*input.definition;
        let ground = self.ground(stage, definition, place, problems)?;
        let voice = voice(definition.api.protocol, definition.api.profile);
        // full paths first, where greedy ones come after all of them
        let tiers = voice == Voice::Http;
        let (mut specs, mut greedy, mut default) = (Vec::new(), Vec::new(), None);
        for (key, route) in &definition.routes {
            match RouteKey::parse(key) {
                Err(message) => problems.push(Problem::new(format!("{place}.routes.{key}"), message)),
                Ok(RouteKey::Default) => default = Some((key, route)),
                Ok(RouteKey::Path(method, path)) => {
                    let methods = Vec::from_iter(method);
                    let is_greedy = tiers && key.ends_with("+}");
                    let spec = RouteSpec {
                        hosts: Vec::new(),
                        methods,
                        path,
                        headers: Vec::new(),
                    };
                    if is_greedy { &mut greedy } else { &mut specs }.push((spec, key, route));
                }
            }
        }
        let mut made = Made::default();
        let shares = definition
            .routes
            .keys()
            .any(|key| RouteSettings::of(&stage.settings, key).metrics == Some(false));
        let rest = shares.then(|| old.and_then(|old| old.rest.clone()).unwrap_or_default());
        let mut routes = Vec::new();
        let all = specs
            .iter()
            .chain(&greedy)
            .map(|(_, key, route)| (*key, *route))
            .chain(default);
        for (key, route) in all {
            match self.route(stage, input, key, route, &mut made, old) {
                Ok(mut route) => {
                    route.stats = counted(stage, key, old, rest.as_ref());
                    routes.push(route);
                }
                Err((at, message)) => problems.push(Problem::new(format!("{place}.{at}"), message)),
            }
        }
        let mut router = |specs: Vec<(RouteSpec, &String, &RouteModel)>| {
            let (specs, keys): (Vec<_>, Vec<_>) = specs.into_iter().map(|(spec, key, _)| (spec, key)).unzip();
            let built = Router::build(&specs).map_err(|error| {
                let message = match &error {
                    BuildError::Conflict(both) => format!(
                        "`{}` and `{}` take the same requests",
                        keys[both.first], keys[both.second]
                    ),
                    BuildError::Ambiguous { .. } | BuildError::TooLarge { .. } => error.to_string(),
                };
                problems.push(Problem::new(format!("{place}.routes"), message));
            });
            // AWS derives no HEAD from GET
            built.ok().map(|router| {
                if voice == Voice::Native {
                    router
                } else {
                    router.without_implied_head().with_any_of(&AWS_ANY)
                }
            })
        };
        let greedy_from = specs.len();
        let default = default.map(|_route| greedy_from + greedy.len());
        let has_greedy = !greedy.is_empty();
        let (router, greedy) = (router(specs)?, router(greedy)?);
        Some(Arm {
            api: Arc::clone(&stage.api),
            stage: Arc::clone(&stage.stage),
            deployment: Arc::clone(&input.deployment),
            voice,
            is_canary,
            variables: Arc::clone(&input.variables),
            ground,
            gates: made.gates,
            table: Table { router, routes },
            greedy: has_greedy.then_some(greedy),
            greedy_from,
            default,
            cors: definition.api.cors.as_ref().map(Cors::new),
            responses: Responses::new(&definition.gateway_responses),
            compressing: definition
                .api
                .minimum_compression_size
                .map(|least| Compressing::new(least.0, voice)),
            // that of the same arm: what serves everybody goes on with its counts when a canary comes and goes
            stats: old
                .filter(|old| old.deployment == input.deployment)
                .map_or_else(Arc::default, |old| Arc::clone(&old.stats)),
            access_log: stage.access_log.as_ref().map(|(format, destination)| {
                let known = self
                    .logs
                    .entry((Arc::clone(&stage.api), Arc::clone(&stage.stage)));
                let old = old.and_then(|old| old.access_log.as_ref());
                let log = known.or_insert_with(|| StageLog::new(format.clone(), destination, old));
                log.clone()
            }),
            settings: stage.settings.clone(),
            rest,
            engine: input.engine.clone(),
            definition: Arc::clone(&input.definition),
            plugins: input.plugins.clone(),
            groups: made.groups,
            limit: self.limits.body.0,
        })
    }

    /// Where an API is, and its policy.
    fn ground(
        &self,
        stage: &StageInput,
        definition: &Definition,
        place: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Ground> {
        let home = match self.aws.home(&stage.api) {
            Ok(home) => home,
            Err(problem) => {
                problems.push(problem);
                return None;
            }
        };
        let read = definition.api.policy.as_ref();
        let read = read.map(|policy| Policy::from_value(policy, PolicyKind::Resource(&home)));
        match read.transpose() {
            Ok(read) => Some(Ground {
                policy: read.map(|read| read.policy),
                home,
            }),
            Err(found) => {
                problems.push(Problem::new(format!("{place}.policy"), found.to_string()));
                None
            }
        }
    }

    fn route(
        &mut self,
        stage: &StageInput,
        input: &ArmInput,
        key: &str,
        route: &RouteModel,
        made: &mut Made,
        old: Option<&Arc<Arm>>,
    ) -> Result<Route, (String, String)> {
        let definition = &*input.definition;
        let at = |place: &str| format!("routes.{key}.{place}");
        let name = route
            .integration
            .as_ref()
            .ok_or_else(|| (at("integration"), "is missing".to_owned()))?;
        let model = definition
            .integrations
            .get(name)
            .ok_or_else(|| (at("integration"), format!("no integration is called `{name}`")))?;
        let of = |(place, message): (&str, String)| (format!("integrations.{name}.{place}"), message);
        let target = match model.kind {
            IntegrationType::Mock => Target::Mock(Mock::new(definition, name, model).map_err(of)?),
            IntegrationType::HttpProxy | IntegrationType::Http => Target::Integration(Box::new(
                self.integration(stage, input, name, model, &mut made.groups)
                    .map_err(of)?,
            )),
            IntegrationType::Aws | IntegrationType::AwsProxy => {
                return Err(of(("type", "functions cannot be called yet".to_owned())));
            }
        };
        let has_scripts = match &target {
            Target::Integration(integration) => integration.has_scripts,
            Target::Mock(mock) => mock.has_scripts,
            Target::Fixed(_) | Target::Upstream(_) => false,
        };
        if has_scripts && !input.engine.as_deref().is_some_and(can_render) {
            return Err((
                "api.template-engine".to_owned(),
                "is not a plugin that renders templates: its module has to be `vtl-transform`".to_owned(),
            ));
        }
        let authorizer = match &route.authorizer {
            None => None,
            Some(authorizer) => {
                let found = definition.authorizers.get(authorizer).ok_or_else(|| {
                    (
                        at("authorizer"),
                        format!("no authorizer is called `{authorizer}`"),
                    )
                })?;
                Some((authorizer, found))
            }
        };
        let (mut chain, mut phases) = (Vec::new(), Phases::default());
        for name in definition.passed_by(route) {
            let version = input
                .plugins
                .get(name)
                .ok_or_else(|| (at("pipeline"), format!("plugin `{name}` is not loaded")))?;
            if authorizer.is_some_and(|(_, found)| found.plugin == name)
                && !version
                    .interest()
                    .phases
                    .has(edgeward_core::phase::Phase::Authorize)
            {
                return Err((at("authorizer"), format!("plugin `{name}` does not authorize")));
            }
            if !version.interest().phases.is_empty() {
                phases = phases.union(version.interest().phases);
                chain.push(Part {
                    version: Arc::clone(version),
                    shadow: self.shadows.get(name).cloned(),
                });
            }
        }
        let authorizer = match authorizer {
            None => None,
            Some((name, model)) => Some(
                gate(name, model, input, &mut made.gates, old)
                    .map_err(|message| (at("authorizer"), message))?,
            ),
        };
        let validation =
            Validation::new(definition, route).map_err(|(place, message)| (at(place), message))?;
        let reads_body = validation.as_ref().is_some_and(Validation::reads_body)
            || match &target {
                Target::Integration(integration) => integration.reads_body(),
                Target::Mock(_) => true,
                Target::Fixed(_) | Target::Upstream(_) => false,
            };
        let usual = match Voice::of(definition) {
            Voice::Native => self.limits.body.0,
            Voice::Rest | Voice::Http => AWS_BODY,
        };
        let settings = RouteSettings::of(&stage.settings, key);
        let limit = settings
            .body_limit
            .or(route.body_limit)
            .or(definition.api.body_limit)
            .map_or(usual, |limit| limit.0);
        Ok(Route {
            info: Arc::new(RouteInfo {
                name: key.to_owned(),
                pattern: key.split_once(' ').map_or("", |(_, path)| path).to_owned(),
                scopes: route.authorization_scopes.clone(),
            }),
            target,
            chain,
            phases,
            body_limit: if limit == 0 { u64::MAX } else { limit },
            timeout: Some(settings.timeout.or(model.timeout).map_or_else(
                || {
                    Duration::from_secs(if definition.api.protocol == Protocol::Rest {
                        29
                    } else {
                        30
                    })
                },
                |time| time.0,
            )),
            websocket: false,
            stats: Arc::default(),
            api: Some(Box::new(RouteApi {
                operation: route.operation_name.clone(),
                logging: settings.logging.unwrap_or_default(),
                reads_body,
                validation,
                authorizer,
            })),
        })
    }

    fn integration(
        &mut self,
        stage: &StageInput,
        input: &ArmInput,
        name: &str,
        model: &IntegrationModel,
        groups: &mut BTreeMap<String, Arc<UpstreamGroup>>,
    ) -> Result<Integration, (&'static str, String)> {
        let address = match &model.uri {
            None => None,
            Some(text) => {
                let filled = uri::with_variables(text, &input.variables).map_err(|missing| {
                    (
                        "uri",
                        format!("the stage has no variable `{}`", missing.join("`, `")),
                    )
                })?;
                Some(uri::Address::parse(&filled).map_err(|message| ("uri", message))?)
            }
        };
        let (server, group) = match (&model.upstream, &address) {
            (Some(name), _) => {
                let group = self
                    .upstreams
                    .get(name)
                    .ok_or_else(|| ("upstream", format!("no upstream is called `{name}`")))?;
                (name.clone(), Arc::clone(group))
            }
            (None, Some(address)) => self.server(address).map_err(|message| ("uri", message))?,
            (None, None) => return Err(("uri", "is missing".to_owned())),
        };
        groups.insert(server, Arc::clone(&group));
        Integration::new(&stage.api, &input.definition, name, model, address, group)
    }

    /// The server at an address, one for all APIs that name it.
    fn server(&mut self, address: &uri::Address) -> Result<(String, Arc<UpstreamGroup>), String> {
        let scheme = if address.https { "https" } else { "http" };
        let host = if address.host.contains(':') {
            format!("[{}]", address.host)
        } else {
            address.host.clone()
        };
        let name = format!("{scheme}://{host}:{}", address.port);
        if let Some(group) = self.groups.get(&name) {
            return Ok((name, Arc::clone(group)));
        }
        let mut config: Upstream = serde_json::from_value(serde_json::json!({
            "endpoints": [format!("{host}:{}", address.port)],
        }))
        .map_err(|error| error.to_string())?;
        config.tls = address.https.then(UpstreamTls::default);
        let known = self.previous.and_then(|apis| {
            let mut arms = apis.arms();
            arms.find_map(|arm| arm.groups.get(&name)).cloned()
        });
        let group = match known {
            Some(group) => group,
            None => UpstreamGroup::new(&name, &config).map_err(|error| error.to_string())?,
        };
        self.groups.insert(name.clone(), Arc::clone(&group));
        Ok((name, group))
    }
}
