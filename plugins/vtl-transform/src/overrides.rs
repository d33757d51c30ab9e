//! What a script wants changed beside the body: `$context.requestOverride` and `$context.responseOverride`.

use serde_json::{Map, Value, json};

/// Names and their new values.
pub type Fields = Vec<(String, Vec<String>)>;

/// Overrides of an exchange. Those of the request template are there when the response template runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `requestOverride.header`
    pub header: Fields,
    /// `requestOverride.path`
    pub path: Fields,
    /// `requestOverride.querystring`
    pub querystring: Fields,
    /// `responseOverride.header`
    pub response_header: Fields,
    /// `responseOverride.status`, if it is a whole number.
    pub status: Option<i64>,
}

impl Overrides {
    /// Overrides of the request as JSON; none if there are none. A name with several values has a list.
    #[must_use]
    pub fn request_json(&self) -> Option<Value> {
        if self.header.is_empty() && self.path.is_empty() && self.querystring.is_empty() {
            return None;
        }
        Some(json!({
            "header": object(&self.header),
            "path": object(&self.path),
            "querystring": object(&self.querystring),
        }))
    }

    /// Overrides of the response as JSON. A status that AWS would ignore is left out.
    #[must_use]
    pub fn response_json(&self) -> Value {
        let mut told = json!({"header": object(&self.response_header)});
        if let Some(status) = self.status() {
            told["status"] = status.into();
        }
        told
    }

    /// The status that the response is to get: AWS takes whole numbers from 100 to 599 and ignores everything else.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let status = u16::try_from(self.status?).ok();
        status.filter(|status| (100..=599).contains(status))
    }
}

fn object(fields: &Fields) -> Map<String, Value> {
    let value = |values: &[String]| match values {
        [only] => json!(only),
        several => json!(several),
    };
    fields
        .iter()
        .map(|(name, values)| (name.clone(), value(values)))
        .collect()
}
