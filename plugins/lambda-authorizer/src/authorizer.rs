//! The decision about one request: identity, event, function, output, in this order.

use crate::{
    config::Type,
    event, function,
    output::{self, Fact, Verdict},
    outside::Outside,
    refusal::{Kind, Refusal},
    seen::Seen,
    settings::Settings,
    source::{self, Source},
};

/// Who callers are whom the function gives no name.
pub const NAMELESS: &str = "authorized";

/// What the function allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Who is calling.
    pub principal: String,
    /// Facts about the caller.
    pub context: Vec<(String, Fact)>,
    /// What usage is counted by, when it is not the principal.
    pub usage_key: Option<String>,
    /// What the caller may do; none: everything.
    pub policy: Option<String>,
    /// How long the decision may be reused, in seconds.
    pub ttl_seconds: Option<u32>,
}

/// Asks the function about a request.
///
/// # Errors
/// Why it is refused.
pub fn check(settings: &Settings, seen: &Seen, outside: &impl Outside) -> Result<Accepted, Refusal> {
    let (event, is_kept) = match settings.kind {
        Type::Token => {
            let header = source::token_header(settings, seen);
            let token = source::token(header, seen)?;
            if !outside.is_valid(&token) {
                let detail = "the token does not match token.validation";
                return Err(Refusal::new(Kind::NoIdentity, detail));
            }
            let source = Source::Header(header.to_owned());
            (event::token(settings, seen, &token), seen.is_kept_by(&[source]))
        }
        Type::Request => {
            let own = &settings.sources;
            let sources = if own.is_empty() { &seen.sources } else { own };
            let identity = source::values(sources, seen)?;
            (
                event::request(settings, seen, &identity),
                seen.is_kept_by(sources),
            )
        }
    };
    let body = function::call(settings, event.to_string().as_bytes(), outside)?;
    let name = settings.function.name();
    let invalid = |error: String| {
        let detail = format!("what {name} answered is no verdict: {error}");
        Refusal::new(Kind::InvalidOutput, detail)
    };
    let output = output::read(settings, &body).map_err(invalid)?;
    let ttl_seconds = Some(settings.ttl_seconds).filter(|seconds| is_kept && *seconds > 0);
    let policy = match output.verdict {
        Verdict::Authorized => None,
        Verdict::Refused => {
            return Err(Refusal {
                ttl_seconds,
                ..Refusal::new(Kind::Forbidden, format!("{name} says isAuthorized: false"))
            });
        }
        // nobody would hold the request against it
        Verdict::Policy(_) if !seen.is_api => {
            let detail =
                format!("{name} answered with a policy, and policies are judged on routes of APIs only");
            return Err(Refusal::new(Kind::InvalidOutput, detail));
        }
        Verdict::Policy(policy) => Some(policy),
    };
    Ok(Accepted {
        principal: output.principal.unwrap_or_else(|| NAMELESS.to_owned()),
        context: output.context,
        usage_key: output.usage_key,
        policy,
        ttl_seconds,
    })
}
