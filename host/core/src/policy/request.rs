//! What is asked of a policy: who wants to do what, to what, when, and under which circumstances.

use super::{
    arn::{Action, MethodArn, split},
    key::{Context, Key, Value, Values},
};

/// Who calls, as far as the gateway has made sure of it. Callers that an authorizer or a user pool knows are anonymous to policies, as on AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Nobody that IAM knows.
    Anonymous,
    /// A user, a session of a role or of a federated user, or an account itself.
    Aws {
        /// Its account.
        account: &'a str,
        /// Its ARN.
        arn: &'a str,
        /// Of a session: the ARN of its role, which has a path that the session's has not. Without it roles are compared by name.
        role: Option<&'a str>,
    },
    /// A service.
    Service(&'a str),
    /// Somebody that a provider vouches for.
    Federated(&'a str),
}

/// What is asked of a policy.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What is done.
    pub action: Action,
    /// To what.
    pub arn: &'a MethodArn,
    /// Who does it.
    pub caller: Caller<'a>,
    /// When, in seconds since 1970.
    pub now: i64,
    /// All else.
    pub context: &'a dyn Context,
}

impl Request<'_> {
    /// The values of a condition key: those of the context, and where it has none, what follows from the rest of the request.
    pub(super) fn values(&self, key: &Key) -> Values<'_> {
        match self.context.values(key) {
            Values::Absent => Values::of(self.derived(key)),
            known => known,
        }
    }

    fn derived(&self, key: &Key) -> Option<Value<'_>> {
        match key {
            Key::CurrentTime => return Some(Value::Instant(self.now)),
            Key::EpochTime => return Some(Value::Number(self.now)),
            _ => {}
        }
        let Caller::Aws { account, arn, role } = self.caller else {
            return None;
        };
        let text = match key {
            Key::PrincipalAccount => account,
            Key::PrincipalArn => role.unwrap_or(arn),
            Key::PrincipalType => kind(arn)?,
            Key::UserName => last(split(arn)?[5].strip_prefix("user/")?),
            _ => return None,
        };
        Some(Value::Text(text))
    }
}

/// The ARN of the role that a session is of (`aws:PrincipalArn`), as far as it is known: the path of the role is not. None of all others.
pub(super) fn role_of_session(arn: &str) -> Option<String> {
    let [_, partition, "sts", _, account, resource] = split(arn)? else {
        return None;
    };
    let (name, _session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
    Some(format!("arn:{partition}:iam::{account}:role/{name}"))
}

/// `aws:PrincipalType` of an ARN.
fn kind(arn: &str) -> Option<&'static str> {
    let [_, _, service, _, _, resource] = split(arn)?;
    let (first, _) = resource.split_once('/').unwrap_or((resource, ""));
    Some(match (service, first) {
        ("iam", "root") => "Account",
        ("iam", "user") => "User",
        ("sts", "federated-user") => "FederatedUser",
        ("sts", "assumed-role") => "AssumedRole",
        _ => return None,
    })
}

/// What is behind the last slash.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::policy::Facts;

    static ARN: LazyLock<MethodArn> = LazyLock::new(|| {
        MethodArn::read("arn:aws:execute-api:eu-west-1:123456789012:pets/prod/GET/pets/7").unwrap()
    });

    /// A call of nobody in November 2023.
    pub(in crate::policy) fn request(context: &dyn Context) -> Request<'_> {
        Request {
            action: Action::Invoke,
            arn: &ARN,
            caller: Caller::Anonymous,
            now: 1_700_000_000,
            context,
        }
    }

    #[test]
    fn what_the_context_does_not_know_follows_from_the_request() {
        let facts = Facts::default();
        let text = |request: &Request<'_>, name| {
            let value = request.values(&Key::of(name)).single();
            value.map(|value| value.with_text(ToOwned::to_owned))
        };
        let of = |arn, role| Request {
            caller: Caller::Aws {
                account: "123456789012",
                arn,
                role,
            },
            ..request(&facts)
        };
        let user = of("arn:aws:iam::123456789012:user/team/ann", None);
        assert_eq!(text(&user, "aws:username").as_deref(), Some("ann"));
        assert_eq!(text(&user, "aws:PrincipalType").as_deref(), Some("User"));
        assert_eq!(
            text(&user, "aws:PrincipalAccount").as_deref(),
            Some("123456789012")
        );
        let role = "arn:aws:iam::123456789012:role/path/R";
        let session = of("arn:aws:sts::123456789012:assumed-role/R/s", Some(role));
        assert_eq!(text(&session, "aws:PrincipalArn").as_deref(), Some(role));
        assert_eq!(
            text(&session, "aws:PrincipalType").as_deref(),
            Some("AssumedRole")
        );
        assert_eq!(text(&session, "aws:username"), None);
        assert_eq!(
            role_of_session("arn:aws-cn:sts::123456789012:assumed-role/R/s").as_deref(),
            Some("arn:aws-cn:iam::123456789012:role/R")
        );
        for other in [
            role,
            "arn:aws:sts::123456789012:assumed-role/R",
            "arn:aws:sts::1:federated-user/R",
            "x",
        ] {
            assert_eq!(role_of_session(other), None, "{other}");
        }
        let nobody = request(&facts);
        for name in [
            "aws:PrincipalArn",
            "aws:PrincipalType",
            "aws:username",
            "aws:SourceIp",
        ] {
            assert_eq!(text(&nobody, name), None, "{name}");
        }
        assert_eq!(text(&nobody, "aws:EpochTime").as_deref(), Some("1700000000"));
        let mut facts = Facts::default();
        facts.add("aws:EpochTime", ["5".to_owned()]);
        assert_eq!(text(&request(&facts), "aws:EpochTime").as_deref(), Some("5"));
    }
}
