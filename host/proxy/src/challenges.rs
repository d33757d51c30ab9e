//! Answers to certificate authorities that ask whether a name is ours (ACME): HTTP-01 (RFC 8555 section 8.3) on every listener without TLS or with, and
//! TLS-ALPN-01 (RFC 8737) on every listener with TLS. What is offered holds on all workers from that moment, and until the offer is dropped.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    server::ClientHello,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The only protocol in the handshake of an authority (RFC 8737 section 3).
const ALPN: &[u8] = b"acme-tls/1";
/// Where authorities look (RFC 8555 section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// Challenges that are open.
#[derive(Debug, Default)]
pub struct Challenges(ArcSwap<Open>);

#[derive(Clone, Debug, Default)]
struct Open {
    /// Key authorization by token.
    http: HashMap<String, Arc<str>>,
    /// Settings of handshakes by server name.
    tls: HashMap<String, Arc<ServerConfig>>,
}

/// The answer to one challenge.
#[derive(Debug)]
pub enum Challenge {
    /// What an HTTP request for a token is answered with.
    Http {
        /// Token of the challenge.
        token: String,
        /// Key authorization: token and thumbprint of the account's key.
        key_authorization: String,
    },
    /// What a handshake for a name is answered with.
    Tls {
        /// The name.
        name: String,
        /// Certificate with the key authorization's digest in it.
        certificate: CertificateDer<'static>,
        /// Its key.
        key: PrivateKeyDer<'static>,
    },
}

/// An answer that is given until this is dropped.
#[derive(Debug)]
pub struct Offer {
    challenges: Arc<Challenges>,
    key: Key,
}

#[derive(Clone, Debug)]
enum Key {
    Token(String),
    Name(String),
}

impl Challenges {
    /// Gives an answer from now on, in place of another one to the same token or for the same name.
    ///
    /// # Errors
    /// The key of a certificate cannot be used.
    pub fn offer(self: &Arc<Self>, challenge: Challenge) -> Result<Offer, rustls::Error> {
        let key = match challenge {
            Challenge::Http {
                token,
                key_authorization,
            } => {
                let answer: Arc<str> = key_authorization.into();
                self.change(|open| drop(open.http.insert(token.clone(), Arc::clone(&answer))));
                Key::Token(token)
            }
            Challenge::Tls {
                name,
                certificate,
                key,
            } => {
                let server = settings(certificate, &key)?;
                let name = name.to_ascii_lowercase();
                self.change(|open| drop(open.tls.insert(name.clone(), Arc::clone(&server))));
                Key::Name(name)
            }
        };
        Ok(Offer {
            challenges: Arc::clone(self),
            key,
        })
    }

    fn change(&self, mut change: impl FnMut(&mut Open)) {
        self.0.rcu(|open| {
            let mut open = Open::clone(open);
            change(&mut open);
            open
        });
    }

    /// What a request for this path is answered with. Those for tokens that are not ours go where they are routed.
    pub(crate) fn http(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(PATH)?;
        self.0.load().http.get(token).cloned()
    }

    /// What a handshake is answered with if it is an authority's, for a name that is asked about now.
    pub(crate) fn tls(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut protocols = hello.alpn()?;
        if protocols.next() != Some(ALPN) || protocols.next().is_some() {
            return None;
        }
        self.0.load().tls.get(hello.server_name()?).cloned()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.challenges.change(|open| match &self.key {
            Key::Token(token) => drop(open.http.remove(token)),
            Key::Name(name) => drop(open.tls.remove(name)),
        });
    }
}

fn settings(
    certificate: CertificateDer<'static>,
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    // without rustls' check that both belong together: it refuses the critical extension that the certificate must have
    let certified = CertifiedKey::new(vec![certificate], any_supported_type(key)?);
    let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    server.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_until_its_offer_is_dropped() {
        let challenges = Arc::new(Challenges::default());
        let offer = challenges.offer(Challenge::Http {
            token: "abc".to_owned(),
            key_authorization: "abc.key".to_owned(),
        });
        let path = format!("{PATH}abc");
        assert_eq!(challenges.http(&path).as_deref(), Some("abc.key"));
        assert_eq!(challenges.http(&format!("{path}d")), None);
        assert_eq!(challenges.http("/abc"), None);
        drop(offer);
        assert_eq!(challenges.http(&path), None);
    }

    #[test]
    fn a_certificate_with_the_critical_extension_can_be_offered() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["A.example".to_owned()]).unwrap();
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
        let certificate = params.self_signed(&key).unwrap();
        let challenges = Arc::new(Challenges::default());
        let offer = challenges.offer(Challenge::Tls {
            name: "A.example".to_owned(),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        });
        assert!(challenges.0.load().tls.contains_key("a.example"));
        drop(offer.unwrap());
        assert!(challenges.0.load().tls.is_empty());
    }
}
