//! Conditions: an operator, a key and values, read once and held against a request.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipnet::IpNet;

use super::{
    arn::split,
    date,
    key::{Key, Value},
    pattern::{Pattern, Reading},
    request::Request,
};
use crate::cidr;

/// What a condition compares, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Text,
    TextIgnoringCase,
    Like,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Address,
    Arn,
    Null,
}

/// How numbers and dates are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, seen: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => seen == wanted,
            Self::Less => seen < wanted,
            Self::LessOrEqual => seen <= wanted,
            Self::Greater => seen > wanted,
            Self::GreaterOrEqual => seen >= wanted,
        }
    }
}

/// All operators: name, what is compared, and whether it has to be otherwise. `ArnEquals` does what `ArnLike` does, as on AWS.
const OPERATORS: [(&str, Base, bool); 27] = [
    ("StringEquals", Base::Text, false),
    ("StringNotEquals", Base::Text, true),
    ("StringEqualsIgnoreCase", Base::TextIgnoringCase, false),
    ("StringNotEqualsIgnoreCase", Base::TextIgnoringCase, true),
    ("StringLike", Base::Like, false),
    ("StringNotLike", Base::Like, true),
    ("NumericEquals", Base::Number(Order::Equal), false),
    ("NumericNotEquals", Base::Number(Order::Equal), true),
    ("NumericLessThan", Base::Number(Order::Less), false),
    ("NumericLessThanEquals", Base::Number(Order::LessOrEqual), false),
    ("NumericGreaterThan", Base::Number(Order::Greater), false),
    (
        "NumericGreaterThanEquals",
        Base::Number(Order::GreaterOrEqual),
        false,
    ),
    ("DateEquals", Base::Date(Order::Equal), false),
    ("DateNotEquals", Base::Date(Order::Equal), true),
    ("DateLessThan", Base::Date(Order::Less), false),
    ("DateLessThanEquals", Base::Date(Order::LessOrEqual), false),
    ("DateGreaterThan", Base::Date(Order::Greater), false),
    ("DateGreaterThanEquals", Base::Date(Order::GreaterOrEqual), false),
    ("Bool", Base::Bool, false),
    ("BinaryEquals", Base::Binary, false),
    ("IpAddress", Base::Address, false),
    ("NotIpAddress", Base::Address, true),
    ("ArnEquals", Base::Arn, false),
    ("ArnNotEquals", Base::Arn, true),
    ("ArnLike", Base::Arn, false),
    ("ArnNotLike", Base::Arn, true),
    ("Null", Base::Null, false),
];

/// How several values of a request count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    Any,
    All,
}

const QUANTIFIERS: [(&str, Quantifier); 2] = [
    ("ForAnyValue:", Quantifier::Any),
    ("ForAllValues:", Quantifier::All),
];

/// What makes an operator hold where the key is absent.
const IF_EXISTS: &str = "IfExists";

/// A name as it stands before the keys of a condition: `ForAnyValue:StringLikeIfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    quantifier: Option<Quantifier>,
    name: &'static str,
    base: Base,
    negated: bool,
    if_exists: bool,
}

impl Operator {
    /// Reads a name. Names have no case.
    pub(super) fn read(name: &str) -> Result<Self, String> {
        let begins = |text: &str, with: &str| {
            let (start, rest) = text.split_at_checked(with.len())?;
            start.eq_ignore_ascii_case(with).then(|| rest.to_owned())
        };
        let quantified = QUANTIFIERS
            .iter()
            .find_map(|(prefix, quantifier)| Some((begins(name, prefix)?, *quantifier)));
        let (rest, quantifier) = match quantified {
            Some((rest, quantifier)) => (rest, Some(quantifier)),
            None => (name.to_owned(), None),
        };
        let find = |name: &str| {
            OPERATORS
                .iter()
                .find(|(known, ..)| known.eq_ignore_ascii_case(name))
        };
        let without = rest
            .len()
            .checked_sub(IF_EXISTS.len())
            .and_then(|at| rest.split_at_checked(at));
        let without = without.filter(|(_, end)| end.eq_ignore_ascii_case(IF_EXISTS));
        let (found, if_exists) = match without {
            Some((base, _)) => (find(base), true),
            None => (find(&rest), false),
        };
        let Some((name, base, negated)) = found else {
            return Err(unknown(name));
        };
        if *base == Base::Null && (quantifier.is_some() || if_exists) {
            return Err(format!(
                "`{name}` asks whether the key is there: it is neither quantified nor `{IF_EXISTS}`"
            ));
        }
        Ok(Self {
            quantifier,
            name,
            base: *base,
            negated: *negated,
            if_exists,
        })
    }

    /// Its name as AWS writes it.
    pub(super) fn name(&self) -> String {
        let prefix = QUANTIFIERS
            .iter()
            .find(|(_, known)| Some(*known) == self.quantifier);
        let prefix = prefix.map_or("", |(prefix, _)| *prefix);
        let suffix = if self.if_exists { IF_EXISTS } else { "" };
        format!("{prefix}{}{suffix}", self.name)
    }

    /// Whether it looks at the values of a request one by one and says how they count together.
    pub(super) fn is_quantified(&self) -> bool {
        self.quantifier.is_some() || self.base == Base::Null
    }

    /// Whether it holds for any request that has not the key.
    pub(super) fn holds_for_none(&self) -> bool {
        match self.quantifier {
            Some(Quantifier::All) => true,
            Some(Quantifier::Any) => self.if_exists,
            None => self.if_exists || self.negated,
        }
    }
}

fn unknown(name: &str) -> String {
    let distance = |known: &str| strsim::damerau_levenshtein(known, name);
    let nearest = OPERATORS
        .iter()
        .map(|(known, ..)| *known)
        .min_by_key(|known| distance(known));
    match nearest.filter(|known| distance(known) <= 4) {
        Some(known) => format!("`{name}` is no operator; `{known}`?"),
        None => format!("`{name}` is no operator"),
    }
}

/// The values of a policy, ready to be compared.
#[derive(Clone, Debug, PartialEq)]
enum Tests {
    Text(Box<[Pattern]>),
    Number(Box<[f64]>),
    /// In milliseconds.
    Date(Box<[i64]>),
    Bool(Box<[Pattern]>),
    /// In base64: it is the same exactly if the bytes are.
    Binary(Box<[Box<str>]>),
    Address(Box<[IpNet]>),
    Arn(Box<[ArnPattern]>),
    /// Whether it may be absent, and whether it may be there.
    Null {
        absent: bool,
        present: bool,
    },
}

/// The pattern of an ARN: each of its parts for itself.
#[derive(Clone, Debug, PartialEq)]
enum ArnPattern {
    Any,
    Parts(Box<[Pattern; 6]>),
}

/// One operator with one key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// The operator.
    pub(super) operator: Operator,
    /// The key.
    pub(super) key: Key,
    /// The values as they stand in the policy.
    pub(super) values: Box<[Box<str>]>,
    tests: Tests,
}

impl Condition {
    /// Makes it ready. An error has the index of the value that is wrong, and what is wrong with it.
    pub(super) fn new(
        operator: Operator,
        key: Key,
        values: Box<[Box<str>]>,
        variables: bool,
    ) -> Result<Self, Vec<(usize, String)>> {
        let exact = Reading {
            wildcards: false,
            variables,
        };
        let wild = Reading {
            wildcards: true,
            variables,
        };
        let tests = match operator.base {
            Base::Text | Base::TextIgnoringCase => {
                Tests::Text(all(&values, |value| Pattern::read(value, exact))?)
            }
            Base::Like => Tests::Text(all(&values, |value| Pattern::read(value, wild))?),
            Base::Number(_) => Tests::Number(all(&values, |value| {
                number(value).ok_or_else(|| "is no number".to_owned())
            })?),
            Base::Date(_) => Tests::Date(all(&values, |value| {
                let wrong = || "is no instant, e.g. `2026-01-31T12:00:00Z`, or seconds since 1970".to_owned();
                date::read(value).ok_or_else(wrong)
            })?),
            Base::Bool => Tests::Bool(all(&values, |value| {
                let pattern = Pattern::read(value, exact)?;
                if pattern.keys().next().is_none() && flag(value).is_none() {
                    return Err("is neither `true` nor `false`".to_owned());
                }
                Ok(pattern)
            })?),
            Base::Binary => Tests::Binary(all(&values, |value| match STANDARD.decode(value) {
                Ok(_) => Ok(value.into()),
                Err(error) => Err(format!("is not in base64: {error}")),
            })?),
            Base::Address => Tests::Address(all(&values, |value| {
                cidr::block(value)
                    .ok_or_else(|| "is neither an address nor a range of them (CIDR)".to_owned())
            })?),
            Base::Arn => Tests::Arn(all(&values, |value| ArnPattern::read(value, wild))?),
            Base::Null => {
                let wanted = all(&values, |value| {
                    flag(value).ok_or_else(|| "is neither `true` nor `false`".to_owned())
                })?;
                Tests::Null {
                    absent: wanted.contains(&true),
                    present: wanted.contains(&false),
                }
            }
        };
        Ok(Self {
            operator,
            key,
            values,
            tests,
        })
    }

    /// The condition keys of variables in its values.
    pub(super) fn variables(&self) -> Vec<&Key> {
        match &self.tests {
            Tests::Text(patterns) | Tests::Bool(patterns) => {
                patterns.iter().flat_map(Pattern::keys).collect()
            }
            Tests::Arn(patterns) => {
                let parts = patterns.iter().filter_map(|pattern| match pattern {
                    ArnPattern::Any => None,
                    ArnPattern::Parts(parts) => Some(parts.iter()),
                });
                parts.flatten().flat_map(Pattern::keys).collect()
            }
            Tests::Number(_) | Tests::Date(_) | Tests::Binary(_) | Tests::Address(_) | Tests::Null { .. } => {
                Vec::new()
            }
        }
    }

    /// Whether it holds for a request. A key without values counts as absent; then negated operators hold. Of several values without `ForAnyValue:`
    /// or `ForAllValues:` one is enough, and for a negated operator none may match.
    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        let mut values = request.values(&self.key).iter().peekable();
        let is_absent = values.peek().is_none();
        if let Tests::Null { absent, present } = self.tests {
            return if is_absent { absent } else { present };
        }
        if is_absent {
            return self.operator.holds_for_none();
        }
        let negated = self.operator.negated;
        let mut matches = values.map(|value| self.matches(value, request));
        match self.operator.quantifier {
            None => matches.any(|matches| matches) != negated,
            Some(Quantifier::Any) => matches.any(|matches| matches != negated),
            Some(Quantifier::All) => matches.all(|matches| matches != negated),
        }
    }

    /// Whether a value is as any of the policy's, before negation.
    fn matches(&self, value: Value<'_>, request: &Request<'_>) -> bool {
        match (&self.tests, self.operator.base) {
            (Tests::Text(wanted), Base::TextIgnoringCase) => value.with_text(|text| {
                wanted
                    .iter()
                    .any(|wanted| wanted.matches_ignoring_case(text, request))
            }),
            (Tests::Text(wanted), _) => {
                value.with_text(|text| wanted.iter().any(|wanted| wanted.matches(text, request)))
            }
            (Tests::Number(wanted), Base::Number(order)) => {
                seen_number(value).is_some_and(|seen| wanted.iter().any(|wanted| order.holds(&seen, wanted)))
            }
            (Tests::Date(wanted), Base::Date(order)) => {
                seen_date(value).is_some_and(|seen| wanted.iter().any(|wanted| order.holds(&seen, wanted)))
            }
            (Tests::Bool(wanted), _) => value.with_text(|text| {
                let is_flag = flag(text).is_some();
                is_flag
                    && wanted
                        .iter()
                        .any(|wanted| wanted.matches_ignoring_case(text, request))
            }),
            (Tests::Binary(wanted), _) => {
                value.with_text(|text| wanted.iter().any(|wanted| **wanted == *text))
            }
            (Tests::Address(wanted), _) => {
                seen_address(value).is_some_and(|seen| wanted.iter().any(|wanted| wanted.contains(&seen)))
            }
            (Tests::Arn(wanted), _) => value.with_text(|text| {
                let parts = split(text);
                parts.is_some_and(|parts| wanted.iter().any(|wanted| wanted.matches(&parts, request)))
            }),
            // `holds` has looked at Null; an order goes with its kind of tests
            (Tests::Null { .. } | Tests::Number(_) | Tests::Date(_), _) => false,
        }
    }
}

/// Reads all values, or tells all that cannot be read.
fn all<T>(
    values: &[Box<str>],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Box<[T]>, Vec<(usize, String)>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (index, value) in values.iter().enumerate() {
        match read(value) {
            Ok(test) => good.push(test),
            Err(problem) => bad.push((index, problem)),
        }
    }
    if bad.is_empty() { Ok(good.into()) } else { Err(bad) }
}

fn number(text: &str) -> Option<f64> {
    let good = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let number: f64 = text.bytes().all(good).then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}

fn flag(text: &str) -> Option<bool> {
    [true, false]
        .into_iter()
        .find(|flag| text.eq_ignore_ascii_case(if *flag { "true" } else { "false" }))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of requests are far below 2^53; those of policies are floating-point numbers as well"
)]
fn seen_number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Text(text) => number(text),
        Value::Number(number) => Some(number as f64),
        // it is written as one, not as a number
        Value::Instant(_) | Value::Address(_) | Value::Flag(_) => None,
    }
}

fn seen_date(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Text(text) => date::read(text),
        Value::Number(seconds) | Value::Instant(seconds) => seconds.checked_mul(1000),
        Value::Address(_) | Value::Flag(_) => None,
    }
}

fn seen_address(value: Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Text(text) => Some(text.parse::<IpAddr>().ok()?.to_canonical()),
        Value::Address(address) => Some(address.to_canonical()),
        Value::Number(_) | Value::Instant(_) | Value::Flag(_) => None,
    }
}

impl ArnPattern {
    fn read(text: &str, reading: Reading) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let mut rest = text;
        let mut parts = Vec::with_capacity(6);
        while parts.len() < 5 {
            let end = colon(rest, reading.variables);
            let end = end.ok_or("is no ARN: it has fewer than six parts between colons")?;
            let (part, behind) = rest.split_at(end);
            parts.push(Pattern::read(part, reading)?);
            rest = behind.get(1..).unwrap_or_default();
        }
        parts.push(Pattern::read(rest, reading)?);
        let parts = <[Pattern; 6]>::try_from(parts);
        let parts = parts.map_err(|parts| format!("has {} parts in place of six", parts.len()))?;
        Ok(Self::Parts(Box::new(parts)))
    }

    fn matches(&self, seen: &[&str; 6], request: &Request<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Parts(parts) => {
                let mut pairs = parts.iter().zip(seen);
                pairs.all(|(part, seen)| part.matches(seen, request))
            }
        }
    }
}

/// Where the next colon is that belongs to no variable.
fn colon(text: &str, variables: bool) -> Option<usize> {
    let (mut inside, mut quoted) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '$' if variables && !inside => {
                inside = text.get(at + 1..).is_some_and(|rest| rest.starts_with('{'));
            }
            '\'' if inside => quoted = !quoted,
            '}' if !quoted => inside = false,
            ':' if !inside => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Facts, request::tests::request};

    /// Whether a condition holds where the key `a:b` has some values.
    fn holds(operator: &str, wanted: &[&str], seen: Option<&[&str]>) -> bool {
        let operator = Operator::read(operator).unwrap();
        let values = wanted.iter().map(|value| Box::from(*value)).collect();
        let condition = Condition::new(operator, Key::of("a:b"), values, true).unwrap();
        let mut facts = Facts::default();
        if let Some(seen) = seen {
            facts.add("a:b", seen.iter().map(|value| (*value).to_owned()));
        }
        condition.holds(&request(&facts))
    }

    #[test]
    fn every_operator_compares_its_kind_of_values() {
        for (operator, wanted, yes, no) in [
            ("StringEquals", "a*", "a*", "ab"),
            ("StringEqualsIgnoreCase", "aB", "Ab", "abc"),
            ("StringLike", "a*", "ab", "Ab"),
            ("NumericEquals", "1.50", "1.5", "1.51"),
            ("NumericLessThan", "2", "1.9", "2"),
            ("NumericLessThanEquals", "2", "2.0", "2.1"),
            ("NumericGreaterThan", "-2", "-1", "-2"),
            ("NumericGreaterThanEquals", "2", "2", "1e0"),
            ("NumericEquals", "1", "1", "one"),
            (
                "DateEquals",
                "2026-01-31",
                "2026-01-31T00:00:00Z",
                "2026-01-31T00:00:01Z",
            ),
            ("DateEquals", "86400", "1970-01-02T00:00:00Z", "x"),
            (
                "DateLessThan",
                "2026-01-31T12:00:00Z",
                "2026-01-31T12:59:00+01:00",
                "2026-01-31T12:00Z",
            ),
            ("DateLessThanEquals", "2026-01", "2026-01-01", "2026-02"),
            ("DateGreaterThan", "2026-01-01", "2026-01-02", "2026-01-01"),
            ("DateGreaterThanEquals", "2026-01-01", "2026-01-01", "2025-12-31"),
            ("Bool", "TRUE", "true", "false"),
            ("Bool", "true", "true", "1"),
            ("BinaryEquals", "QUI=", "QUI=", "QUI"),
            ("IpAddress", "192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("IpAddress", "192.0.2.7/24", "::ffff:192.0.2.1", "192.0.3.0"),
            ("IpAddress", "192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("IpAddress", "2001:db8::/32", "2001:db8:1::1", "2001:db9::"),
            ("IpAddress", "0.0.0.0/0", "192.0.2.7", "2001:db8::"),
            ("IpAddress", "::/0", "2001:db8::", "example.com"),
            ("IpAddress", "::/0", "2001:db8::", "::ffff:192.0.2.7"),
            ("IpAddress", "10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("IpAddress", "::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            (
                "IpAddress",
                "::ffff:10.1.2.3/104",
                "::ffff:10.9.9.9",
                "2001:db8::",
            ),
            ("IpAddress", "::ffff:0:0/96", "192.0.2.7", "::fffe:192.0.2.7"),
            (
                "ArnLike",
                "arn:aws:iam::*:user/a*",
                "arn:aws:iam::1:user/a:b",
                "arn:aws:iam::1:2:user/a",
            ),
            ("ArnEquals", "arn:*:s3:::?", "arn:x:s3:::b", "arn:x:y:s3:::b"),
            ("ArnLike", "*", "a:b:c:d:e:f", "*"),
        ] {
            assert!(
                holds(operator, &[wanted], Some(&[yes])),
                "{operator} {wanted} {yes}"
            );
            assert!(
                !holds(operator, &[wanted], Some(&[no])),
                "{operator} {wanted} {no}"
            );
            assert!(!holds(operator, &[wanted], None), "{operator} without a value");
            assert!(
                holds(operator, &[wanted, wanted], Some(&[yes])),
                "{operator} {wanted}"
            );
            assert!(
                holds(&format!("{operator}IfExists"), &[wanted], None),
                "{operator}"
            );
            assert!(
                !holds(&format!("{operator}IfExists"), &[wanted], Some(&[no])),
                "{operator}"
            );
            let negated = match operator {
                "IpAddress" => "NotIpAddress".to_owned(),
                "Bool" | "BinaryEquals" => continue,
                _ if operator.contains("Than") => continue,
                _ => operator
                    .replacen("Equals", "NotEquals", 1)
                    .replace("Like", "NotLike"),
            };
            assert!(
                !holds(&negated, &[wanted], Some(&[yes])),
                "{negated} {wanted} {yes}"
            );
            assert!(holds(&negated, &[wanted], Some(&[no])), "{negated} {wanted} {no}");
            assert!(holds(&negated, &[wanted], None), "{negated} without a value");
            assert!(!holds(&negated, &[wanted, wanted], Some(&[yes])), "{negated}");
        }
    }

    #[test]
    fn values_of_a_policy_are_or_and_several_of_a_request_count_as_said() {
        for (operator, seen, expected) in [
            ("StringEquals", Some(&["b"] as &[&str]), true),
            ("StringEquals", Some(&["c"]), false),
            ("StringEquals", Some(&["c", "b"]), true),
            ("StringNotEquals", Some(&["c", "b"]), false),
            ("StringNotEquals", Some(&["c", "d"]), true),
            ("ForAnyValue:StringEquals", Some(&["c", "b"]), true),
            ("ForAnyValue:StringEquals", Some(&["c", "d"]), false),
            ("ForAnyValue:StringEquals", Some(&[]), false),
            ("ForAnyValue:StringEquals", Some(&[""]), false),
            ("ForAnyValue:StringEquals", None, false),
            ("ForAnyValue:StringEqualsIfExists", None, true),
            ("ForAnyValue:StringNotEquals", Some(&["a", "c"]), true),
            ("ForAnyValue:StringNotEquals", Some(&["a", "b"]), false),
            ("ForAnyValue:StringNotEquals", None, false),
            ("ForAllValues:StringEquals", Some(&["a", "b"]), true),
            ("ForAllValues:StringEquals", Some(&["a", "c"]), false),
            ("ForAllValues:StringEquals", Some(&[]), true),
            ("ForAllValues:StringEquals", Some(&["", ""]), true),
            ("ForAllValues:StringEquals", None, true),
            ("ForAllValues:StringNotEquals", Some(&["c", "d"]), true),
            ("ForAllValues:StringNotEquals", Some(&["a", "d"]), false),
            ("forallvalues:stringnotequalsifexists", None, true),
        ] {
            assert_eq!(
                holds(operator, &["a", "b"], seen),
                expected,
                "{operator} {seen:?}"
            );
        }
    }

    #[test]
    fn null_asks_whether_the_key_is_there() {
        for (wanted, seen, expected) in [
            (&["true"] as &[&str], None, true),
            (&["true"], Some(&["x"] as &[&str]), false),
            (&["false"], None, false),
            (&["False"], Some(&["x"]), true),
            (&["false"], Some(&[""]), false),
            (&["true", "false"], None, true),
            (&["true", "false"], Some(&["x"]), true),
        ] {
            assert_eq!(holds("Null", wanted, seen), expected, "{wanted:?} {seen:?}");
        }
    }

    #[test]
    fn a_variable_without_a_value_is_like_nothing() {
        for (operator, seen, expected) in [
            ("StringEquals", "x", false),
            ("StringNotEquals", "x", true),
            ("StringLike", "x", false),
            ("StringNotLike", "x", true),
        ] {
            assert_eq!(
                holds(operator, &["${aws:username}"], Some(&[seen])),
                expected,
                "{operator}"
            );
        }
        assert!(holds("Bool", &["${aws:username, 'true'}"], Some(&["True"])));
        assert!(!holds("Bool", &["${aws:username}"], Some(&["true"])));
        // a colon in a value does not begin another part
        let colons = ["arn:${x:y, 'aws'}:${x:y, 'a:a'}:*:*:b"];
        assert!(!holds("ArnLike", &colons, Some(&["arn:aws:a:a:c:d:b"])));
        assert!(holds(
            "ArnLike",
            &["arn:${x:y, 'aws'}:s3:::b"],
            Some(&["arn:aws:s3:::b"])
        ));
    }

    #[test]
    fn values_that_cannot_be_read_are_told() {
        for (operator, wrong) in [
            ("NumericEquals", "one"),
            ("NumericEquals", "inf"),
            ("NumericEquals", "1e999"),
            ("NumericEquals", ""),
            ("DateEquals", "today"),
            ("Bool", "yes"),
            ("Null", "0"),
            ("BinaryEquals", "x"),
            ("IpAddress", "192.0.2"),
            ("IpAddress", "192.0.2.0/33"),
            ("IpAddress", "*"),
            ("ArnLike", "arn:aws:s3"),
            ("StringLike", "${"),
        ] {
            let operator = Operator::read(operator).unwrap();
            let values = Box::new([Box::from(wrong), Box::from(wrong)]);
            let problems = Condition::new(operator, Key::of("a:b"), values, true).unwrap_err();
            assert_eq!(problems.len(), 2, "{} {wrong}: {problems:?}", operator.name());
        }
        for wrong in [
            "",
            "StringEqual",
            "IfExists",
            "ForAnyValue:",
            "NullIfExists",
            "ForAllValues:Null",
            "NotBool",
            "é",
        ] {
            assert!(Operator::read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            Operator::read("StringEqual").unwrap_err(),
            "`StringEqual` is no operator; `StringEquals`?"
        );
    }

    #[test]
    fn names_of_operators_are_read_and_written() {
        for (name, ..) in OPERATORS {
            assert_eq!(Operator::read(&name.to_lowercase()).unwrap().name(), name);
            if name != "Null" {
                let long = format!("ForAllValues:{name}IfExists");
                assert_eq!(Operator::read(&long.to_uppercase()).unwrap().name(), long);
            }
        }
    }
}
