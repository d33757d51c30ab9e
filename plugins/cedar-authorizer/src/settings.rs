//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use std::str::FromStr as _;

use cedar_policy::EntityTypeName;

use crate::{
    config::{self, Claims, Config, OneOrMore, Resource},
    engine::{Engine, RESOURCE_ATTRIBUTES, Types},
    entities, policies,
};

/// Most names in a list of the configuration.
const NAMES_MAX: usize = 64;
/// Longest name in bytes.
const NAME_MAX: usize = 256;
/// Longest time that a decision may be reused, in seconds.
const TTL_MAX: u32 = 3600;

/// Checked configuration.
pub struct Settings {
    /// What decides.
    pub engine: Engine,
    /// Where the facts about the principal are.
    pub claims: Option<Claims>,
    /// Header fields that policies see, in lower case.
    pub headers: Vec<String>,
    /// Query parameters that policies see.
    pub query: Vec<String>,
    /// How long a decision may be reused, in seconds.
    pub ttl_seconds: u32,
    /// What Cedar thinks odd: for the log.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, with their paths, one in a line.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Vec::new();
        let (texts, many) = match config.policies {
            OneOrMore::One(text) => (vec![text], false),
            OneOrMore::More(texts) => (texts, true),
        };
        let path = |index: usize| match many {
            true => format!("policies[{index}]"),
            false => "policies".to_owned(),
        };
        if config.ttl_seconds > TTL_MAX {
            problems.push(format!("ttl-seconds: {} exceeds {TTL_MAX}", config.ttl_seconds));
        }
        for (key, names) in [
            ("headers", &config.headers),
            ("query", &config.query),
            ("principal.attributes", &config.principal.attributes),
        ] {
            problems.extend(list(key, names));
        }
        problems.extend(facts(&config.principal));
        let types = keep(types(&config.types), &mut problems);
        let mut warnings = Vec::new();
        let schema = config
            .schema
            .as_deref()
            .map(|text| keep(policies::schema(text), &mut problems));
        // one that was read or none at all: without a schema that was meant, nothing is held against one
        let schema_known = !matches!(schema, Some(None));
        let schema = schema.flatten().map(|(schema, found)| {
            warnings.extend(found);
            schema
        });
        let read = keep(policies::read(&texts, &path), &mut problems);
        if let (Some(read), Some(schema)) = (&read, &schema) {
            warnings.extend(keep(read.validate(schema, &texts, &path), &mut problems).unwrap_or_default());
        }
        let known = types.as_ref().filter(|_| schema_known).and_then(|types| {
            let set = RESOURCE_ATTRIBUTES.map(str::to_owned);
            let resource = match config.resource {
                Resource::Route => &types.route,
                Resource::Path => &types.path,
            };
            let completed = [
                (&types.user, config.principal.attributes.as_slice()),
                (resource, set.as_slice()),
            ];
            let read = entities::read(&config.entities, &completed, schema.as_ref());
            keep(read, &mut problems)
        });
        let (Some(types), Some(read), Some(known), true) = (types, read, known, problems.is_empty()) else {
            let problems = problems.iter().map(|problem| format!("config.{problem}"));
            return Err(problems.collect::<Vec<_>>().join("\n"));
        };
        Ok(Self {
            engine: Engine {
                policies: read.set,
                schema,
                entities: known.all,
                bases: known.bases,
                types,
                anonymous: config.principal.anonymous,
                attributes: config.principal.attributes,
                groups: config.principal.groups,
                action: config.action,
                resource: config.resource,
                on_policy_error: config.on_policy_error,
            },
            claims: config.principal.claims,
            headers: config
                .headers
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            query: config.query,
            ttl_seconds: config.ttl_seconds,
            warnings,
        })
    }
}

/// What there is, or its problems kept.
fn keep<T>(outcome: Result<T, Vec<String>>, problems: &mut Vec<String>) -> Option<T> {
    outcome.map_err(|found| problems.extend(found)).ok()
}

fn list(key: &str, names: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    if names.len() > NAMES_MAX {
        problems.push(format!("{key}: {} exceed {NAMES_MAX}", names.len()));
    }
    for (index, name) in names.iter().enumerate().take(NAMES_MAX) {
        if name.is_empty() || name.len() > NAME_MAX {
            problems.push(format!("{key}[{index}]: {name:?} is not 1 to {NAME_MAX} bytes"));
        }
        let before = names.iter().take(index);
        if before
            .into_iter()
            .any(|other| other.eq_ignore_ascii_case(name) && (key == "headers" || other == name))
        {
            problems.push(format!("{key}[{index}]: {name:?} is there twice"));
        }
    }
    problems
}

fn facts(principal: &config::Principal) -> Option<String> {
    let wants = !principal.attributes.is_empty() || principal.groups.is_some();
    match &principal.claims {
        None if wants => {
            Some("principal: attributes and groups need claims, which say where they are".into())
        }
        Some(_) if !wants => {
            Some("principal.claims: neither attributes nor groups are taken from them".into())
        }
        _ => None,
    }
}

fn types(names: &config::Types) -> Result<Types, Vec<String>> {
    let mut problems = Vec::new();
    let mut read = |key: &str, name: &str| {
        let read = EntityTypeName::from_str(name).ok();
        if read.is_none() {
            problems.push(format!(
                "types.{key}: {name:?} is no name of a type, e.g. Shop::User"
            ));
        }
        read
    };
    let user = read("user", &names.user);
    let anonymous = read("anonymous", &names.anonymous);
    let group = read("group", &names.group);
    let action = read("action", &names.action);
    let route = read("route", &names.route);
    let path = read("path", &names.path);
    let (Some(user), Some(anonymous), Some(group), Some(action), Some(route), Some(path)) =
        (user, anonymous, group, action, route, path)
    else {
        return Err(problems);
    };
    if action.basename() != "Action" {
        problems.push(format!("types.action: {action} does not end in Action"));
    }
    // one name for two things would let a name chosen by one stand for the other
    let all = [
        ("user", &user),
        ("anonymous", &anonymous),
        ("group", &group),
        ("action", &action),
        ("route", &route),
        ("path", &path),
    ];
    for (index, (key, name)) in all.iter().enumerate() {
        if let Some((other, _)) = all.iter().take(index).find(|(_, other)| other == name) {
            problems.push(format!("types.{key}: {name} is types.{other} already"));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Types {
        user,
        anonymous,
        group,
        action,
        route,
        path,
    })
}
