//! The configuration text of a binding, as a type, and what is wrong with it.

use std::fmt;

use serde::de::DeserializeOwned;

/// Parses the text that [`crate::Plugin::init`] was given. Give the type `#[serde(deny_unknown_fields)]`, so that a misspelt key
/// is an error and not a default.
///
/// ```
/// #[derive(serde::Deserialize, Debug)]
/// #[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// struct Config {
///     #[serde(default)]
///     rules: Vec<Rule>,
/// }
/// #[derive(serde::Deserialize, Debug)]
/// struct Rule {
///     limit: u32,
/// }
///
/// let error = edgeward_sdk::config::parse::<Config>(r#"{"rules": [{"limit": 1}, {"limit": "many"}]}"#).unwrap_err();
/// assert_eq!(error, r#"config.rules[1].limit: invalid type: string "many", expected u32"#);
/// ```
///
/// # Errors
/// The text is not what the type expects; the error begins with the path of the key, e.g. `config.rules[1].limit: ...`.
pub fn parse<T: DeserializeOwned>(config: &str) -> Result<T, String> {
    match parse_text(config) {
        // `null` stands for a binding without `config`: the defaults of the type
        Err(_) if config.trim() == "null" => parse_text("{}"),
        parsed => parsed,
    }
}

fn parse_text<T: DeserializeOwned>(config: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(config);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let place = match path.as_str() {
            "." => "config".to_owned(),
            path if path.starts_with('[') => format!("config{path}"),
            path => format!("config.{path}"),
        };
        format!("{place}: {}", without_position(&error.into_inner().to_string()))
    })?;
    json.end().map_err(|error| format!("config: {error}"))?;
    Ok(parsed)
}

/// The host writes the configuration text from YAML: lines and columns in it mean nothing to the operator.
fn without_position(message: &str) -> &str {
    message
        .split_once(" at line ")
        .map_or(message, |(message, _)| message)
}

/// What is wrong with a configuration, collected so that all of it is reported at once. Each problem begins with the path of the
/// key.
///
/// ```
/// use edgeward_sdk::config::Problems;
///
/// let mut problems = Problems::default();
/// problems.range("timeout-ms", 5_u32, 100, 60_000);
/// problems.https("url", "http://a.test/", "/", false, "allow-plain-http");
/// assert_eq!(
///     problems.check().unwrap_err(),
///     "config.timeout-ms: 5 is outside 100 to 60000; \
///      config.url: \"http://a.test/\" is not https://; set allow-plain-http: true if that is meant"
/// );
/// ```
#[derive(Clone, Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Adds a problem.
    pub fn push(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    /// Adds a problem when a number is not within `low` and `high`, both included.
    pub fn range(&mut self, key: &str, value: impl Into<u64>, low: u64, high: u64) {
        let value = value.into();
        if !(low..=high).contains(&value) {
            self.push(format!("{key}: {value} is outside {low} to {high}"));
        }
    }

    /// Adds a problem when an address is not `https://`, or `http://` where `plain_http` allows that, or when nothing or one of the
    /// characters `after_host` is where the host should be. `allow` is the setting that allows plain HTTP.
    pub fn https(&mut self, key: &str, url: &str, after_host: &str, plain_http: bool, allow: &str) {
        let secure = url.strip_prefix("https://");
        match secure.or_else(|| url.strip_prefix("http://")) {
            Some(rest) if rest.chars().next().is_none_or(|first| after_host.contains(first)) => {
                self.push(format!("{key}: {url:?} has no host"));
            }
            Some(_) if secure.is_none() && !plain_http => self.push(format!(
                "{key}: {url:?} is not https://; set {allow}: true if that is meant"
            )),
            Some(_) => {}
            None => self.push(format!("{key}: {url:?} is no https:// URL")),
        }
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails when there is a problem.
    ///
    /// # Errors
    /// All problems, as they are displayed.
    pub fn check(&self) -> Result<(), String> {
        if self.is_empty() {
            return Ok(());
        }
        Err(self.to_string())
    }
}

/// All problems, separated by `; `, each with `config.` before it.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}config.{problem}")?;
        }
        Ok(())
    }
}

impl Extend<String> for Problems {
    fn extend<T: IntoIterator<Item = String>>(&mut self, problems: T) {
        self.0.extend(problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        key: String,
    }

    #[test]
    fn a_missing_config_is_the_defaults() {
        assert_eq!(parse("null"), Ok(Config { key: String::new() }));
    }

    #[test]
    fn errors_name_the_key() {
        assert_eq!(
            parse::<Config>(r#"{"kye": 1}"#).unwrap_err(),
            "config.kye: unknown field `kye`, expected `key`"
        );
        assert_eq!(
            parse::<Config>("[1, 2]").unwrap_err().split(':').next(),
            Some("config[0]")
        );
        assert!(parse::<Config>("{} x").is_err());
    }

    #[test]
    fn problems_are_told_together_and_in_order() {
        let mut problems = Problems::default();
        assert!(problems.is_empty() && problems.check().is_ok());
        problems.push("a: is wrong");
        problems.extend(["b: too".to_owned()]);
        problems.range("c", 3_u32, 1, 3);
        problems.range("d", 4_u64, 1, 3);
        let told = "config.a: is wrong; config.b: too; config.d: 4 is outside 1 to 3";
        assert_eq!(problems.check().unwrap_err(), told);
    }

    #[test]
    fn addresses_have_a_host_and_are_https() {
        let told = |url: &str, plain: bool| {
            let mut problems = Problems::default();
            problems.https("url", url, "/?", plain, "plain");
            problems.to_string()
        };
        for url in ["https://a.test", "https://a/?b", "https://[::1]:8/"] {
            assert_eq!(told(url, false), "");
        }
        assert_eq!(told("http://a", true), "");
        assert_eq!(
            told("http://a", false),
            r#"config.url: "http://a" is not https://; set plain: true if that is meant"#
        );
        for url in ["https://", "https:///a", "https://?a", "http://"] {
            assert_eq!(told(url, false), format!("config.url: {url:?} has no host"));
        }
        for url in ["", "a.test", "ftp://a", "HTTPS://a", "https:/a"] {
            assert_eq!(told(url, true), format!("config.url: {url:?} is no https:// URL"));
        }
    }
}
