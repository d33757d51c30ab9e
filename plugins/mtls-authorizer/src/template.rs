//! Templates of principals and facts: text with `${variable}`.

use crate::name;

/// Longest template, and longest text made of one, in bytes.
pub const TEXT_MAX: usize = 2048;

/// Something of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// Attribute of the subject, by its object identifier.
    Subject(String),
    /// Attribute of the issuer.
    Issuer(String),
    /// The whole subject.
    SubjectDn,
    /// The whole issuer.
    IssuerDn,
    /// A DNS name.
    Dns,
    /// A URI.
    Uri,
    /// An e-mail address.
    Email,
    /// An IP address.
    Ip,
    /// Trust domain of the SPIFFE ID.
    SpiffeTrustDomain,
    /// Path of the SPIFFE ID.
    SpiffePath,
    /// Serial number.
    Serial,
    /// SHA-256 of the certificate.
    Fingerprint,
    /// SHA-256 of the public key.
    Spki,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Variable),
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Variable {
    fn read(name: &str) -> Result<Self, String> {
        let attribute = |short: &str| {
            name::identifier(short).ok_or_else(|| format!("${{{name}}}: {short:?} is no attribute"))
        };
        if let Some(short) = name.strip_prefix("subject.") {
            return attribute(short).map(Self::Subject);
        }
        if let Some(short) = name.strip_prefix("issuer.") {
            return attribute(short).map(Self::Issuer);
        }
        Ok(match name {
            "subject-dn" => Self::SubjectDn,
            "issuer-dn" => Self::IssuerDn,
            "san.dns" => Self::Dns,
            "san.uri" => Self::Uri,
            "san.email" => Self::Email,
            "san.ip" => Self::Ip,
            "spiffe.trust-domain" => Self::SpiffeTrustDomain,
            "spiffe.path" => Self::SpiffePath,
            "serial" => Self::Serial,
            "fingerprint" => Self::Fingerprint,
            "spki" => Self::Spki,
            _ => return Err(format!("${{{name}}} is no variable")),
        })
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is empty or too long, a variable is unknown, or a `${` has no end.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "{text:?} is not 1 to {TEXT_MAX} bytes without control characters"
            ));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (variable, behind) = after
                .split_once('}')
                .ok_or_else(|| format!("{text:?} has a ${{ without its }}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Value(Variable::read(variable)?));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Fills it in. None where a variable has no value, or the text would be empty or too long.
    #[must_use]
    pub fn fill(&self, value: impl Fn(&Variable) -> Option<String>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Value(variable) => text.push_str(&value(variable).filter(|value| !value.is_empty())?),
            }
        }
        (!text.is_empty() && text.len() <= TEXT_MAX).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let fill = |text: &str| {
            Template::read(text).unwrap().fill(|variable| match variable {
                Variable::Subject(oid) if oid == "2.5.4.3" => Some("ada".into()),
                Variable::Dns => Some("a.test".into()),
                Variable::Uri => Some(String::new()),
                Variable::Spki => Some("x".repeat(TEXT_MAX)),
                _ => None,
            })
        };
        assert_eq!(
            fill("cert:${subject.cn}@${san.dns}!").as_deref(),
            Some("cert:ada@a.test!")
        );
        assert_eq!(fill("robot").as_deref(), Some("robot"));
        assert_eq!(fill("$x {y} $").as_deref(), Some("$x {y} $"));
        for none in ["${issuer.CN}", "a${san.uri}", "a${spki}"] {
            assert_eq!(fill(none), None, "{none}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, wanted) in [
            ("", "\"\" is not 1 to 2048 bytes"),
            ("${", "without its }"),
            ("${subject.XX}", "\"XX\" is no attribute"),
            ("${san}", "${san} is no variable"),
        ] {
            let error = Template::read(text).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[${}a-z.]{0,30}") {
            if let Ok(template) = Template::read(&text) {
                prop_assert!(template.fill(|_| Some("v".into())).is_some());
            }
        }
    }
}
