//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once.

use std::{collections::BTreeMap, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use edgeward_sdk::config::Problems;
use ipnet::IpNet;

use crate::{
    certificate::serial_digits,
    config::{self, Config, OneOrMore},
    name, pattern,
    rule::{Condition, Rule},
    spiffe::{self, Pattern},
    template::Template,
};

/// Most rules.
const RULES_MAX: usize = 1000;
/// Most values of a condition.
const VALUES_MAX: usize = 1000;
/// Longest value in bytes.
const VALUE_MAX: usize = 4096;
/// Most facts of a rule, and their longest key in bytes.
const FACTS_MAX: (usize, usize) = (32, 64);
/// The fact that the plugin makes itself.
pub const OWN_FACT: &str = "clientCert";

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rules in order.
    pub rules: Vec<Rule>,
    /// Status for clients without a certificate.
    pub missing_status: u16,
    /// The certificate as PEM is a fact.
    pub pem: bool,
}

impl Settings {
    /// Checks a configuration.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut check = Check::default();
        if config.rules.is_empty() {
            check.problem("rules: an empty list lets nobody in");
        }
        if config.rules.len() > RULES_MAX {
            check.problem(format!("rules: {} exceed {RULES_MAX}", config.rules.len()));
        }
        if !matches!(config.missing_status, 401 | 403) {
            check.problem(format!(
                "missing-status: {} is neither 401 nor 403",
                config.missing_status
            ));
        }
        let mut rules = Vec::new();
        for (index, rule) in config.rules.iter().enumerate().take(RULES_MAX) {
            check.path = format!("rules[{index}]");
            rules.extend(check.rule(rule));
        }
        check.problems.check()?;
        Ok(Self {
            rules,
            missing_status: config.missing_status,
            pem: config.pem,
        })
    }
}

#[derive(Default)]
struct Check {
    path: String,
    problems: Problems,
}

impl Check {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text);
    }

    /// Values of a condition that has any, each turned into what is compared.
    fn values<T>(
        &mut self,
        key: &str,
        values: &OneOrMore,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let values = values.all();
        let path = format!("{}.{key}", self.path);
        if values.len() > VALUES_MAX {
            self.problem(format!("{path}: {} values exceed {VALUES_MAX}", values.len()));
        }
        let mut checked = Vec::new();
        for value in values.iter().take(VALUES_MAX) {
            let value = if value.is_empty() || value.len() > VALUE_MAX {
                Err(format!("is not 1 to {VALUE_MAX} bytes"))
            } else {
                read(value)
            };
            match value {
                Ok(value) => checked.push(value),
                Err(error) => self.problem(format!("{path}: {error}")),
            }
        }
        (!values.is_empty()).then_some(checked)
    }

    fn attributes(
        &mut self,
        key: &str,
        attributes: &BTreeMap<String, OneOrMore>,
        condition: impl Fn(String, Vec<String>) -> Condition,
    ) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (short, values) in attributes {
            let at = format!("{key}.{short}");
            let Some(oid) = name::identifier(short) else {
                self.problem(format!(
                    "{}.{at}: is no attribute; others are named by their object identifier",
                    self.path
                ));
                continue;
            };
            match self.values(&at, values, |value| Ok(value.to_owned())) {
                Some(values) => conditions.push(condition(oid, values)),
                None => self.problem(format!("{}.{at}: an empty list fits nobody", self.path)),
            }
        }
        conditions
    }

    fn template(&mut self, key: &str, text: &str) -> Option<Template> {
        Template::read(text)
            .map_err(|error| self.problem(format!("{}.{key}: {error}", self.path)))
            .ok()
    }

    fn spiffe(&mut self, wanted: &config::Spiffe) -> Condition {
        if !spiffe::is_trust_domain(&wanted.trust_domain) {
            self.problem(format!(
                "{}.spiffe.trust-domain: {:?} is not 1 to 255 lower-case letters, digits, '.', '-' and '_'",
                self.path, wanted.trust_domain
            ));
        }
        let paths = self.values("spiffe.path", &wanted.path, Pattern::read);
        Condition::Spiffe(wanted.trust_domain.clone(), paths.unwrap_or_default())
    }

    fn rule(&mut self, rule: &config::Rule) -> Option<Rule> {
        let text = |value: &str| Ok(value.to_owned());
        let mut conditions = self.attributes("subject", &rule.subject, Condition::Subject);
        conditions.extend(self.attributes("issuer", &rule.issuer, Condition::Issuer));
        conditions.extend(
            self.values("subject-dn", &rule.subject_dn, text)
                .map(Condition::SubjectDn),
        );
        conditions.extend(
            self.values("issuer-dn", &rule.issuer_dn, text)
                .map(Condition::IssuerDn),
        );
        conditions.extend(self.values("dns", &rule.dns, dns).map(Condition::Dns));
        conditions.extend(self.values("uri", &rule.uri, text).map(Condition::Uri));
        if let Some(wanted) = &rule.spiffe {
            conditions.push(self.spiffe(wanted));
        }
        conditions.extend(self.values("email", &rule.email, email).map(Condition::Email));
        conditions.extend(self.values("ip", &rule.ip, ip).map(Condition::Ip));
        conditions.extend(
            self.values("fingerprint", &rule.fingerprint, fingerprint)
                .map(Condition::Fingerprint),
        );
        conditions.extend(self.values("spki", &rule.spki, spki).map(Condition::Spki));
        conditions.extend(self.values("serial", &rule.serial, serial).map(Condition::Serial));
        if rule.client_auth {
            conditions.push(Condition::ClientAuth);
        }
        match (conditions.is_empty(), rule.any) {
            (true, false) => self.problem(format!(
                "{}: has no condition; set any: true if each certificate of the listener will do",
                self.path
            )),
            (false, true) => self.problem(format!(
                "{}: has conditions, so that not any certificate will do",
                self.path
            )),
            _ => {}
        }
        let (most, longest) = FACTS_MAX;
        let bad = |key: &String| key.is_empty() || key.len() > longest || key.chars().any(char::is_control);
        if rule.facts.len() > most || rule.facts.keys().any(bad) {
            self.problem(format!(
                "{}.facts: more than {most}, or a key that is not 1 to {longest} bytes without control characters",
                self.path
            ));
        }
        if rule.facts.contains_key(OWN_FACT) {
            self.problem(format!(
                "{}.facts.{OWN_FACT}: the plugin says that itself",
                self.path
            ));
        }
        let principal = self.template("principal", &rule.principal);
        let mut facts = Vec::new();
        for (key, text) in &rule.facts {
            if let Some(template) = self.template(&format!("facts.{key}"), text) {
                facts.push((key.clone(), template));
            }
        }
        Some(Rule {
            conditions,
            principal: principal?,
            facts,
        })
    }
}

fn dns(text: &str) -> Result<String, String> {
    if pattern::is_dns_pattern(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no DNS name, nor one with * as its whole first label"
        ))
    }
}

fn email(text: &str) -> Result<String, String> {
    match text.rsplit_once('@') {
        Some((local, host)) if !local.is_empty() && !host.is_empty() && !host.contains('*') => {
            Ok(text.to_owned())
        }
        _ => Err(format!("{text:?} is no e-mail address and no *@host")),
    }
}

fn ip(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_not_a_block| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_neither| format!("{text:?} is neither an address nor a CIDR block"))?;
    if net.trunc() != net {
        return Err(format!(
            "{text:?} has bits set beyond its length: write {}",
            net.trunc()
        ));
    }
    // addresses of certificates are compared as what they are: IPv4 in its IPv6 form is IPv4
    let v4 = match net.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let length = net.prefix_len().checked_sub(96);
    let short = v4.zip(length).map(|(v4, length)| IpNet::new(v4.into(), length));
    Ok(short.and_then(Result::ok).unwrap_or(net))
}

fn digits(text: &str) -> Option<String> {
    let digits = text.replace(':', "").to_ascii_lowercase();
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

fn fingerprint(text: &str) -> Result<String, String> {
    digits(text)
        .filter(|digits| digits.len() == 64)
        .ok_or_else(|| format!("{text:?} is not 64 hexadecimal digits: SHA-256 is meant"))
}

fn serial(text: &str) -> Result<String, String> {
    digits(text)
        .map(|digits| serial_digits(&digits))
        .ok_or_else(|| format!("{text:?} is not hexadecimal digits"))
}

fn spki(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("sha256/").unwrap_or(text);
    match STANDARD.decode(bare) {
        Ok(bytes) if bytes.len() == 32 => Ok(bare.to_owned()),
        _ => Err(format!(
            "{text:?} is not 32 bytes in base64, with or without sha256/ before them"
        )),
    }
}
