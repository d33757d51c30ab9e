//! Whom a statement of a resource policy is about.

use super::{
    arn::split,
    request::{Caller, last},
};

/// One of those that a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `*`, or `{"AWS": "*"}`: everybody, known or not.
    Everybody,
    /// An account, by number or by the ARN of its root.
    Account(Box<str>),
    /// A user, a role or a session.
    Arn(Box<str>),
    /// A service; `*` is any.
    Service(Box<str>),
    /// A provider of identities; `*` is any.
    Federated(Box<str>),
    /// What no caller of an API can be: a canonical user, the id of a principal that is gone.
    Nobody,
}

/// How a name and a caller go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grasp {
    /// Not at all.
    Not,
    /// By the caller's account.
    ByAccount,
    /// By the caller itself, a role of which it is a session, or everybody.
    Direct,
}

impl Name {
    /// How it and a caller go together.
    pub(super) fn grasp(&self, caller: &Caller<'_>) -> Grasp {
        let direct = match (self, caller) {
            (Self::Everybody, _) => true,
            (Self::Account(named), Caller::Aws { account, .. }) => {
                return if **named == **account {
                    Grasp::ByAccount
                } else {
                    Grasp::Not
                };
            }
            (Self::Arn(named), Caller::Aws { arn, role, .. }) => {
                **named == **arn
                    || match role {
                        Some(role) => **named == **role,
                        None => is_behind(named, arn),
                    }
            }
            (Self::Service(named), Caller::Service(name))
            | (Self::Federated(named), Caller::Federated(name)) => **named == *"*" || **named == **name,
            _ => false,
        };
        if direct { Grasp::Direct } else { Grasp::Not }
    }
}

/// Whether a session is one of a role or of a federated user, as far as the names say.
fn is_behind(named: &str, session: &str) -> bool {
    let (Some(named), Some(session)) = (split(named), split(session)) else {
        return false;
    };
    let [_, partition, "iam", _, account, resource] = named else {
        return false;
    };
    let [_, own_partition, "sts", _, own_account, own] = session else {
        return false;
    };
    let is_one = match (resource.split_once('/'), own.split_once('/')) {
        (Some(("role", role)), Some(("assumed-role", own))) => {
            own.split_once('/').is_some_and(|(name, _)| last(role) == name)
        }
        (Some(("user", user)), Some(("federated-user", own))) => last(user) == own,
        _ => false,
    };
    is_one && partition == own_partition && account == own_account
}

/// Reads a value behind `AWS`. An error says what is wrong with it; `Ok` may have a warning with it.
pub(super) fn aws(value: &str) -> Result<(Name, Option<&'static str>), &'static str> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if value == "*" {
        return Ok((Name::Everybody, None));
    }
    if is_account(value) {
        return Ok((Name::Account(value.into()), None));
    }
    if value.contains(['*', '?']) {
        return Err(
            "has a wildcard: only `*` alone may stand for principals (a condition on `aws:PrincipalArn` can have more)",
        );
    }
    if let Some([arn, _, service, _, account, resource]) = split(value) {
        let named = ["root", "user/", "role/", "assumed-role/", "federated-user/"];
        let good = arn == "arn"
            && matches!(service, "iam" | "sts")
            && is_account(account)
            && named.iter().any(|begin| resource.starts_with(begin));
        return match resource {
            _ if !good => Err("is the ARN of no account, user, role or session"),
            "root" => Ok((Name::Account(account.into()), None)),
            _ => Ok((Name::Arn(value.into()), None)),
        };
    }
    let is_id = (16..=128).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if is_id {
        let warning = "is the id of a principal that is gone, and nobody's any more";
        return Ok((Name::Nobody, Some(warning)));
    }
    Err("is neither `*`, an account of twelve digits, nor an ARN")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(arn: &'static str, role: Option<&'static str>) -> Caller<'static> {
        Caller::Aws {
            account: "111122223333",
            arn,
            role,
        }
    }

    #[test]
    fn callers_are_named_by_themselves_their_role_or_their_account() {
        let user = caller("arn:aws:iam::111122223333:user/team/ann", None);
        let session = caller("arn:aws:sts::111122223333:assumed-role/Dev/s1", None);
        let federated = caller("arn:aws:sts::111122223333:federated-user/ann", None);
        let known = caller(
            "arn:aws:sts::111122223333:assumed-role/Dev/s1",
            Some("arn:aws:iam::111122223333:role/a/Dev"),
        );
        for (named, callers) in [
            ("*", [Grasp::Direct; 4]),
            ("111122223333", [Grasp::ByAccount; 4]),
            ("arn:aws:iam::111122223333:root", [Grasp::ByAccount; 4]),
            ("arn:aws:iam::444455556666:root", [Grasp::Not; 4]),
            (
                "arn:aws:iam::111122223333:user/team/ann",
                [Grasp::Direct, Grasp::Not, Grasp::Direct, Grasp::Not],
            ),
            (
                "arn:aws:iam::111122223333:role/a/Dev",
                [Grasp::Not, Grasp::Direct, Grasp::Not, Grasp::Direct],
            ),
            (
                "arn:aws:iam::111122223333:role/Dev",
                [Grasp::Not, Grasp::Direct, Grasp::Not, Grasp::Not],
            ),
            (
                "arn:aws:sts::111122223333:assumed-role/Dev/s1",
                [Grasp::Not, Grasp::Direct, Grasp::Not, Grasp::Direct],
            ),
            ("arn:aws:iam::444455556666:role/Dev", [Grasp::Not; 4]),
            ("arn:aws-cn:iam::111122223333:role/Dev", [Grasp::Not; 4]),
            ("AIDACKCEVSQ6C2EXAMPLE", [Grasp::Not; 4]),
        ] {
            let (name, _) = aws(named).unwrap();
            let seen = [user, session, federated, known].map(|caller| name.grasp(&caller));
            assert_eq!(seen, callers, "{named}");
            let anonymous = name.grasp(&Caller::Anonymous);
            assert_eq!(anonymous == Grasp::Direct, named == "*", "{named}");
        }
        let service = Name::Service("events.amazonaws.com".into());
        assert_eq!(
            service.grasp(&Caller::Service("events.amazonaws.com")),
            Grasp::Direct
        );
        assert_eq!(
            service.grasp(&Caller::Federated("events.amazonaws.com")),
            Grasp::Not
        );
        assert_eq!(
            Name::Federated("*".into()).grasp(&Caller::Federated("x")),
            Grasp::Direct
        );
        assert_eq!(Name::Service("*".into()).grasp(&Caller::Anonymous), Grasp::Not);
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for wrong in [
            "",
            "ann",
            "11112222333",
            "arn:aws:iam::111122223333:role/*",
            "arn:aws:iam::111122223333:group/x",
            "arn:aws:iam::1:root",
            "arn:aws:s3:::bucket",
            "1111222233*",
        ] {
            assert!(aws(wrong).is_err(), "{wrong}");
        }
    }
}
