//! Certificates that are kept in the store: put, told of, removed. A change takes the road of every other: build a snapshot with it, make it
//! durable, publish.

use std::{collections::BTreeMap, sync::Arc};

use edgeward_core::config::{
    CertificateSource, Config, Problem, Problems, is_acme_certificate_name, is_certificate_name,
};
use edgeward_proxy::{CertificatePem, Certificates};
use serde::Serialize;
use serde_json::Value;

use super::{Applied, Deployer, build};
use crate::{
    clock::{now_ms, rfc3339},
    error::ControlError,
    model::{Draft, Key, Kind, Model},
    store::{StoreError, StoredCertificate},
};

/// Certificates that are kept at most.
const CERTIFICATES_MAX: usize = 1000;

/// Certificates of the store, by name.
pub(super) type Stored = BTreeMap<String, StoredCertificate>;

/// What there is to tell of a certificate; never its key.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CertificateView {
    /// Its name.
    pub name: String,
    /// Server names it is for.
    pub names: Vec<String>,
    /// Whose it is.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Its number, in hex.
    pub serial: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// SHA-256 of the leaf in DER, as `sha256:<64 hex digits>`.
    pub fingerprint: String,
    /// When it was put, RFC 3339.
    pub updated_at: String,
    /// Listeners that show it.
    pub listeners: Vec<String>,
    /// Domains that every listener shows it for.
    pub domains: Vec<String>,
}

/// As the data plane wants them.
pub(super) fn for_proxy(stored: &Stored) -> Certificates {
    stored
        .iter()
        .map(|(name, certificate)| (name.clone(), Arc::clone(&certificate.pem)))
        .collect()
}

fn not_found(name: &str, of: Option<&str>) -> StoreError {
    StoreError::NotFound(match of {
        None => format!("no certificate is called `{name}`"),
        Some(domain) => format!("domain `{domain}` has no certificate `{name}`"),
    })
}

fn find_domain(model: &Model, domain: &str) -> Result<(), StoreError> {
    let found = model.get(&Key::top(Kind::Domain, domain)).map(|_document| ());
    found.ok_or_else(|| StoreError::NotFound(format!("there is no domain `{domain}`")))
}

/// Names of the listeners that show a certificate, and whether each asks for it by its name.
fn shown_by<'c>(config: &'c Config, name: &'c str) -> impl Iterator<Item = (String, bool)> {
    config.listeners.iter().filter_map(move |listener| {
        let sources = listener.tls.iter().flat_map(|tls| &tls.certificates);
        let wanted: Vec<_> = sources
            .filter_map(|certificate| match certificate.source()? {
                CertificateSource::Stored(wanted) if wanted == name => Some(true),
                CertificateSource::Stored(all) if all == "*" && is_certificate_name(name) => Some(false),
                _ => None,
            })
            .collect();
        let by_name = wanted.iter().any(|by_name| *by_name);
        (!wanted.is_empty()).then(|| (listener.display_name(), by_name))
    })
}

/// Domains that name a certificate.
fn domains_with(model: &Model, name: &str) -> Vec<String> {
    let named = model.list(Kind::Domain, "");
    named
        .filter(|(_, document)| certificate_of(&document.body) == Some(name))
        .map(|(domain, _)| domain.clone())
        .collect()
}

fn certificate_of(domain: &Value) -> Option<&str> {
    domain.get("certificate")?.as_str()
}

/// What is wrong with a certificate for a domain, if something is.
fn problem_for(domain: &str, name: &str, stored: &StoredCertificate) -> Result<Option<String>, ControlError> {
    let names = server_names(stored)?;
    Ok((!stands_for(&names, domain)).then(|| {
        format!(
            "certificate `{name}` is not for domain `{domain}`, but for {}",
            names.join(", ")
        )
    }))
}

/// Whether one of a certificate's names stands for a domain.
fn stands_for(names: &[String], domain: &str) -> bool {
    names.iter().any(|name| is_for(name, domain))
}

/// Refuses changed domains that name a certificate that is not there, or is not for them.
pub(super) fn check_domains(draft: &Draft, stored: &Stored) -> Result<(), ControlError> {
    let mut problems = Vec::new();
    for domain in draft.changed(Kind::Domain) {
        let document = draft.model.get(&Key::top(Kind::Domain, &domain));
        let Some(name) = document.and_then(|document| certificate_of(&document.body)) else {
            continue;
        };
        let problem = match stored.get(name) {
            None => Some(format!("no certificate is called `{name}`: put it first")),
            Some(stored) => problem_for(&domain, name, stored)?,
        };
        problems
            .extend(problem.map(|problem| Problem::new(format!("domains/{domain}.certificate"), problem)));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ControlError::Invalid(Problems(problems)))
    }
}

/// Server names that a certificate is for.
fn server_names(stored: &StoredCertificate) -> Result<Vec<String>, ControlError> {
    if !stored.pem.names.is_empty() {
        return Ok(stored.pem.names.clone());
    }
    let info = stored.pem.info();
    let info = info.map_err(|error| ControlError::invalid("", error.to_string()))?;
    Ok(info.dns_names)
}

/// Whether a certificate's name stands for a domain: the same, or with `*` for its first label (RFC 6125 section 6.4.3).
fn is_for(name: &str, domain: &str) -> bool {
    let parent = || domain.split_once('.').map(|(_, parent)| parent);
    name.eq_ignore_ascii_case(domain)
        || name
            .strip_prefix("*.")
            .zip(parent())
            .is_some_and(|(of, parent)| of.eq_ignore_ascii_case(parent))
}

/// What listeners show by name and is not there, as warnings.
pub(super) fn missing(config: &Config, stored: &Stored) -> Vec<String> {
    let mut warnings = Vec::new();
    for (domain, of) in &config.domains {
        if let Some(name) = certificate_of(of)
            && !stored.contains_key(name)
        {
            warnings.push(format!(
                "domain `{domain}` has certificate `{name}`, which is not there yet"
            ));
        }
    }
    for listener in &config.listeners {
        for certificate in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            if let Some(CertificateSource::Stored(name)) = certificate.source()
                && name != "*"
                // those have a status of their own
                && !is_acme_certificate_name(&name)
                && !stored.contains_key(&*name)
            {
                warnings.push(format!(
                    "listener `{}` shows certificate `{name}`, which is not there yet",
                    listener.display_name()
                ));
            }
        }
    }
    warnings
}

fn view(applied: &Applied, name: &str, stored: &StoredCertificate) -> Result<CertificateView, ControlError> {
    let info = stored
        .pem
        .info()
        .map_err(|error| ControlError::invalid("", error.to_string()))?;
    let time = |seconds: i64| rfc3339(seconds.saturating_mul(1000));
    Ok(CertificateView {
        name: name.to_owned(),
        names: server_names(stored)?,
        not_before: time(info.not_before),
        not_after: time(info.not_after),
        fingerprint: info.sha256.to_string(),
        subject: info.subject,
        issuer: info.issuer,
        serial: info.serial,
        updated_at: rfc3339(stored.updated_at),
        listeners: shown_by(&applied.file, name).map(|(name, _)| name).collect(),
        domains: domains_with(&applied.model, name),
    })
}

/// Refuses what no client would take: expired, or without a name that it is for.
fn check(pem: &CertificatePem) -> Result<(), ControlError> {
    let info = pem
        .inspect()
        .map_err(|error| ControlError::invalid("", error.to_string()))?;
    if info.left(now_ms() / 1000) <= 0 {
        let expired = rfc3339(info.not_after.saturating_mul(1000));
        return Err(ControlError::invalid("", format!("chain: expired at {expired}")));
    }
    if pem.names.is_empty() && info.dns_names.is_empty() {
        let problem = "has no DNS names: give `names`";
        return Err(ControlError::invalid("", format!("chain: {problem}")));
    }
    for name in &pem.names {
        if !edgeward_core::config::is_server_name(name) {
            return Err(ControlError::invalid(
                "names",
                format!("`{name}` is not a server name"),
            ));
        }
    }
    Ok(())
}

impl Deployer {
    /// Every certificate that is kept.
    ///
    /// # Errors
    /// None that an operator could cause: all were checked when they were put.
    pub fn certificates(&self) -> Result<Vec<CertificateView>, ControlError> {
        let applied = self.applied();
        let all = applied.certificates.iter();
        all.map(|(name, stored)| view(&applied, name, stored)).collect()
    }

    /// Those that stand for a domain, whether it shows them or not.
    ///
    /// # Errors
    /// No such domain.
    pub fn certificates_of(&self, domain: &str) -> Result<Vec<CertificateView>, ControlError> {
        let applied = self.applied();
        find_domain(&applied.model, domain)?;
        let mut views = Vec::new();
        for (name, stored) in &*applied.certificates {
            if stands_for(&server_names(stored)?, domain) {
                views.push(view(&applied, name, stored)?);
            }
        }
        Ok(views)
    }

    /// One of all, or of those that stand for a domain.
    ///
    /// # Errors
    /// Not there.
    pub fn certificate(&self, name: &str, of: Option<&str>) -> Result<CertificateView, ControlError> {
        let applied = self.applied();
        let stored = applied.certificates.get(name);
        let stored = stored.ok_or_else(|| not_found(name, None))?;
        if let Some(domain) = of {
            find_domain(&applied.model, domain)?;
            if !stands_for(&server_names(stored)?, domain) {
                return Err(not_found(name, of).into());
            }
        }
        view(&applied, name, stored)
    }

    /// Keeps a certificate under a name, in place of what was there; handshakes from now on are answered with it where a listener shows it. True when
    /// the name is new. Below a domain it has to stand for it, as what it replaces. Runs to its end even if the caller goes away.
    ///
    /// # Errors
    /// It cannot be used, or a domain that shows it needs another: nothing has changed then.
    pub async fn put_certificate(
        &self,
        name: &str,
        pem: CertificatePem,
        of: Option<&str>,
    ) -> Result<(CertificateView, bool), ControlError> {
        check(&pem)?;
        let stored = StoredCertificate::new(pem);
        let previous = self.change_certificate(name, Some(stored), of).await?;
        Ok((self.certificate(name, None)?, previous.is_none()))
    }

    /// The same for one that was ordered.
    pub(crate) async fn keep_certificate(
        &self,
        name: &str,
        stored: StoredCertificate,
    ) -> Result<(), ControlError> {
        check(&stored.pem)?;
        self.change_certificate(name, Some(stored), None).await?;
        Ok(())
    }

    /// Removes a certificate that neither a listener nor a domain asks for by its name; below a domain one that stands for it.
    ///
    /// # Errors
    /// Not there, or in use.
    pub async fn remove_certificate(&self, name: &str, of: Option<&str>) -> Result<(), ControlError> {
        self.change_certificate(name, None, of).await?;
        Ok(())
    }

    /// Returns what was there before.
    async fn change_certificate(
        &self,
        name: &str,
        new: Option<StoredCertificate>,
        of: Option<&str>,
    ) -> Result<Option<StoredCertificate>, ControlError> {
        let (this, name, of) = (self.clone(), name.to_owned(), of.map(str::to_owned));
        let change = async move { this.change_certificate_locked(&name, new, of.as_deref()).await };
        let outcome = tokio::spawn(change).await;
        outcome.unwrap_or(Err(ControlError::Panicked))
    }

    async fn change_certificate_locked(
        &self,
        name: &str,
        new: Option<StoredCertificate>,
        of: Option<&str>,
    ) -> Result<Option<StoredCertificate>, ControlError> {
        let _guard = self.shared.change.lock().await;
        let proxy = self.ready()?;
        let mut next = (*self.applied()).clone();
        let mut certificates = (*next.certificates).clone();
        if let Some(domain) = of {
            find_domain(&next.model, domain)?;
            if let Some(kept) = certificates.get(name)
                && let Some(problem) = problem_for(domain, name, kept)?
            {
                let of_others = || StoreError::Conflict(format!("{problem}: take another name"));
                let error = new
                    .as_ref()
                    .map_or_else(|| not_found(name, of), |_new| of_others());
                return Err(error.into());
            }
            if let Some(new) = &new
                && let Some(problem) = problem_for(domain, name, new)?
            {
                return Err(ControlError::invalid("", problem));
            }
        }
        let previous = match &new {
            Some(new) => {
                for domain in domains_with(&next.model, name) {
                    let Some(problem) = problem_for(&domain, name, new)? else {
                        continue;
                    };
                    if new.directory.is_none() {
                        return Err(StoreError::Conflict(problem).into());
                    }
                    // the names of an order are those of listeners: without it they would have none
                    tracing::warn!(
                        problem,
                        "an ordered certificate is shown for a domain that it is not for"
                    );
                }
                certificates.insert(name.to_owned(), new.clone())
            }
            None => {
                if let Some((listener, _)) = shown_by(&next.file, name).find(|(_, by_name)| *by_name) {
                    let problem = format!("certificate `{name}` is shown by listener `{listener}`");
                    return Err(StoreError::Conflict(problem).into());
                }
                if let Some(domain) = domains_with(&next.model, name).first() {
                    let problem = format!("certificate `{name}` is shown for domain `{domain}`");
                    return Err(StoreError::Conflict(problem).into());
                }
                Some(certificates.remove(name).ok_or_else(|| not_found(name, of))?)
            }
        };
        if certificates.len() > CERTIFICATES_MAX {
            let problem = format!("there are {CERTIFICATES_MAX} certificates already: remove some");
            return Err(StoreError::Conflict(problem).into());
        }
        next.material = next.material.with_certificates(for_proxy(&certificates));
        next.certificates = Arc::new(certificates);
        let snapshot = build(&next, Some(&proxy.current()))?;
        let id = snapshot.id();
        let keep = |certificate: Option<&StoredCertificate>| match certificate {
            Some(certificate) => self.shared.store.certificates.keep(name, certificate),
            None => self.shared.store.certificates.remove(name),
        };
        keep(new.as_ref())?;
        if let Err(error) = proxy.publish(snapshot) {
            keep(previous.as_ref())?;
            return Err(error.into());
        }
        self.shared.applied.store(Arc::new(next));
        let done = if new.is_some() { "is live" } else { "was removed" };
        tracing::info!(certificate = name, snapshot = id, "a certificate {done}");
        Ok(previous)
    }
}
