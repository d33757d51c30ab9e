//! Templates of an API's integrations. The gateway chooses the template, calls a body hook with its name in the context, and does itself what the
//! overrides say, which are left in the context: mappings come between.

use edgeward_sdk::{Answer, ContextValue, Exchange, RequestHead, log_warn};

use crate::VtlTransform;
use crate::eval;
use crate::host::Seen;
use crate::requests::OVERRIDE;

/// Namespace and key of the name of the template.
const GATEWAY: &str = "gateway";
const TEMPLATE: &str = "template";
/// Key of the context under which overrides of the response are found.
const RESPONSE_OVERRIDE: &str = "response-override";

impl VtlTransform {
    /// The template that the gateway wants rendered, if it is the gateway that chooses.
    pub(crate) fn wanted(&self, exchange: &Exchange) -> Option<String> {
        if !self.plan.is_engine() {
            return None;
        }
        match exchange.get(GATEWAY, TEMPLATE)? {
            ContextValue::Text(name) => Some(name),
            _ => None,
        }
    }

    /// What the template makes of a body.
    ///
    /// # Errors
    /// The answer that tells the gateway why there is nothing.
    pub(crate) fn rendered(
        &mut self,
        name: &str,
        request: &RequestHead,
        exchange: &Exchange,
        body: &[u8],
    ) -> Result<String, Answer> {
        if self.state.request_id != exchange.request_id() {
            self.state = crate::State {
                request_id: exchange.request_id(),
                seen: Seen::of(request),
                ..crate::State::default()
            };
        }
        self.render_named(name, exchange, body).map_err(|error| {
            log_warn!("{error}");
            Answer::new(500).header("content-type", "text/plain").body(error)
        })
    }

    fn render_named(&mut self, name: &str, exchange: &Exchange, body: &[u8]) -> Result<String, String> {
        let block = self.plan.named(name);
        let block = block.ok_or_else(|| format!("no template is called `{name}`"))?;
        let environment = self.state.seen.environment(exchange, self.claims_from.as_deref());
        let rendering = eval::render(block, &environment, body, &self.state.overrides, self.plan.limits)
            .map_err(|failure| format!("template `{name}`: {failure}"))?;
        if let Some(told) = rendering.overrides.request_json() {
            exchange.set(OVERRIDE, told)?;
        }
        exchange.set(RESPONSE_OVERRIDE, rendering.overrides.response_json())?;
        self.state.overrides = rendering.overrides;
        Ok(rendering.text)
    }
}
