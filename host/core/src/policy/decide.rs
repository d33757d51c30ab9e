//! What comes of the policies of caller and API together, by the kind of authorization.

use serde::{Deserialize, Serialize};

use super::statement::Verdict;

/// How the callers of a method are authorized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Authorization {
    /// Not at all: only the resource policy counts.
    #[default]
    None,
    /// By an authorizer, whose answer is a policy or simply yes or no.
    Lambda,
    /// By a token of a user pool, which is looked at first.
    Cognito,
    /// By IAM, with credentials of the API's own account.
    IamSameAccount,
    /// By IAM, with credentials of another account.
    IamCrossAccount,
}

impl Authorization {
    /// All of them, with how they are written.
    pub const ALL: [(&str, Self); 5] = [
        ("none", Self::None),
        ("lambda", Self::Lambda),
        ("cognito", Self::Cognito),
        ("iam-same-account", Self::IamSameAccount),
        ("iam-cross-account", Self::IamCrossAccount),
    ];

    /// How it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(name, _)| *name)
    }

    /// The one of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    }
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The call goes on.
    Allow,
    /// Nothing allows it.
    ImplicitDeny,
    /// A statement denies it.
    ExplicitDeny,
}

/// One of the two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// That of the caller: what its authorizer or IAM says.
    Caller,
    /// That of the API.
    Resource,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What comes of it.
    pub outcome: Outcome,
    /// Whose statement decides, and its index there. An implicit deny has none, nor have the simple answer of an authorizer and an API without policy.
    pub by: Option<(Side, usize)>,
}

/// Decides before anybody is asked who calls: `None` if that has to be known first.
///
/// | authorization | |
/// |---|---|
/// | `None` | the whole decision |
/// | `Lambda` | an explicit deny of the resource policy; the authorizer is not called then |
/// | `Cognito`, IAM | nothing: the caller is authenticated first |
#[must_use]
pub fn decide_before(kind: Authorization, resource: Option<Verdict>) -> Option<Decision> {
    match (kind, resource) {
        (Authorization::None, _) => Some(decide(kind, None, resource)),
        (Authorization::Lambda, Some(Verdict::Deny { .. })) => Some(decide(kind, None, resource)),
        (
            Authorization::Lambda
            | Authorization::Cognito
            | Authorization::IamSameAccount
            | Authorization::IamCrossAccount,
            _,
        ) => None,
    }
}

/// Decides on what the policies say about a request. `caller`: what the authorizer's or IAM's policy says, `None` if there is none; `resource`: what the API's policy
/// says, `None` if it has none.
///
/// | authorization | allowed if |
/// |---|---|
/// | `None` | the API has no policy, or it allows the call |
/// | `Lambda` | either allows it (table A) |
/// | `Cognito` | the API has no policy, or it allows the call; the caller's does not count |
/// | `IamSameAccount` | either allows it (table A); that the API's policy allows it to the whole account is not enough by itself |
/// | `IamCrossAccount` | both allow it (table B) |
///
/// and neither of those that count denies it. After the decision tables of the Developer Guide of Amazon API Gateway ("How API Gateway resource policies
/// affect authorization workflow"), where table A has "either" and table B "both".
#[must_use]
pub fn decide(kind: Authorization, caller: Option<Verdict>, resource: Option<Verdict>) -> Decision {
    let caller = match kind {
        Authorization::None | Authorization::Cognito => None,
        Authorization::Lambda | Authorization::IamSameAccount | Authorization::IamCrossAccount => {
            Some((Side::Caller, caller.unwrap_or(Verdict::Silent)))
        }
    };
    let own = resource.map(|verdict| (Side::Resource, verdict));
    let sides = [caller, own];
    let decision = |outcome, (side, verdict)| {
        let statement = match verdict {
            Verdict::Allow { statement, .. } | Verdict::Deny { statement } => statement,
            Verdict::Silent => None,
        };
        Decision {
            outcome,
            by: statement.map(|statement| (side, statement)),
        }
    };
    let denies = |(_, verdict): &(Side, Verdict)| matches!(verdict, Verdict::Deny { .. });
    if let Some(side) = sides.into_iter().flatten().find(denies) {
        return decision(Outcome::ExplicitDeny, side);
    }
    let allows = |side: &Option<(Side, Verdict)>| {
        side.filter(|(side, verdict)| match verdict {
            // within the account it leaves the decision to the caller's policy
            Verdict::Allow { by_account: true, .. } => {
                *side == Side::Caller || kind != Authorization::IamSameAccount
            }
            Verdict::Allow { .. } => true,
            Verdict::Silent | Verdict::Deny { .. } => false,
        })
    };
    let [of_caller, of_resource] = sides.map(|side| allows(&side));
    let allowed = match kind {
        Authorization::None | Authorization::Cognito if own.is_none() => {
            return Decision {
                outcome: Outcome::Allow,
                by: None,
            };
        }
        Authorization::None | Authorization::Cognito => of_resource,
        Authorization::Lambda | Authorization::IamSameAccount => of_caller.or(of_resource),
        Authorization::IamCrossAccount => of_resource.and(of_caller),
    };
    match allowed {
        Some(side) => decision(Outcome::Allow, side),
        None => Decision {
            outcome: Outcome::ImplicitDeny,
            by: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: Option<Verdict> = Some(Verdict::Allow {
        statement: Some(1),
        by_account: false,
    });
    const BY_ACCOUNT: Option<Verdict> = Some(Verdict::Allow {
        statement: Some(3),
        by_account: true,
    });
    const SILENT: Option<Verdict> = Some(Verdict::Silent);
    const DENY: Option<Verdict> = Some(Verdict::Deny { statement: Some(2) });

    use Authorization::{Cognito, IamCrossAccount, IamSameAccount, Lambda};
    use Outcome::{Allow, ExplicitDeny, ImplicitDeny};

    #[test]
    fn table_a_and_table_b_hold_row_by_row() {
        for (caller, resource, a, b) in [
            (ALLOW, ALLOW, Allow, Allow),
            (ALLOW, SILENT, Allow, ImplicitDeny),
            (ALLOW, DENY, ExplicitDeny, ExplicitDeny),
            (SILENT, ALLOW, Allow, ImplicitDeny),
            (SILENT, SILENT, ImplicitDeny, ImplicitDeny),
            (SILENT, DENY, ExplicitDeny, ExplicitDeny),
            (DENY, ALLOW, ExplicitDeny, ExplicitDeny),
            (DENY, SILENT, ExplicitDeny, ExplicitDeny),
            (DENY, DENY, ExplicitDeny, ExplicitDeny),
        ] {
            for (kind, expected) in [(Lambda, a), (IamSameAccount, a), (IamCrossAccount, b)] {
                let decision = decide(kind, caller, resource);
                assert_eq!(decision.outcome, expected, "{kind:?} {caller:?} {resource:?}");
                assert_eq!(decision.by.is_some(), expected != ImplicitDeny);
            }
        }
    }

    #[test]
    fn an_api_without_a_policy_leaves_it_to_the_caller() {
        for (caller, lambda, same, cross) in [
            (ALLOW, Allow, Allow, ImplicitDeny),
            (SILENT, ImplicitDeny, ImplicitDeny, ImplicitDeny),
            (DENY, ExplicitDeny, ExplicitDeny, ExplicitDeny),
            (None, ImplicitDeny, ImplicitDeny, ImplicitDeny),
        ] {
            for (kind, expected) in [(Lambda, lambda), (IamSameAccount, same), (IamCrossAccount, cross)] {
                assert_eq!(
                    decide(kind, caller, None).outcome,
                    expected,
                    "{kind:?} {caller:?}"
                );
            }
        }
        // the simple answer of an authorizer
        assert_eq!(decide(Lambda, Some(true.into()), None).outcome, Allow);
        assert_eq!(decide(Lambda, Some(false.into()), ALLOW).outcome, ExplicitDeny);
        assert_eq!(decide(Lambda, Some(true.into()), None).by, None);
    }

    #[test]
    fn without_authorization_and_with_a_user_pool_the_resource_policy_is_judged_alone() {
        for (resource, expected) in [
            (None, Allow),
            (ALLOW, Allow),
            (SILENT, ImplicitDeny),
            (DENY, ExplicitDeny),
        ] {
            for caller in [None, ALLOW, SILENT, DENY] {
                assert_eq!(decide(Authorization::None, caller, resource).outcome, expected);
                assert_eq!(decide(Cognito, caller, resource).outcome, expected);
            }
            let before = decide_before(Authorization::None, resource);
            assert_eq!(before.map(|decision| decision.outcome), Some(expected));
        }
    }

    #[test]
    fn before_the_caller_is_known_only_an_explicit_deny_ends_a_call_to_an_authorizer() {
        for resource in [None, ALLOW, SILENT, DENY] {
            for kind in [Cognito, IamSameAccount, IamCrossAccount] {
                assert_eq!(decide_before(kind, resource), None);
            }
            let before = decide_before(Lambda, resource).map(|decision| decision.outcome);
            assert_eq!(before, (resource == DENY).then_some(ExplicitDeny));
        }
    }

    #[test]
    fn what_is_granted_to_an_account_is_granted_by_its_own_policies() {
        for (kind, caller, expected) in [
            (IamSameAccount, SILENT, ImplicitDeny),
            (IamSameAccount, ALLOW, Allow),
            (IamCrossAccount, SILENT, ImplicitDeny),
            (IamCrossAccount, ALLOW, Allow),
        ] {
            assert_eq!(
                decide(kind, caller, BY_ACCOUNT).outcome,
                expected,
                "{kind:?} {caller:?}"
            );
        }
    }

    #[test]
    fn the_statement_that_decides_is_named() {
        let other = Some(Verdict::Deny { statement: Some(9) });
        for (kind, caller, resource, by) in [
            (Lambda, ALLOW, SILENT, Some((Side::Caller, 1))),
            (Lambda, SILENT, ALLOW, Some((Side::Resource, 1))),
            (Lambda, DENY, other, Some((Side::Caller, 2))),
            (Lambda, ALLOW, other, Some((Side::Resource, 9))),
            (IamCrossAccount, ALLOW, BY_ACCOUNT, Some((Side::Caller, 1))),
            (IamSameAccount, SILENT, BY_ACCOUNT, None),
            (Cognito, None, ALLOW, Some((Side::Resource, 1))),
        ] {
            assert_eq!(decide(kind, caller, resource).by, by, "{kind:?}");
        }
        for (name, kind) in Authorization::ALL {
            assert_eq!((kind.name(), Authorization::of(name)), (name, Some(kind)));
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
    }
}
