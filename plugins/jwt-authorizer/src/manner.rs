//! What the presets of Amazon API Gateway check beside the rules that all share, and how they answer.

use serde_json::{Map, Value};

use crate::{
    claims,
    config::{AdditionalClaim, IssuerRule, Preset},
    locate::Location,
    outside::Outside,
    refusal::{Kind, Refusal, excerpt, listed},
    settings::Settings,
    token::Token,
};

/// What a caller is told whose token needs a key that is not there.
pub const NO_KEY: &str = "no key for this token";

/// A refusal as it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Status code.
    pub status: u16,
    /// For the caller.
    pub reason: &'static str,
    /// A header field.
    pub header: (&'static str, String),
    /// How long it may be reused, in seconds.
    pub ttl_seconds: Option<u32>,
}

/// Where a token is in a header field: unless a scheme is configured, with or without `Bearer` before it.
#[must_use]
pub fn header(name: &str, scheme: Option<&str>) -> Location {
    if scheme.is_some() {
        return Location::header(name, scheme);
    }
    Location::Bare {
        name: name.to_ascii_lowercase(),
        scheme: "Bearer".into(),
    }
}

/// A token must name its key.
///
/// # Errors
/// It does not, and a preset is in force.
pub fn check_kid(settings: &Settings, token: &Token<'_>) -> Result<(), Refusal> {
    if settings.preset.is_native() || token.kid.is_some() {
        return Ok(());
    }
    Err(Refusal::token("the token names no key", "kid is missing"))
}

/// Checks the audience, in the ways of the presets.
///
/// # Errors
/// The token is meant for others.
pub fn check_audience(
    settings: &Settings,
    claims: &Map<String, Value>,
    issuer: Option<&str>,
    outside: &dyn Outside,
) -> Result<(), Refusal> {
    let rule = IssuerRule::of(&settings.issuer_rules, issuer);
    let accepted = rule.map_or(&settings.audiences, |rule| &rule.audience);
    let outcome = match (settings.preset, claims.get("client_id")) {
        // Cognito's access tokens have no audience but the client
        (Preset::HttpApi, Some(client)) if !claims.contains_key("aud") => {
            let named = client
                .as_str()
                .is_some_and(|client| accepted.iter().any(|one| one == client));
            let refuse = || Refusal::token("", "there is no aud, and client_id is not accepted");
            if named { Ok(()) } else { Err(refuse()) }
        }
        _ => claims::check_audience(claims, accepted),
    };
    outcome.map_err(|refusal| Refusal {
        public: if settings.preset.is_native() {
            refusal.public
        } else {
            "the token does not have a valid audience"
        },
        ..refusal
    })?;
    if settings.audience_matches.is_some() {
        let texts = match claims.get("aud") {
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !texts.iter().any(|text| outside.audience_matches(text)) {
            return Err(Refusal::token(
                "the token does not have a valid audience",
                "aud is missing or does not match audience-matches",
            ));
        }
    }
    rule.map_or(Ok(()), |rule| additional(&rule.additional_claims, claims))
}

fn additional(rules: &[AdditionalClaim], claims: &Map<String, Value>) -> Result<(), Refusal> {
    let good = |rule: &AdditionalClaim| match claims.get(&rule.name) {
        None => !rule.required,
        Some(Value::String(text)) => rule.values.is_empty() || rule.values.contains(text),
        Some(_) => false,
    };
    match rules.iter().find(|rule| !good(rule)) {
        None => Ok(()),
        Some(rule) => {
            let detail = format!(
                "claim {:?} is missing, no text, or has another value",
                excerpt(&rule.name)
            );
            Err(Refusal::token("a claim of the token is not accepted", detail))
        }
    }
}

/// Of Cognito: an ID token where no scopes are asked for, by the configuration or the route, else an access token.
///
/// # Errors
/// The token is the other one, or none of them.
pub fn check_use(settings: &Settings, route: &[String], claims: &Map<String, Value>) -> Result<(), Refusal> {
    if settings.preset != Preset::Cognito {
        return Ok(());
    }
    let wanted = if settings.scopes.is_empty() && route.is_empty() {
        "id"
    } else {
        "access"
    };
    if claims.get("token_use").is_some_and(|found| found == wanted) {
        return Ok(());
    }
    let detail = format!(
        "token_use is not {wanted:?}: without scopes an ID token is needed, with them an access token"
    );
    Err(Refusal::token("the token is of another use", detail))
}

/// Who is calling. A preset of Amazon API Gateway takes tokens that name nobody; they are known by their client, or by their issuer.
///
/// # Errors
/// The token names nobody.
pub fn principal(settings: &Settings, claims: &Map<String, Value>) -> Result<String, Refusal> {
    let named = claims::name(claims, &settings.principal);
    if settings.preset.is_native() {
        return named;
    }
    let other = settings.other_principals.iter();
    named.or_else(|refusal| {
        other
            .flat_map(|path| claims::name(claims, path))
            .next()
            .ok_or(refusal)
    })
}

/// How a refusal is answered. `route`: scopes of which the route wants one.
#[must_use]
pub fn answer(settings: &Settings, route: &[String], refusal: &Refusal) -> Answered {
    // what may be different with the next try is not for reuse
    let lasting = match refusal.kind {
        Kind::InvalidToken => ![claims::NOT_YET, NO_KEY].contains(&refusal.public),
        Kind::InsufficientScope => true,
        Kind::NoCredentials | Kind::InvalidRequest | Kind::Unavailable => false,
    };
    let ttl = settings.refusal_ttl;
    let ttl_seconds = (lasting && ttl > 0).then_some(ttl);
    if settings.preset.is_native() || refusal.kind == Kind::Unavailable {
        return Answered {
            status: refusal.status(),
            reason: refusal.public,
            header: refusal.header(&settings.challenge, route),
            ttl_seconds,
        };
    }
    let is_http = settings.preset == Preset::HttpApi;
    let (status, reason) = match refusal.kind {
        Kind::InsufficientScope if settings.preset != Preset::Cognito => (403, "Forbidden"),
        _ if refusal.public == claims::EXPIRED && !is_http => (401, "The incoming token has expired"),
        _ => (401, "Unauthorized"),
    };
    let error = match refusal.kind {
        Kind::NoCredentials | Kind::Unavailable => None,
        Kind::InvalidRequest | Kind::InvalidToken => Some("invalid_token"),
        Kind::InsufficientScope => Some("insufficient_scope"),
    };
    // with spaces and no commas, as Amazon API Gateway writes it
    let challenge = match error {
        Some(error) if is_http => format!(
            "Bearer scope=\"{}\" error=\"{error}\" error_description=\"{}\"",
            listed(&settings.scopes, route),
            refusal.public
        ),
        _ => "Bearer".to_owned(),
    };
    Answered {
        status,
        reason,
        header: ("www-authenticate", challenge),
        ttl_seconds,
    }
}
