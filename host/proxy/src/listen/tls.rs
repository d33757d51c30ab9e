//! TLS of listeners: protocol versions, certificates by server name, client certificates, ALPN.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use edgeward_core::{
    config::{
        Certificate, CertificateSource, ClientAuth, ListenerTls, TlsPolicy, is_acme_certificate_name,
        is_certificate_name,
    },
    ids::Digest,
    route::{MAX_HOST, canonical_host},
};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::client_auth::AuthFiles;
use crate::{
    certificate::{self, CertificateError, CertificatePem, Shown},
    material::{Content, Material},
    pem,
};

/// Sessions of a listener that HTTP/3 clients may resume; the oldest go first. About 2 KiB each.
const QUIC_SESSIONS: usize = 4096;

/// Names of kept certificates, by the domain that they are shown for.
pub(crate) type DomainCertificates = BTreeMap<String, String>;

/// TLS of a listener, ready to serve.
#[derive(Debug)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    /// The same for HTTP/3, which knows no rules by domain.
    quic: Option<Arc<ServerConfig>>,
    /// Settings of domains with a rule of their own, with the number of the rule.
    domains: Names<(usize, Arc<ServerConfig>)>,
    resolver: Arc<Resolver>,
    config: ListenerTls,
    http2: bool,
    digests: Digests,
}

/// TLS of a server that is none of the listeners: of the admin API.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<Tls>);

impl ServerTls {
    /// Reads its files. What did not change since `previous` lives on.
    ///
    /// # Errors
    /// A file cannot be used; the text names it.
    pub fn build(config: &ListenerTls, material: &Material, previous: Option<&Self>) -> Result<Self, String> {
        Tls::build(
            config,
            &BTreeMap::new(),
            (false, false),
            material,
            previous.map(|previous| &previous.0),
        )
        .map(Self)
    }

    /// What connections are accepted with.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        self.0.server(None)
    }
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

/// What the settings of a listener are made from, read.
struct Sources {
    certificates: Vec<Source>,
    /// Of the listener, then of its domains.
    auth: Vec<Option<AuthFiles>>,
}

/// A certificate, read.
struct Source {
    /// Its place in the configuration's list; `None` where a domain names it.
    index: Option<usize>,
    label: String,
    chain: Content,
    key: Content,
    ocsp: Option<Content>,
    /// Names that it was given when it was kept, or the domain that names it.
    names: Vec<String>,
}

/// What tells two contents of [`Sources`] apart.
#[derive(Debug, PartialEq, Eq)]
struct Digests {
    certificates: Vec<CertificateDigests>,
    auth: Vec<Vec<Digest>>,
}

/// The same for one certificate.
#[derive(Debug, PartialEq, Eq)]
struct CertificateDigests {
    label: String,
    names: Vec<String>,
    chain: Digest,
    key: Digest,
    ocsp: Option<Digest>,
}

impl Source {
    fn digests(&self) -> CertificateDigests {
        CertificateDigests {
            label: self.label.clone(),
            names: self.names.clone(),
            chain: self.chain.digest,
            key: self.key.digest,
            ocsp: self.ocsp.as_ref().map(|ocsp| ocsp.digest),
        }
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}

impl Sources {
    fn read(config: &ListenerTls, domains: &DomainCertificates, material: &Material) -> Result<Self, String> {
        let mut certificates = Vec::new();
        for (index, certificate) in config.certificates.iter().enumerate() {
            match certificate.source() {
                Some(CertificateSource::Files { cert, key, ocsp }) => certificates.push(Source {
                    index: Some(index),
                    label: cert.display().to_string(),
                    chain: material.file(cert)?,
                    key: material.file(key).map_err(|problem| {
                        // both at once, where both are at fault
                        let chain = material
                            .file(cert)
                            .and_then(|chain| pem::certificates(&chain.bytes));
                        match chain {
                            Err(other) => format!("{}: {other}; {problem}", cert.display()),
                            Ok(_) => problem,
                        }
                    })?,
                    ocsp: ocsp.map(|path| material.file(path)).transpose()?,
                    names: Vec::new(),
                }),
                Some(CertificateSource::Stored(name)) => {
                    let kept = material.certificates();
                    // while one that is ordered is not there: others that were, for some of its names
                    let in_place = certificate.acme.is_some() && !kept.contains_key(&*name);
                    let serves =
                        |pem: &CertificatePem| pem.names.iter().any(|name| has(&certificate.names, name));
                    let wanted = kept.iter().filter(|(kept, pem)| {
                        *name == **kept
                            || (name == "*" && is_certificate_name(kept))
                            || (in_place && is_acme_certificate_name(kept) && serves(pem))
                    });
                    certificates
                        .extend(wanted.map(|(name, pem)| Source::kept(Some(index), name, pem, &pem.names)));
                }
                None => return Err("a certificate is neither in files nor stored".to_owned()),
            }
        }
        for (domain, name) in domains {
            if let Some(pem) = material.certificates().get(name) {
                certificates.push(Source::kept(None, name, pem, std::slice::from_ref(domain)));
            }
        }
        let rules = config.domains.iter().map(|domain| &domain.client_auth);
        let auth = std::iter::once(&config.client_auth).chain(rules);
        Ok(Self {
            certificates,
            auth: auth
                .map(|auth| {
                    auth.as_ref()
                        .map(|auth| AuthFiles::read(auth, material))
                        .transpose()
                })
                .collect::<Result<_, _>>()?,
        })
    }

    fn digests(&self) -> Digests {
        let of_auth = |auth: &Option<AuthFiles>| auth.iter().flat_map(AuthFiles::digests).collect();
        Digests {
            certificates: self.certificates.iter().map(Source::digests).collect(),
            auth: self.auth.iter().map(of_auth).collect(),
        }
    }
}

impl Source {
    fn kept(index: Option<usize>, name: &str, pem: &CertificatePem, names: &[String]) -> Self {
        Self {
            index,
            label: name.to_owned(),
            chain: Content::from(pem.chain.as_bytes()),
            key: Content::from(pem.key.as_bytes()),
            ocsp: None,
            names: names.to_vec(),
        }
    }

    fn load(&self, config: &Certificate, provider: &CryptoProvider) -> Result<Shown, String> {
        let (mut key, info) =
            certificate::load(&self.chain.bytes, &self.key.bytes, provider).map_err(|error| {
                match (&error, &config.key) {
                    (CertificateError::Key(problem), Some(path)) => format!("{}: {problem}", path.display()),
                    (CertificateError::Chain(problem), _) => format!("{}: {problem}", self.label),
                    (CertificateError::Pair(error), Some(path)) => {
                        format!("{} and {}: {error}", self.label, path.display())
                    }
                    _ => format!("{}: {error}", self.label),
                }
            })?;
        if let (Some(response), Some(path)) = (&self.ocsp, &config.ocsp) {
            // RFC 6960 section 4.2.1: a sequence whose first element, the status, is 0 when there is an answer
            let bytes = &response.bytes;
            if bytes.first() != Some(&0x30) || !bytes.windows(3).take(6).any(|status| status == [0x0a, 1, 0])
            {
                return Err(format!(
                    "{}: not a successful OCSP response (DER)",
                    path.display()
                ));
            }
            key.ocsp = Some(bytes.to_vec());
        }
        Ok(Shown {
            label: self.label.clone(),
            key: Arc::new(key),
            info,
        })
    }
}

impl Tls {
    /// The TLS settings of a listener, which may serve HTTP/2 and HTTP/3; the error names file and reason. Domains that name a certificate get it whatever
    /// the listener's own are for. `previous`, of the same listener before, is returned as it is when nothing has
    /// changed. Else what did not change of it lives on: certificates, and sessions where the same check of client certificates holds.
    pub(crate) fn build(
        config: &ListenerTls,
        domains: &DomainCertificates,
        (http2, http3): (bool, bool),
        material: &Material,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, String> {
        let sources = Sources::read(config, domains, material)?;
        let digests = sources.digests();
        if let Some(same) = previous.filter(|previous| {
            previous.config == *config
                && previous.http2 == http2
                && previous.quic.is_some() == http3
                && previous.digests == digests
        }) {
            return Ok(Arc::clone(same));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let resolver = Arc::new(Resolver::new(config, &sources, &provider, previous)?);
        let versions: &[&SupportedProtocolVersion] = match config.policy {
            TlsPolicy::Modern => &[&TLS13],
            TlsPolicy::Intermediate => &[&TLS13, &TLS12],
        };
        let server = |auth: Option<&ClientAuth>,
                      files: &Option<AuthFiles>,
                      tickets: Option<Arc<dyn ProducesTickets>>| {
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)
                .map_err(|error| error.to_string())?;
            let builder = match (auth, files) {
                (Some(auth), Some(files)) => {
                    builder.with_client_cert_verifier(files.verifier(auth, &provider)?)
                }
                _ => builder.with_no_client_auth(),
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
        let same_check = |previous: &&Arc<Self>| {
            previous.config.client_auth == config.client_auth
                && previous.digests.auth.first() == digests.auth.first()
        };
        let previous = previous.filter(same_check);

        let mut auth = sources.auth.iter();
        let own_auth = auth.next().unwrap_or(&None);
        let quic = http3
            .then(|| {
                let mut quic = Arc::unwrap_or_clone(server(config.client_auth.as_ref(), own_auth, None)?);
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
        let own = server(config.client_auth.as_ref(), own_auth, Some(kept))?;
        let mut domains = Names::new();
        for (index, (domain, files)) in config.domains.iter().zip(auth).enumerate() {
            // with tickets of its own: a session of elsewhere must not pass for one that was checked here
            let own = server(domain.client_auth.as_ref(), files, Some(tickets()?))?;
            for name in &domain.names {
                domains.insert(name, (index, Arc::clone(&own)));
            }
        }
        Ok(Arc::new(Self {
            server: own,
            quic,
            domains,
            resolver,
            config: config.clone(),
            http2,
            digests,
        }))
    }

    /// Certificates that are shown.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Shown> {
        self.resolver.certificates.iter().map(|(_, shown)| &**shown)
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

/// Chooses a certificate by server name, the first when none matches. Without any, handshakes fail.
#[derive(Debug)]
struct Resolver {
    names: Names<Arc<CertifiedKey>>,
    certificates: Vec<(CertificateDigests, Arc<Shown>)>,
}

impl Resolver {
    fn new(
        config: &ListenerTls,
        sources: &Sources,
        provider: &CryptoProvider,
        previous: Option<&Arc<Tls>>,
    ) -> Result<Self, String> {
        let mut certificates = Vec::new();
        let mut named = Vec::new();
        let of_domain = Certificate::default();
        for source in &sources.certificates {
            let own = source.index.and_then(|index| config.certificates.get(index));
            let config = own.unwrap_or(&of_domain);
            let digests = source.digests();
            let known = previous.and_then(|previous| {
                let mut shown = previous.resolver.certificates.iter();
                shown.find(|(of, _)| *of == digests)
            });
            let shown = match known {
                Some((_, shown)) => Arc::clone(shown),
                None => Arc::new(source.load(config, provider)?),
            };
            let given = [&config.names, &source.names, &shown.info.dns_names];
            let given = given.into_iter().find(|names| !names.is_empty());
            for name in given.into_iter().flatten() {
                // one that was ordered before a name was added is not for that name
                if config.acme.is_none() || has(&source.names, name) {
                    named.push((source.index, name.clone(), Arc::clone(&shown.key)));
                }
            }
            certificates.push((digests, shown));
        }
        // those of domains first
        named.sort_by_key(|(index, ..)| *index);
        let mut names = Names::new();
        for (_, name, key) in named {
            names.insert(&name, key);
        }
        Ok(Self { names, certificates })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands names over in lower case
        let chosen = hello.server_name().and_then(|name| self.names.get(name));
        let first = || Some(&self.certificates.first()?.1.key);
        chosen.or_else(first).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::material::Certificates;

    fn write(folder: &Path, name: &str) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([format!("{name}.example")]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_did_not_change_is_the_same_object_and_files_are_read_once_per_load() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = ("a", "b");
        write(folder.path(), a);
        write(folder.path(), b);
        let certificate = |name: &str| Certificate {
            cert: Some(format!("{name}.crt").into()),
            key: Some(format!("{name}.key").into()),
            ..Certificate::default()
        };
        let config = ListenerTls {
            certificates: vec![certificate(a), certificate(b)],
            policy: TlsPolicy::default(),
            client_auth: None,
            domains: Vec::new(),
        };
        let load = || Material::new(folder.path(), Certificates::new());
        let first_load = load();
        let build = |config: &ListenerTls, material: &Material, previous: Option<&Arc<Tls>>| {
            Tls::build(config, &BTreeMap::new(), (true, true), material, previous)
        };
        let first = build(&config, &first_load, None).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &build(&config, &load(), Some(&first)).unwrap()
        ));
        write(folder.path(), b);
        let same = build(&config, &first_load, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &same), "what was read before");
        let second = build(&config, &load(), Some(&first)).unwrap();
        let keys = |tls: &Tls| {
            tls.certificates()
                .map(|shown| Arc::clone(&shown.key))
                .collect::<Vec<_>>()
        };
        let (before, after) = (keys(&first), keys(&second));
        assert!(Arc::ptr_eq(&before[0], &after[0]), "not read anew");
        assert!(!Arc::ptr_eq(&before[1], &after[1]));
        assert!(Arc::ptr_eq(&first.server.ticketer, &second.server.ticketer));
        fs::write(folder.path().join("a.key"), "broken").unwrap();
        let problem = build(&config, &load(), Some(&second)).unwrap_err();
        assert!(problem.contains("a.key"), "{problem}");
        let same = build(&config, &first_load, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &same), "a change of something else");
        let modern = ListenerTls {
            policy: TlsPolicy::Modern,
            ..config
        };
        let third = build(&modern, &first_load, Some(&first)).unwrap();
        assert!(!Arc::ptr_eq(&first, &third));
    }
}
