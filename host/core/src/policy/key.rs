//! Condition keys: their names, and where the values of a request come from.

use std::{borrow::Cow, net::IpAddr};

use super::small::Small;

/// The name of a condition key. Names have no case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `aws:CurrentTime`: when the request came.
    CurrentTime,
    /// `aws:EpochTime`: the same as seconds since 1970.
    EpochTime,
    /// `aws:Referer`: the field `Referer` of the request.
    Referer,
    /// `aws:SecureTransport`: whether it came over TLS.
    SecureTransport,
    /// `aws:SourceArn`: the resource that makes the request; no request to a gateway has it.
    SourceArn,
    /// `aws:SourceIp`: the client's address.
    SourceIp,
    /// `aws:SourceVpc`: the network that it came from; likewise.
    SourceVpc,
    /// `aws:SourceVpce`: the endpoint that it came through; likewise.
    SourceVpce,
    /// `aws:VpcSourceIp`: the client's address in that network; likewise.
    VpcSourceIp,
    /// `aws:UserAgent`: the field `User-Agent` of the request.
    UserAgent,
    /// `aws:PrincipalAccount`: the caller's account. This and what follows: only after IAM authorization.
    PrincipalAccount,
    /// `aws:PrincipalArn`: the caller; of a session its role.
    PrincipalArn,
    /// `aws:PrincipalOrgID`: the organization of the caller's account.
    PrincipalOrgId,
    /// `aws:PrincipalOrgPaths`: where in it; may have several values.
    PrincipalOrgPaths,
    /// `aws:PrincipalTag/NAME`: a tag of the caller; the name in lower case.
    PrincipalTag(Box<str>),
    /// `aws:PrincipalType`: `Account`, `User`, `FederatedUser` or `AssumedRole`.
    PrincipalType,
    /// `aws:TokenIssueTime`: when temporary credentials were issued.
    TokenIssueTime,
    /// `aws:MultiFactorAuthPresent`: whether they were issued for more than one factor.
    MultiFactorAuthPresent,
    /// `aws:MultiFactorAuthAge`: seconds since then.
    MultiFactorAuthAge,
    /// `aws:userid`: the caller's unique id.
    UserId,
    /// `aws:username`: the name of an IAM user.
    UserName,
    /// Any other, in lower case.
    Other(Box<str>),
}

/// All keys with a fixed name.
const NAMES: [(&str, Key); 20] = [
    ("aws:CurrentTime", Key::CurrentTime),
    ("aws:EpochTime", Key::EpochTime),
    ("aws:Referer", Key::Referer),
    ("aws:SecureTransport", Key::SecureTransport),
    ("aws:SourceArn", Key::SourceArn),
    ("aws:SourceIp", Key::SourceIp),
    ("aws:SourceVpc", Key::SourceVpc),
    ("aws:SourceVpce", Key::SourceVpce),
    ("aws:VpcSourceIp", Key::VpcSourceIp),
    ("aws:UserAgent", Key::UserAgent),
    ("aws:PrincipalAccount", Key::PrincipalAccount),
    ("aws:PrincipalArn", Key::PrincipalArn),
    ("aws:PrincipalOrgID", Key::PrincipalOrgId),
    ("aws:PrincipalOrgPaths", Key::PrincipalOrgPaths),
    ("aws:PrincipalType", Key::PrincipalType),
    ("aws:TokenIssueTime", Key::TokenIssueTime),
    ("aws:MultiFactorAuthPresent", Key::MultiFactorAuthPresent),
    ("aws:MultiFactorAuthAge", Key::MultiFactorAuthAge),
    ("aws:userid", Key::UserId),
    ("aws:username", Key::UserName),
];

/// What names of tags begin with.
const TAG: &str = "aws:principaltag/";

impl Key {
    /// The key of a name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((_, key)) = known {
            return key.clone();
        }
        let name = name.to_ascii_lowercase();
        match name.strip_prefix(TAG) {
            Some(tag) if !tag.is_empty() => Self::PrincipalTag(tag.into()),
            _ => Self::Other(name.into()),
        }
    }

    /// Its name; with the case of AWS's documentation where that is known.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::PrincipalTag(tag) => format!("aws:PrincipalTag/{tag}").into(),
            Self::Other(name) => Cow::Borrowed(name),
            known => {
                let name = NAMES.iter().find(|(_, key)| key == known);
                Cow::Borrowed(name.map_or("", |(name, _)| *name))
            }
        }
    }

    /// The known name that is nearest to one that is not known.
    pub(super) fn nearest(name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        let distance = |known: &str| strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &name);
        let (known, _) = NAMES.iter().min_by_key(|(known, _)| distance(known))?;
        (distance(known) <= 4).then_some(known)
    }

    /// Whether it is one that only requests within AWS have.
    pub(super) fn is_nobodys(&self) -> bool {
        matches!(
            self,
            Self::SourceArn | Self::SourceVpc | Self::SourceVpce | Self::VpcSourceIp
        )
    }

    /// Whether a request may have several values of it.
    pub(super) fn has_many(&self) -> bool {
        *self == Self::PrincipalOrgPaths
    }
}

/// A value of a condition key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text; numbers, instants and the like may be given so, too.
    Text(&'a str),
    /// An address.
    Address(IpAddr),
    /// An instant, in seconds since 1970.
    Instant(i64),
    /// A number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

impl Value<'_> {
    /// Calls `then` with the value as text.
    pub(super) fn with_text<T>(self, then: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Text(text) => then(text),
            Self::Address(address) => then(Small::of(address.to_canonical()).as_str()),
            Self::Instant(seconds) => then(Small::of(super::date::Written(seconds)).as_str()),
            Self::Number(number) => then(Small::of(number).as_str()),
            Self::Flag(flag) => then(if flag { "true" } else { "false" }),
        }
    }
}

/// What a request has of a condition key.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Nothing: the key is not there.
    Absent,
    /// One value. An empty text is as if the key were not there.
    One(Value<'a>),
    /// Several, or none. Empty texts do not count.
    Many(&'a [String]),
}

impl<'a> Values<'a> {
    /// A value, if there is one.
    #[must_use]
    pub fn of(value: Option<Value<'a>>) -> Self {
        value.map_or(Self::Absent, Self::One)
    }

    /// All that count.
    pub(super) fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let (one, many): (Option<Value<'a>>, &[String]) = match self {
            Self::Absent => (None, &[]),
            Self::One(value) => (Some(value), &[]),
            Self::Many(values) => (None, values),
        };
        let many = many.iter().map(|value| Value::Text(value));
        one.into_iter()
            .chain(many)
            .filter(|value| *value != Value::Text(""))
    }

    /// The only one, if it is one.
    pub(super) fn single(self) -> Option<Value<'a>> {
        let mut all = self.iter();
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }
}

/// What a request has of condition keys. It is asked for what a policy looks at, when it does, so that nothing has to be made ready.
pub trait Context {
    /// The values of a key. `aws:CurrentTime`, `aws:EpochTime`, and what the caller's ARN says (`aws:PrincipalArn`, `aws:PrincipalAccount`,
    /// `aws:PrincipalType`, `aws:username`) need not be known here.
    fn values(&self, key: &Key) -> Values<'_>;
}

/// Nothing is known of the request.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Context for Nothing {
    fn values(&self, _key: &Key) -> Values<'_> {
        Values::Absent
    }
}

/// Facts that were written down: for the simulator and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(Vec<(Key, Vec<String>)>);

impl Facts {
    /// Adds values of a key.
    pub fn add(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let key = Key::of(name);
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, all)) => all.extend(values),
            None => self.0.push((key, values.into_iter().collect())),
        }
    }

    /// All keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().map(|(key, _)| key)
    }
}

impl Context for Facts {
    fn values(&self, key: &Key) -> Values<'_> {
        match self.0.iter().find(|(known, _)| known == key) {
            Some((_, values)) => match values.as_slice() {
                [value] => Values::One(Value::Text(value)),
                values => Values::Many(values),
            },
            None => Values::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_case_and_are_written_as_documented() {
        for (name, written) in [
            ("AWS:sourceip", "aws:SourceIp"),
            ("aws:UserName", "aws:username"),
            ("aws:principaltag/Team", "aws:PrincipalTag/team"),
            ("Foo:Bar", "foo:bar"),
            ("aws:PrincipalTag/", "aws:principaltag/"),
        ] {
            assert_eq!(Key::of(name).name(), written);
            assert_eq!(Key::of(written), Key::of(name));
        }
        for (name, key) in &NAMES {
            assert_eq!((&Key::of(name), &*key.name()), (key, *name));
        }
        assert_eq!(Key::nearest("aws:SourceIP4"), Some("aws:SourceIp"));
        assert_eq!(Key::nearest("something:else"), None);
    }

    #[test]
    fn empty_texts_are_no_values() {
        let mut facts = Facts::default();
        facts.add("a:b", ["".to_owned()]);
        facts.add("A:C", ["x".to_owned()]);
        facts.add("a:c", ["".to_owned(), "y".to_owned()]);
        let count = |name| facts.values(&Key::of(name)).iter().count();
        assert_eq!((count("a:b"), count("a:c"), count("a:d")), (0, 2, 0));
        assert!(facts.values(&Key::of("a:c")).single().is_none());
        assert_eq!(facts.keys().count(), 2);
    }

    #[test]
    fn values_are_written_as_text() {
        for (value, text) in [
            (Value::Address("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1"),
            (Value::Address("2001:db8::1".parse().unwrap()), "2001:db8::1"),
            (Value::Instant(951_782_400), "2000-02-29T00:00:00Z"),
            (Value::Number(-3), "-3"),
            (Value::Flag(true), "true"),
            (Value::Text("x"), "x"),
        ] {
            value.with_text(|written| assert_eq!(written, text));
        }
    }
}
