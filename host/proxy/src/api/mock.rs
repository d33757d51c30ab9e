//! MOCK integrations: the gateway answers by itself.

use edgeward_core::{
    api::{Definition, Integration as Model, is_script, request_script},
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    Voice,
    convert::{self, Converting},
    engine::Engine,
    facts::Known,
    templates::{Mapped, Passing, Templates, running},
};
use crate::{body::Body, pipeline};

/// Largest request body that a status is looked for in, in bytes.
const BODY_MAX: u64 = 64 << 10;

/// A MOCK integration, ready.
#[derive(Debug)]
pub(crate) struct Mock {
    requests: Templates<Status>,
    passing: Passing,
    responses: Vec<Mapped>,
    converting: Option<Converting>,
    /// Some of its templates are scripts.
    pub(crate) has_scripts: bool,
}

/// The status that a template gives.
#[derive(Debug)]
enum Status {
    Fixed(Option<u16>),
    /// What the script of this name makes has it.
    Script(String),
}

impl Mock {
    pub(super) fn new(
        definition: &Definition,
        name: &str,
        model: &Model,
    ) -> Result<Self, (&'static str, String)> {
        let handlings = model.responses.iter().map(|response| response.content_handling);
        // what comes in is looked at, and goes nowhere
        let converting = Converting::new(Voice::of(definition), &definition.api, None, handlings);
        let requests = Templates::new(&model.request_templates, |kind, text| {
            if is_script(text) {
                Status::Script(request_script(name, kind))
            } else {
                Status::Fixed(lenient_status(text))
            }
        });
        let responses = Mapped::all(name, &model.responses)?;
        Ok(Self {
            has_scripts: requests.any(|status| matches!(status, Status::Script(_)))
                || responses.iter().any(Mapped::has_scripts),
            requests,
            passing: Passing::new(model),
            responses,
            converting,
        })
    }

    /// The answer.
    ///
    /// # Errors
    /// The media type is not taken, a template fails, or there is no status, or no response for it.
    pub(super) async fn answer(
        &self,
        known: Known<'_>,
        mut headers: HeaderMap,
        body: Body,
        mut engine: Option<&mut Engine>,
    ) -> Result<Response<Body>, Reject> {
        let wrong = |what: &str| {
            Reject::new(
                RejectCode::ApiConfigurationError,
                "the API has no answer for this request",
            )
            .because(what)
        };
        let status = match self.passing.template(&self.requests, &headers)? {
            Some(Status::Fixed(status)) => *status,
            Some(Status::Script(name)) => {
                let made = running(engine.as_deref_mut())?
                    .request(name, &mut headers, body)
                    .await?;
                rendered_status(&made)
            }
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
        let nothing = HeaderMap::new();
        let known = Known {
            headers: Some(&headers),
            response: Some((&nothing, &[])),
            ..known
        };
        let (mut parts, mut body) = Response::new(Body::empty()).into_parts();
        response.apply(&known, &mut parts.headers);
        parts.status = response.status;
        let mut kind = "application/json";
        if let Some((of, template)) = response.template(&headers) {
            body = template
                .of_response(engine.as_deref_mut(), &mut parts, body)
                .await?;
            kind = of;
        }
        if let Ok(kind) = HeaderValue::from_str(kind) {
            parts.headers.entry(header::CONTENT_TYPE).or_insert(kind);
        }
        let converting = self.converting.as_ref();
        let conversion = converting
            .and_then(|converting| converting.of_response(response.handling, &parts.headers, &headers));
        let over = RejectCode::ResponseTooLarge;
        body = convert::bytes(conversion, &mut parts.headers, body, over).await?;
        if let Some(engine) = engine {
            engine.override_response(&mut parts)?;
        }
        Ok(Response::from_parts(parts, body))
    }
}

/// The integer `statusCode` of an object, which a publisher may write as leniently as AWS reads it: names without quotes, a comma at the end. Not for what
/// clients send: what YAML makes of a text can be larger than the text by far.
fn lenient_status(text: &str) -> Option<u16> {
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).ok()?;
    status_in(&serde_json::to_value(value).ok()?)
}

/// The same of what a template made, which may have words of the client in it: without what makes texts larger.
fn rendered_status(bytes: &[u8]) -> Option<u16> {
    let json = serde_json::from_slice(bytes).ok();
    if let Some(json) = json {
        return status_in(&json);
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let is_small = u64::try_from(text.len()).is_ok_and(|length| length <= BODY_MAX);
    // an alias repeats what an anchor names
    (is_small && !text.contains('*'))
        .then(|| lenient_status(text))
        .flatten()
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
            assert_eq!(rendered_status(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(rendered_status(b"{a: &a [1], statusCode: 200, b: *a}"), None);
    }
}
