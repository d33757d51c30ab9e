//! Actions of APIs, and the names of what they are done to.

use std::{fmt::Write as _, ops::Range};

use serde::{Deserialize, Serialize};

use crate::config::Problem;

/// The service of APIs, in actions and in ARNs.
pub(super) const SERVICE: &str = "execute-api";

/// What is done to an API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Action {
    /// A call.
    #[default]
    #[serde(rename = "execute-api:Invoke")]
    Invoke,
    /// A call that has a response made anew that was kept.
    #[serde(rename = "execute-api:InvalidateCache")]
    InvalidateCache,
    /// A message to a WebSocket's client, or its end, through `@connections`.
    #[serde(rename = "execute-api:ManageConnections")]
    ManageConnections,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Invoke, Self::InvalidateCache, Self::ManageConnections];

    /// Its name in policies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "execute-api:Invoke",
            Self::InvalidateCache => "execute-api:InvalidateCache",
            Self::ManageConnections => "execute-api:ManageConnections",
        }
    }

    /// The action of a name, with or without its service; names have no case.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let service = SERVICE.len() + 1;
        let is = |action: &Self| {
            action.name().eq_ignore_ascii_case(name)
                || action
                    .name()
                    .get(service..)
                    .is_some_and(|short| short.eq_ignore_ascii_case(name))
        };
        Self::ALL.into_iter().find(is)
    }
}

/// Some of the actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Actions(u8);

impl Actions {
    pub(super) fn add(&mut self, action: Action) {
        self.0 |= 1 << action as u8;
    }

    pub(super) fn has(self, action: Action) -> bool {
        self.0 & (1 << action as u8) != 0
    }
}

/// Where an API is: what the short form of resources leaves out, and what every method ARN begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    prefix: String,
    account: Range<usize>,
}

impl Home {
    /// An API in a partition (`aws`), a region and an account.
    ///
    /// # Errors
    /// One of the four is empty, longer than 64 bytes, or has other characters than letters, digits, `-`, `_` and `.`, which could be taken for wildcards,
    /// variables or the end of it.
    pub fn new(partition: &str, region: &str, account: &str, api: &str) -> Result<Self, Problem> {
        for (name, value) in [
            ("partition", partition),
            ("region", region),
            ("account", account),
            ("api", api),
        ] {
            let good = (1..=64).contains(&value.len())
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !good {
                let problem = Problem::new(name, format!("`{value}` cannot be part of an ARN"));
                return Err(problem.hint("1 to 64 of a-z, A-Z, 0-9, `-_.`"));
            }
        }
        let mut prefix = format!("arn:{partition}:{SERVICE}:{region}:");
        let begin = prefix.len();
        prefix.push_str(account);
        let account = begin..prefix.len();
        prefix.push(':');
        prefix.push_str(api);
        Ok(Self { prefix, account })
    }

    /// `arn:{partition}:execute-api:{region}:{account}:{api}`.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The account of the API.
    #[must_use]
    pub fn account(&self) -> &str {
        self.prefix.get(self.account.clone()).unwrap_or_default()
    }
}

/// The ARN of what a request calls: `{home}/{stage}/{VERB}/{path}`, with the path as it was sent, not the template of a route. The root has nothing
/// behind the last slash. What a WebSocket calls is `{home}/{stage}/{route key}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodArn {
    text: String,
}

impl MethodArn {
    /// That of a request; `path` with or without its slash at the beginning. One allocation.
    #[must_use]
    pub fn of(home: &Home, stage: &str, verb: &str, path: &str) -> Self {
        let mut arn = Self { text: String::new() };
        arn.set(home, stage, verb, path);
        arn
    }

    /// That of a route of a WebSocket API.
    #[must_use]
    pub fn of_route(home: &Home, stage: &str, key: &str) -> Self {
        Self {
            text: format!("{}/{stage}/{key}", home.prefix),
        }
    }

    /// Becomes that of another request; what was allocated for the old one is used again.
    pub fn set(&mut self, home: &Home, stage: &str, verb: &str, path: &str) {
        let path = path.strip_prefix('/').unwrap_or(path);
        self.text.clear();
        self.text
            .reserve(home.prefix.len() + stage.len() + verb.len() + path.len() + 3);
        // writing to a String cannot fail
        let _unused = write!(self.text, "{}/{stage}/{verb}/{path}", home.prefix);
    }

    /// Reads one, as the simulator gets it.
    ///
    /// # Errors
    /// It is not of the form above.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let wrong = |message: &str| {
            Problem::new("arn", format!("`{text}` {message}"))
                .hint("arn:aws:execute-api:{region}:{account}:{api}/{stage}/{VERB}/{path}")
        };
        let parts = split(text).ok_or_else(|| wrong("is no ARN: it has fewer than six parts"))?;
        let [arn, partition, service, region, account, resource] = parts;
        if arn != "arn" || service != SERVICE {
            return Err(wrong("is not the ARN of an API's method"));
        }
        let mut segments = resource.split('/');
        let (api, stage, rest) = (segments.next(), segments.next(), segments.next());
        Home::new(partition, region, account, api.unwrap_or_default())
            .map_err(|problem| wrong(&format!("has a {} that is none", problem.path)))?;
        if [stage, rest]
            .iter()
            .any(|segment| segment.is_none_or(str::is_empty))
        {
            return Err(wrong("needs a stage and a verb behind the API"));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the API is that it belongs to.
    ///
    /// # Errors
    /// None for what this type makes or reads.
    pub fn home(&self) -> Result<Home, Problem> {
        let [_, partition, _, region, account, resource] =
            split(&self.text).ok_or_else(|| Problem::new("arn", "is no ARN"))?;
        let api = resource.split('/').next().unwrap_or_default();
        Home::new(partition, region, account, api)
    }
}

/// The six parts of an ARN; the last one may have colons. `None` for what has fewer.
pub(super) fn split(arn: &str) -> Option<[&str; 6]> {
    let mut parts = arn.splitn(6, ':');
    let mut six = [""; 6];
    for part in &mut six {
        *part = parts.next()?;
    }
    Some(six)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_known_by_name() {
        for action in Action::ALL {
            assert_eq!(Action::of(&action.name().to_uppercase()), Some(action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.name());
        }
        assert_eq!(Action::of("invoke"), Some(Action::Invoke));
        assert_eq!(Action::of("execute-api:"), None);
        assert_eq!(Action::of(""), None);
        let mut some = Actions::default();
        some.add(Action::ManageConnections);
        assert!(some.has(Action::ManageConnections) && !some.has(Action::Invoke));
    }

    #[test]
    fn the_arn_of_a_request_has_the_actual_path() {
        let home = Home::new("aws", "eu-west-1", "123456789012", "pets").unwrap();
        assert_eq!(home.account(), "123456789012");
        let prefix = "arn:aws:execute-api:eu-west-1:123456789012:pets";
        for (path, behind) in [
            ("/", "/prod/GET/"),
            ("", "/prod/GET/"),
            ("/pets/7", "/prod/GET/pets/7"),
            ("//x/", "/prod/GET//x/"),
        ] {
            let mut arn = MethodArn::of(&home, "prod", "GET", path);
            assert_eq!(arn.as_str(), format!("{prefix}{behind}"));
            assert_eq!(MethodArn::read(arn.as_str()), Ok(arn.clone()));
            assert_eq!(arn.home(), Ok(home.clone()));
            arn.set(&home, "$default", "POST", "x");
            assert_eq!(arn.as_str(), format!("{prefix}/$default/POST/x"));
        }
        let route = MethodArn::of_route(&home, "prod", "$connect");
        assert_eq!(route.as_str(), format!("{prefix}/prod/$connect"));
        assert_eq!(MethodArn::read(route.as_str()), Ok(route));
    }

    #[test]
    fn what_is_no_method_is_refused() {
        for wrong in [
            "",
            "x",
            "arn:aws:execute-api:r:a",
            "arn:aws:s3:r:a:b/c/d",
            "arn:aws:execute-api:r:a:api",
            "arn:aws:execute-api:r:a:api/stage",
            "arn:aws:execute-api:r:a:api//GET/",
            "arn:aws:execute-api:*:a:api/stage/GET/",
        ] {
            assert!(MethodArn::read(wrong).is_err(), "{wrong}");
        }
        let problem = Home::new("aws", "eu west", "1", "a").unwrap_err();
        assert_eq!((&*problem.path, problem.hint.is_some()), ("region", true));
        for wrong in ["", "a*", "${x}", "a/b", "a:b"] {
            assert!(Home::new("aws", "r", "1", wrong).is_err(), "{wrong}");
        }
    }
}
