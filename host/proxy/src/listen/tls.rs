//! TLS of listeners: protocol versions, certificates by server name, client certificates, ALPN.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use edgeward_core::{
    config::{Certificate, ClientAuth, ListenerTls, TlsPolicy},
    route::{MAX_HOST, canonical_host},
};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

use super::client_auth;
use crate::pem;

const DAY: i64 = 24 * 60 * 60;
/// Certificates are warned of when that much time is left, in seconds, or a quarter of their whole time if that is less.
const EXPIRY_WARNING: i64 = 14 * DAY;

/// Sessions of a listener that HTTP/3 clients may resume; the oldest go first. About 2 KiB each.
const QUIC_SESSIONS: usize = 4096;

/// TLS of a listener, ready to serve.
#[derive(Debug)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    /// The same for HTTP/3, which knows no rules by domain.
    quic: Option<Arc<ServerConfig>>,
    /// Settings of domains with a rule of their own, with the number of the rule.
    domains: Names<(usize, Arc<ServerConfig>)>,
    pub(crate) expiries: Vec<Expiry>,
    config: ListenerTls,
}

/// Something by server name: exact, or for all names one label below another (`*.example.com`, RFC 6125 section 6.4.3).
#[derive(Debug)]
struct Names<T> {
    exact: HashMap<String, T>,
    /// By the name without its first label.
    wildcard: HashMap<String, T>,
}

impl<T> Names<T> {
    fn new() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// The first to ask for a name has it.
    fn insert(&mut self, name: &str, value: T) {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(rest) => self.wildcard.entry(rest.to_owned()).or_insert(value),
            None => self.exact.entry(name).or_insert(value),
        };
    }

    /// By a name in lower case.
    fn get(&self, name: &str) -> Option<&T> {
        self.exact
            .get(name)
            .or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

/// Until when a certificate of a listener holds.
#[derive(Debug)]
pub(crate) struct Expiry {
    /// Its file, as the configuration names it.
    pub(crate) certificate: String,
    /// Unix times, in seconds.
    not_before: i64,
    pub(crate) not_after: i64,
}

impl Expiry {
    /// Days that are left when it is time to do something; 0 and less when it has expired.
    pub(crate) fn days_left_if_few(&self) -> Option<i64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        self.days_left_at(i64::try_from(now.as_secs()).ok()?)
    }

    fn days_left_at(&self, now: i64) -> Option<i64> {
        let left = self.not_after.saturating_sub(now);
        let whole = self.not_after.saturating_sub(self.not_before);
        (left < EXPIRY_WARNING.min(whole / 4)).then(|| left.div_euclid(DAY))
    }
}

impl Tls {
    /// Builds the TLS settings of a listener; the error names file and reason. Sessions of `previous`, the same listener before, are resumed if
    /// that cannot go around a check of client certificates that is new.
    pub(crate) fn build(
        config: &ListenerTls,
        http2: bool,
        http3: bool,
        base_dir: &Path,
        previous: Option<&Self>,
    ) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut expiries = Vec::new();
        let resolver = Arc::new(Resolver::new(config, &provider, base_dir, &mut expiries)?);
        let versions: &[&SupportedProtocolVersion] = match config.policy {
            TlsPolicy::Modern => &[&TLS13],
            TlsPolicy::Intermediate => &[&TLS13, &TLS12],
        };
        let server = |auth: Option<&ClientAuth>, tickets: Option<Arc<dyn ProducesTickets>>| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(|error| error.to_string())?;
            let builder = match auth {
                None => builder.with_no_client_auth(),
                Some(auth) => {
                    builder.with_client_cert_verifier(client_auth::verifier(auth, &provider, base_dir)?)
                }
            };
            let mut server = builder.with_cert_resolver(Arc::clone(&resolver) as _);
            server.alpn_protocols = vec![b"http/1.1".to_vec()];
            if http2 {
                server.alpn_protocols.insert(0, b"h2".to_vec());
            }
            if let Some(tickets) = tickets {
                server.ticketer = tickets;
            }
            Ok::<_, String>(Arc::new(server))
        };
        let anyone = |previous: &&Self| config.client_auth.is_none() && previous.config.client_auth.is_none();
        let previous = previous.filter(anyone);
        let quic = http3
            .then(|| {
                let mut quic = Arc::unwrap_or_clone(server(config.client_auth.as_ref(), None)?);
                quic.alpn_protocols = vec![b"h3".to_vec()];
                // each session is good for one resumption, so that early data cannot be sent twice (RFC 8446 section 8.1)
                quic.session_storage = match previous.and_then(|previous| previous.quic.as_ref()) {
                    Some(previous) => Arc::clone(&previous.session_storage),
                    None => ServerSessionMemoryCache::new(QUIC_SESSIONS),
                };
                if config.client_auth.is_none() {
                    // the only value besides 0 that QUIC allows (RFC 9001 section 4.6.1)
                    quic.max_early_data_size = u32::MAX;
                }
                Ok::<_, String>(Arc::new(quic))
            })
            .transpose()?;
        let kept = match previous {
            Some(previous) => Arc::clone(&previous.server.ticketer),
            None => tickets()?,
        };
        let mut domains = Names::new();
        for (index, domain) in config.domains.iter().enumerate() {
            // with tickets of its own: a session of elsewhere must not pass for one that was checked here
            let own = server(domain.client_auth.as_ref(), Some(tickets()?))?;
            for name in &domain.names {
                domains.insert(name, (index, Arc::clone(&own)));
            }
        }
        Ok(Self {
            server: server(config.client_auth.as_ref(), Some(kept))?,
            quic,
            domains,
            expiries,
            config: config.clone(),
        })
    }

    /// Settings for HTTP/3, if the listener speaks it.
    pub(crate) fn quic(&self) -> Option<&Arc<ServerConfig>> {
        self.quic.as_ref()
    }

    /// Whether clients of HTTP/3 are asked for certificates.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.config.client_auth.is_some()
    }

    /// Whether a domain's rule for client certificates holds for connections opened for this name.
    pub(crate) fn has_rule(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| self.domains.get(name).is_some())
    }

    /// Settings for clients that ask for this name.
    pub(crate) fn server(&self, name: Option<&str>) -> &Arc<ServerConfig> {
        let own = name.and_then(|name| self.domains.get(name));
        own.map_or(&self.server, |(_, server)| server)
    }

    /// Whether a connection that was opened for one server name may carry requests for this authority: the same rule for client certificates
    /// holds for both.
    pub(crate) fn may_carry(&self, opened_for: Option<&str>, authority: &str) -> bool {
        if self.config.domains.is_empty() {
            return true;
        }
        let rule = |name: &str| {
            let mut buffer = [0; MAX_HOST];
            Some(self.domains.get(canonical_host(name, &mut buffer)?)?.0)
        };
        opened_for.and_then(rule) == rule(authority)
    }
}

/// Keys of session tickets, made anew every six hours; a ticket is good for twelve.
fn tickets() -> Result<Arc<dyn ProducesTickets>, String> {
    aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())
}

/// Chooses a certificate by server name, the first when none matches.
#[derive(Debug)]
struct Resolver {
    names: Names<Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Resolver {
    fn new(
        config: &ListenerTls,
        provider: &CryptoProvider,
        base_dir: &Path,
        expiries: &mut Vec<Expiry>,
    ) -> Result<Self, String> {
        let mut names = Names::new();
        let mut first = None;
        for certificate in &config.certificates {
            let key = Arc::new(load(certificate, provider, base_dir)?);
            let (own_names, expiry) = leaf(certificate, &key)?;
            expiries.push(expiry);
            let given = &certificate.names;
            for name in if given.is_empty() { &own_names } else { given } {
                names.insert(name, Arc::clone(&key));
            }
            first.get_or_insert(key);
        }
        Ok(Self {
            names,
            first: first.ok_or("no certificate")?,
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands names over in lower case
        let chosen = hello.server_name().and_then(|name| self.names.get(name));
        Some(Arc::clone(chosen.unwrap_or(&self.first)))
    }
}

fn load(config: &Certificate, provider: &CryptoProvider, base_dir: &Path) -> Result<CertifiedKey, String> {
    let path = base_dir.join(&config.cert);
    let chain = pem::certificates(&path).map_err(|problem| format!("{}: {problem}", path.display()))?;
    let path = base_dir.join(&config.key);
    let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut certified = CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("{} and {}: {error}", config.cert.display(), config.key.display()))?;
    if let Some(path) = &config.ocsp {
        let path = base_dir.join(path);
        let response = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // RFC 6960 section 4.2.1: a sequence whose first element, the status, is 0 when there is an answer
        if response.first() != Some(&0x30)
            || !response.windows(3).take(6).any(|status| status == [0x0a, 1, 0])
        {
            return Err(format!(
                "{}: not a successful OCSP response (DER)",
                path.display()
            ));
        }
        certified.ocsp = Some(response);
    }
    Ok(certified)
}

/// DNS names of the leaf (RFC 6125: the subject alternative names; a common name does not count), and until when it holds.
fn leaf(config: &Certificate, key: &CertifiedKey) -> Result<(Vec<String>, Expiry), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", config.cert.display());
    let leaf = key.cert.first().ok_or_else(|| failed(&"no certificate in it"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| failed(&error))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| failed(&error))?;
    let names = names.map(|names| {
        names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect()
    });
    let expiry = Expiry {
        certificate: config.cert.display().to_string(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    };
    Ok((names.unwrap_or_default(), expiry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_in_time() {
        let expiry = |days| Expiry {
            certificate: "a.crt".to_owned(),
            not_before: 0,
            not_after: days * DAY,
        };
        let year = expiry(365);
        assert_eq!(year.days_left_at(350 * DAY), None);
        assert_eq!(year.days_left_at(352 * DAY), Some(13));
        assert_eq!(year.days_left_at(364 * DAY + 1), Some(0));
        assert_eq!(year.days_left_at(366 * DAY), Some(-1));
        // those that hold for six days are renewed at four
        let week = expiry(6);
        assert_eq!(week.days_left_at(4 * DAY), None);
        assert_eq!(week.days_left_at(5 * DAY), Some(1));
    }
}
