//! What no single section can see: references between sections, names that must be unique, values out of range. Returns every problem.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{
    Acme, Admin, Certificate, Config, DecisionCache, HeaderCondition, Isolation, ListenerTls, OnError,
    Plugin, Problem, Route, Upstream, UpstreamProtocol, acme::problem_of_name, acme_certificate_name,
    canonical_names, is_certificate_name, is_server_name,
};
use crate::route::{HostPattern, PathPattern};

/// Most memory that one plugin instance may be given: the size of a slot of the instance pool.
pub(crate) const MEMORY_MAX: u64 = 256 << 20;
/// Most plugin instances: their address space, 4 GiB each, is half of what a process has.
const PLUGIN_INSTANCES_MAX: u32 = 16_384;
/// Most names of one certificate that is ordered: as Let's Encrypt.
const ORDER_NAMES_MAX: usize = 100;
/// Longest time that a decision of an authorizer is kept (as in Amazon API Gateway).
const DECISION_TTL_MAX: Duration = Duration::from_secs(3600);

/// Finds every problem that the types do not exclude.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.listeners.is_empty() {
        problems.push(
            Problem::new("listeners", "is empty: the gateway would serve nobody")
                .hint("add e.g. `listeners: [{address: \"0.0.0.0:8080\"}]`"),
        );
    }
    // of any API: what is wrong with the names shows with each
    problems.extend(config.aws.home("api").err());
    let mut directories = BTreeMap::new();
    for (name, authority) in &config.acme {
        check_authority(name, authority, &mut problems);
        // there is one account for a directory
        let (first, before) = *directories
            .entry(&authority.directory)
            .or_insert((name, authority));
        if before.contact != authority.contact || before.external_account != authority.external_account {
            problems.push(
                Problem::new(
                    format!("acme.{name}"),
                    format!("has the directory of `{first}`, and another account"),
                )
                .hint("give both the same `contact` and `external-account`"),
            );
        }
    }
    let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
    let mut orders = BTreeMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let name = listener.display_name();
        if (listener.address.port() != 0 || listener.name.is_some()) && !names.insert(name.clone()) {
            problems.push(Problem::new(
                format!("listeners[{index}]"),
                format!("another listener is called `{name}` too"),
            ));
        }
        if listener.address.port() != 0 && !addresses.insert(listener.address) {
            problems.push(Problem::new(
                format!("listeners[{index}].address"),
                format!("another listener has {} too", listener.address),
            ));
        }
        if let Some(tls) = &listener.tls {
            check_certificates(
                tls,
                &format!("listeners[{index}].tls.certificates"),
                &mut problems,
            );
            check_orders(
                config,
                tls,
                &format!("listeners[{index}].tls.certificates"),
                &mut orders,
                &mut problems,
            );
            check_domains(tls, &format!("listeners[{index}].tls.domains"), &mut problems);
        }
    }
    check_admin(&config.admin, &mut problems);
    if config.workers == Some(0) {
        problems.push(Problem::new("workers", "is 0").hint("leave it out for one per core"));
    }
    if config.limits.head.0 < 8192 {
        problems.push(Problem::new(
            "limits.head",
            format!(
                "{} is less than the 8KiB that RFC 9112 asks for",
                config.limits.head
            ),
        ));
    }
    if !(1..=PLUGIN_INSTANCES_MAX).contains(&config.limits.plugin_instances) {
        problems.push(Problem::new(
            "limits.plugin-instances",
            format!(
                "{} is not from 1 to {PLUGIN_INSTANCES_MAX}",
                config.limits.plugin_instances
            ),
        ));
    }
    for (name, upstream) in &config.upstreams {
        check_upstream(name, upstream, &mut problems);
    }
    for (name, plugin) in &config.plugins {
        check_plugin(name, plugin, &mut problems);
    }
    let mut names = BTreeMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        check_route(index, route, config, &mut problems);
        if let Some(first) = names.insert(route.display_name(), index) {
            problems.push(
                Problem::new(
                    format!("routes[{index}]"),
                    format!("has the same name `{}` as routes[{first}]", route.display_name()),
                )
                .hint("set `name`"),
            );
        }
    }
    problems
}

/// Each certificate comes from one place.
fn check_certificates(tls: &ListenerTls, path: &str, problems: &mut Vec<Problem>) {
    if tls.certificates.is_empty() {
        problems.push(Problem::new(path, "is empty"));
    }
    for (index, certificate) in tls.certificates.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let in_files = certificate.cert.is_some() || certificate.key.is_some() || certificate.ocsp.is_some();
        if certificate.acme.is_some() {
            if in_files || certificate.stored.is_some() {
                problems.push(Problem::new(
                    path,
                    "is ordered (`acme`), comes from files or is `stored`, only one of them",
                ));
            }
            continue;
        }
        match &certificate.stored {
            Some(_) if in_files => {
                problems.push(Problem::new(path, "comes from files or is `stored`, not both"));
            }
            Some(name) if name != "*" && !is_certificate_name(name) => {
                problems.push(
                    Problem::new(
                        format!("{path}.stored"),
                        format!("`{name}` cannot be the name of a certificate"),
                    )
                    .hint("1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`, or `*` for all"),
                );
            }
            Some(_) => {}
            None => {
                for (key, file) in [("cert", &certificate.cert), ("key", &certificate.key)] {
                    if file.is_none() {
                        problems.push(Problem::new(format!("{path}.{key}"), "is missing"));
                    }
                }
            }
        }
    }
}

/// Names that are ordered for: from an authority that is there, and each first name for one certificate, under which that is kept.
fn check_orders<'c>(
    config: &'c Config,
    tls: &'c ListenerTls,
    path: &str,
    orders: &mut BTreeMap<String, (&'c Certificate, String)>,
    problems: &mut Vec<Problem>,
) {
    for (index, certificate) in tls.certificates.iter().enumerate() {
        let Some(authority) = &certificate.acme else {
            continue;
        };
        let path = format!("{path}[{index}]");
        if !config.acme.contains_key(authority) {
            let known = config.acme.keys();
            problems.push(missing(format!("{path}.acme"), "authority", authority, known));
        }
        if !(1..=ORDER_NAMES_MAX).contains(&certificate.names.len()) {
            let many = certificate.names.len();
            let problem = format!("has {many} names, an order from 1 to {ORDER_NAMES_MAX}");
            problems.push(Problem::new(format!("{path}.names"), problem));
        }
        let mut names = HashSet::new();
        for (at, name) in certificate.names.iter().enumerate() {
            let twice =
                || (!names.insert(name.to_ascii_lowercase())).then(|| format!("`{name}` is there twice"));
            if let Some(problem) = problem_of_name(name, at == 0).or_else(twice) {
                problems.push(Problem::new(format!("{path}.names[{at}]"), problem));
            }
        }
        let Some(name) = acme_certificate_name(&certificate.names) else {
            continue;
        };
        match orders.get(&name) {
            Some((first, at))
                if first.acme != certificate.acme
                    || canonical_names(&first.names) != canonical_names(&certificate.names) =>
            {
                problems.push(
                    Problem::new(
                        &path,
                        format!("begins with the same name as {at}, and is not the same order"),
                    )
                    .hint("give both the same `acme` and `names`, or begin with another name"),
                );
            }
            Some(_) => {}
            None => drop(orders.insert(name, (certificate, path))),
        }
    }
}

fn check_admin(admin: &Admin, problems: &mut Vec<Problem>) {
    let mut one_of = |place: String, given: usize, names: &str| {
        if given != 1 {
            problems.push(Problem::new(place, format!("has {given} of {names}")).hint("name exactly one"));
        }
    };
    if let Some(tls) = &admin.tls {
        for (index, mapped) in tls.principals.iter().enumerate() {
            let given = usize::from(mapped.subject.is_some()) + usize::from(mapped.san.is_some());
            let place = format!("admin.tls.principals[{index}]");
            one_of(place, given, "`subject` and `san`");
        }
    }
    if let Some(socket) = &admin.socket {
        for (index, mapped) in socket.principals.iter().enumerate() {
            let given = usize::from(mapped.uid.is_some()) + usize::from(mapped.gid.is_some());
            let place = format!("admin.socket.principals[{index}]");
            one_of(place, given, "`uid` and `gid`");
        }
    }
    if let Some(tls) = &admin.tls
        && tls.client_auth.is_none()
        && !tls.principals.is_empty()
    {
        problems.push(
            Problem::new(
                "admin.tls.principals",
                "is of no use: clients are not asked for certificates",
            )
            .hint("add `client-auth: {ca: clients.pem, required: false}`"),
        );
    }
}

fn check_authority(name: &str, authority: &Acme, problems: &mut Vec<Problem>) {
    let path = format!("acme.{name}");
    if !is_certificate_name(name) {
        problems.push(
            Problem::new(&path, format!("`{name}` cannot be the name of an authority"))
                .hint("1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`"),
        );
    }
    let directory = &authority.directory;
    let is_url = directory
        .parse::<http::Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.authority().is_some());
    if !is_url {
        problems.push(Problem::new(
            format!("{path}.directory"),
            format!("`{directory}` is not an `https://` URL"),
        ));
    }
    for (at, contact) in authority.contact.iter().enumerate() {
        // RFC 8555 section 7.3: URLs, and `mailto` is the one that servers must know
        if !contact.contains(':') {
            problems.push(
                Problem::new(
                    format!("{path}.contact[{at}]"),
                    format!("`{contact}` is not a URL"),
                )
                .hint(format!("write `mailto:{contact}`")),
            );
        }
    }
    if authority.challenges.is_empty() {
        problems.push(Problem::new(format!("{path}.challenges"), "is empty"));
    }
}

/// Names of domains are names, each in one place.
fn check_domains(tls: &ListenerTls, path: &str, problems: &mut Vec<Problem>) {
    let mut names = HashSet::new();
    for (index, domain) in tls.domains.iter().enumerate() {
        let path = format!("{path}[{index}].names");
        if domain.names.is_empty() {
            problems.push(Problem::new(&path, "is empty"));
        }
        for name in &domain.names {
            match HostPattern::parse(name) {
                Err(error) => problems.push(Problem::new(&path, error.to_string())),
                Ok(_) if !is_server_name(name) => {
                    problems.push(Problem::new(&path, format!("`{name}` is not a server name")));
                }
                Ok(pattern) => {
                    if !names.insert(pattern.to_string()) {
                        problems.push(Problem::new(&path, format!("`{name}` is there twice")));
                    }
                }
            }
        }
    }
}

fn check_upstream(name: &str, upstream: &Upstream, problems: &mut Vec<Problem>) {
    let path = format!("upstreams.{name}");
    if upstream.endpoints.is_empty() {
        problems.push(Problem::new(format!("{path}.endpoints"), "is empty"));
    }
    for (index, endpoint) in upstream.endpoints.iter().enumerate() {
        let valid = endpoint.parse::<http::uri::Authority>().is_ok_and(|authority| {
            authority.port_u16().is_some_and(|port| port != 0) && !authority.as_str().contains('@')
        });
        if !valid {
            problems.push(
                Problem::new(
                    format!("{path}.endpoints[{index}]"),
                    format!("`{endpoint}` is not `host:port`"),
                )
                .hint("write e.g. `10.0.0.7:8080` or `pets.internal:80`, without `http://`"),
            );
        }
    }
    if !(0.0..=1.0).contains(&upstream.retry.budget) {
        problems.push(Problem::new(
            format!("{path}.retry.budget"),
            format!("{} is not between 0 and 1", upstream.retry.budget),
        ));
    }
    if let Some(tls) = &upstream.tls
        && tls.client_cert.is_some() != tls.client_key.is_some()
    {
        problems.push(Problem::new(
            format!("{path}.tls"),
            "`client-cert` and `client-key` go together",
        ));
    }
}

fn check_plugin(name: &str, plugin: &Plugin, problems: &mut Vec<Problem>) {
    let path = format!("plugins.{name}");
    if name == "gateway"
        || name.is_empty()
        || name.len() > 64
        || !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        problems.push(
            Problem::new(&path, format!("`{name}` cannot be the name of a plugin"))
                .hint("1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`; `gateway` is taken"),
        );
    }
    let limits = &plugin.limits;
    if limits.memory.0 > MEMORY_MAX || limits.memory.0 < 65_536 {
        problems.push(Problem::new(
            format!("{path}.limits.memory"),
            format!("{} is not between 64KiB and 256MiB", limits.memory),
        ));
    }
    for (key, time) in [
        ("cpu-time", limits.cpu_time),
        ("wall-time", limits.wall_time),
        ("init-time", limits.init_time),
    ] {
        if time.0.is_zero() || time.0.as_secs() > 300 {
            problems.push(Problem::new(
                format!("{path}.limits.{key}"),
                format!("{time} is not between 1us and 5m"),
            ));
        }
    }
    if let Isolation::Reuse(reuse) = plugin.isolation
        && reuse.requests == 0
    {
        problems.push(
            Problem::new(format!("{path}.isolation.reuse.requests"), "is 0")
                .hint("write `isolation: request`"),
        );
    }
    if let Some(cache) = &plugin.decision_cache {
        check_decision_cache(&format!("{path}.decision-cache"), cache, problems);
    }
    if let Some(OnError::Respond(answer)) = &plugin.on_error {
        check_status(
            &format!("{path}.on-error.respond.status"),
            answer.status,
            problems,
        );
    }
}

fn check_decision_cache(path: &str, cache: &DecisionCache, problems: &mut Vec<Problem>) {
    if cache.headers.is_empty() && cache.query.is_empty() {
        problems.push(
            Problem::new(
                path,
                "neither `headers` nor `query` names what a decision depends on",
            )
            .hint("e.g. `headers: [authorization]`"),
        );
    }
    for (at, name) in cache.headers.iter().enumerate() {
        if name.parse::<http::HeaderName>().is_err() {
            problems.push(Problem::new(
                format!("{path}.headers[{at}]"),
                format!("`{name}` is not a field name"),
            ));
        }
    }
    if cache.max_ttl.0.is_zero() || cache.max_ttl.0 > DECISION_TTL_MAX {
        problems.push(Problem::new(
            format!("{path}.max-ttl"),
            format!("{} is not between 1us and 1h", cache.max_ttl),
        ));
    }
    if cache.stale_while_revalidate.0 > DECISION_TTL_MAX {
        problems.push(Problem::new(
            format!("{path}.stale-while-revalidate"),
            format!("{} is more than 1h", cache.stale_while_revalidate),
        ));
    }
}

fn check_status(path: &str, status: u16, problems: &mut Vec<Problem>) {
    if !(200..600).contains(&status) {
        problems.push(Problem::new(path, format!("{status} is not between 200 and 599")));
    }
}

fn check_route(index: usize, route: &Route, config: &Config, problems: &mut Vec<Problem>) {
    let path = format!("routes[{index}]");
    if let Err(error) = PathPattern::parse(&route.path) {
        problems.push(Problem::new(format!("{path}.path"), error.to_string()));
    }
    for (at, host) in route.hosts.iter().enumerate() {
        if let Err(error) = HostPattern::parse(host) {
            problems.push(Problem::new(format!("{path}.hosts[{at}]"), error.to_string()));
        }
    }
    for (at, method) in route.methods.iter().enumerate() {
        if method.parse::<http::Method>().is_err() {
            problems.push(Problem::new(
                format!("{path}.methods[{at}]"),
                format!("`{method}` is not a method"),
            ));
        }
    }
    for (name, condition) in &route.headers {
        if *condition == HeaderCondition::Present(false) {
            problems.push(
                Problem::new(
                    format!("{path}.headers.{name}"),
                    "absence of a field cannot be a condition",
                )
                .hint("put the condition on the other route"),
            );
        }
        if name.parse::<http::HeaderName>().is_err() {
            problems.push(Problem::new(
                format!("{path}.headers.{name}"),
                format!("`{name}` is not a field name"),
            ));
        }
    }
    match (&route.upstream, &route.respond) {
        (None, None) => problems.push(Problem::new(&path, "has neither `upstream` nor `respond`")),
        (Some(_), Some(_)) => problems.push(Problem::new(&path, "has both `upstream` and `respond`")),
        (Some(name), None) if !config.upstreams.contains_key(name) => {
            problems.push(missing(
                format!("{path}.upstream"),
                "upstream",
                name,
                config.upstreams.keys(),
            ));
        }
        (None, Some(answer)) => check_status(&format!("{path}.respond.status"), answer.status, problems),
        (Some(_), None) => {}
    }
    if route.websocket {
        let http2 = |name| {
            let upstream = config.upstreams.get(name);
            upstream.is_some_and(|upstream| upstream.protocol == UpstreamProtocol::Http2)
        };
        match &route.upstream {
            None => problems.push(Problem::new(
                format!("{path}.websocket"),
                "needs an upstream, which a fixed answer is not",
            )),
            Some(name) if http2(name) => problems.push(
                Problem::new(
                    format!("{path}.websocket"),
                    format!("upstream `{name}` is spoken to in HTTP/2, and WebSocket in HTTP/1.1 only"),
                )
                .hint("give it an upstream with `protocol: http1`; clients may use either"),
            ),
            Some(_) => {}
        }
    }
    let mut seen = HashSet::new();
    for (at, name) in route.pipeline.iter().enumerate() {
        if !config.plugins.contains_key(name) {
            problems.push(missing(
                format!("{path}.pipeline[{at}]"),
                "plugin",
                name,
                config.plugins.keys(),
            ));
        }
        if !seen.insert(name) {
            problems.push(Problem::new(
                format!("{path}.pipeline[{at}]"),
                format!("plugin `{name}` stands twice in the pipeline"),
            ));
        }
    }
}

fn missing<'n>(path: String, what: &str, name: &str, known: impl Iterator<Item = &'n String>) -> Problem {
    let known: Vec<_> = known.map(String::as_str).collect();
    let problem = Problem::new(path, format!("no {what} is called `{name}`"));
    if known.is_empty() {
        problem
    } else {
        problem.hint(format!("there are: {}", known.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::read;

    #[test]
    fn every_broken_reference_and_value_is_reported_at_once() {
        let problems = read(
            "
listeners:
  - address: '127.0.0.1:0'
    tls: {certificates: [], domains: [{names: []}, {names: [a.example, '*', 'b:1', 'x..y']}, {names: [A.example.]}]}
  - {address: '127.0.0.1:81', tls: {certificates: [{cert: a.pem}, {cert: a.pem, key: a.pem, stored: a}, {stored: a/b}, {stored: '*'}]}}
  - {name: second, address: '127.0.0.1:81'}
  - address: '127.0.0.1:82'
    tls: {certificates: [{acme: ca, names: [a.example, A.example]}, {acme: other, names: [a.example, '*.b.example']}, {acme: ca, stored: x}]}
acme: {ca: {directory: 'http://ca.example/', contact: [me@ca.example], challenges: []}, cb: {directory: 'http://ca.example/'}}
upstreams: {pets: {endpoints: ['http://10.0.0.1'], retry: {budget: 7}}, calls: {endpoints: ['10.0.0.2:80'], protocol: http2}}
limits: {plugin-instances: 0}
admin: {tls: {cert: a, key: b, principals: [{principal: x}]}, socket: {path: s, principals: [{uid: 1, gid: 1, principal: x}]}}
plugins:
  auth: {module: a.wasm, limits: {memory: 1GiB, cpu-time: 0}, decision-cache: {}}
  key: {module: a.wasm, decision-cache: {headers: ['x key'], max-ttl: 2h, stale-while-revalidate: 61m}}
routes:
  - {path: 'pets', upstream: pest}
  - {path: '/a', upstream: pets, respond: {status: 200}, pipeline: [auth, auth, nobody]}
  - {path: '/b', respond: {status: 99}, websocket: true}
  - {path: '/c', upstream: calls, websocket: true}
",
        )
        .unwrap_err()
        .0;
        let text = problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        for expected in [
            "listeners[0].tls.certificates: is empty",
            "admin.tls.principals[0]: has 0 of `subject` and `san`",
            "admin.tls.principals: is of no use",
            "admin.socket.principals[0]: has 2 of `uid` and `gid`",
            "listeners[0].tls.domains[0].names: is empty",
            "listeners[0].tls.domains[1].names: `*` is not a server name",
            "listeners[0].tls.domains[1].names: `b:1` is not a server name",
            "listeners[0].tls.domains[1].names: ",
            "listeners[0].tls.domains[2].names: `A.example.` is there twice",
            "listeners[1].tls.certificates[0].key: is missing",
            "listeners[1].tls.certificates[1]: comes from files or is `stored`, not both",
            "listeners[1].tls.certificates[2].stored: `a/b` cannot be the name of a certificate",
            "listeners[2].address: another listener has 127.0.0.1:81 too",
            "listeners[3].tls.certificates[0].names[1]: `A.example` is there twice",
            "listeners[3].tls.certificates[1]: begins with the same name as listeners[3].tls.certificates[0]",
            "listeners[3].tls.certificates[1].acme: no authority is called `other` (there are: ca, cb)",
            "acme.cb: has the directory of `ca`, and another account",
            "listeners[3].tls.certificates[1].names[1]: `*.b.example`: wildcards need a challenge over DNS",
            "listeners[3].tls.certificates[2]: is ordered (`acme`), comes from files or is `stored`",
            "listeners[3].tls.certificates[2].names: has 0 names",
            "acme.ca.directory: `http://ca.example/` is not an `https://` URL",
            "acme.ca.contact[0]: `me@ca.example` is not a URL (write `mailto:me@ca.example`)",
            "acme.ca.challenges: is empty",
            "upstreams.pets.endpoints[0]: `http://10.0.0.1` is not `host:port`",
            "upstreams.pets.retry.budget: 7 is not between 0 and 1",
            "limits.plugin-instances: 0 is not from 1 to 16384",
            "plugins.auth.limits.memory: 1GiB is not between 64KiB and 256MiB",
            "plugins.auth.limits.cpu-time: ",
            "plugins.auth.decision-cache: neither `headers` nor `query`",
            "plugins.key.decision-cache.headers[0]: `x key` is not a field name",
            "plugins.key.decision-cache.max-ttl: 2h is not between 1us and 1h",
            "plugins.key.decision-cache.stale-while-revalidate: 61m is more than 1h",
            "routes[0].path: ",
            "routes[0].upstream: no upstream is called `pest` (there are: calls, pets)",
            "routes[1]: has both",
            "routes[1].pipeline[1]: plugin `auth` stands twice",
            "routes[1].pipeline[2]: no plugin is called `nobody`",
            "routes[2].respond.status: 99",
            "routes[2].websocket: needs an upstream",
            "routes[3].websocket: upstream `calls` is spoken to in HTTP/2",
        ] {
            assert!(text.contains(expected), "{expected} not in\n{text}");
        }
    }
}
