//! Edits of heads that go with a rendered body.

use crate::overrides::{Fields, Overrides};
use crate::util;
use edgeward_sdk::{Answer, RequestHead, ResponseHead, log_warn};

/// Fields that describe the bytes of a body and are wrong once it was changed.
const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
/// Further ones of a response.
const STALE: [&str; 2] = ["etag", "accept-ranges"];

/// How a request was before it was edited.
#[derive(Debug, Default)]
pub struct Before {
    fields: Vec<(String, Vec<Vec<u8>>)>,
    query: Option<String>,
}

impl Before {
    /// Takes the edits back.
    pub fn restore(self, request: &RequestHead) -> Result<(), String> {
        for (name, values) in self.fields {
            request.remove_header(&name)?;
            for value in values {
                request.append_header(&name, value)?;
            }
        }
        self.query.map_or(Ok(()), |query| request.set_query(&query))
    }
}

/// True for a body that is not as its media type says (RFC 9110 section 8.4).
pub fn is_coded(content_encoding: Option<&str>) -> bool {
    content_encoding
        .map(str::trim)
        .is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
}

/// Edits that come with a new body of a request.
pub fn new_request_body(request: &RequestHead, media_type: &str) -> Result<(), String> {
    DIGESTS.iter().try_for_each(|name| request.remove_header(name))?;
    request.set_header("content-type", media_type)
}

/// Applies overrides of header fields and of the query. Those of the path are for the gateway, which knows how the path is made.
///
/// # Errors
/// A field cannot be set; AWS fails such a request too.
pub fn overrides(request: &RequestHead, overrides: &Overrides) -> Result<Before, String> {
    let mut before = Before::default();
    for (name, values) in &overrides.header {
        before.fields.push((name.clone(), request.header_values(name)));
        request.remove_header(name)?;
        for value in values {
            request.append_header(name, value)?;
        }
    }
    if !overrides.querystring.is_empty() {
        let query = request.query();
        request.set_query(&new_query(&query, &overrides.querystring))?;
        before.query = Some(query);
    }
    Ok(before)
}

/// Parameters keep their place and their form unless they are overridden; those come last.
fn new_query(query: &str, new: &Fields) -> String {
    let kept = query.split('&').filter(|pair| {
        let name = util::url_decode(pair.split('=').next().unwrap_or_default());
        !pair.is_empty() && new.iter().all(|(other, _)| *other != name)
    });
    let made = new.iter().flat_map(|(name, values)| {
        let pair = move |value: &String| format!("{}={}", util::url_encode(name), util::url_encode(value));
        values.iter().map(pair)
    });
    let pairs: Vec<String> = kept.map(str::to_owned).chain(made).collect();
    pairs.join("&")
}

/// Edits of a response; `media_type` if it gets a new body.
pub fn response(
    response: &ResponseHead,
    overrides: &Overrides,
    media_type: Option<&str>,
) -> Result<(), String> {
    if let Some(media_type) = media_type {
        let described = DIGESTS.iter().chain(&STALE);
        described
            .into_iter()
            .try_for_each(|name| response.remove_header(name))?;
        response.set_header("content-type", media_type)?;
    }
    if let Some(status) = overrides.status()
        && let Err(error) = response.set_status(status)
    {
        log_warn!("responseOverride.status is ignored: {error}");
    }
    for (name, values) in &overrides.response_header {
        let set = || {
            response.remove_header(name)?;
            values
                .iter()
                .try_for_each(|value| response.append_header(name, value))
        };
        if let Err(error) = set() {
            log_warn!("responseOverride.header is ignored: {error}");
        }
    }
    Ok(())
}

/// True for a response that has no body whatever the template says (RFC 9110 section 6.4.1).
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// The head as an answer with another body.
pub fn answer(response: &ResponseHead, body: String) -> Answer {
    let mut answer = Answer::new(response.status()).body(body);
    answer.headers = response.headers();
    answer
}

/// An error as AWS words it.
pub fn refusal(status: u16, message: &str) -> Answer {
    let body = serde_json::json!({ "message": message });
    Answer::new(status)
        .header("content-type", "application/json")
        .body(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overridden_parameters_take_the_place_of_all_of_their_name() {
        let new = vec![
            ("a b".to_owned(), vec!["1&2".to_owned(), "3".to_owned()]),
            ("x".to_owned(), vec![String::new()]),
        ];
        assert_eq!(
            new_query("a+b=0&y=%20&a%20b&x=7&&", &new),
            "y=%20&a+b=1%262&a+b=3&x="
        );
        assert_eq!(new_query("", &new), "a+b=1%262&a+b=3&x=");
    }
}
