//! One certificate authority: its account, an order from beginning to end, and when it wants a certificate to be renewed (RFC 8555, RFC 9773).

use std::{
    collections::HashMap,
    error::Error as _,
    fs,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use edgeward_core::config::{self, AcmeChallenge};
use edgeward_proxy::{CertificatePem, Challenge, Challenges, Offer};
use http::{
    HeaderValue, Request, Response,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, BodyWrapper, BytesResponse, CertificateIdentifier,
    ChallengeHandle, ChallengeType, Error, ExternalAccountKey, HttpClient, Identifier, NewAccount, NewOrder,
    Order, OrderStatus, Problem, RetryPolicy,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};

use crate::store::{Acme as AcmeStore, StoredAccount};

/// Time for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// Largest answer in bytes; chains have some kilobytes.
const ANSWER_MAX: usize = 1 << 20;
/// Most that is told of an error, in characters: it may quote what somebody else answered to the authority.
const ERROR_MAX: usize = 500;
/// Longest wait that an authority may ask for; it is the library that waits, and it takes every number.
const RETRY_AFTER_MAX: u64 = 86_400;
/// How an order's state is asked for, unless the authority says when: after a second, then a little less often.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_secs(1))
    .backoff(1.1);
/// Time for an authority to look at the challenges, and to issue: some let people look first.
const LOOKING: RetryPolicy = POLLING.timeout(Duration::from_secs(15 * 60));
const ISSUING: RetryPolicy = POLLING.timeout(Duration::from_secs(3600));
/// The authority does not know the account (RFC 8555 section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// An order could not be filled.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// The authority, or the way to it.
    #[error("{0}")]
    Authority(String),
    /// The account is not known (any more).
    #[error("the account is not known: {0}")]
    NoAccount(String),
    /// The authority wants to be left alone for so long.
    #[error("{problem}; it wants to be asked again after {} s", wait.as_secs())]
    Later { problem: String, wait: Duration },
}

impl OrderError {
    /// How long the authority wants to be left alone, in milliseconds.
    pub(super) fn wait_ms(&self) -> i64 {
        match self {
            Self::Later { wait, .. } => i64::try_from(wait.as_millis()).unwrap_or(i64::MAX),
            Self::Authority(_) | Self::NoAccount(_) => 0,
        }
    }
}

/// A refusal that says how long it is one (RFC 8555 section 6.6).
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
struct Refused {
    problem: Problem,
    wait: Duration,
}

/// That of an error, if it is one.
fn refused(error: &Error) -> Option<&Refused> {
    match error {
        Error::Other(error) => error.downcast_ref(),
        _ => None,
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let text = causes
            .map(ToString::to_string)
            .fold(error.to_string(), |text, cause| {
                // some errors are their own causes
                if text.ends_with(&cause) {
                    text
                } else {
                    format!("{text}: {cause}")
                }
            });
        if let Some(Refused { wait, .. }) = refused(&error) {
            return Self::Later {
                problem: presentable(&text),
                wait: *wait,
            };
        }
        match error {
            Error::Api(problem) if problem.r#type.as_deref() == Some(NO_ACCOUNT) => {
                Self::NoAccount(presentable(&text))
            }
            _ => wrong(text),
        }
    }
}

fn wrong(problem: impl AsRef<str>) -> OrderError {
    OrderError::Authority(presentable(problem.as_ref()))
}

/// A text in one line, of bounded length.
fn presentable(text: &str) -> String {
    let line = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char });
    line.take(ERROR_MAX).collect()
}

/// Where the configuration of an authority is wrong: key, and what is wrong.
pub(crate) type Wrong = (&'static str, String);

/// Checks the files that the configuration of an authority names.
pub(crate) fn check(config: &config::Acme, base_dir: &Path) -> Result<(), Wrong> {
    if let Some(ca) = &config.ca {
        let path = base_dir.join(ca);
        edgeward_proxy::roots(Some(&path)).map_err(|error| ("ca", error.to_string()))?;
    }
    external_account(config, base_dir).map(drop)
}

fn external_account(config: &config::Acme, base_dir: &Path) -> Result<Option<ExternalAccountKey>, Wrong> {
    let Some(external) = &config.external_account else {
        return Ok(None);
    };
    let path = base_dir.join(&external.key_file);
    let at = |problem: String| {
        (
            "external-account.key-file",
            format!("{}: {problem}", path.display()),
        )
    };
    let text = fs::read_to_string(&path).map_err(|error| at(error.to_string()))?;
    // the error would quote the key
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text.trim().trim_end_matches('='))
        .map_err(|_invalid| at("is not base64url".to_owned()))?;
    Ok(Some(ExternalAccountKey::new(external.key_id.clone(), &key)))
}

/// HTTP/1.1 over TLS, with bounds.
struct Http(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Http {
    fn new(ca: Option<&Path>) -> Result<Self, OrderError> {
        let roots = edgeward_proxy::roots(ca).map_err(|error| wrong(error.to_string()))?;
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let url = request.uri().to_string();
        let sent = self.0.request(request);
        Box::pin(async move {
            let of_url = |problem: &dyn std::fmt::Display| Error::Other(format!("{url}: {problem}").into());
            let answer = async {
                let (mut head, body) = sent
                    .await
                    .map_err(|error| Error::Other(error.into()))?
                    .into_parts();
                let body = Limited::new(body, ANSWER_MAX)
                    .collect()
                    .await
                    .map_err(|error| of_url(&error))?;
                let body = body.to_bytes();
                let wait = head.headers.get(RETRY_AFTER).and_then(seconds);
                if let Some(wait) = wait {
                    head.headers.insert(RETRY_AFTER, HeaderValue::from(wait));
                }
                let kind = head.headers.get(CONTENT_TYPE);
                let is_problem =
                    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
                match (head.status.is_success(), is_problem) {
                    (true, _) => {}
                    (false, false) => return Err(of_url(&format_args!("answered {}", head.status))),
                    (false, true) => {
                        if let Some(wait) = wait
                            && let Ok(problem) = serde_json::from_slice(&body)
                        {
                            let wait = Duration::from_secs(wait);
                            return Err(Error::Other(Refused { problem, wait }.into()));
                        }
                    }
                }
                Ok(BytesResponse::from(Response::from_parts(head, Full::new(body))))
            };
            let answer = tokio::time::timeout(ANSWER_TIME, answer).await;
            answer.unwrap_or_else(|_elapsed| {
                Err(of_url(&format_args!(
                    "no answer within {} s",
                    ANSWER_TIME.as_secs()
                )))
            })
        })
    }
}

/// Seconds of a `Retry-After` (RFC 9110 section 10.2.3).
fn seconds(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    let seconds = text.parse().ok().or_else(|| {
        let until = httpdate::parse_http_date(text).ok()?;
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        Some(left.as_secs())
    });
    seconds.map(|seconds| seconds.min(RETRY_AFTER_MAX))
}

/// The account at an authority; made where there is none that it knows, once for all who want it at the same time. Told of contacts that have changed.
/// Of an account that is `unknown` it is certain that the authority does not know it.
pub(super) async fn account(
    config: &config::Acme,
    base_dir: &Path,
    store: &AcmeStore,
    one_at_a_time: &tokio::sync::Mutex<()>,
    unknown: Option<&Account>,
) -> Result<Account, OrderError> {
    let key_id = config.external_account.as_ref().map(|external| &external.key_id);
    let mut unknown = unknown.map(|account| account.id().to_owned());
    let stored = |unknown: &Option<String>| {
        let stored = store.account(&config.directory);
        stored.filter(|stored| {
            stored.external_account.as_ref() == key_id && Some(&stored.id) != unknown.as_ref()
        })
    };
    if let Some(stored) = stored(&unknown) {
        let id = stored.id.clone();
        match known_account(config, base_dir, store, stored).await {
            Err(OrderError::NoAccount(_)) => unknown = Some(id),
            outcome => return outcome,
        }
    }
    let _guard = one_at_a_time.lock().await;
    match stored(&unknown) {
        Some(stored) => known_account(config, base_dir, store, stored).await,
        None => new_account(config, base_dir, store).await,
    }
}

async fn known_account(
    config: &config::Acme,
    base_dir: &Path,
    store: &AcmeStore,
    stored: StoredAccount,
) -> Result<Account, OrderError> {
    let account = builder(config, base_dir)?
        .from_credentials(stored.credentials)
        .await?;
    if stored.contact != config.contact {
        account.update_contacts(&contact(config)).await?;
        if let Some(mut stored) = store.account(&config.directory) {
            stored.contact.clone_from(&config.contact);
            keep(store, &stored)?;
        }
    }
    Ok(account)
}

/// Makes an account, in place of what was there.
async fn new_account(
    config: &config::Acme,
    base_dir: &Path,
    store: &AcmeStore,
) -> Result<Account, OrderError> {
    let new = NewAccount {
        contact: &contact(config),
        terms_of_service_agreed: config.terms_of_service_agreed,
        only_return_existing: false,
    };
    let external =
        external_account(config, base_dir).map_err(|(key, problem)| wrong(format!("{key}: {problem}")))?;
    let (account, credentials) = builder(config, base_dir)?
        .create(&new, config.directory.clone(), external.as_ref())
        .await?;
    let stored = StoredAccount {
        directory: config.directory.clone(),
        id: account.id().to_owned(),
        contact: config.contact.clone(),
        external_account: config
            .external_account
            .as_ref()
            .map(|external| external.key_id.clone()),
        credentials,
    };
    keep(store, &stored)?;
    tracing::info!(
        directory = config.directory,
        account = account.id(),
        "made an account"
    );
    Ok(account)
}

fn builder(config: &config::Acme, base_dir: &Path) -> Result<AccountBuilder, OrderError> {
    let ca = config.ca.as_ref().map(|ca| base_dir.join(ca));
    Ok(Account::builder_with_http(Box::new(Http::new(ca.as_deref())?)))
}

fn contact(config: &config::Acme) -> Vec<&str> {
    config.contact.iter().map(String::as_str).collect()
}

fn keep(store: &AcmeStore, account: &StoredAccount) -> Result<(), OrderError> {
    store
        .keep_account(account)
        .map_err(|error| wrong(error.to_string()))
}

/// What is ordered.
pub(super) struct Wish<'w> {
    /// Server names.
    pub(super) names: &'w [String],
    /// Ways to show that they are ours, the best first.
    pub(super) challenges: &'w [AcmeChallenge],
    pub(super) profile: Option<&'w str>,
    /// The certificate that this one replaces, where the authority wants to know.
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
}

/// Orders a certificate and waits for it.
pub(super) async fn order(
    account: &Account,
    wish: &Wish<'_>,
    challenges: &Arc<Challenges>,
) -> Result<CertificatePem, OrderError> {
    let mut order = begin(account, wish).await?;
    // given up when this ends, in whatever way
    let offers = show(&mut order, wish, challenges).await?;
    match order.poll_ready(&LOOKING).await {
        Ok(OrderStatus::Ready) => {}
        outcome => {
            let why = refusals(&mut order).await;
            return Err(match outcome {
                Err(error) if why.is_empty() => error.into(),
                _ if why.is_empty() => wrong("the authority refuses the order and does not say why"),
                _ => wrong(why),
            });
        }
    }
    drop(offers);
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&ISSUING).await?;
    Ok(CertificatePem {
        chain,
        key,
        names: wish.names.to_vec(),
    })
}

async fn begin(account: &Account, wish: &Wish<'_>) -> Result<Order, OrderError> {
    let names: Vec<_> = wish
        .names
        .iter()
        .map(|name| Identifier::Dns(name.to_ascii_lowercase()))
        .collect();
    let plain = || {
        let new = NewOrder::new(&names);
        match wish.profile {
            Some(profile) => new.profile(profile),
            None => new,
        }
    };
    if let Some(replaces) = &wish.replaces {
        match account.new_order(&plain().replaces(replaces.clone())).await {
            Ok(order) => return Ok(order),
            // e.g. replaced already (RFC 9773 section 5): a certificate is needed all the same
            Err(error @ (Error::Api(_) | Error::Other(_) | Error::Unsupported(_)))
                if refused(&error).is_none() =>
            {
                tracing::debug!(%error, "an order that replaces a certificate was refused");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(account.new_order(&plain()).await?)
}

/// Makes everything there that shows that the names are ours, and says so to the authority.
async fn show(
    order: &mut Order,
    wish: &Wish<'_>,
    challenges: &Arc<Challenges>,
) -> Result<Vec<Offer>, OrderError> {
    let mut offers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => return Err(wrong(format!("the authorization for {name} is {status:?}"))),
        }
        let offered: Vec<_> = authorization
            .challenges
            .iter()
            .map(|challenge| &challenge.r#type)
            .collect();
        let kind = wish
            .challenges
            .iter()
            .copied()
            .find(|kind| offered.contains(&&type_of(*kind)));
        let Some(kind) = kind else {
            return Err(wrong(format!(
                "for {name} the authority takes none of `challenges`, only {offered:?}"
            )));
        };
        let Some(mut challenge) = authorization.challenge(type_of(kind)) else {
            continue;
        };
        let offer = challenges.offer(answer(&challenge, kind, name)?);
        offers.push(offer.map_err(|error| wrong(error.to_string()))?);
        challenge.set_ready().await?;
    }
    Ok(offers)
}

fn type_of(kind: AcmeChallenge) -> ChallengeType {
    match kind {
        AcmeChallenge::Http01 => ChallengeType::Http01,
        AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn answer(
    challenge: &ChallengeHandle<'_>,
    kind: AcmeChallenge,
    name: String,
) -> Result<Challenge, OrderError> {
    let authorization = challenge.key_authorization();
    if kind == AcmeChallenge::Http01 {
        return Ok(Challenge::Http {
            token: challenge.token.clone(),
            key_authorization: authorization.as_str().to_owned(),
        });
    }
    // RFC 8737 section 3: self-signed, for this name only, with the digest in a critical extension
    let made = rcgen::KeyPair::generate().and_then(|key| {
        let mut params = rcgen::CertificateParams::new([name.clone()])?;
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(
            authorization.digest().as_ref(),
        )];
        Ok((params.self_signed(&key)?, key))
    });
    let (certificate, key) = made.map_err(|error| wrong(error.to_string()))?;
    Ok(Challenge::Tls {
        name,
        certificate: certificate.der().clone(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
    })
}

/// Why names were not taken for ours, by name.
async fn refusals(order: &mut Order) -> String {
    let mut refusals = HashMap::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        for challenge in &state.challenges {
            if let Some(problem) = &challenge.error {
                refusals.insert(
                    name.clone(),
                    format!("{name} by {:?}: {problem}", challenge.r#type),
                );
            }
        }
    }
    let mut texts: Vec<_> = refusals.into_values().collect();
    texts.sort();
    texts.join("; ")
}

/// The identifier of a certificate at the authority that issued it.
pub(super) fn identifier(pem: &CertificatePem) -> Option<CertificateIdentifier<'static>> {
    let leaf = CertificateDer::from_pem_slice(pem.chain.as_bytes()).ok()?;
    Some(CertificateIdentifier::try_from(&leaf).ok()?.into_owned())
}

/// Between which times the authority wants a certificate to be renewed, and after how long it wants to be asked again, in milliseconds. `None` when it
/// does not say.
pub(super) async fn renewal(account: &Account, pem: &CertificatePem) -> Option<((i64, i64), i64)> {
    let (info, again) = account.renewal_info(&identifier(pem)?).await.ok()?;
    let ms = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    let again = i64::try_from(again.as_millis()).unwrap_or(i64::MAX);
    let window = (
        ms(info.suggested_window.start.into()),
        ms(info.suggested_window.end.into()),
    );
    // RFC 9773 section 4.2: else it is as if there were none
    (window.0 < window.1).then_some((window, again))
}
