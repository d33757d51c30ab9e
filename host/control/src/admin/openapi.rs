//! The OpenAPI document, made from the handlers.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{certificates, modules, plugins, status};

#[derive(OpenApi)]
#[openapi(
    info(title = "Edgeward admin API", description = "Control of one gateway. Errors are problem documents (RFC 9457)."),
    paths(
        status::status, status::config, status::reload, status::health, status::ready, status::metrics,
        modules::upload, modules::list, modules::read, modules::remove,
        plugins::list, plugins::read, plugins::versions, plugins::version, plugins::remove, plugins::create,
        plugins::put_module, plugins::publish, plugins::rollback,
        certificates::list, certificates::read, certificates::put, certificates::remove, certificates::renew,
    ),
    modifiers(&Token),
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_described() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let described: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let table = include_str!("mod.rs");
        let routes: Vec<_> = table
            .match_indices(".route(\"")
            .map(|(at, start)| table[at + start.len()..].split('"').next().unwrap())
            .collect();
        assert!(routes.len() > 10);
        for route in routes.into_iter().filter(|route| *route != "/openapi.json") {
            assert!(
                described.iter().any(|path| path == route),
                "{route} is not described"
            );
        }
    }
}
