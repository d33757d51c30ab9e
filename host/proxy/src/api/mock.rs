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
    fields,
    integration::reads_authorizer,
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
    pub(crate) reads_authorizer: bool,
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
                Status::Fixed(status_of(text.as_bytes()))
            }
        });
        let responses = Mapped::all(name, &model.responses)?;
        Ok(Self {
            reads_authorizer: reads_authorizer(model),
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
                status_of(&made)
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
        fields::remap_mapped(known.call.arm.voice, &mut parts.headers);
        Ok(Response::from_parts(parts, body))
    }
}

/// The integer `statusCode` of a JSON object, or of one that is written as leniently as AWS reads it.
fn status_of(bytes: &[u8]) -> Option<u16> {
    match serde_json::from_slice(bytes) {
        Ok(json) => status_in(&json),
        Err(_ignored) => lenient_status(std::str::from_utf8(bytes).ok()?),
    }
}

/// The same of an object whose names need no quotes or may have single ones, with a comma at the end. In one pass, whatever a template made of a client's words.
fn lenient_status(text: &str) -> Option<u16> {
    let (mut rest, mut status) = (text, None);
    let Token::Mark('{') = token(&mut rest)? else {
        return None;
    };
    loop {
        let name = match token(&mut rest)? {
            Token::Mark('}') => break,
            Token::Word(name) | Token::Quoted(name) => name,
            Token::Mark(_) => return None,
        };
        let Token::Mark(':') = token(&mut rest)? else {
            return None;
        };
        let value = token(&mut rest)?;
        if name == "statusCode" {
            status = match value {
                Token::Word(word) => word.parse().ok(),
                Token::Mark(_) | Token::Quoted(_) => None,
            };
        }
        let mut depth = 0_usize;
        let mut part = value;
        loop {
            match part {
                Token::Mark('{' | '[') => depth += 1,
                Token::Mark('}' | ']') => depth = depth.checked_sub(1)?,
                Token::Mark(_) if depth == 0 => return None,
                Token::Mark(_) | Token::Word(_) | Token::Quoted(_) => {}
            }
            if depth == 0 {
                break;
            }
            part = token(&mut rest)?;
        }
        match token(&mut rest)? {
            Token::Mark(',') => {}
            Token::Mark('}') => break,
            Token::Mark(_) | Token::Word(_) | Token::Quoted(_) => return None,
        }
    }
    let status = status.filter(|status| StatusCode::from_u16(*status).is_ok());
    if rest.trim().is_empty() { status } else { None }
}

/// A part of what is nearly JSON.
#[derive(Clone, Copy)]
enum Token<'t> {
    /// One of `{}[]:,`.
    Mark(char),
    /// What stands there without quotes.
    Word(&'t str),
    /// What stands in quotes, as it is written.
    Quoted(&'t str),
}

fn token<'t>(rest: &mut &'t str) -> Option<Token<'t>> {
    const MARKS: [char; 6] = ['{', '}', '[', ']', ':', ','];
    let text = rest.trim_start();
    let first = text.chars().next()?;
    if MARKS.contains(&first) {
        *rest = &text[1..];
        return Some(Token::Mark(first));
    }
    if first == '"' || first == '\'' {
        let mut escaped = false;
        let end = text[1..].find(|letter: char| {
            let ends = letter == first && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        })?;
        let (inside, behind) = text[1..].split_at(end);
        *rest = &behind[1..];
        return Some(Token::Quoted(inside));
    }
    let end = text.find(|letter: char| {
        letter.is_whitespace() || MARKS.contains(&letter) || letter == '"' || letter == '\''
    });
    let (word, behind) = text.split_at(end.unwrap_or(text.len()));
    *rest = behind;
    Some(Token::Word(word))
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
            ("\t{\"statusCode\":200}\n", Some(200)),
            (r#"{"statusCode":200,"x":"\ud83d\ude00"}"#, Some(200)),
            (
                r#"{"a": 1, "a": 2, "statusCode": 200, "statusCode": 201}"#,
                Some(201),
            ),
            ("{statusCode: 404}", Some(404)),
            ("{statusCode:200}", Some(200)),
            ("{ 'statusCode' : 200 }", Some(200)),
            ("{\"statusCode\": 201,\n}", Some(201)),
            (
                r#"{a: {statusCode: 1, b: ['}', "\"]"]}, statusCode: 202, c: no}"#,
                Some(202),
            ),
            ("{statusCode: 200, statusCode: 203}", Some(203)),
            (r#"{"statusCode": "200"}"#, None),
            ("{statusCode: '200'}", None),
            ("{statusCode: 200.5}", None),
            ("{statusCode: {a: 200}}", None),
            ("{a: {statusCode: 200}}", None),
            ("{statusCode: 200} more", None),
            ("{statusCode: 200", None),
            ("{statusCode: 200, a: [}", None),
            ("{statusCode 200}", None),
            ("{statusCode: , a: 1}", None),
            ("{'statusCode: 200}", None),
            ("{}", None),
            ("", None),
            ("not", None),
            (r#"{"statusCode": 2}"#, None),
            ("{statusCode: 2}", None),
            (r#"{"statusCode": 99999}"#, None),
        ] {
            assert_eq!(status_of(text.as_bytes()), expected, "{text}");
        }
        // depth costs nothing
        assert_eq!(
            status_of(format!("{{a: {}", "[".repeat(1 << 20)).as_bytes()),
            None
        );
    }
}
