//! The question that a request asks, and what the policies say.

use std::collections::{BTreeMap, HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema,
};
use serde_json::Value;

use crate::{
    config::{Action, Anonymous, OnPolicyError, Resource},
    entities::Base,
    mistake,
    seen::{Seen, Unasked},
    value,
};

/// Id of the principal of requests without one.
pub const NOBODY: &str = "anonymous";
/// Most groups of a principal.
const GROUPS_MAX: usize = 1000;
/// Attributes of routes and paths that requests set.
pub const RESOURCE_ATTRIBUTES: [&str; 4] = ["path", "host", "params", "query"];

/// Entity types.
#[derive(Clone, Debug)]
pub struct Types {
    /// Principals.
    pub user: EntityTypeName,
    /// The principal of requests without one.
    pub anonymous: EntityTypeName,
    /// Groups.
    pub group: EntityTypeName,
    /// Actions.
    pub action: EntityTypeName,
    /// Routes.
    pub route: EntityTypeName,
    /// Paths.
    pub path: EntityTypeName,
}

/// Everything that is ready before a request comes.
pub struct Engine {
    /// Policies.
    pub policies: PolicySet,
    /// Schema, if there is one.
    pub schema: Option<Schema>,
    /// Entities of the configuration, and the actions of the schema.
    pub entities: Entities,
    /// Those of them that requests complete.
    pub bases: BTreeMap<EntityUid, Base>,
    /// Entity types.
    pub types: Types,
    /// Requests without a principal.
    pub anonymous: Anonymous,
    /// Members of the claims that become attributes.
    pub attributes: Vec<String>,
    /// Member of the claims that names groups.
    pub groups: Option<String>,
    /// What the action is.
    pub action: Action,
    /// What the resource is.
    pub resource: Resource,
    /// Policies that cannot be evaluated.
    pub on_policy_error: OnPolicyError,
}

/// What the policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The request may go on.
    pub allowed: bool,
    /// Ids of the policies that determined it, in order: those that permit or, if there are any, those that forbid.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, and why.
    pub errors: Vec<String>,
    /// What was asked, for the log.
    pub question: String,
}

impl Engine {
    /// Asks the policies.
    ///
    /// # Errors
    /// They were not asked.
    pub fn decide(&self, seen: &Seen) -> Result<Verdict, Unasked> {
        let principal = self.principal(seen)?;
        let completed = [self.resource(seen)?, principal.clone()];
        let action = match self.action {
            Action::Method => uid(&self.types.action, &seen.method),
            Action::Route => uid(&self.types.action, &seen.route),
        };
        let resource = match self.resource {
            Resource::Route => uid(&self.types.route, &seen.route),
            Resource::Path => uid(&self.types.path, &seen.path),
        };
        let question = format!("{} {action} {resource}", principal.uid());
        let request = Request::new(
            principal.uid(),
            action,
            resource,
            context(seen)?,
            self.schema.as_ref(),
        )
        .map_err(|error| Unasked::Unknown(format!("{question}: {}", mistake::chain(&error))))?;
        let entities = self
            .entities
            .clone()
            .upsert_entities(completed, self.schema.as_ref())
            .map_err(|error| {
                let text = format!("{question}: {}", mistake::chain(&error));
                match self.schema {
                    Some(_) => Unasked::Unknown(text),
                    // a group that is in itself by way of the principal
                    None => Unasked::Broken(text),
                }
            })?;
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        let diagnostics = response.diagnostics();
        let mut policies: Vec<String> = diagnostics.reason().map(ToString::to_string).collect();
        policies.sort();
        let mut errors: Vec<String> = diagnostics.errors().map(|error| mistake::chain(error)).collect();
        errors.sort();
        let sound = errors.is_empty() || self.on_policy_error == OnPolicyError::Skip;
        Ok(Verdict {
            allowed: response.decision() == Decision::Allow && sound,
            policies,
            errors,
            question,
        })
    }

    /// Decides about a request that never was: what Cedar makes on first use is then in the snapshot.
    pub fn warm_up(&self) {
        let seen = Seen {
            principal: Some(NOBODY.into()),
            method: "GET".into(),
            path: "/".into(),
            address: "192.0.2.1".into(),
            ..Seen::default()
        };
        // whatever it says
        drop(self.decide(&seen));
    }

    fn principal(&self, seen: &Seen) -> Result<Entity, Unasked> {
        let Some(name) = &seen.principal else {
            return match self.anonymous {
                Anonymous::Refuse => Err(Unasked::Nobody),
                Anonymous::Ask => Ok(Entity::with_uid(uid(&self.types.anonymous, NOBODY))),
            };
        };
        let uid = uid(&self.types.user, name);
        let mut base = self.bases.get(&uid).cloned().unwrap_or_default();
        for name in &self.attributes {
            let Some(found) = seen.claims.get(name) else {
                continue;
            };
            let attribute =
                value::of(found).map_err(|error| Unasked::Broken(format!("claim {name:?}: {error}")))?;
            if let Some(attribute) = attribute {
                base.attributes.insert(name.clone(), attribute);
            }
        }
        for group in self.groups(&seen.claims)? {
            base.parents.insert(self::uid(&self.types.group, group));
        }
        entity(uid, base)
    }

    fn groups<'a>(&self, claims: &'a Value) -> Result<Vec<&'a str>, Unasked> {
        let Some(name) = &self.groups else {
            return Ok(Vec::new());
        };
        let found = if name.starts_with('/') {
            claims.pointer(name)
        } else {
            claims.get(name)
        };
        let wrong = |what: &str| Unasked::Broken(format!("claim {name:?}, the groups: {what}"));
        match found {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(list)) if list.len() > GROUPS_MAX => {
                Err(wrong(&format!("{} exceed {GROUPS_MAX}", list.len())))
            }
            Some(Value::Array(list)) => list
                .iter()
                .map(|one| one.as_str().ok_or_else(|| wrong("one is no text")))
                .collect(),
            Some(_) => Err(wrong("neither a text nor a list of texts")),
        }
    }

    /// The route, or the path in it.
    fn resource(&self, seen: &Seen) -> Result<Entity, Unasked> {
        let route = uid(&self.types.route, &seen.route);
        let (resource, other) = match self.resource {
            Resource::Route => (route, None),
            Resource::Path => (uid(&self.types.path, &seen.path), Some(route)),
        };
        let mut base = self.bases.get(&resource).cloned().unwrap_or_default();
        let record = |members: &[(String, String)]| value::texts(members).map_err(Unasked::Broken);
        base.attributes.extend([
            ("path".to_owned(), text(&seen.path)),
            ("host".to_owned(), text(&seen.host)),
            ("params".to_owned(), record(&seen.params)?),
            ("query".to_owned(), record(&seen.query)?),
        ]);
        base.parents.extend(other);
        entity(resource, base)
    }
}

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn entity(uid: EntityUid, base: Base) -> Result<Entity, Unasked> {
    let attributes: HashMap<_, _> = base.attributes;
    let parents: HashSet<_> = base.parents;
    Entity::new(uid, attributes, parents).map_err(|error| Unasked::Broken(mistake::chain(&error)))
}

fn context(seen: &Seen) -> Result<Context, Unasked> {
    let address: std::net::IpAddr = seen
        .address
        .parse()
        .map_err(|error| Unasked::Broken(format!("the address {:?}: {error}", seen.address)))?;
    let time = value::datetime(seen.now_ms)
        .ok_or_else(|| Unasked::Broken(format!("the clock says {} ms", seen.now_ms)))?;
    let headers = value::texts(&seen.headers).map_err(Unasked::Broken)?;
    let known = [
        ("method", text(&seen.method)),
        ("route", text(&seen.route)),
        // an IPv4 address in IPv6 form is the IPv4 address, which blocks are written for
        (
            "ip",
            RestrictedExpression::new_ip(address.to_canonical().to_string()),
        ),
        ("tls", RestrictedExpression::new_bool(seen.tls)),
        ("time", RestrictedExpression::new_datetime(time)),
        ("headers", headers),
    ];
    let agent = seen.user_agent.as_deref().map(|agent| ("userAgent", text(agent)));
    let pairs = known.into_iter().chain(agent);
    Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)))
        .map_err(|error| Unasked::Broken(mistake::chain(&error)))
}
