//! A decision with all its reasons: what each statement asks for, what the request has, and where they differ. For people; requests are decided without it.

mod question;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::question::Question;
use super::{
    arn::Action,
    condition::Condition,
    decide::{Authorization, Outcome, Side, decide, decide_before},
    principal::Grasp,
    request::{Caller, Request},
    statement::{Effect, Policy, Statement, Verdict, named},
};
use crate::config::Problem;

/// A decision with its reasons.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// What comes of it.
    pub decision: Outcome,
    /// Why, in a sentence.
    pub reason: String,
    /// The statement that decides, if one does.
    pub decided_by: Option<Deciding>,
    /// How callers are authorized.
    pub kind: Authorization,
    /// The decision falls before anybody is asked who calls.
    pub before_authorization: bool,
    /// What is done.
    pub action: Action,
    /// To what.
    pub arn: String,
    /// Who does it; `null` is nobody that IAM knows.
    pub principal: Option<String>,
    /// The policies that were looked at.
    pub policies: Vec<PolicyExplanation>,
    /// Values of the policy variables in them; `null` where there is none, which is like nothing.
    pub variables: BTreeMap<String, Option<String>>,
    /// What is allowed in the policies and looks like a mistake.
    pub warnings: Vec<Problem>,
}

/// A statement that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Deciding {
    /// Whose policy.
    pub policy: Side,
    /// Its index, from 0.
    pub statement: usize,
    /// Its name.
    pub sid: Option<String>,
}

/// What one policy says.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyExplanation {
    /// Whose it is.
    pub policy: Side,
    /// `allow`, `allow-by-account`, `silent` or `deny`.
    pub says: &'static str,
    /// Each of its statements.
    pub statements: Vec<StatementExplanation>,
}

/// Whether a statement applies, and if not, why not.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct StatementExplanation {
    /// Its index, from 0.
    pub index: usize,
    /// Its name.
    pub sid: Option<String>,
    /// What it does where it applies.
    pub effect: Effect,
    /// Whether all of the following match.
    pub applies: bool,
    /// Whom it is about; `null` in a policy of the caller.
    pub principal: Option<Part>,
    /// What is done.
    pub action: Part,
    /// To what.
    pub resource: Part,
    /// Under which circumstances.
    pub conditions: Vec<ConditionPart>,
}

/// An element of a statement beside the request.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// Its name: `Action` or `NotAction`, and so on.
    pub element: String,
    /// Whether it matches.
    pub matches: bool,
    /// What stands in the policy.
    pub wanted: Vec<String>,
    /// What the request has.
    pub seen: String,
}

/// A condition beside the request.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConditionPart {
    /// Its operator.
    pub operator: String,
    /// Its key.
    pub key: String,
    /// Whether it holds.
    pub matches: bool,
    /// What stands in the policy.
    pub wanted: Vec<String>,
    /// What the request has; `null` where it has not the key.
    pub seen: Option<Vec<String>>,
}

/// Decides on a request and says why.
#[must_use]
pub fn explain(
    kind: Authorization,
    caller: Option<&Policy>,
    resource: Option<&Policy>,
    request: &Request<'_>,
) -> Explanation {
    let verdicts = [caller, resource].map(|policy| policy.map(|policy| policy.judge(request)));
    let [of_caller, of_resource] = verdicts;
    let before = decide_before(kind, of_resource);
    let decision = before.unwrap_or_else(|| decide(kind, of_caller, of_resource));
    let sides = [
        (Side::Caller, caller, of_caller),
        (Side::Resource, resource, of_resource),
    ];
    let decided_by = decision.by.map(|(side, statement)| {
        let policy = if side == Side::Caller { caller } else { resource };
        let sid = policy.and_then(|policy| policy.sid(statement));
        Deciding {
            policy: side,
            statement,
            sid: sid.map(ToOwned::to_owned),
        }
    });
    let policies = sides.into_iter().filter_map(|(side, policy, verdict)| {
        let statements = policy?.statements.iter().enumerate();
        Some(PolicyExplanation {
            policy: side,
            says: says(verdict?),
            statements: statements
                .map(|(index, statement)| of_statement(index, statement, request))
                .collect(),
        })
    });
    let mut variables = BTreeMap::new();
    for policy in [caller, resource].into_iter().flatten() {
        let statements = policy.statements.iter();
        for key in statements.flat_map(Statement::variables) {
            let value = request.values(key).single();
            let value = value.map(|value| value.with_text(ToOwned::to_owned));
            variables.insert(key.name().into_owned(), value);
        }
    }
    Explanation {
        decision: decision.outcome,
        reason: reason(
            kind,
            decision.outcome,
            decided_by.as_ref(),
            before.is_some(),
            verdicts,
        ),
        decided_by,
        kind,
        before_authorization: before.is_some(),
        action: request.action,
        arn: request.arn.as_str().to_owned(),
        principal: principal(&request.caller),
        policies: policies.collect(),
        variables,
        warnings: Vec::new(),
    }
}

fn says(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow {
            by_account: false, ..
        } => "allow",
        Verdict::Allow { by_account: true, .. } => "allow-by-account",
        Verdict::Silent => "silent",
        Verdict::Deny { .. } => "deny",
    }
}

fn principal(caller: &Caller<'_>) -> Option<String> {
    match caller {
        Caller::Anonymous => None,
        Caller::Aws { arn: name, .. } | Caller::Service(name) | Caller::Federated(name) => {
            Some((*name).to_owned())
        }
    }
}

fn owned(texts: &[Box<str>]) -> Vec<String> {
    texts.iter().map(|text| text.clone().into()).collect()
}

fn of_statement(index: usize, statement: &Statement, request: &Request<'_>) -> StatementExplanation {
    let principal = statement.principals.as_ref().map(|principals| Part {
        element: named("Principal", principals.negated),
        matches: principals.grasp(request) != Grasp::Not,
        wanted: principals
            .names
            .iter()
            .map(|(kind, text, _)| format!("{kind}: {text}"))
            .collect(),
        seen: principal(&request.caller).unwrap_or_else(|| "anonymous".to_owned()),
    });
    let action = Part {
        element: named("Action", statement.actions.negated),
        matches: statement.actions.matches(request.action),
        wanted: owned(&statement.actions.texts),
        seen: request.action.name().to_owned(),
    };
    let resource = Part {
        element: named("Resource", statement.resources.negated),
        matches: statement.resources.matches(request),
        wanted: owned(&statement.resources.texts),
        seen: request.arn.as_str().to_owned(),
    };
    let conditions = statement.conditions.iter();
    let conditions: Vec<_> = conditions
        .map(|condition| of_condition(condition, request))
        .collect();
    let applies = principal.as_ref().is_none_or(|part| part.matches)
        && action.matches
        && resource.matches
        && conditions.iter().all(|part| part.matches);
    StatementExplanation {
        index,
        sid: statement.sid.clone().map(Into::into),
        effect: statement.effect,
        applies,
        principal,
        action,
        resource,
        conditions,
    }
}

fn of_condition(condition: &Condition, request: &Request<'_>) -> ConditionPart {
    let seen = request.values(&condition.key).iter();
    let seen: Vec<String> = seen.map(|value| value.with_text(ToOwned::to_owned)).collect();
    ConditionPart {
        operator: condition.operator.name(),
        key: condition.key.name().into_owned(),
        matches: condition.holds(request),
        wanted: owned(&condition.values),
        seen: (!seen.is_empty()).then_some(seen),
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Caller => "the caller's policy",
        Side::Resource => "the resource policy",
    }
}

fn reason(
    kind: Authorization,
    outcome: Outcome,
    by: Option<&Deciding>,
    before: bool,
    [caller, resource]: [Option<Verdict>; 2],
) -> String {
    let statement = by.map(|by| {
        let sid = by
            .sid
            .as_ref()
            .map_or_else(String::new, |sid| format!(" `{sid}`"));
        format!("statement {}{sid} of {}", by.statement, side(by.policy))
    });
    let does_it = |verdict: Option<Verdict>| match verdict {
        None => "there is none",
        Some(Verdict::Allow { .. }) => "does",
        Some(Verdict::Silent | Verdict::Deny { .. }) => "does not",
    };
    match (outcome, statement) {
        (Outcome::Allow, Some(statement)) => format!("{statement} allows it"),
        (Outcome::Allow, None) => "the API has no resource policy".to_owned(),
        (Outcome::ExplicitDeny, Some(statement)) if before && kind == Authorization::Lambda => {
            format!("{statement} denies it, before the authorizer is called")
        }
        (Outcome::ExplicitDeny, Some(statement)) => format!("{statement} denies it"),
        (Outcome::ExplicitDeny, None) => "the authorizer denies it".to_owned(),
        (Outcome::ImplicitDeny, _) => match (kind, resource) {
            (Authorization::None | Authorization::Cognito, _) => {
                "the resource policy has to allow it, and no statement does".to_owned()
            }
            (Authorization::IamSameAccount, Some(Verdict::Allow { by_account: true, .. })) => {
                "the resource policy allows it to the account, which leaves it to the caller's policy, and that does not allow it"
                    .to_owned()
            }
            (Authorization::Lambda | Authorization::IamSameAccount, _) => "no statement allows it".to_owned(),
            (Authorization::IamCrossAccount, _) => format!(
                "both policies have to allow it: the caller's ({}) and the resource policy ({})",
                does_it(caller),
                does_it(resource)
            ),
        },
    }
}

#[cfg(test)]
mod tests;
