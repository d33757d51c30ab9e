//! MOCK integrations: the gateway answers by itself.

use edgeward_core::{
    api::Integration as Model,
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    facts::Known,
    integration::{Mapped, Passing, Templates},
};
use crate::{body::Body, pipeline};

/// Largest request body that a status is looked for in, in bytes.
const BODY_MAX: u64 = 64 << 10;

/// A MOCK integration, ready.
#[derive(Debug)]
pub(crate) struct Mock {
    /// Statuses that templates give, by media type.
    requests: Templates<Option<u16>>,
    passing: Passing,
    responses: Vec<Mapped>,
}

impl Mock {
    pub(super) fn new(model: &Model) -> Result<Self, (&'static str, String)> {
        Ok(Self {
            requests: Templates::new(&model.request_templates, lenient_status),
            passing: Passing::new(model),
            responses: Mapped::all(&model.responses)?,
        })
    }

    /// The answer.
    ///
    /// # Errors
    /// The media type is not taken, or there is no status, or no response for it.
    pub(super) async fn answer(
        &self,
        known: Known<'_>,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Reject> {
        let wrong = |what: &str| {
            Reject::new(
                RejectCode::ApiConfigurationError,
                "the API has no answer for this request",
            )
            .because(what)
        };
        let status = match self.passing.template(&self.requests, headers)? {
            Some(status) => *status,
            None => {
                let body = pipeline::whole_body(body, BODY_MAX, RejectCode::RequestTooLarge).await?;
                serde_json::from_slice(&body)
                    .ok()
                    .and_then(|body| status_in(&body))
            }
        };
        let status = status.ok_or_else(|| wrong("the request template gives no `statusCode`"))?;
        let response = Mapped::choose(&self.responses, status)
            .ok_or_else(|| wrong("no integration response takes the status"))?;
        let mut answer = Response::new(Body::empty());
        let nothing = HeaderMap::new();
        let known = Known {
            headers: Some(headers),
            response: Some((&nothing, &[])),
            ..known
        };
        response.apply(&known, answer.headers_mut());
        *answer.status_mut() = response.status;
        if let Some((kind, text)) = response.template(headers) {
            *answer.body_mut() = Body::full(text.to_owned());
            if let Ok(kind) = HeaderValue::from_str(kind) {
                answer.headers_mut().entry(header::CONTENT_TYPE).or_insert(kind);
            }
        }
        answer
            .headers_mut()
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        Ok(answer)
    }
}

/// The integer `statusCode` of an object, which a publisher may write as leniently as AWS reads it: names without quotes, a comma at the end. Not for what
/// clients send: what YAML makes of a text can be larger than the text by far.
fn lenient_status(text: &str) -> Option<u16> {
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).ok()?;
    status_in(&serde_json::to_value(value).ok()?)
}

fn status_in(value: &serde_json::Value) -> Option<u16> {
    let status = u16::try_from(value.get("statusCode")?.as_u64()?).ok()?;
    StatusCode::from_u16(status).is_ok().then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_leniently_but_is_an_integer() {
        for (text, expected) in [
            (r#"{"statusCode": 200}"#, Some(200)),
            ("{statusCode: 404}", Some(404)),
            ("{\"statusCode\": 201,\n}", Some(201)),
            (r#"{"statusCode": "200"}"#, None),
            ("{}", None),
            ("", None),
            ("not", None),
            (r#"{"statusCode": 2}"#, None),
            (r#"{"statusCode": 99999}"#, None),
        ] {
            assert_eq!(lenient_status(text), expected, "{text}");
        }
    }
}
