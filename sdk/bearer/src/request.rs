//! The request of a hook, and what becomes of it.

use edgeward_sdk::{
    Answer, ContextValue, Decision, Exchange, HeadAction, RequestHead, log_debug, log_error, log_info,
};

use crate::{
    locate::{self, Edit, Fields, Location},
    refusal::{Kind, Refusal},
};

impl Fields for RequestHead {
    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        Self::header_values(self, name)
    }

    fn query_values(&self, name: &str) -> Vec<String> {
        let params = self.query_params().into_iter();
        params
            .filter(|(one, _)| one == name)
            .map(|(_, value)| value)
            .collect()
    }

    fn query(&self) -> String {
        Self::query(self)
    }
}

/// Scopes of which the route wants one (`authorization-scopes` of an API's route). None: the route wants none.
///
/// # Errors
/// The gateway tells of them in a way that is not known: the request is refused, since nobody could say whether it may pass.
pub fn route_scopes(exchange: &Exchange) -> Result<Vec<String>, Refusal> {
    let Some(told) = exchange.get("gateway", "authorization-scopes") else {
        return Ok(Vec::new());
    };
    let scopes = match &told {
        ContextValue::Json(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    scopes.ok_or_else(|| Refusal::scope("a required scope is missing", "the route's scopes cannot be read"))
}

/// A decision about a token in one of some places: it is not kept where the route's API keeps decisions by something else.
#[must_use]
pub fn kept_by(locations: &[Location], exchange: &Exchange, decision: Decision) -> Decision {
    exchange.kept_by(locations.iter().map(Location::source), decision)
}

/// Takes the token out of a request that goes on; one that keeps it is refused.
pub fn strip(request: &RequestHead, locations: &[Location]) -> HeadAction {
    let edited = locate::strip(locations, request)
        .iter()
        .try_for_each(|edit| match edit {
            Edit::RemoveHeader(name) => request.remove_header(name),
            Edit::SetHeader(name, value) => request.set_header(name, value),
            Edit::SetQuery(query) => request.set_query(query),
        });
    if let Err(error) = edited {
        log_error!("the token cannot be taken out of the request, which is refused: {error}");
        return Answer::new(400).into();
    }
    HeadAction::Proceed
}

/// Tells the operator of a refusal: how much it matters depends on its kind.
pub fn log(refusal: &Refusal) {
    match refusal.kind {
        Kind::NoCredentials => log_debug!("refused: {}", refusal.detail),
        Kind::Unavailable => log_error!("refused: {}", refusal.detail),
        _ => log_info!("refused: {}", refusal.detail),
    }
}
