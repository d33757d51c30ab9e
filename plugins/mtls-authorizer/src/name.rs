//! Distinguished names: attributes to compare, and the text of RFC 4514, in which a value cannot pass for another attribute.

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Short names and their object identifiers (RFC 4514 section 3, RFC 4519, RFC 2985).
const SHORT: [(&str, &str); 13] = [
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("GN", "2.5.4.42"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// A distinguished name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Object identifiers and values, in the order of the certificate; values that are no text or have control characters are left out.
    pub attributes: Vec<(String, String)>,
    /// RFC 4514: the last attribute of the certificate first.
    pub text: String,
}

/// Object identifier of an attribute that was named by its short name, in any case, or by the identifier itself.
#[must_use]
pub fn identifier(name: &str) -> Option<String> {
    if let Some((_, oid)) = SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)) {
        return Some((*oid).to_owned());
    }
    let arc = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (name.len() <= 128 && name.contains('.') && name.split('.').all(arc)).then(|| name.to_owned())
}

impl Name {
    /// Takes a name out of a certificate.
    #[must_use]
    pub fn of(name: &X509Name<'_>) -> Self {
        let mut attributes = Vec::new();
        let mut parts: Vec<String> = Vec::new();
        for set in name.iter_rdn() {
            let mut texts = Vec::new();
            for attribute in set.iter() {
                let oid = attribute.attr_type().to_id_string();
                let value = attribute.as_str().ok();
                texts.push(written(&oid, value, attribute));
                if let Some(value) = value.filter(|value| !value.chars().any(char::is_control)) {
                    attributes.push((oid, value.to_owned()));
                }
            }
            parts.push(texts.join("+"));
        }
        parts.reverse();
        Self {
            attributes,
            text: parts.join(","),
        }
    }

    /// Values of an attribute, by its object identifier.
    pub fn values<'a>(&'a self, oid: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.attributes.iter().filter(move |(one, _)| one == oid);
        found.map(|(_, value)| value.as_str())
    }
}

fn written(oid: &str, value: Option<&str>, attribute: &AttributeTypeAndValue<'_>) -> String {
    let short = SHORT.iter().find(|(_, one)| *one == oid).map(|(short, _)| *short);
    match (short, value) {
        (Some(short), Some(value)) => format!("{short}={}", escaped(value)),
        // section 2.4: what has no text is written in hexadecimal digits
        (short, _) => {
            let hex: String = attribute
                .as_slice()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("{}=#{hex}", short.unwrap_or(oid))
        }
    }
}

/// RFC 4514 section 2.4.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, char) in value.chars().enumerate() {
        let at_edge = char == ' ' && (index == 0 || index == last) || char == '#' && index == 0;
        if at_edge || matches!(char, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
            text.push(char);
        } else if char.is_control() {
            let mut bytes = [0; 4];
            for byte in char.encode_utf8(&mut bytes).bytes() {
                text.push_str(&format!("\\{byte:02X}"));
            }
        } else {
            text.push(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_rfc_4514_says() {
        for (value, wanted) in [
            ("Before\rAfter", "Before\\0DAfter"),
            ("Sue, Grabbit and Runn", "Sue\\, Grabbit and Runn"),
            ("a,O=Other", "a\\,O=Other"),
            (" x ", "\\ x\\ "),
            ("#x#", "\\#x#"),
            ("\"+;<>\\", "\\\"\\+\\;\\<\\>\\\\"),
            ("Lučić", "Lučić"),
            ("", ""),
        ] {
            assert_eq!(escaped(value), wanted);
        }
    }

    #[test]
    fn attributes_are_named_shortly_or_by_identifier() {
        assert_eq!(identifier("cn").as_deref(), Some("2.5.4.3"));
        assert_eq!(identifier("SERIALNUMBER").as_deref(), Some("2.5.4.5"));
        assert_eq!(identifier("1.2.3.4").as_deref(), Some("1.2.3.4"));
        for bad in ["", "XX", "1", "1..2", "1.a", "."] {
            assert_eq!(identifier(bad), None, "{bad}");
        }
    }
}
