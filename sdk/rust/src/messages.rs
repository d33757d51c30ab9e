//! Records that hooks and capabilities share, with the conveniences that the generated types lack.

pub use crate::bindings::imports::edgeward::plugin::types::{
    Answer, BodyState, ContextEntry, ContextValue, Header, HeaderBlock, Pair, Peer,
};

impl HeaderBlock {
    /// Names (lower case) and values of the lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = 0;
        let mut part = move |end: u32| {
            let from = std::mem::replace(&mut start, end as usize);
            self.bytes.get(from..end as usize)
        };
        self.ends.chunks_exact(2).map_while(move |ends| match ends {
            [name, value] => Some((std::str::from_utf8(part(*name)?).ok()?, part(*value)?)),
            _ => None,
        })
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderBlock {
    /// Of less than 4 GiB.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (name, value) in lines {
            for part in [name.as_ref().as_bytes(), value.as_ref()] {
                bytes.extend_from_slice(part);
                ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
        }
        Self { bytes, ends }
    }
}

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
    fn a_block_of_header_lines_is_taken_apart_as_far_as_it_goes() {
        let lines: [(&str, &[u8]); 3] = [("accept", b"*/*"), ("x-bin", b"\xff"), ("x-none", b"")];
        let block = HeaderBlock::from_iter(lines);
        assert_eq!(block.ends, [6, 9, 14, 15, 21, 21]);
        assert!(block.iter().eq(lines));
        assert_eq!(HeaderBlock::from_iter([("", ""); 0]).iter().count(), 0);
        // half a field, one that ends before it begins, one beyond the bytes, a name that is no text
        for rest in [&[14][..], &[14, 12], &[8, 14], &[14, 99], &[15, 21]] {
            let block = HeaderBlock {
                ends: [&[6, 9], rest].concat(),
                ..block.clone()
            };
            assert!(block.iter().eq(lines.into_iter().take(1)), "{rest:?}");
        }
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
