//! Configuration as an operator writes it. `settings` checks it and turns it into what requests are checked against.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Configuration of the `mtls-authorizer` plugin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "mtls-authorizer"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Rules, 1 to 1000: the first whose conditions all hold says who is calling.
    pub rules: Vec<Rule>,
    /// Status for clients without a certificate: 401 or 403. Default 403.
    #[serde(default = "default_missing_status")]
    pub missing_status: u16,
    /// Adds the certificate as PEM to the facts. Default false.
    #[serde(default)]
    pub pem: bool,
}

/// A rule. All its conditions must hold; of a list, one value must fit.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Who is calling: a template, e.g. `${subject.CN}`. Without a value for each of its variables the rule does not fit.
    pub principal: String,
    /// Further facts for later plugins, up to 32: templates. A fact without a value for each of its variables is left out.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// Any certificate that the listener accepted: for a rule without conditions.
    #[serde(default)]
    pub any: bool,
    /// Attributes of the subject by name (`CN`, `O`, `OU`, `C`, `ST`, `L`, `DC`, `UID`, `serialNumber`, `emailAddress`) or object identifier. `*` stands for any
    /// text.
    #[serde(default)]
    pub subject: BTreeMap<String, OneOrMore>,
    /// The whole subject as RFC 4514 writes it, e.g. `CN=ada,O=Example,C=DE`.
    #[serde(default)]
    pub subject_dn: OneOrMore,
    /// Attributes of the issuer, as for the subject.
    #[serde(default)]
    pub issuer: BTreeMap<String, OneOrMore>,
    /// The whole issuer.
    #[serde(default)]
    pub issuer_dn: OneOrMore,
    /// DNS names among the subject alternative names; `*.example.com` takes one label.
    #[serde(default)]
    pub dns: OneOrMore,
    /// URIs among the subject alternative names, whole.
    #[serde(default)]
    pub uri: OneOrMore,
    /// The SPIFFE ID of an X.509-SVID.
    #[serde(default)]
    pub spiffe: Option<Spiffe>,
    /// E-mail addresses among the subject alternative names; `*@example.com` takes all of a host.
    #[serde(default)]
    pub email: OneOrMore,
    /// IP addresses among the subject alternative names: addresses and CIDR blocks.
    #[serde(default)]
    pub ip: OneOrMore,
    /// SHA-256 of the certificate: 64 hexadecimal digits, colons between them do not count.
    #[serde(default)]
    pub fingerprint: OneOrMore,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) in base64, with or without `sha256/` before it.
    #[serde(default)]
    pub spki: OneOrMore,
    /// Serial number in hexadecimal digits, colons between them do not count. Of use together with the issuer.
    #[serde(default)]
    pub serial: OneOrMore,
    /// The certificate says that it is for clients (extended key usage `clientAuth`). Without this one that says nothing will do.
    #[serde(default)]
    pub client_auth: bool,
}

/// A SPIFFE ID.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Spiffe {
    /// Trust domain, e.g. `example.org`.
    pub trust_domain: String,
    /// Paths, e.g. `/ns/prod/sa/web`: `*` stands for one segment, `**` at the end for any number of them. Default: any.
    #[serde(default)]
    pub path: OneOrMore,
}

/// One text or a list of them, up to 1000.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// A list.
    More(Vec<String>),
}

impl Default for OneOrMore {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl OneOrMore {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::More(list) => list,
        }
    }
}

fn default_missing_status() -> u16 {
    403
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_by_name() {
        let error = |text: &str| serde_json::from_str::<Config>(text).unwrap_err().to_string();
        assert!(error("{}").contains("`rules`"));
        assert!(error(r#"{"rules":[{"principal":"a","san":"b"}]}"#).contains("`san`"));
        assert!(error(r#"{"rules":[{"any":true}]}"#).contains("`principal`"));
        assert!(error(r#"{"rules":[{"principal":"a","spiffe":{}}]}"#).contains("`trust-domain`"));
    }

    /// Writes the schema anew when `UPDATE_SCHEMA` is set.
    #[test]
    fn config_schema_json_matches_the_structs() {
        edgeward_sdk::testing::schema_is_written(&schemars::schema_for!(Config));
    }
}
