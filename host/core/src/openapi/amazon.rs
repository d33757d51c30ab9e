//! What AWS's extensions of a security scheme say of its authorizer: `x-amazon-apigateway-authtype` and `-authorizer`. Who is asked and how is the matter
//! of the plugin: members about that are named, with the keys of its configuration that take them.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use super::{
    import::Importer,
    report::{at, number},
};
use crate::api::{AuthorizerType, IdentitySource};

pub(super) const AUTHORIZER: &str = "x-amazon-apigateway-authorizer";
pub(super) const AUTHTYPE: &str = "x-amazon-apigateway-authtype";

/// The kind of callers that one of AWS's words stands for.
pub(super) fn kind_of(word: &str) -> Option<AuthorizerType> {
    Some(match word.to_ascii_lowercase().as_str() {
        "custom" | "token" | "request" | "jwt" => AuthorizerType::Custom,
        "cognito_user_pools" => AuthorizerType::Cognito,
        "awssigv4" | "aws_iam" => AuthorizerType::Iam,
        _ => return None,
    })
}

impl<'d> Importer<'d> {
    /// Members of an authorizer by the extensions of its scheme. `plugin` stands behind it, or has to.
    pub(super) fn amazon_scheme(
        &mut self,
        scheme: &'d Map<String, Value>,
        place: &str,
        plugin: &str,
    ) -> Map<String, Value> {
        let mut fields = Map::new();
        let said = self.report.object(scheme.get(AUTHORIZER), &at(place, AUTHORIZER));
        let kind = self.kind(scheme, said, place);
        if let Some(kind) = kind {
            fields.insert("type".to_owned(), json!(kind));
        }
        let word = |object: Option<&'d Map<String, Value>>, key: &str| {
            let word = object.and_then(|object| object.get(key)).and_then(Value::as_str);
            word.unwrap_or_default().to_ascii_lowercase()
        };
        let form = word(said, "type");
        // a token stands in the header field of the scheme, where nothing else is said
        let has_token = form == "token" || kind == Some(AuthorizerType::Cognito);
        if has_token && word(Some(scheme), "type") == "apikey" && word(Some(scheme), "in") == "header" {
            let name = scheme.get("name").and_then(Value::as_str).unwrap_or_default();
            let source = format!("method.request.header.{name}");
            if IdentitySource::parse(&source).is_ok() {
                fields.insert("identity-sources".to_owned(), json!([source]));
            }
        }
        let place = at(place, AUTHORIZER);
        for (key, value) in said.into_iter().flatten() {
            let place = at(&place, key);
            match key.as_str() {
                _ if value.is_null() => {}
                "type" => {}
                "identitySource" => {
                    let sources = self.sources(value, &place);
                    if !sources.is_empty() {
                        fields.insert("identity-sources".to_owned(), json!(sources));
                    }
                }
                "identityValidationExpression" => match value {
                    Value::String(text) if text.is_empty() => {}
                    Value::String(_) if form == "token" => {
                        fields.insert("identity-validation".to_owned(), value.clone());
                    }
                    Value::String(_) if kind == Some(AuthorizerType::Cognito) => self.report.warn(
                        &place,
                        format!("is for the audience of tokens: `audience-matches` in the configuration of the plugin `{plugin}`, a `jwt-authorizer` with `preset: cognito`"),
                    ),
                    _ => self
                        .report
                        .warn(&place, "counts for authorizers of the type `token` only, as with AWS"),
                },
                "authorizerResultTtlInSeconds" => match number(value) {
                    Some(seconds) => drop(fields.insert("result-ttl".to_owned(), format!("{seconds}s").into())),
                    None => self.report.problem(&place, "is not a number of seconds"),
                },
                _ => self.of_plugin(key, value, &place, plugin),
            }
        }
        fields
    }

    /// The kind of callers, by the type of the authorizer or by that of the scheme.
    fn kind(
        &mut self,
        scheme: &'d Map<String, Value>,
        said: Option<&'d Map<String, Value>>,
        place: &str,
    ) -> Option<AuthorizerType> {
        let type_place = at(&at(place, AUTHORIZER), "type");
        let form = self
            .report
            .text(said.and_then(|said| said.get("type")), &type_place);
        let kind = form.and_then(kind_of);
        if let (Some(form), None) = (form, kind) {
            self.report.warn(
                &type_place,
                format!("`{form}` is not understood: token, request, jwt and cognito_user_pools are"),
            );
        }
        let place = at(place, AUTHTYPE);
        let Some(word) = self.report.text(scheme.get(AUTHTYPE), &place) else {
            return kind;
        };
        match (kind, kind_of(word)) {
            (None, None) => self.report.warn(
                &place,
                format!("`{word}` is not understood: custom, cognito_user_pools and awsSigv4 are"),
            ),
            // a text of somebody's own
            (Some(_), None) => self
                .report
                .note(&place, "says nothing: the authorizer's `type` does"),
            (Some(kind), Some(other)) if kind != other => self.report.warn(
                &place,
                format!("`{word}` contradicts the authorizer's `type`, which holds"),
            ),
            (None | Some(_), Some(_)) => {}
        }
        kind.or_else(|| kind_of(word))
    }

    /// A comma-separated text as REST APIs have it, or a list. One that is none keeps the API from being deployed: without it callers would be taken for
    /// each other.
    fn sources(&mut self, value: &'d Value, place: &str) -> Vec<&'d str> {
        let texts: Vec<&str> = match value {
            Value::String(text) => text.split(',').collect(),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                self.report
                    .problem(place, "is neither a text nor a list of texts");
                return Vec::new();
            }
        };
        let texts = texts.into_iter().map(str::trim);
        let sources: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        for source in &sources {
            if let Err(message) = IdentitySource::checked(source) {
                self.report.warn(place, message);
            }
        }
        sources
    }

    /// A member that is not the gateway's to follow.
    fn of_plugin(&mut self, key: &str, value: &Value, place: &str, plugin: &str) {
        let (kind, keys) = match key {
            "authorizerUri" => ("lambda-authorizer", "`function`".to_owned()),
            "authorizerCredentials" => ("lambda-authorizer", "`function.invoke.credentials`".to_owned()),
            "authorizerPayloadFormatVersion" => ("lambda-authorizer", format!("`payload-format: {value}`")),
            "enableSimpleResponses" => ("lambda-authorizer", format!("`simple-responses: {value}`")),
            "providerARNs" => (
                "jwt-authorizer",
                format!("`preset: cognito`, `user-pools: {value}`"),
            ),
            "jwtConfiguration" if value.get("issuers").is_some() => {
                ("jwt-authorizer", format!("`preset: rest-jwt` with {value}"))
            }
            "jwtConfiguration" => ("jwt-authorizer", format!("`preset: http-api` with {value}")),
            _ => return self.report.warn(place, "is not understood"),
        };
        let message = format!("is for the configuration of the plugin `{plugin}`, a `{kind}`: {keys}");
        // what the plugin does where its configuration does not say
        let is_usual = match key {
            "authorizerPayloadFormatVersion" => value == "1.0",
            "enableSimpleResponses" => value == false,
            _ => false,
        };
        if is_usual {
            self.report.note(place, message);
        } else {
            self.report.warn(place, message);
        }
    }
}
