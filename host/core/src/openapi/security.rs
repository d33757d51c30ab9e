//! Security schemes and requirements as authorizers of routes. What cannot be had does not go away: an operation that nothing secures yet refers to an
//! authorizer whose plugin has to be there before the API can be deployed.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    OWN, Version,
    amazon::{AUTHORIZER, AUTHTYPE, kind_of},
    import::Importer,
    operation::EACH,
    report::{Names, at},
    scheme::kept,
};
use crate::{api::Authorizer, config::typed};

/// Whether the field of a scheme says nothing: AWS's authorizers of this type go by their identity sources, and the scheme has to name some field.
fn is_made_up(scheme: &Map<String, Value>) -> bool {
    let kind = scheme
        .get(AUTHORIZER)
        .and_then(|authorizer| authorizer.get("type"));
    let is_request = kind
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("request"));
    is_request && scheme.get("type").is_some_and(|kind| kind == "apiKey")
}

/// What callers need, one of several that an operation lists.
struct Way<'d> {
    schemes: Vec<&'d str>,
    scopes: Vec<String>,
    api_key: bool,
    /// It is `NONE`, which SAM writes for operations that are open.
    is_none: bool,
}

impl<'d> Importer<'d> {
    const fn schemes_place(&self) -> &'static str {
        match self.version {
            Version::V2 => "/securityDefinitions",
            Version::V3 | Version::V31 => "/components/securitySchemes",
        }
    }

    fn scheme(&self, name: &str) -> Option<(&'d Map<String, Value>, String)> {
        let mut place = at(self.schemes_place(), name);
        let mut value = self.document.pointer(&place)?;
        // one step: a scheme that is somewhere else among the schemes
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            place = super::report::pointer(reference)?;
            value = self.document.pointer(&place)?;
        }
        Some((value.as_object()?, place))
    }

    /// Authorizers of schemes that say which plugin stands behind them, used or not.
    pub(super) fn schemes(&mut self) {
        let place = self.schemes_place();
        let schemes = self.report.object(self.document.pointer(place), place);
        for (name, scheme) in schemes.into_iter().flatten() {
            if !scheme.is_object() {
                self.report.problem(&at(place, name), "is not an object");
            } else if scheme.get(format!("{OWN}authorizer")).is_some() {
                self.authorizer(&[name]);
            }
        }
    }

    /// Whether a scheme is AWS's API key: the gateway checks it by itself.
    fn is_api_key(&self, name: &str) -> bool {
        let text = |scheme: &Map<String, Value>, key: &str| {
            scheme
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_ascii_lowercase()
        };
        !self.options.authorizers.contains_key(name)
            && self.scheme(name).is_some_and(|(scheme, _)| {
                text(scheme, "type") == "apikey"
                    && text(scheme, "in") == "header"
                    && text(scheme, "name") == "x-api-key"
                    && !scheme.keys().any(|key| {
                        [AUTHORIZER, AUTHTYPE].contains(&key.as_str()) || *key == format!("{OWN}authorizer")
                    })
            })
    }

    /// Schemes that are to be passed together, as one name.
    fn together(schemes: &[&str]) -> String {
        schemes.join("-and-")
    }

    /// Whether it is said which plugin stands behind schemes, now or before.
    fn is_bound(&self, schemes: &[&str]) -> bool {
        // what an import made of the name of a scheme does not say anything
        let before = || {
            self.known(schemes)
                .is_some_and(|(name, known)| known.plugin != name)
        };
        self.options.authorizers.contains_key(&Self::together(schemes))
            || self.own_authorizer(schemes).is_some()
            || before()
    }

    /// What the document says of an authorizer in our own words.
    fn own_authorizer(&self, schemes: &[&str]) -> Option<(&'d Value, String)> {
        let [one] = schemes else { return None };
        let (scheme, place) = self.scheme(one)?;
        let key = format!("{OWN}authorizer");
        Some((scheme.get(&key)?, at(&place, &key)))
    }

    fn known(&self, schemes: &[&str]) -> Option<(String, &'d Authorizer)> {
        let name = Names::default().give(&Self::together(schemes), "authorizer");
        let known = self.options.known.as_ref()?.authorizers.get(&name)?;
        Some((name, known))
    }

    /// Members of an authorizer: what is there already, what the scheme says of it, what it says in our own words, the plugin that stands behind it.
    fn said_of(&mut self, schemes: &[&'d str], name: &str) -> Option<Map<String, Value>> {
        let bound = self.options.authorizers.get(&Self::together(schemes));
        let own = match self.own_authorizer(schemes) {
            Some((Value::Object(own), _)) => Some(own),
            Some((_, place)) => {
                self.report.problem(&place, "is not an object");
                return None;
            }
            None => None,
        };
        let mut fields = match (own, self.known(schemes)) {
            // all of it is said anew
            (Some(_), _) | (None, None) => Map::new(),
            (None, Some((_, known))) => super::export::fields(known),
        };
        fields.entry("plugin").or_insert_with(|| name.into());
        let plugin = bound.map(String::as_str).or_else(|| {
            let said = own.map_or(&fields, |own| own);
            said.get("plugin").and_then(Value::as_str)
        });
        let plugin = plugin.unwrap_or(name).to_owned();
        if let [one] = schemes {
            self.one_scheme(one, &plugin, own, &mut fields);
        } else {
            self.several(schemes);
        }
        if let Some(own) = own {
            fields.remove("plugin");
            fields.extend(own.clone());
        }
        if let Some(plugin) = bound {
            fields.insert("plugin".to_owned(), plugin.as_str().into());
        }
        Some(fields)
    }

    fn one_scheme(
        &mut self,
        name: &'d str,
        plugin: &str,
        own: Option<&'d Map<String, Value>>,
        fields: &mut Map<String, Value>,
    ) {
        let Some((scheme, place)) = self.scheme(name) else {
            // a word of AWS's instead of a scheme
            if let Some(kind) = kind_of(name) {
                fields.insert("type".to_owned(), json!(kind));
            }
            return;
        };
        if let Some(text) = scheme.get("description").and_then(Value::as_str) {
            fields.insert("description".to_owned(), text.into());
        }
        fields.extend(self.amazon_scheme(scheme, &place, plugin));
        let sources = own
            .and_then(|own| own.get("identity-sources"))
            .or_else(|| fields.get("identity-sources"));
        let sources = sources.and_then(Value::as_array).into_iter().flatten();
        let sources: Vec<String> = sources.filter_map(Value::as_str).map(str::to_owned).collect();
        let said = kept(scheme, self.version, &sources);
        match said.filter(|_| !is_made_up(scheme)) {
            Some(scheme) => drop(fields.insert("scheme".to_owned(), Value::Object(scheme))),
            None => drop(fields.remove("scheme")),
        }
    }

    /// What the extensions of schemes say that are one authorizer together is not taken.
    fn several(&mut self, schemes: &[&'d str]) {
        for name in schemes {
            let Some((scheme, place)) = self.scheme(name) else {
                continue;
            };
            for key in [AUTHORIZER, AUTHTYPE] {
                if scheme.contains_key(key) {
                    self.report.warn(
                        &at(&place, key),
                        format!("is not taken: `{}` is one authorizer", Self::together(schemes)),
                    );
                }
            }
        }
    }

    /// The authorizer of schemes; it is made the first time.
    fn authorizer(&mut self, schemes: &[&'d str]) -> Option<String> {
        let all = Self::together(schemes);
        let key = schemes.join("\n");
        if let Some(name) = self.authorizer_names.get(&key) {
            return Some(name.clone());
        }
        let place = schemes
            .first()
            .and_then(|first| self.scheme(first))
            .map(|(_, place)| place)
            .unwrap_or_default();
        let is_bound = self.is_bound(schemes);
        let name = self.authorizers_given.give(&all, "authorizer");
        self.authorizer_names.insert(key, name.clone());
        let fields = self.said_of(schemes, &name)?;
        let authorizer: Authorizer = match typed(Value::Object(fields)) {
            Ok(authorizer) => authorizer,
            Err(problems) => {
                for problem in problems.0 {
                    self.report.problem(
                        &at(&place, &format!("{OWN}authorizer")),
                        format!("{} {}", problem.path, problem.message).trim_start(),
                    );
                }
                return None;
            }
        };
        if is_bound {
            self.report.became(
                &place,
                format!("authorizer `{name}`, the plugin `{}`", authorizer.plugin),
            );
        } else {
            self.report
                .became(&place, format!("authorizer `{name}`, without a plugin yet"));
            let more = match schemes {
                [_one] => "",
                _ => ": it has to check all of them",
            };
            self.report.warnings.push(
                crate::config::Problem::new(
                    &place,
                    format!(
                        "no plugin stands behind `{all}`: its routes cannot be deployed until the configuration has a plugin `{name}`, or it is said which it is{more}"
                    ),
                )
                .hint(format!(
                    "`--authorizer {all}=PLUGIN`, or `{OWN}authorizer: {{plugin: PLUGIN}}` in the document"
                )),
            );
        }
        self.definition.authorizers.insert(name.clone(), authorizer);
        Some(name)
    }

    /// Tells of schemes that nothing was made of.
    pub(super) fn unused_schemes(&mut self) {
        let place = self.schemes_place();
        let names = self.document.pointer(place).and_then(Value::as_object);
        let used: BTreeSet<String> = self
            .authorizer_names
            .keys()
            .flat_map(|names| names.split('\n'))
            .map(str::to_owned)
            .collect();
        for name in names.into_iter().flat_map(Map::keys) {
            if let Some((_, place)) = self.scheme(name) {
                for key in [AUTHORIZER, AUTHTYPE] {
                    self.reads(&place, key);
                }
            }
            if !used.contains(name) && !self.is_api_key(name) {
                self.report
                    .note(&at(place, name), "nothing is made of it: no route asks for it");
            }
        }
    }

    /// The requirements of an operation: its own, or those of the document.
    pub(super) fn secure(&mut self, own: Option<&'d Value>, place: &str, route: &mut Map<String, Value>) {
        // `null` does not open what the document closes
        let (requirements, place) = match own.filter(|own| !own.is_null()) {
            Some(own) => (Some(own), at(place, "security")),
            None => (self.document.get("security"), "/security".to_owned()),
        };
        let list = self.report.list(requirements, &place);
        if !self.report.spend(EACH * list.len()) {
            return;
        }
        let mut ways = Vec::new();
        for (index, requirement) in list.iter().enumerate() {
            let place = format!("{place}/{index}");
            match requirement {
                Value::Object(requirement) => ways.extend(self.way(requirement, &place)),
                _ => self.report.problem(&place, "is not an object"),
            }
        }
        if ways.len() != list.len() {
            return;
        }
        let ways = self.as_aws_means(ways, &place);
        if ways.iter().any(|way| way.schemes.is_empty() && !way.api_key) {
            if ways.len() > 1 {
                self.report.warn(
                    &place,
                    "callers may come without a name: the route is open, others are not asked who they are",
                );
            }
            return;
        }
        let bound: Vec<bool> = ways
            .iter()
            .map(|way| way.schemes.is_empty() || self.is_bound(&way.schemes))
            .collect();
        let chosen = bound.iter().position(|bound| *bound).unwrap_or(0);
        let Some(way) = ways.get(chosen) else { return };
        if ways.len() > 1 {
            self.report.warn(
                &place,
                format!(
                    "a route has one authorizer: only `{}` is accepted, none of the other {}",
                    Self::described(way),
                    ways.len() - 1
                ),
            );
        }
        self.demand(way, bound.get(chosen).copied().unwrap_or(false), &place, route);
    }

    /// Where alternatives are those of AWS, they are no alternatives: a key is needed beside what else an operation asks for, and `NONE` asks for nothing.
    fn as_aws_means(&mut self, mut ways: Vec<Way<'d>>, place: &str) -> Vec<Way<'d>> {
        if ways.len() < 2 {
            return ways;
        }
        ways.retain(|way| !way.is_none);
        let of_aws = |way: &Way<'d>| {
            let mut schemes = way.schemes.iter().filter_map(|name| self.scheme(name));
            schemes.any(|(scheme, _)| scheme.contains_key(AUTHORIZER) || scheme.contains_key(AUTHTYPE))
        };
        let is_key = |way: &Way<'d>| way.schemes.is_empty() && way.api_key;
        if ways.iter().any(of_aws) && ways.iter().any(is_key) {
            ways.retain(|way| !is_key(way));
            for way in &mut ways {
                way.api_key |= !way.schemes.is_empty();
            }
            self.report
                .note(place, "an API key is needed beside the authorizer, as with AWS");
        }
        ways
    }

    fn described(way: &Way<'_>) -> String {
        if way.schemes.is_empty() {
            "an API key".to_owned()
        } else {
            Self::together(&way.schemes)
        }
    }

    fn demand(&mut self, way: &Way<'d>, bound: bool, place: &str, route: &mut Map<String, Value>) {
        if way.api_key {
            route.insert("api-key-required".to_owned(), true.into());
        }
        if way.schemes.is_empty() {
            return;
        }
        if !bound && self.options.allow_unsecured {
            self.report.warn(
                place,
                format!(
                    "is not secured by `{}`: no plugin stands behind it",
                    Self::together(&way.schemes)
                ),
            );
            return;
        }
        if let Some(name) = self.authorizer(&way.schemes) {
            route.insert("authorizer".to_owned(), name.into());
        }
        if !way.scopes.is_empty() {
            if way.scopes.len() > 1 {
                // AWS takes one, OpenAPI wants all
                self.report.note(
                    place,
                    format!("one of the scopes {} is enough", way.scopes.join(", ")),
                );
            }
            route.insert("authorization-scopes".to_owned(), json!(way.scopes));
        }
    }

    fn way(&mut self, requirement: &'d Map<String, Value>, place: &str) -> Option<Way<'d>> {
        let mut way = Way {
            schemes: Vec::new(),
            scopes: Vec::new(),
            api_key: false,
            is_none: false,
        };
        for (name, scopes) in requirement {
            let place = at(place, name);
            // one that is there and cannot be understood secures something
            let is_there = self.document.pointer(&at(self.schemes_place(), name)).is_some();
            if !is_there && name == "NONE" && requirement.len() == 1 {
                self.report
                    .note(&place, "is AWS SAM's word for operations that are open");
                way.is_none = true;
                return Some(way);
            }
            if self.scheme(name).is_none() {
                let message = if is_there {
                    format!("the security scheme `{name}` is not an object, or refers to what is not there")
                } else {
                    format!("no security scheme is called `{name}`")
                };
                self.report.problem(&place, message);
                return None;
            }
            let scopes = self.report.list(Some(scopes), &place);
            let scopes = scopes.iter().filter_map(Value::as_str);
            let size = scopes.clone().map(|scope| EACH + scope.len()).sum::<usize>();
            if !self.report.spend(size) {
                return None;
            }
            way.scopes.extend(scopes.map(str::to_owned));
            if self.is_api_key(name) {
                way.api_key = true;
            } else {
                way.schemes.push(name);
            }
        }
        Some(way)
    }

    /// AWS's own kind of saying who may call.
    pub(super) fn amazon_auth(&mut self, auth: &'d Value, place: &str, route: &mut Map<String, Value>) {
        let Some(object) = self.report.object(Some(auth), place) else {
            return;
        };
        for key in object.keys().filter(|key| *key != "type") {
            self.unknown(place, key);
        }
        let place = &at(place, "type");
        let kind = self.report.text(object.get("type"), place).unwrap_or_default();
        let there = route.get("authorizer").and_then(Value::as_str);
        if kind.eq_ignore_ascii_case("NONE") {
            if there.is_some() || route.contains_key("api-key-required") {
                self.report.warn(
                    place,
                    "says NONE, `security` says otherwise: the route is secured",
                );
            }
            return;
        }
        if let Some(name) = there {
            // the requirement beside it says which
            let authorizer = self.definition.authorizers.get(name);
            if authorizer.is_none_or(|authorizer| kind_of(kind) != Some(authorizer.kind)) {
                let message = format!(
                    "`{kind}` is not asked for: the authorizer `{name}` is, and it is of another type"
                );
                self.report.warn(place, message);
            }
            return;
        }
        let name = if kind.is_empty() { "authorizer" } else { kind };
        let bound = self.is_bound(&[name]);
        let way = Way {
            schemes: vec![name],
            scopes: Vec::new(),
            api_key: false,
            is_none: false,
        };
        self.demand(&way, bound, place, route);
    }
}
