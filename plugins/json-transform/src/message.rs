//! One direction: which bodies are changed, what happens to those that cannot be, and the status that a body asks for.

use crate::config::{Request, Response, StatusRule, Unusable};
use crate::json::Json;
use crate::path::Path;
use crate::plan::Plan;
use crate::template::Values;

/// Compiled configuration of a direction.
#[derive(Debug)]
pub struct Direction {
    plan: Plan,
    status: Vec<(Path, Option<Json>, u16)>,
    only: Vec<(u16, u16)>,
    /// Largest body in bytes.
    pub limit: u64,
    /// What happens above.
    pub over: Unusable,
    invalid: Unusable,
    encoded: Unusable,
}

/// What is to be done with a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Pass,
    /// A new body, a new status, or both.
    Change {
        /// The body; none when it stays.
        body: Option<Vec<u8>>,
        /// The status; none when it stays.
        status: Option<u16>,
    },
    /// An error instead.
    Reject {
        /// What is wrong, after `body `.
        detail: String,
        /// True when the content coding is the reason.
        encoded: bool,
    },
}

/// What the head says about the body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Head<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// Status of a response; 0 for a request.
    pub status: u16,
}

impl Direction {
    /// For requests.
    pub fn request(config: &Request) -> Result<Self, String> {
        let plan = Plan::new(&config.rules, false)?;
        Self {
            plan,
            status: Vec::new(),
            only: Vec::new(),
            limit: config.limit,
            over: config.over,
            invalid: config.invalid,
            encoded: config.encoded,
        }
        .checked()
    }

    /// For responses.
    pub fn response(config: &Response) -> Result<Self, String> {
        let status = |(index, rule): (usize, &StatusRule)| {
            let path = Path::parse(&rule.path).map_err(|error| format!("status[{index}].path: {error}"))?;
            if !(200..=599).contains(&rule.status) {
                return Err(format!(
                    "status[{index}].status: {} is not between 200 and 599",
                    rule.status
                ));
            }
            Ok((path, rule.equals.clone(), rule.status))
        };
        let only = |(index, text): (usize, &String)| {
            range(text).ok_or_else(|| format!("only[{index}]: `{text}` is no status like `404` or `2xx`"))
        };
        Self {
            plan: Plan::new(&config.rules, true)?,
            status: config
                .status
                .iter()
                .enumerate()
                .map(status)
                .collect::<Result<_, _>>()?,
            only: config
                .only
                .iter()
                .enumerate()
                .map(only)
                .collect::<Result<_, _>>()?,
            limit: config.limit,
            over: config.over,
            invalid: config.invalid,
            encoded: config.encoded,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.limit == 0 {
            return Err("limit: 0 leaves no body to change; it is at least 1 byte".to_owned());
        }
        if self.plan.is_empty() && self.status.is_empty() {
            return Err("rules: there are none; leave the direction out instead".to_owned());
        }
        Ok(self)
    }

    /// Looks at a whole body.
    pub fn apply(&self, head: Head<'_>, body: &[u8], values: &mut dyn Values) -> Outcome {
        let wanted = self.only.is_empty()
            || self
                .only
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&head.status));
        // a part of a body (RFC 9110 section 15.3.7) is no document
        if body.is_empty() || !wanted || head.status == 206 || !head.content_type.is_some_and(is_json) {
            return Outcome::Pass;
        }
        if let Some(coding) = head
            .content_encoding
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
        {
            return match self.encoded {
                Unusable::Pass => Outcome::Pass,
                Unusable::Reject => Outcome::Reject {
                    detail: format!("has the content coding `{coding:.40}`, which cannot be changed"),
                    encoded: true,
                },
            };
        }
        let mut document = match Json::parse(body) {
            Ok(document) => document,
            Err(_) if self.invalid == Unusable::Pass => return Outcome::Pass,
            Err(error) => {
                return Outcome::Reject {
                    detail: format!("is not valid JSON: {error}"),
                    encoded: false,
                };
            }
        };
        let status = self.status_of(&document);
        let budget = usize::try_from(self.limit)
            .unwrap_or(usize::MAX)
            .saturating_mul(4);
        match self.plan.run(&mut document, values, budget) {
            Err(detail) => Outcome::Reject {
                detail: format!("cannot be transformed: {detail}"),
                encoded: false,
            },
            Ok(false) if status.is_none() => Outcome::Pass,
            Ok(changed) => {
                let body = changed.then(|| {
                    let mut out = Vec::with_capacity(body.len());
                    document.write(&mut out);
                    out
                });
                Outcome::Change { body, status }
            }
        }
    }

    fn status_of(&self, document: &Json) -> Option<u16> {
        let fits = |(path, equals, _): &&(Path, Option<Json>, u16)| {
            path.select(document)
                .into_iter()
                .any(|value| equals.as_ref().is_none_or(|wanted| wanted.same(value)))
        };
        self.status.iter().find(fits).map(|(_, _, status)| *status)
    }
}

/// `application/json`, or any type with the suffix `+json` (RFC 6839 section 3.1).
fn is_json(content_type: &str) -> bool {
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

fn range(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    text.parse()
        .ok()
        .filter(|status| (100..=599).contains(status))
        .map(|status| (status, status))
}
