//! Requests: when the template runs, and what is done with what it makes.
//!
//! The body hook is not called for a request without a body, and no head says for sure whether there is one (chunks of HTTP/1.1 and streams
//! of HTTP/2 name no length). So where no length is named the template runs at the head, as for an empty body, and the head is held; if a
//! body comes after all its edits are taken back and it runs again.

use crate::VtlTransform;
use crate::apply::{self, Before};
use crate::eval::{self, Rendering};
use crate::overrides::Overrides;
use crate::plan::{Choice, Chosen};
use edgeward_sdk::{Answer, Exchange, RequestHead, log_warn};

/// What the template made of an empty body.
#[derive(Debug)]
pub(crate) struct First {
    text: String,
    before: Before,
    /// The context has overrides.
    told: bool,
}

/// Key of the context under which overrides of the request are found.
pub(crate) const OVERRIDE: &str = "request-override";

impl VtlTransform {
    /// True when the head is to be held.
    pub(crate) fn request_head(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
    ) -> Result<bool, Answer> {
        let Some(route) = self.plan.route(&exchange.route()) else {
            return Ok(false);
        };
        // the template has to be able to read what the upstream answers
        if route.has_responses()
            && let Err(error) = request.remove_header("accept-encoding")
        {
            log_warn!("{error}");
        }
        let Some(requests) = &route.request else {
            return Ok(false);
        };
        let chosen = match requests.choose(self.state.seen.content_type.as_deref()) {
            Choice::Template(chosen) => chosen,
            Choice::Pass => return Ok(false),
            Choice::Refuse => return Err(self.refuse(415, "Unsupported Media Type")),
        };
        let length = request.header_str("content-length");
        if length.is_some_and(|length| length.trim() != "0") {
            return Ok(false);
        }
        let rendered = self.render_request(chosen, exchange, &[]);
        let done = rendered.and_then(|rendering| -> Result<_, String> {
            let before = apply::overrides(request, &rendering.overrides)?;
            let told = tell(exchange, &rendering, false)?;
            Ok((rendering, before, told))
        });
        match done {
            Ok((rendering, before, told)) => {
                self.state.overrides = rendering.overrides;
                let text = rendering.text;
                self.state.first = Some(First { text, before, told });
                Ok(true)
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The new body, if it gets one.
    pub(crate) fn request_body(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        body: &[u8],
    ) -> Result<Option<String>, Answer> {
        let requests = self
            .plan
            .route(&exchange.route())
            .and_then(|route| route.request.as_ref());
        let Some(requests) = requests else { return Ok(None) };
        let Choice::Template(chosen) = requests.choose(self.state.seen.content_type.as_deref()) else {
            return Ok(None);
        };
        let first = self.state.first.take();
        if !body.is_empty() && apply::is_coded(request.header_str("content-encoding").as_deref()) {
            return Err(self.refuse(415, "Unsupported Media Type"));
        }
        match self.new_body(request, exchange, chosen, first, body) {
            Ok((text, overrides)) => {
                if let Some(overrides) = overrides {
                    self.state.overrides = overrides;
                }
                Ok(Some(text))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The new body, and the overrides unless they are those of before.
    fn new_body(
        &self,
        request: &RequestHead,
        exchange: &Exchange,
        chosen: Chosen<'_>,
        first: Option<First>,
        body: &[u8],
    ) -> Result<(String, Option<Overrides>), String> {
        let mut told = false;
        match first {
            Some(first) if body.is_empty() => {
                // an override of the type stays
                let named = self.state.overrides.header.iter();
                if !named
                    .into_iter()
                    .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
                {
                    apply::new_request_body(request, chosen.media_type())?;
                }
                return Ok((first.text, None));
            }
            Some(first) => {
                told = first.told;
                first.before.restore(request)?;
            }
            None => {}
        }
        let rendering = self.render_request(chosen, exchange, body)?;
        // before the overrides, which may name another type
        apply::new_request_body(request, chosen.media_type())?;
        apply::overrides(request, &rendering.overrides)?;
        tell(exchange, &rendering, told)?;
        Ok((rendering.text, Some(rendering.overrides)))
    }

    fn render_request(
        &self,
        chosen: Chosen<'_>,
        exchange: &Exchange,
        body: &[u8],
    ) -> Result<Rendering, String> {
        let environment = self.state.seen.environment(exchange, self.claims_from.as_deref());
        let start = Overrides::default();
        let rendered = eval::render(chosen.block, &environment, body, &start, self.plan.limits);
        rendered.map_err(|failure| format!("request template `{}`: {failure}", chosen.key))
    }

    /// A template that fails is a mistake of the API, not of the client.
    pub(crate) fn failed(&mut self, error: &str) -> Answer {
        log_warn!("{error}");
        self.refuse(500, "Internal server error")
    }
}

/// Leaves overrides for the gateway; `again`: also that there are none any more.
fn tell(exchange: &Exchange, rendering: &Rendering, again: bool) -> Result<bool, String> {
    let told = match rendering.overrides.request_json() {
        Some(overrides) => overrides,
        None if again => serde_json::json!({"header": {}, "path": {}, "querystring": {}}),
        None => return Ok(false),
    };
    exchange.set(OVERRIDE, told).map(|()| true)
}
