//! Records that hooks and capabilities share, with the conveniences that the generated types lack.

pub use crate::bindings::imports::edgeward::plugin::types::{
    Answer, BodyState, ContextEntry, ContextValue, Header, Pair, Peer,
};

impl Answer {
    /// An answer with that status (200 to 599), no header fields and no body.
    ///
    /// ```
    /// use edgeward_sdk::Answer;
    /// let answer = Answer::new(302).header("location", "/login");
    /// assert_eq!(answer.headers[0].value, b"/login");
    /// ```
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// An answer whose body is JSON.
    ///
    /// # Errors
    /// The value cannot be written as JSON (e.g. a map whose keys are no strings).
    pub fn json(status: u16, value: &impl serde::Serialize) -> Result<Self, String> {
        let body = serde_json::to_vec(value).map_err(|error| format!("answer body: {error}"))?;
        Ok(Self::new(status)
            .header("content-type", "application/json")
            .body(body))
    }

    /// Adds a header field line.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.as_ref().to_vec(),
        });
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

impl<B: Into<Vec<u8>>> From<http::Response<B>> for Answer {
    fn from(response: http::Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let headers = parts.headers.iter().map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
        });
        Self {
            status: parts.status.as_u16(),
            headers: headers.collect(),
            body: body.into(),
        }
    }
}

impl Header {
    /// The value as text; none when it is not UTF-8.
    pub fn value_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

impl ContextValue {
    /// The text of a `text` value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as JSON: `json` is parsed, `bytes` have no JSON form.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        match self {
            Self::Text(text) => Some(text.as_str().into()),
            Self::Integer(integer) => Some((*integer).into()),
            Self::Number(number) => Some((*number).into()),
            Self::Boolean(boolean) => Some((*boolean).into()),
            Self::Json(text) => serde_json::from_str(text).ok(),
            Self::Bytes(_) => None,
        }
    }
}

impl From<&str> for ContextValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for ContextValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for ContextValue {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<f64> for ContextValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for ContextValue {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<Vec<u8>> for ContextValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<serde_json::Value> for ContextValue {
    fn from(value: serde_json::Value) -> Self {
        Self::Json(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_response_becomes_an_answer_with_all_its_header_lines() {
        let response = http::Response::builder()
            .status(418)
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body("short and stout")
            .unwrap();
        let expected = Answer::new(418)
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body("short and stout");
        assert_eq!(Answer::from(response), expected);
    }

    #[test]
    fn context_values_come_from_rust_values_and_go_to_json() {
        assert_eq!(ContextValue::from("x"), ContextValue::Text("x".into()));
        assert_eq!(ContextValue::from(7).to_json(), Some(serde_json::json!(7)));
        let json = serde_json::json!({"a": [1, true]});
        assert_eq!(ContextValue::from(json.clone()).to_json(), Some(json));
        assert_eq!(ContextValue::Json("{".into()).to_json(), None);
    }
}
