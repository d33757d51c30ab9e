//! Bodies by media type: plain text, or scripts that the API's template engine renders; and what becomes of responses.

use std::collections::BTreeMap;

use edgeward_core::{
    api::{
        ContentHandling, Integration as Model, IntegrationResponse, PassthroughBehavior, is_script,
        mapping::{Mapping, Place},
        request_script, response_script, selection,
    },
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, response::Parts};
use regex_automata::meta::Regex;

use super::{engine::Engine, facts::Known, integration::write, voice};
use crate::{body::Body, finish::framing_removed};

/// Something for each media type.
#[derive(Debug, Default)]
pub(super) struct Templates<T>(Vec<(String, T)>);

/// A body.
#[derive(Debug)]
pub(super) enum Template {
    /// This.
    Text(String),
    /// What the script of this name makes.
    Script(String),
}

/// What happens to bodies without a template.
#[derive(Debug)]
pub(super) struct Passing {
    behavior: PassthroughBehavior,
    has_templates: bool,
}

/// What becomes of a response.
#[derive(Debug)]
pub(super) struct Mapped {
    selection: Option<Regex>,
    pub(super) status: StatusCode,
    fields: Vec<Mapping>,
    templates: Templates<Template>,
    pub(super) handling: Option<ContentHandling>,
}

impl<T> Templates<T> {
    /// `ready` makes of media type and text what is needed with each request.
    pub(super) fn new(model: &BTreeMap<String, String>, ready: impl Fn(&str, &str) -> T) -> Self {
        Self(
            model
                .iter()
                .map(|(kind, text)| (kind.clone(), ready(kind, text)))
                .collect(),
        )
    }

    pub(super) fn any(&self, what: impl Fn(&T) -> bool) -> bool {
        self.0.iter().any(|(_, template)| what(template))
    }

    fn of(&self, kind: &str) -> Option<&T> {
        let of = |wanted: &str| {
            self.0
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(wanted))
        };
        of(kind).or_else(|| of("$default")).map(|(_, text)| text)
    }
}

impl Template {
    fn new(text: &str, name: impl FnOnce() -> String) -> Self {
        if is_script(text) {
            Self::Script(name())
        } else {
            Self::Text(text.to_owned())
        }
    }

    pub(super) fn of_requests(integration: &str, model: &Model) -> Templates<Self> {
        Templates::new(&model.request_templates, |kind, text| {
            Self::new(text, || request_script(integration, kind))
        })
    }

    pub(super) fn is_script(&self) -> bool {
        matches!(self, Self::Script(_))
    }

    /// The body in place of a request's.
    ///
    /// # Errors
    /// The script fails, or the body that it looks into is too large.
    pub(super) async fn of_request(
        &self,
        engine: Option<&mut Engine>,
        headers: &mut HeaderMap,
        body: Body,
    ) -> Result<Body, Reject> {
        let made = match self {
            Self::Text(text) => Body::full(text.clone()),
            Self::Script(name) => Body::full(running(engine)?.request(name, headers, body).await?),
        };
        framing_removed(headers);
        Ok(made)
    }

    /// The body in place of a response's.
    ///
    /// # Errors
    /// As [`Template::of_request`].
    pub(super) async fn of_response(
        &self,
        engine: Option<&mut Engine>,
        parts: &mut Parts,
        body: Body,
    ) -> Result<Body, Reject> {
        let made = match self {
            Self::Text(text) => Body::full(text.clone()),
            Self::Script(name) => Body::full(running(engine)?.response(name, parts, body).await?),
        };
        framing_removed(&mut parts.headers);
        parts.headers.remove(header::CONTENT_ENCODING);
        Ok(made)
    }
}

/// The engine of the exchange.
pub(super) fn running(engine: Option<&mut Engine>) -> Result<&mut Engine, Reject> {
    engine.ok_or_else(|| Reject::new(RejectCode::Internal, "a template without its engine"))
}

/// The media type of a body without parameters: JSON where none is said, as AWS has it.
pub(super) fn media_type(value: Option<&HeaderValue>) -> &str {
    let kind = value.and_then(|kind| kind.to_str().ok());
    kind.map_or("application/json", |kind| {
        kind.split(';').next().unwrap_or_default().trim()
    })
}

impl Passing {
    pub(super) fn new(model: &Model) -> Self {
        Self {
            behavior: model.passthrough_behavior,
            has_templates: !model.request_templates.is_empty(),
        }
    }

    /// The template for a request, `None` where its body passes.
    pub(super) fn template<'t, T>(
        &self,
        templates: &'t Templates<T>,
        headers: &HeaderMap,
    ) -> Result<Option<&'t T>, Reject> {
        let kind = media_type(headers.get(header::CONTENT_TYPE));
        if let Some(template) = templates.of(kind) {
            return Ok(Some(template));
        }
        let passes = match self.behavior {
            PassthroughBehavior::WhenNoMatch => true,
            PassthroughBehavior::WhenNoTemplates => !self.has_templates,
            PassthroughBehavior::Never => false,
        };
        if passes {
            return Ok(None);
        }
        Err(Reject::new(
            RejectCode::UnsupportedMediaType,
            format!("bodies of the media type `{kind}` are not taken"),
        ))
    }
}

impl Mapped {
    pub(super) fn all(
        integration: &str,
        model: &[IntegrationResponse],
    ) -> Result<Vec<Self>, (&'static str, String)> {
        let one = |(index, response): (usize, &IntegrationResponse)| -> Result<Self, String> {
            Ok(Self {
                selection: response
                    .selection
                    .as_deref()
                    .filter(|pattern| !pattern.is_empty())
                    .map(selection)
                    .transpose()?,
                status: StatusCode::from_u16(response.status).map_err(|error| error.to_string())?,
                fields: response
                    .parameters
                    .iter()
                    .map(|(key, value)| Mapping::response(key, value))
                    .collect::<Result<_, _>>()?,
                templates: Templates::new(&response.templates, |kind, text| {
                    Template::new(text, || response_script(integration, index, kind))
                }),
                handling: response.content_handling,
            })
        };
        let all = model.iter().enumerate();
        all.map(|response| one(response).map_err(|message| ("responses", message)))
            .collect()
    }

    /// The first whose selection fits, else the one without.
    pub(super) fn choose(all: &[Self], status: u16) -> Option<&Self> {
        let text = status.to_string();
        all.iter()
            .find(|response| {
                response
                    .selection
                    .as_ref()
                    .is_some_and(|selection| selection.is_match(&text))
            })
            .or_else(|| all.iter().find(|response| response.selection.is_none()))
    }

    pub(super) fn apply(&self, known: &Known<'_>, headers: &mut HeaderMap) {
        let mut status = self.status;
        apply(&self.fields, known, headers, &mut status);
    }

    pub(super) fn has_scripts(&self) -> bool {
        self.templates.any(Template::is_script)
    }

    pub(super) fn reads_body(&self) -> bool {
        self.fields
            .iter()
            .any(|mapping| mapping.value.reads_response_body())
    }

    pub(super) fn template(&self, request: &HeaderMap) -> Option<(&str, &Template)> {
        voice::choose(&self.templates.0, Some(request))
    }
}

/// Does what mappings of responses say.
pub(super) fn apply(
    mappings: &[Mapping],
    known: &Known<'_>,
    headers: &mut HeaderMap,
    status: &mut StatusCode,
) {
    for mapping in mappings {
        let values = mapping.value.values(known);
        match &mapping.place {
            Place::Header(name) => write(headers, name, mapping.action, &values),
            Place::Status => {
                let wanted = values.last().and_then(|value| value.trim().parse().ok());
                if let Some(wanted) = wanted.filter(|status| (200..600).contains(status)) {
                    *status = StatusCode::from_u16(wanted).unwrap_or(*status);
                }
            }
            Place::Query(_) | Place::PathParameter(_) | Place::Path => {}
        }
    }
}
