//! Whose key it is, and what policies of APIs may ask of that.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_sigv4::Timestamp;

/// Whose key it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// ARN of the principal.
    pub arn: Option<String>,
    /// Account.
    pub account: Option<String>,
    /// Unique id.
    pub user_id: Option<String>,
    /// What it may do, as a policy.
    pub policy: Option<String>,
    /// What else policies may ask of it.
    pub attributes: Attributes,
}

/// What policies may ask of a caller, besides who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Tags by name.
    pub tags: BTreeMap<String, String>,
    /// Organization of the account.
    pub org_id: Option<String>,
    /// Where in it the account is.
    pub org_paths: Vec<String>,
    /// When temporary credentials were issued.
    pub issued: Option<Timestamp>,
    /// Whether they were issued to somebody who had shown more than one factor.
    pub mfa: Option<bool>,
    /// When that was.
    pub mfa_at: Option<Timestamp>,
}

impl Identity {
    /// An identity; the account is that of the ARN when it is not given.
    #[must_use]
    pub fn new(arn: Option<String>, account: Option<String>, user_id: Option<String>) -> Self {
        // arn:partition:service:region:account:resource
        let of_arn = || {
            arn.as_ref()?
                .split(':')
                .nth(4)
                .filter(|account| !account.is_empty())
        };
        let account = account.or_else(|| of_arn().map(str::to_owned));
        Self {
            arn,
            account,
            user_id,
            ..Self::default()
        }
    }

    /// The same, and what it may do.
    #[must_use]
    pub fn with_policy(mut self, policy: Option<&serde_json::Value>) -> Self {
        self.policy = policy.map(ToString::to_string);
        self
    }

    /// The same, and what else is known of it. Who has shown a factor at some time has shown one.
    ///
    /// # Errors
    /// What contradicts itself, with the name of the member.
    pub fn with_attributes(mut self, mut attributes: Attributes) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        for name in attributes.tags.keys() {
            if name.is_empty() {
                return Err("tags: a name is empty".to_owned());
            }
            // condition keys have no case
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(format!("tags: {name:?} is there in another case, too"));
            }
        }
        if attributes.mfa_at.is_some() && !*attributes.mfa.get_or_insert(true) {
            return Err("mfa: false, and there is a time of it".to_owned());
        }
        self.attributes = attributes;
        Ok(self)
    }
}

/// Reads a time.
///
/// # Errors
/// It is none.
pub fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_extended(text).ok_or("is no time such as 2030-01-31T12:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_that_of_the_arn() {
        let identity = |arn: &str| Identity::new(Some(arn.into()), None, None).account;
        assert_eq!(
            identity("arn:aws:iam::123456789012:user/a:b"),
            Some("123456789012".into())
        );
        assert_eq!(identity("arn:aws:iam:::user/a"), None);
        assert_eq!(identity("arn:x"), None);
        let given = Identity::new(Some("arn:aws:iam::1:user/a".into()), Some("2".into()), None);
        assert_eq!(given.account, Some("2".into()));
    }

    #[test]
    fn attributes_that_contradict_themselves_are_refused() {
        let with = |tags: &[&str], mfa, mfa_at| {
            let tags = tags.iter().map(|name| ((*name).to_owned(), String::new()));
            Identity::default().with_attributes(Attributes {
                tags: tags.collect(),
                mfa,
                mfa_at,
                ..Attributes::default()
            })
        };
        let at = Some(Timestamp(7));
        for (identity, mfa) in [
            (with(&["Team", "cost center"], None, None), None),
            (with(&[], Some(false), None), Some(false)),
            (with(&[], None, at), Some(true)),
            (with(&[], Some(true), at), Some(true)),
        ] {
            assert_eq!(identity.unwrap().attributes.mfa, mfa);
        }
        for (identity, wanted) in [
            (with(&["Team", "team"], None, None), "tags: \"team\" is there"),
            (with(&[""], None, None), "tags: a name is empty"),
            (with(&[], Some(false), at), "mfa: false, and"),
        ] {
            let error = identity.unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
