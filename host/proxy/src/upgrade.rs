//! The handshake of WebSocket (RFC 6455 section 4; over HTTP/2 RFC 8441): what a client may ask for, how the upstream is asked, and whether it
//! has agreed. A tunnel begins in `begin` and nowhere else; `tunnel.rs` is what it does.
//!
//! Everything between is that of any GET: plugins see the same head whatever the protocol of the client.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use edgeward_core::reject::{Reject, RejectCode};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{self, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
    request::Parts,
};

use crate::{body::Body, finish::Finish, http1::has_token};

/// What the server appends to the key (RFC 6455 section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// That a client asks to leave HTTP. Its listener finds it in the request's head and puts it into the extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// `Upgrade: websocket` (RFC 6455 section 4.1). May be ignored (RFC 9110 section 7.8).
    Upgrade,
    /// Extended CONNECT (RFC 8441 section 4) with that `:protocol`. Is refused if it cannot be fulfilled.
    Connect {
        /// The protocol is `websocket`.
        websocket: bool,
    },
}

impl Wish {
    /// Takes the wish out of a head. A CONNECT for WebSocket becomes the GET that it stands for.
    ///
    /// # Errors
    /// CONNECT for something else: 501, as RFC 9220 section 3 has it.
    pub(crate) fn take(head: &mut Parts) -> Result<Option<Self>, Reject> {
        let wish = head.extensions.remove::<Self>();
        match wish {
            Some(Self::Connect { websocket: true }) => head.method = Method::GET,
            Some(Self::Connect { websocket: false }) => {
                return Err(unsupported("CONNECT is served for `websocket` only"));
            }
            Some(Self::Upgrade) | None => {}
        }
        Ok(wish)
    }

    /// The upgrade that is asked for, or `None` where the wish is ignored: the route does not allow it, or the method is not GET.
    ///
    /// # Errors
    /// A handshake that is none (RFC 6455 section 4.2.1), or one that cannot be ignored and is not allowed.
    pub(crate) fn admit(self, allowed: bool, head: &Parts, body: &Body) -> Result<Option<Upgrade>, Reject> {
        if !allowed && self != Self::Upgrade {
            return Err(unsupported("WebSocket is not served here"));
        }
        if !allowed || head.method != Method::GET {
            return Ok(None);
        }
        let bad = |detail: &str| Err(Reject::new(RejectCode::BadRequest, detail));
        if !body.is_empty() {
            return bad("a WebSocket handshake has no body");
        }
        match one(&head.headers, &SEC_WEBSOCKET_VERSION) {
            Some(version) if version == VERSION => {}
            Some(_) => return Err(self.other_version()),
            None => return bad("a WebSocket handshake has exactly one Sec-WebSocket-Version field"),
        }
        let key = match (self, one(&head.headers, &SEC_WEBSOCKET_KEY)) {
            // RFC 8441 section 5: there it has no key
            (Self::Connect { .. }, _) => new_key(),
            (Self::Upgrade, Some(key)) if is_key(key) => key.clone(),
            (Self::Upgrade, _) => {
                return bad(
                    "a WebSocket handshake has exactly one Sec-WebSocket-Key field, of 16 bytes in base64",
                );
            }
        };
        Ok(Some(Upgrade { key }))
    }

    /// RFC 6455 section 4.2.2, RFC 9110 section 15.5.22.
    fn other_version(self) -> Reject {
        let mut reject = Reject::new(
            RejectCode::UpgradeRequired,
            "WebSocket is served in version 13 only",
        );
        reject.headers.push((SEC_WEBSOCKET_VERSION, VERSION));
        if self == Self::Upgrade {
            reject.headers.push((UPGRADE, WEBSOCKET));
        }
        reject
    }
}

fn unsupported(detail: &str) -> Reject {
    Reject::new(RejectCode::NotImplemented, detail)
}

/// The value of a field that is there exactly once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { None } else { value }
}

/// RFC 6455 section 4.1: 16 bytes in base64.
fn is_key(key: &HeaderValue) -> bool {
    BASE64_STANDARD
        .decode(key.as_bytes())
        .is_ok_and(|bytes| bytes.len() == 16)
}

fn new_key() -> HeaderValue {
    let text = BASE64_STANDARD.encode(uuid::Uuid::new_v4().as_bytes());
    HeaderValue::try_from(text).unwrap_or_else(|_never| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// What the server answers to a key (RFC 6455 section 4.2.2).
fn accept(key: &HeaderValue) -> String {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(GUID);
    BASE64_STANDARD.encode(digest.finish())
}

/// An upgrade that a client asked for properly and its route allows.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    key: HeaderValue,
}

impl Upgrade {
    /// Writes the handshake into the head of a request, in the place of whatever is there.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
        headers.insert(SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// Whether a 101 agrees to what was asked (RFC 6455 section 4.1).
    ///
    /// # Errors
    /// What is wrong with it: then the other side speaks something else, and not a byte may be passed on to it.
    pub(crate) fn agreed(&self, answer: &Response<()>) -> Result<(), &'static str> {
        let headers = answer.headers();
        let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
        if answer.version() != Version::HTTP_11 {
            return Err("101 of another version than HTTP/1.1");
        }
        if !one(headers, &UPGRADE).is_some_and(websocket) {
            return Err("101 without `Upgrade: websocket`");
        }
        let mut options = headers.get_all(header::CONNECTION).iter();
        if !options.any(|options| has_token(options, b"upgrade")) {
            return Err("101 without `Connection: Upgrade`");
        }
        if one(headers, &SEC_WEBSOCKET_ACCEPT).is_none_or(|value| *value != accept(&self.key)) {
            return Err("101 with another Sec-WebSocket-Accept than the key asks for");
        }
        Ok(())
    }

    /// The field for the client.
    pub(crate) fn accept(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(accept(&self.key)).ok()
    }
}

/// The one place where a tunnel begins: the upstream has agreed, and nothing behind it has changed the answer. What is said to the client is
/// that of its protocol: 101 (RFC 6455 section 4.2.2) or 200 (RFC 8441 section 5). In all other cases the upstream's connection is closed.
pub(crate) fn begin(finish: &mut Finish, response: &mut Response<Body>) {
    let Some(switched) = &finish.switched else { return };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        finish.switched = None;
        return;
    }
    let headers = response.headers_mut();
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        SEC_WEBSOCKET_ACCEPT,
    ] {
        headers.remove(name);
    }
    if finish.version == Version::HTTP_11 {
        headers.insert(UPGRADE, WEBSOCKET);
        if let Some(accept) = switched.upgrade.accept() {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    } else {
        *response.status_mut() = StatusCode::OK;
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(fields: &[(&str, &str)]) -> Parts {
        let request = fields.iter().fold(Request::get("/"), |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        // RFC 6455 section 1.3
        assert_eq!(
            accept(&HeaderValue::from_static(KEY)),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_handshake_has_one_key_one_version_and_no_body() {
        let key = ("sec-websocket-key", KEY);
        let version = ("sec-websocket-version", "13");
        let admit = |fields: &[_]| Wish::Upgrade.admit(true, &head(fields), &Body::empty());
        assert!(admit(&[key, version]).unwrap().is_some());
        for (fields, status) in [
            (&[key][..], 400),
            (&[version], 400),
            (&[key, key, version], 400),
            (&[key, version, version], 400),
            (&[("sec-websocket-key", "dG9vIHNob3J0"), version], 400),
            (&[("sec-websocket-key", "no base64, but 24 chars!"), version], 400),
            (&[key, ("sec-websocket-version", "8")], 426),
        ] {
            assert_eq!(admit(fields).unwrap_err().status, status, "{fields:?}");
        }
        let refused = Wish::Upgrade.admit(true, &head(&[key, version]), &Body::full("x"));
        assert_eq!(refused.unwrap_err().status, 400);
    }

    #[test]
    fn what_is_not_allowed_is_ignored_where_it_can_be() {
        let asked = head(&[("sec-websocket-key", KEY), ("sec-websocket-version", "13")]);
        let ignored = Wish::Upgrade.admit(false, &asked, &Body::empty());
        assert!(ignored.unwrap().is_none());
        let connect = Wish::Connect { websocket: true };
        assert_eq!(
            connect.admit(false, &asked, &Body::empty()).unwrap_err().status,
            501
        );
        let mut post = asked.clone();
        post.method = Method::POST;
        assert!(
            Wish::Upgrade
                .admit(true, &post, &Body::empty())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn over_http_2_the_gateway_has_a_key_of_its_own() {
        let connect = Wish::Connect { websocket: true };
        let asked = head(&[("sec-websocket-version", "13"), ("sec-websocket-key", KEY)]);
        let keys: Vec<_> = (0..2)
            .map(|_| connect.admit(true, &asked, &Body::empty()).unwrap().unwrap().key)
            .collect();
        assert!(keys.iter().all(|key| is_key(key) && key != KEY));
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn only_an_answer_that_matches_agrees() {
        let upgrade = Upgrade {
            key: HeaderValue::from_static(KEY),
        };
        let good = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let agreed = |fields: &[(&str, &str)]| {
            let answer = fields.iter().fold(Response::builder(), |answer, (name, value)| {
                answer.header(*name, *value)
            });
            upgrade.agreed(&answer.status(101).body(()).unwrap())
        };
        agreed(&good).unwrap();
        for (at, wrong) in [
            (0, ("upgrade", "h2c")),
            (0, ("x", "y")),
            (1, ("connection", "keep-alive")),
            (2, ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
            (2, ("x", "y")),
        ] {
            let mut fields = good;
            fields[at] = wrong;
            agreed(&fields).unwrap_err();
        }
    }
}
