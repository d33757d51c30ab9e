//! Who calls, and whether they may: a token (RFC 6750 section 2.1), a client certificate, or a user of this machine behind a unix socket.

use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use edgeward_core::exposition::{Exposition, Kind::Counter};
use parking_lot::Mutex;
use serde_json::json;

use super::{Api, ApiError, model::Source, noted::Noted, once};
use crate::{
    access::{Authority, Failures, NOBODY, Principal, ROOT, Token, rules, token},
    clock::now_ms,
    deploy::apis::Actor,
    model::{Key, Kind, Model},
    store::{StoreError, keys},
};

/// Time between two notes that a token is used.
const NOTE_USE: i64 = 60 * 60 * 1000;
/// Characters of a client's own name, and of a reason, that are kept.
const USER_AGENT_MAX: usize = 200;
const REASON_MAX: usize = 500;

/// The other side of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Where it is, for the log.
    pub(super) source: String,
    /// What its failures are counted for.
    pub(super) place: String,
    /// Who it is, where the connection says so.
    pub(super) identity: Option<Identity>,
}

/// Who a connection is of.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// How that is known: `certificate CN=alice`, `user 1000`.
    pub(super) authentication: String,
    /// The principal that it stands for, by the configuration.
    pub(super) principal: Option<String>,
}

impl Peer {
    /// At an address. One host of IPv6 has a /64 to itself.
    pub(super) fn at(address: IpAddr, identity: Option<Identity>) -> Self {
        let place = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => address.to_string(),
                None => format!("{:x}", address.to_bits() >> 64),
            },
        };
        Self {
            source: address.to_string(),
            place,
            identity,
        }
    }
}

/// Lets callers in.
pub(super) struct Access {
    root: RootToken,
    /// Of the MACs that tokens are kept as.
    key: [u8; 32],
    failures: Failures,
    /// When the use of a token was last noted, by id.
    uses: Mutex<HashMap<String, i64>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    failed: AtomicU64,
    locked: AtomicU64,
    throttled: AtomicU64,
    forbidden: AtomicU64,
}

/// The token of `root`: whatever is in a file now. Its hash is kept, not the token.
pub(super) struct RootToken {
    path: PathBuf,
    kept: Mutex<(Option<Stamp>, Option<digest::Digest>)>,
}

/// What tells two contents of a file apart without reading it.
type Stamp = (u64, u64, i64, i64, i64, i64);

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    Ok((
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}

impl RootToken {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            kept: Mutex::new((None, None)),
        }
    }

    /// Compares in constant time; hashing first makes the lengths equal. Without a file that can be used nothing is accepted.
    fn accepts(&self, offered: &str) -> bool {
        let mut kept = self.kept.lock();
        let now = stamp(&self.path).ok();
        if now.is_none() || kept.0 != now {
            let read = keys::existing_admin_token(&self.path);
            if let Err(error) = &read
                && kept.1.is_some()
            {
                tracing::error!(%error, "nobody is let in as root");
            }
            *kept = (now, read.ok().map(|token| hash(&token)));
        }
        let equal = |kept: &digest::Digest| verify_slices_are_equal(kept.as_ref(), hash(offered).as_ref());
        kept.1.as_ref().is_some_and(|kept| equal(kept).is_ok())
    }
}

fn hash(token: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, token.as_bytes())
}

/// Somebody who was let in.
struct Known {
    principal: String,
    authentication: String,
    authority: Authority,
}

/// Somebody who was not.
struct Refusal {
    status: StatusCode,
    detail: String,
    wait: Option<Duration>,
    /// Which token or certificate that was, as far as that can be said.
    authentication: Option<String>,
}

impl Refusal {
    fn new(detail: impl Into<String>, authentication: Option<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            detail: detail.into(),
            wait: None,
            authentication,
        }
    }

    fn response(&self) -> Response {
        let mut response = ApiError::new(self.status, self.detail.as_str()).into_response();
        let (name, value) = match self.wait {
            Some(wait) => (header::RETRY_AFTER, wait.as_secs().saturating_add(1).into()),
            None => (
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"edgeward\""),
            ),
        };
        response.headers_mut().insert(name, value);
        response
    }
}

impl Access {
    pub(super) fn new(root: RootToken, key: [u8; 32]) -> Self {
        Self {
            root,
            key,
            failures: Failures::new(),
            uses: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// What is kept of a token.
    pub(super) fn mac(&self, text: &str) -> String {
        token::mac(&self.key, text)
    }

    /// Appends how often somebody was not let in.
    pub(super) fn metrics(&self) -> String {
        let mut out = Exposition::default();
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        out.family(
            "edgeward_admin_denied_total",
            Counter,
            "Calls of the admin API that were denied: wrong or no credentials, too many failures before, not for the caller to do.",
        )
        .add(&[("reason", "credentials")], count(&self.counts.failed))
        .add(&[("reason", "throttled")], count(&self.counts.throttled))
        .add(&[("reason", "forbidden")], count(&self.counts.forbidden));
        out.family(
            "edgeward_admin_lockouts_total",
            Counter,
            "Failed attempts after which a token was not listened to any more from an address, for a while.",
        )
        .add(&[], count(&self.counts.locked));
        out.text()
    }

    fn known(&self, model: &Model, peer: &Peer, headers: &HeaderMap) -> Result<Known, Refusal> {
        let given = headers.get(header::AUTHORIZATION);
        let Some(given) = given else {
            return by_connection(model, peer);
        };
        let bearer = given.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match bearer {
            Some(offered) => self.by_token(model, peer, offered),
            None => Err(Refusal::new(HOW, None)),
        }
    }

    fn by_token(&self, model: &Model, peer: &Peer, offered: &str) -> Result<Known, Refusal> {
        let now = Instant::now();
        // what is no token of a principal is an attempt at the one of root
        let id = token::id(offered);
        let name = match id {
            Some(id) => id,
            None if offered.starts_with(token::PREFIX) => "mistyped",
            None => ROOT,
        };
        let authentication = id.map_or_else(|| "token-file".to_owned(), |id| format!("token {id}"));
        if let Some(wait) = self.failures.wait(&peer.place, name, now) {
            self.counts.throttled.fetch_add(1, Relaxed);
            let detail = format!(
                "too many failed attempts from {}: none is looked at for a while",
                peer.source
            );
            return Err(Refusal {
                status: StatusCode::TOO_MANY_REQUESTS,
                detail,
                wait: Some(wait),
                authentication: Some(authentication),
            });
        }
        let found = id.and_then(|id| model.token(id));
        let kept: Option<(&str, Token)> =
            found.and_then(|(of, document)| Some((of, serde_json::from_value(document.body.clone()).ok()?)));
        let right = match (id, &kept) {
            (None, _) => self.root.accepts(offered),
            (Some(_), Some((_, kept))) => token::is_of(&self.key, offered, &kept.mac),
            // takes as long as if there was one
            (Some(_), None) => token::is_of(&self.key, offered, ""),
        };
        if !right {
            if self.failures.failed(&peer.place, name, now) {
                self.counts.locked.fetch_add(1, Relaxed);
            }
            return Err(Refusal::new(
                "this is not a token of this gateway",
                Some(authentication),
            ));
        }
        self.failures.succeeded(&peer.place, name);
        let Some((principal, token)) = kept else {
            return Ok(Known {
                principal: ROOT.to_owned(),
                authentication,
                authority: Authority::all(),
            });
        };
        if token.has_expired(now_ms()) {
            let detail = format!("this token has expired at {}", token.expires_at);
            return Err(Refusal::new(detail, Some(authentication)));
        }
        let authority = authority(model, principal)
            .map_err(|detail| Refusal::new(detail, Some(authentication.clone())))?;
        Ok(Known {
            principal: principal.to_owned(),
            authentication,
            authority,
        })
    }

    /// Notes that a token is used, unless that was noted lately.
    fn note_use(&self, api: &Api, authentication: &str) {
        let Some(id) = authentication.strip_prefix("token ") else {
            return;
        };
        let now = now_ms();
        let mut uses = self.uses.lock();
        if uses.get(id).is_some_and(|last| now - last < NOTE_USE) {
            return;
        }
        let model = api.deployer.model();
        uses.retain(|id, _| model.token(id).is_some());
        uses.insert(id.to_owned(), now);
        drop(uses);
        let (store, id) = (Arc::clone(api.deployer.store()), id.to_owned());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.model.token_used(&id, now) {
                tracing::warn!(%error, token = id, "the use of a token could not be noted");
            }
        });
    }
}

const HOW: &str = "send `authorization: Bearer <token>`: a token of a principal, or the one in the gateway's token file (`admin.token-file`)";

/// Who a connection is of, without a token.
fn by_connection(model: &Model, peer: &Peer) -> Result<Known, Refusal> {
    let Some(identity) = &peer.identity else {
        return Err(Refusal::new(HOW, None));
    };
    let authentication = identity.authentication.clone();
    let refused = |detail: String| Refusal::new(detail, Some(authentication.clone()));
    let Some(principal) = &identity.principal else {
        return Err(refused(format!(
            "{authentication} stands for no principal; {HOW}"
        )));
    };
    let authority = authority(model, principal).map_err(refused)?;
    Ok(Known {
        principal: principal.clone(),
        authentication: authentication.clone(),
        authority,
    })
}

/// What a principal may do; why not, where there is none.
fn authority(model: &Model, principal: &str) -> Result<Authority, String> {
    if principal == ROOT {
        return Ok(Authority::all());
    }
    let found: Principal = model
        .read(&Key::top(Kind::Principal, principal))
        .map_err(|error| error.to_string())?;
    if found.disabled {
        return Err(format!("principal `{principal}` is disabled"));
    }
    Ok(Authority::of(&found))
}

/// The beginning of a text that a client may make as long as it likes.
pub(super) fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Lets calls through that their callers may make.
pub(super) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let unknown = || Peer {
        source: String::new(),
        place: String::new(),
        identity: None,
    };
    let peer = request
        .extensions()
        .get::<Peer>()
        .cloned()
        .unwrap_or_else(unknown);
    let access = Arc::clone(&api.access);
    let known = access.known(&api.deployer.model(), &peer, request.headers());
    let user_agent = request.headers().get(header::USER_AGENT);
    let user_agent = user_agent
        .and_then(|value| value.to_str().ok())
        .map(|value| short(value, USER_AGENT_MAX));
    let request_id = format!("{:032x}", fastrand::u128(..));
    let idempotency_key = once::key_of(&request).map(|key| edgeward_runtime::digest(key.as_bytes()));
    let of = |principal: String, authentication: Option<String>, authority: Authority| Actor {
        principal,
        authority,
        authentication,
        source: Some(peer.source.clone()),
        user_agent,
        request_id: Some(request_id.clone()),
        idempotency_key,
    };
    let (actor, refused) = match known {
        Ok(known) => {
            access.note_use(&api, &known.authentication);
            let route = request.extensions().get::<MatchedPath>();
            let route = route.map_or("", MatchedPath::as_str);
            let (path, query) = (request.uri().path(), request.uri().query());
            let decided = rules::decide(&known.authority, request.method(), route, path, query);
            let actor = of(known.principal, Some(known.authentication), known.authority);
            let refused = decided.err().map(|detail| {
                let response = ApiError::new(StatusCode::FORBIDDEN, detail.as_str()).into_response();
                (detail, response)
            });
            (actor, refused)
        }
        Err(refusal) => {
            if refusal.wait.is_none() {
                access.counts.failed.fetch_add(1, Relaxed);
            }
            let response = refusal.response();
            let actor = of(NOBODY.to_owned(), refusal.authentication, Authority::none());
            (actor, Some((refusal.detail, response)))
        }
    };
    let source = Source(Arc::new(actor));
    let mut response = match refused {
        None => {
            request.extensions_mut().insert(source.clone());
            next.run(request).await
        }
        Some((reason, mut response)) => {
            response
                .extensions_mut()
                .insert(Noted(json!({"reason": short(&reason, REASON_MAX)})));
            response
        }
    };
    if response.status() == StatusCode::FORBIDDEN {
        access.counts.forbidden.fetch_add(1, Relaxed);
    }
    // for the audit log
    response.extensions_mut().insert(source);
    if let Ok(id) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// The token file of `root`, made if need be.
pub(super) fn root_token(path: PathBuf) -> Result<RootToken, StoreError> {
    keys::admin_token(&path)?;
    Ok(RootToken::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_in_the_file_is_accepted_and_another_file_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let put = |text: &str| {
            fs::write(folder.path().join("new"), text).unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        };
        put("0123456789abcdef\n");
        let token = root_token(path.clone()).unwrap();
        assert!(token.accepts("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF"] {
            assert!(!token.accepts(wrong), "{wrong}");
        }
        put("another-token-of-root\n");
        assert!(!token.accepts("0123456789abcdef") && token.accepts("another-token-of-root"));
        put("short");
        assert!(!token.accepts("short") && !token.accepts("another-token-of-root"));
        fs::remove_file(&path).unwrap();
        assert!(!token.accepts("") && !token.accepts("short"));
        put("another-token-of-root");
        assert!(token.accepts("another-token-of-root"));
    }

    #[test]
    fn failures_of_an_ipv6_network_are_those_of_one_host() {
        let place = |text: &str| Peer::at(text.parse().unwrap(), None).place;
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:2"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:10.0.0.1"), place("10.0.0.1"));
    }
}
