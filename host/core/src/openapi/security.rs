//! Security schemes and requirements as authorizers of routes. What cannot be had does not go away: an operation that nothing secures yet refers to an
//! authorizer whose plugin has to be there before the API can be deployed.

use serde_json::{Map, Value, json};

use super::{
    OWN, Version,
    import::Importer,
    operation::EACH,
    report::{Names, at},
};
use crate::{api::Authorizer, config::typed};

/// What callers need, one of several that an operation lists.
struct Way<'d> {
    schemes: Vec<&'d str>,
    scopes: Vec<String>,
    api_key: bool,
}

impl<'d> Importer<'d> {
    fn scheme(&self, name: &str) -> Option<(&'d Map<String, Value>, String)> {
        let place = match self.version {
            Version::V2 => "/securityDefinitions",
            Version::V3 | Version::V31 => "/components/securitySchemes",
        };
        let place = at(place, name);
        let mut value = self.document.pointer(&place)?;
        // one step: a scheme that is somewhere else among the schemes
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            value = self.document.pointer(&super::report::pointer(reference)?)?;
        }
        Some((value.as_object()?, place))
    }

    /// Authorizers of schemes that say which plugin stands behind them, used or not.
    pub(super) fn schemes(&mut self) {
        let place = match self.version {
            Version::V2 => "/securityDefinitions",
            Version::V3 | Version::V31 => "/components/securitySchemes",
        };
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
                        key == "x-amazon-apigateway-authorizer" || *key == format!("{OWN}authorizer")
                    })
            })
    }

    /// Schemes that are to be passed together, as one name.
    fn together(schemes: &[&str]) -> String {
        schemes.join("-and-")
    }

    /// What is said of the plugin behind schemes, now or before: the authorizer, if there is one.
    fn bound(&self, schemes: &[&str]) -> Option<Value> {
        let all = Self::together(schemes);
        let said = match schemes {
            [one] => self
                .scheme(one)
                .and_then(|(scheme, _)| scheme.get(&format!("{OWN}authorizer")).cloned()),
            _ => None,
        };
        if let Some(plugin) = self.options.authorizers.get(&all) {
            let mut fields = said
                .and_then(|said| said.as_object().cloned())
                .unwrap_or_default();
            fields.insert("plugin".to_owned(), plugin.as_str().into());
            return Some(Value::Object(fields));
        }
        said.or_else(|| {
            let (name, known) = self.known(schemes)?;
            // what an import made of the name of a scheme does not say anything
            (known.plugin != name).then(|| serde_json::to_value(known).ok())?
        })
    }

    fn known(&self, schemes: &[&str]) -> Option<(String, &'d Authorizer)> {
        let name = Names::default().give(&Self::together(schemes), "authorizer");
        let known = self.options.known.as_ref()?.authorizers.get(&name)?;
        Some((name, known))
    }

    /// The authorizer of schemes; it is made the first time.
    fn authorizer(&mut self, schemes: &[&str]) -> Option<String> {
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
        let bound = self.bound(schemes);
        let is_bound = bound.is_some();
        let name = self.authorizers_given.give(&all, "authorizer");
        let known = || serde_json::to_value(self.known(schemes)?.1).ok();
        let fields = bound.or_else(known).unwrap_or_else(|| json!({"plugin": name}));
        let authorizer: Authorizer = match typed(fields) {
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
            let more = self.hint(schemes);
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
        self.authorizer_names.insert(key, name.clone());
        self.definition.authorizers.insert(name.clone(), authorizer);
        Some(name)
    }

    /// What the document says that the plugin has to check.
    fn hint(&self, schemes: &[&str]) -> String {
        let [one] = schemes else {
            return ": it has to check all of them".to_owned();
        };
        let Some((scheme, _)) = self.scheme(one) else {
            return String::new();
        };
        let amazon = scheme.get("x-amazon-apigateway-authorizer");
        let jwt = amazon.and_then(|amazon| amazon.get("jwtConfiguration"));
        if let Some(jwt) = jwt {
            return format!(": `jwt-authorizer` with {jwt}");
        }
        if let Some(kind) = amazon.and_then(|amazon| amazon.get("type")) {
            return format!(": it takes the place of AWS's authorizer of the type {kind}");
        }
        String::new()
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
            .map(|way| way.schemes.is_empty() || self.bound(&way.schemes).is_some())
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

    fn described(way: &Way<'_>) -> String {
        if way.schemes.is_empty() {
            "an API key".to_owned()
        } else {
            Self::together(&way.schemes)
        }
    }

    fn demand(&mut self, way: &Way<'_>, bound: bool, place: &str, route: &mut Map<String, Value>) {
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
            route.insert("authorization-scopes".to_owned(), json!(way.scopes));
        }
    }

    fn way(&mut self, requirement: &'d Map<String, Value>, place: &str) -> Option<Way<'d>> {
        let mut way = Way {
            schemes: Vec::new(),
            scopes: Vec::new(),
            api_key: false,
        };
        for (name, scopes) in requirement {
            let place = at(place, name);
            if self.scheme(name).is_none() {
                self.report
                    .problem(&place, format!("no security scheme is called `{name}`"));
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
    pub(super) fn amazon_auth(&mut self, auth: &Value, place: &str, route: &mut Map<String, Value>) {
        let kind = auth.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind.to_ascii_uppercase().as_str() {
            "NONE" if route.contains_key("authorizer") || route.contains_key("api-key-required") => {
                self.report.warn(
                    place,
                    "says NONE, `security` says otherwise: the route is secured",
                );
            }
            "NONE" => {}
            // the requirement beside it says which
            "CUSTOM" | "COGNITO_USER_POOLS" | "JWT" if route.contains_key("authorizer") => {}
            _ if route.contains_key("authorizer") => {
                self.report
                    .warn(place, format!("`{kind}` is not asked for, the authorizer is"));
            }
            _ => {
                let name = if kind.is_empty() { "authorizer" } else { kind };
                let bound = self.bound(&[name]).is_some();
                let way = Way {
                    schemes: vec![name],
                    scopes: Vec::new(),
                    api_key: false,
                };
                self.demand(&way, bound, place, route);
            }
        }
    }
}
