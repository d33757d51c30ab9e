//! Responses: which template, and what is done with what it makes.

use crate::VtlTransform;
use crate::apply;
use crate::eval::{self, Rendering};
use crate::plan::{Chosen, RoutePlan};
use edgeward_sdk::{Answer, Exchange, ResponseHead};

impl VtlTransform {
    fn template<'a>(&self, route: &'a RoutePlan, response: &ResponseHead) -> Option<Chosen<'a>> {
        let accept = self.state.seen.accept.as_deref();
        route.response(response.status(), accept, self.plan.limits)
    }

    /// An answer instead, if there is one.
    pub(crate) fn response_head(
        &mut self,
        response: &ResponseHead,
        exchange: &Exchange,
    ) -> Result<Option<Answer>, Answer> {
        let Some(route) = self.plan.route(&exchange.route()) else {
            return Ok(None);
        };
        let status = response.status();
        let Some(chosen) = self.template(route, response) else {
            let applied = apply::response(response, &self.state.overrides, None);
            return applied.map(|()| None).map_err(|error| self.failed(&error));
        };
        let headless = self.state.seen.method == "HEAD";
        if status == 101 || !headless && !apply::is_bodiless(status) {
            // what is to be done is done when the body is there
            return Ok(None);
        }
        let done = self.render_response(chosen, exchange, &[]).and_then(|rendering| {
            let new = rendering.overrides.status().unwrap_or(status);
            let answers = !headless && !apply::is_bodiless(new) && new >= 200;
            let media_type = answers.then(|| chosen.media_type());
            apply::response(response, &rendering.overrides, media_type)?;
            Ok(answers.then(|| apply::answer(response, rendering.text)))
        });
        done.map_err(|error| self.failed(&error))
    }

    /// The new body, if it gets one.
    pub(crate) fn response_body(
        &mut self,
        response: &ResponseHead,
        exchange: &Exchange,
        body: &[u8],
    ) -> Result<Option<String>, Answer> {
        let route = self.plan.route(&exchange.route());
        let chosen = route.and_then(|route| self.template(route, response));
        let Some(chosen) = chosen else { return Ok(None) };
        if !body.is_empty() && apply::is_coded(response.header_str("content-encoding").as_deref()) {
            return Err(self.refuse(502, "Internal server error"));
        }
        let done = self
            .render_response(chosen, exchange, body)
            .and_then(|rendering| {
                apply::response(response, &rendering.overrides, Some(chosen.media_type()))?;
                let bodiless = apply::is_bodiless(response.status());
                Ok(if bodiless { String::new() } else { rendering.text })
            });
        done.map(Some).map_err(|error| self.failed(&error))
    }

    fn render_response(
        &self,
        chosen: Chosen<'_>,
        exchange: &Exchange,
        body: &[u8],
    ) -> Result<Rendering, String> {
        let environment = self.state.seen.environment(exchange, self.claims_from.as_deref());
        let start = &self.state.overrides;
        let rendered = eval::render(chosen.block, &environment, body, start, self.plan.limits);
        rendered.map_err(|failure| format!("response template `{}`: {failure}", chosen.key))
    }
}
