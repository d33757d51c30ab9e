//! Rules: conditions on a certificate, and who is calling when they hold.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    certificate::Certificate,
    pattern,
    spiffe::{Id, Pattern},
    template::{Template, Variable},
};

/// A certificate and its hashes.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The certificate.
    pub certificate: Certificate,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// SHA-256 of the public key, in base64.
    pub spki: String,
}

/// A condition. Of its values, one must fit.
#[derive(Clone, Debug)]
pub enum Condition {
    /// An attribute of the subject (object identifier, patterns).
    Subject(String, Vec<String>),
    /// An attribute of the issuer.
    Issuer(String, Vec<String>),
    /// The whole subject.
    SubjectDn(Vec<String>),
    /// The whole issuer.
    IssuerDn(Vec<String>),
    /// A DNS name.
    Dns(Vec<String>),
    /// A URI.
    Uri(Vec<String>),
    /// A SPIFFE ID: trust domain, and paths, of which none stands for any.
    Spiffe(String, Vec<Pattern>),
    /// An e-mail address.
    Email(Vec<String>),
    /// An IP address.
    Ip(Vec<IpNet>),
    /// SHA-256 of the certificate.
    Fingerprint(Vec<String>),
    /// SHA-256 of the public key.
    Spki(Vec<String>),
    /// Serial number.
    Serial(Vec<String>),
    /// Extended key usage.
    ClientAuth,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// Who is calling.
    pub principal: Template,
    /// Facts for later plugins.
    pub facts: Vec<(String, Template)>,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The principal.
    pub principal: String,
    /// Facts for later plugins.
    pub facts: Vec<(String, String)>,
}

impl Evidence {
    /// The SPIFFE ID of an X.509-SVID: its only URI, in a certificate that signs no others (X509-SVID sections 2 and 5.2).
    #[must_use]
    pub fn spiffe_id(&self) -> Option<Id<'_>> {
        match self.certificate.uris.as_slice() {
            [uri] if !self.certificate.authority => Id::read(uri),
            _ => None,
        }
    }

    fn value(&self, variable: &Variable) -> Option<String> {
        let Certificate {
            subject,
            issuer,
            serial,
            dns,
            uris,
            emails,
            ips,
            ..
        } = &self.certificate;
        match variable {
            Variable::Subject(oid) => subject.values(oid).next().map(str::to_owned),
            Variable::Issuer(oid) => issuer.values(oid).next().map(str::to_owned),
            Variable::SubjectDn => Some(subject.text.clone()),
            Variable::IssuerDn => Some(issuer.text.clone()),
            Variable::Dns => dns.first().cloned(),
            Variable::Uri => uris.first().cloned(),
            Variable::Email => emails.first().cloned(),
            Variable::Ip => ips.first().map(IpAddr::to_string),
            Variable::SpiffeTrustDomain => self.spiffe_id().map(|id| id.trust_domain.to_owned()),
            Variable::SpiffePath => self.spiffe_id().map(|id| id.path.to_owned()),
            Variable::Serial => Some(serial.clone()),
            Variable::Fingerprint => Some(self.fingerprint.clone()),
            Variable::Spki => Some(self.spki.clone()),
        }
    }
}

/// That a condition holds, and for which value where there could be others.
type Held = Option<(Variable, String)>;

fn first<'a>(
    values: impl IntoIterator<Item = &'a str>,
    variable: Variable,
    fits: impl Fn(&str) -> bool,
) -> Option<Held> {
    let found = values.into_iter().find(|value| fits(value))?;
    Some(Some((variable, found.to_owned())))
}

fn texts(list: &[String]) -> impl Iterator<Item = &str> {
    list.iter().map(String::as_str)
}

impl Condition {
    /// None when it does not hold.
    fn holds(&self, evidence: &Evidence) -> Option<Held> {
        let certificate = &evidence.certificate;
        let alone = |holds: bool| holds.then_some(None);
        match self {
            Self::Subject(oid, wanted) => {
                let fits = |value: &str| wanted.iter().any(|one| pattern::glob(one, value));
                first(
                    certificate.subject.values(oid),
                    Variable::Subject(oid.clone()),
                    fits,
                )
            }
            Self::Issuer(oid, wanted) => {
                let fits = |value: &str| wanted.iter().any(|one| pattern::glob(one, value));
                first(
                    certificate.issuer.values(oid),
                    Variable::Issuer(oid.clone()),
                    fits,
                )
            }
            Self::SubjectDn(wanted) => alone(wanted.contains(&certificate.subject.text)),
            Self::IssuerDn(wanted) => alone(wanted.contains(&certificate.issuer.text)),
            Self::Dns(wanted) => {
                let fits = |value: &str| wanted.iter().any(|one| pattern::dns(one, value));
                first(texts(&certificate.dns), Variable::Dns, fits)
            }
            Self::Uri(wanted) => {
                let fits = |value: &str| wanted.iter().any(|one| one == value);
                first(texts(&certificate.uris), Variable::Uri, fits)
            }
            Self::Spiffe(trust_domain, paths) => {
                let id = evidence.spiffe_id()?;
                let path = paths.is_empty() || paths.iter().any(|pattern| pattern.fits(id.path));
                alone(id.trust_domain == trust_domain && path)
            }
            Self::Email(wanted) => {
                let fits = |value: &str| wanted.iter().any(|one| pattern::email(one, value));
                first(texts(&certificate.emails), Variable::Email, fits)
            }
            Self::Ip(wanted) => {
                let mut found = certificate.ips.iter();
                let found = found.find(|ip| {
                    let ip = ip.to_canonical();
                    wanted.iter().any(|net| net.contains(&ip))
                })?;
                Some(Some((Variable::Ip, found.to_string())))
            }
            Self::Fingerprint(wanted) => alone(wanted.contains(&evidence.fingerprint)),
            Self::Spki(wanted) => alone(wanted.contains(&evidence.spki)),
            Self::Serial(wanted) => alone(wanted.contains(&certificate.serial)),
            Self::ClientAuth => alone(certificate.client_auth),
        }
    }
}

impl Rule {
    /// Who is calling, when all conditions hold and the principal has all its values.
    #[must_use]
    pub fn caller(&self, evidence: &Evidence) -> Option<Caller> {
        let held = self.conditions.iter().map(|condition| condition.holds(evidence));
        let held: Vec<Held> = held.collect::<Option<_>>()?;
        // where a certificate has several names, the one that a condition was about counts
        let value = |variable: &Variable| {
            let of_condition = held.iter().flatten().find(|(one, _)| one == variable);
            of_condition
                .map(|(_, value)| value.clone())
                .or_else(|| evidence.value(variable))
        };
        let facts = self.facts.iter();
        Some(Caller {
            principal: self.principal.fill(value)?,
            facts: facts
                .filter_map(|(key, template)| Some((key.clone(), template.fill(value)?)))
                .collect(),
        })
    }
}
