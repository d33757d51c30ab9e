//! Which API and stage a request belongs to: by the domain's rules and mappings, or by the API's own name and the first segment of the path.

use std::{collections::HashMap, hash::Hasher as _, net::IpAddr, sync::Arc};

use edgeward_core::{
    api::{Protocol, RoutingMode, RoutingRule, Sticky},
    config::Problem,
    reject::{Reject, RejectCode},
    route::{MAX_HOST, Params, canonical_host},
};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use siphasher::sip::SipHasher13;

use super::{ApisInput, Arm, Call, DomainInput, Voice, arm::Builder, fields::is_believed};

/// Field that API keys come in.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Key of the hash that keeps requests together: the same in every gateway, so that all make the same choice.
const STICKY_KEY: (u64, u64) = (0x6564_6765_7761_7264, 0x6361_6e61_7279_0001);

/// The APIs of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Apis {
    default_domain: Box<str>,
    any: bool,
    by_name: HashMap<Arc<str>, Arc<Site>>,
    domains: HashMap<Box<str>, Named>,
    /// Names behind `*.`.
    wildcards: HashMap<Box<str>, Named>,
}

/// An API with its stages.
#[derive(Debug)]
struct Site {
    voice: Voice,
    stages: HashMap<Arc<str>, Arc<Stage>>,
    hidden: bool,
}

/// A stage.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) control: Arc<Arm>,
    pub(crate) canary: Option<Canary>,
}

impl Stage {
    /// Its arms: the first one, and the canary if there is one.
    pub(crate) fn arms(&self) -> impl Iterator<Item = &Arc<Arm>> {
        std::iter::once(&self.control).chain(self.canary.as_ref().map(|canary| &canary.arm))
    }
}

#[derive(Debug)]
pub(crate) struct Canary {
    pub(crate) arm: Arc<Arm>,
    /// Of requests, 0 to 1.
    share: f64,
    sticky: Option<By>,
}

#[derive(Debug)]
enum By {
    Header(HeaderName),
    Cookie(String),
    Address,
}

/// A domain.
#[derive(Debug)]
struct Named {
    /// Whose words what leads nowhere is answered in.
    voice: Voice,
    mode: RoutingMode,
    /// A stage that serves nothing is none, and what is mapped to it is nobody else's.
    mappings: HashMap<Box<str>, Option<Arc<Stage>>>,
    /// Most segments of a base path.
    segments: usize,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    headers: Vec<(HeaderName, Glob)>,
    base_paths: Vec<Box<str>>,
    stage: Option<Arc<Stage>>,
    strip: bool,
}

#[derive(Debug)]
struct Glob {
    text: String,
    /// `*` at its begin, at its end.
    open: (bool, bool),
}

/// What became of looking for an API.
pub(crate) enum Lookup {
    /// No API has the host.
    Elsewhere,
    /// An API has the host, but nothing for the path.
    Refused(Voice, Reject),
    /// This one.
    Found(Box<Call>),
}

impl Apis {
    /// Makes everything ready. What did not change since `previous` is the same object.
    pub(crate) fn build(input: &ApisInput, builder: &mut Builder<'_>, problems: &mut Vec<Problem>) -> Self {
        let mut by_name: HashMap<Arc<str>, Site> = HashMap::new();
        for stage in &input.stages {
            let Some(built) = builder.stage(stage, problems) else {
                continue;
            };
            let voice = built.control.voice;
            let site = by_name.entry(Arc::clone(&stage.api)).or_insert_with(|| Site {
                voice,
                stages: HashMap::new(),
                hidden: input.hidden.contains(&stage.api),
            });
            site.stages.insert(Arc::clone(&stage.stage), Arc::new(built));
        }
        let (mut domains, mut wildcards) = (HashMap::new(), HashMap::new());
        for (name, domain) in &input.domains {
            let named = Named::build(domain, &by_name);
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(suffix) => wildcards.insert(suffix.into(), named),
                None => domains.insert(name.into(), named),
            };
        }
        Self {
            default_domain: input.default_domain.to_ascii_lowercase().into(),
            any: input.any,
            by_name: by_name
                .into_iter()
                .map(|(name, site)| (name, Arc::new(site)))
                .collect(),
            domains,
            wildcards,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any && self.domains.is_empty() && self.wildcards.is_empty()
    }

    /// Every arm of every stage.
    pub(crate) fn arms(&self) -> impl Iterator<Item = &Arc<Arm>> {
        let stages = self.by_name.values().flat_map(|site| site.stages.values());
        stages.flat_map(|stage| stage.arms())
    }

    /// The stages of an API that serve something.
    pub(crate) fn stages(&self, api: &str) -> impl Iterator<Item = &Arc<Stage>> {
        self.by_name
            .get(api)
            .into_iter()
            .flat_map(|site| site.stages.values())
    }

    /// The stage of an API.
    pub(crate) fn stage(&self, api: &str, stage: &str) -> Option<&Arc<Stage>> {
        self.by_name.get(api)?.stages.get(stage)
    }

    /// Finds the API of a request. `path` is in normal form; `client` is asked for where a canary goes by addresses. Of viewers only an edge that
    /// `is_trusted` tells.
    pub(crate) fn find(
        &self,
        authority: &str,
        path: &str,
        head: &Parts,
        client: impl Fn() -> IpAddr,
        is_trusted: bool,
    ) -> Lookup {
        let mut buffer = [0_u8; MAX_HOST];
        let Some(host) = canonical_host(authority, &mut buffer) else {
            return Lookup::Elsewhere;
        };
        if let Some(domain) = self.domain(host) {
            let Some((stage, base)) = domain.find(path, &head.headers, is_trusted) else {
                return nowhere(domain.voice, format!("no API for {path}"));
            };
            let inner = path.get(base.map_or(0, |base| base.len() + 1)..).unwrap_or("/");
            let call = stage.call(inner, base.or(Some("")), head, client, is_trusted);
            return Lookup::Found(Box::new(call));
        }
        let own = host
            .strip_suffix(&*self.default_domain)
            .and_then(|name| name.strip_suffix('.'));
        let Some(own) = own else {
            return Lookup::Elsewhere;
        };
        // names of APIs are nobody else's, whether they are deployed or not
        let Some(site) = self.by_name.get(own) else {
            let reject = Reject::new(RejectCode::RouteNotFound, format!("no API `{own}` is deployed"));
            return Lookup::Refused(Voice::Native, reject);
        };
        match site.find(path) {
            Some((stage, inner)) => {
                Lookup::Found(Box::new(stage.call(inner, None, head, client, is_trusted)))
            }
            None => nowhere(site.voice, format!("no stage for {path}")),
        }
    }

    fn domain(&self, host: &str) -> Option<&Named> {
        if let Some(domain) = self.domains.get(host) {
            return Some(domain);
        }
        if self.wildcards.is_empty() {
            return None;
        }
        // the most labels first
        let mut rest = host;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(domain) = self.wildcards.get(suffix) {
                return Some(domain);
            }
            rest = suffix;
        }
        None
    }
}

/// The answer where a host is an API's and a path leads to no stage: AWS's REST APIs answer with 403.
fn nowhere(voice: Voice, what: String) -> Lookup {
    let mut reject = Reject::new(RejectCode::RouteNotFound, what);
    if voice == Voice::Rest {
        reject.status = 403;
    }
    Lookup::Refused(voice, reject)
}

impl Site {
    /// The stage that a path begins with, and the rest of the path; `$default` takes what no other does.
    fn find<'p>(&self, path: &'p str) -> Option<(&Arc<Stage>, &'p str)> {
        if self.hidden {
            return None;
        }
        let behind = path.get(1..).unwrap_or_default();
        let first = behind.split('/').next().unwrap_or_default();
        if let Some(stage) = self.stages.get(first) {
            let inner = &behind[first.len()..];
            return Some((stage, if inner.is_empty() { "/" } else { inner }));
        }
        Some((self.stages.get("$default")?, path))
    }
}

/// The voice of a domain: that of its APIs. Of both kinds of AWS's it is that of REST APIs, and where one speaks as the RFCs say, the domain does.
fn shared(voices: impl Iterator<Item = Voice>) -> Voice {
    let both = |one: Voice, other: Voice| match (one, other) {
        _ if one == other => one,
        (Voice::Native, _) | (_, Voice::Native) => Voice::Native,
        _ => Voice::Rest,
    };
    voices.reduce(both).unwrap_or_default()
}

impl Named {
    fn build(input: &DomainInput, sites: &HashMap<Arc<str>, Site>) -> Self {
        let stage = |api: &str, stage: &str| sites.get(api)?.stages.get(stage).cloned();
        let mappings: HashMap<Box<str>, _> = input
            .mappings
            .iter()
            .map(|(base, to)| (base.as_str().into(), stage(&to.api, &to.stage)))
            .collect();
        let mut rules: Vec<&RoutingRule> = input.rules.iter().collect();
        rules.sort_by_key(|rule| rule.priority);
        let mapped = input.mappings.values().map(|to| &to.api);
        let apis = mapped.chain(input.rules.iter().map(|rule| &rule.api));
        Self {
            voice: shared(apis.filter_map(|api| Some(sites.get(api.as_str())?.voice))),
            mode: input.domain.routing_mode,
            segments: mappings
                .keys()
                .map(|base| base.split('/').count())
                .max()
                .unwrap_or(0),
            mappings,
            rules: rules
                .into_iter()
                .map(|rule| Rule {
                    headers: rule
                        .headers
                        .iter()
                        .filter_map(|(name, value)| Some((name.parse().ok()?, Glob::new(value))))
                        .collect(),
                    base_paths: rule.base_paths.iter().map(|base| base.as_str().into()).collect(),
                    stage: stage(&rule.api, &rule.stage),
                    strip: rule.strip_base_path,
                })
                .collect(),
        }
    }

    /// The stage, and the base path that goes.
    fn find<'p>(
        &self,
        path: &'p str,
        headers: &HeaderMap,
        is_trusted: bool,
    ) -> Option<(&Arc<Stage>, Option<&'p str>)> {
        if self.mode != RoutingMode::MappingsOnly {
            for rule in &self.rules {
                let fits = rule.headers.iter().all(|(name, glob)| {
                    let mut values = headers.get_all(name).iter();
                    is_believed(name, is_trusted)
                        && values.any(|value| value.to_str().is_ok_and(|value| glob.fits(value)))
                });
                if !fits {
                    continue;
                }
                if rule.base_paths.is_empty() {
                    return rule.stage.as_ref().map(|stage| (stage, None));
                }
                let base = rule
                    .base_paths
                    .iter()
                    .filter(|base| begins_with(path, base))
                    .max_by_key(|base| base.len());
                if let Some(base) = base {
                    let strip = rule.strip.then_some(&path[1..=base.len()]);
                    return rule.stage.as_ref().map(|stage| (stage, strip));
                }
            }
        }
        if self.mode == RoutingMode::RulesOnly {
            return None;
        }
        // the longest first
        let ends: Vec<usize> = path[1..]
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len() - 1])
            .take(self.segments)
            .collect();
        for end in ends.into_iter().rev() {
            let base = &path[1..=end];
            if let Some(stage) = self.mappings.get(base) {
                let strip = (!base.is_empty()).then_some(base);
                return stage.as_ref().map(|stage| (stage, strip));
            }
        }
        Some((self.mappings.get("")?.as_ref()?, None))
    }
}

/// Whether a path begins with a base path, whole segments.
fn begins_with(path: &str, base: &str) -> bool {
    path[1..]
        .strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Glob {
    fn new(text: &str) -> Self {
        let open = (text.starts_with('*'), text.len() > 1 && text.ends_with('*'));
        Self {
            text: text.trim_start_matches('*').trim_end_matches('*').to_owned(),
            open,
        }
    }

    fn fits(&self, value: &str) -> bool {
        match self.open {
            (false, false) => value == self.text,
            (true, false) => value.ends_with(&self.text),
            (false, true) => value.starts_with(&self.text),
            (true, true) => value.contains(&self.text),
        }
    }
}

impl Canary {
    pub(crate) fn new(arm: Arc<Arm>, percent: f64, sticky: Option<&Sticky>) -> Self {
        Self {
            arm,
            share: percent / 100.0,
            sticky: sticky.and_then(|sticky| {
                Some(match sticky {
                    Sticky::Header(name) => By::Header(name.parse().ok()?),
                    Sticky::Cookie(name) => By::Cookie(name.clone()),
                    Sticky::Address(_) => By::Address,
                    Sticky::Key(_) => By::Header(API_KEY),
                })
            }),
        }
    }

    fn takes(&self, head: &Parts, client: impl Fn() -> IpAddr, is_trusted: bool) -> bool {
        let text = match &self.sticky {
            None => None,
            Some(By::Header(name)) if !is_believed(name, is_trusted) => None,
            Some(By::Header(name)) => head.headers.get(name).map(|value| value.as_bytes().to_vec()),
            Some(By::Cookie(name)) => cookie(&head.headers, name).map(|value| value.as_bytes().to_vec()),
            Some(By::Address) => Some(client().to_string().into_bytes()),
        };
        let drawn = match text {
            None => fastrand::f64(),
            Some(text) => {
                let mut hasher = SipHasher13::new_with_keys(STICKY_KEY.0, STICKY_KEY.1);
                hasher.write(&text);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "a share of requests does not need the last bits"
                )]
                let fraction = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
                fraction
            }
        };
        drawn < self.share
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

impl Stage {
    fn call(
        &self,
        path: &str,
        base_path: Option<&str>,
        head: &Parts,
        client: impl Fn() -> IpAddr,
        is_trusted: bool,
    ) -> Call {
        let arm = match &self.canary {
            Some(canary) if canary.takes(head, client, is_trusted) => &canary.arm,
            _ => &self.control,
        };
        let origin: Option<&HeaderValue> = arm
            .cors
            .as_ref()
            .and_then(|_cors| head.headers.get(header::ORIGIN));
        Call {
            arm: Arc::clone(arm),
            path: if path.is_empty() {
                "/".to_owned()
            } else {
                path.to_owned()
            },
            query: head
                .uri
                .query()
                .filter(|query| !query.is_empty())
                .map(str::to_owned),
            params: Params::default(),
            base_path: base_path.map(str::to_owned),
            origin: origin.cloned(),
            preflight: false,
            signatures: Vec::new(),
            headers: arm.keeps_fields().then(|| head.headers.clone()),
            coding: arm
                .compressing
                .and_then(|compressing| compressing.choose(&head.headers)),
        }
    }
}

/// Whether an API's errors are written as AWS does.
pub(super) fn voice(protocol: Protocol, profile: edgeward_core::api::Profile) -> Voice {
    match (profile, protocol) {
        (edgeward_core::api::Profile::Native, _) => Voice::Native,
        (edgeward_core::api::Profile::Apigw, Protocol::Rest) => Voice::Rest,
        (edgeward_core::api::Profile::Apigw, Protocol::Http | Protocol::Websocket) => Voice::Http,
    }
}
