//! The configuration text of a binding, as a type.

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
}
