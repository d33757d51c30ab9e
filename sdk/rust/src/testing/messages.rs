//! Makers of requests, responses and exchanges.

use super::fake::head as fake;
use crate::head::{Exchange, RequestHead, ResponseHead};
use crate::messages::{ContextEntry, ContextValue, Peer};

/// A request for an absolute URL, as HTTP/1.1.
///
/// # Panics
/// The method is no token or the URL is not absolute: a mistake in the test.
#[track_caller]
pub fn request(method: &str, url: &str) -> RequestHead {
    RequestHead(fake::RequestHead::new(method, url))
}

/// A response with that status.
pub fn response(status: u16) -> ResponseHead {
    ResponseHead(fake::ResponseHead::new(status))
}

/// An exchange on route `test` with pattern `/`, from 192.0.2.1, for the binding `plugin`.
pub fn exchange() -> Exchange {
    Exchange(fake::Exchange::new())
}

/// Only in native tests.
impl RequestHead {
    /// Adds a header field line as if the client had sent it; framing and hop-by-hop fields are possible.
    #[must_use]
    pub fn with_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.fields.push(name, value.as_ref());
        self
    }

    /// Adds a path parameter, percent-encoded as on the wire.
    #[must_use]
    pub fn with_path_param(mut self, name: &str, raw: &str) -> Self {
        self.0.path_params.push((name.to_owned(), raw.to_owned()));
        self
    }

    /// Gives the request a body whose SHA-256 is this.
    #[must_use]
    pub fn with_body_digest(mut self, digest: impl Into<Vec<u8>>) -> Self {
        self.0.body_digest = Some(digest.into());
        self
    }

    /// Sets the HTTP version, e.g. `HTTP/2.0`.
    #[must_use]
    pub fn with_version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.0.version);
        self
    }

    /// Makes every setter fail, as in phases that come too late to change the request.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.0.fields.read_only.set(true);
        self
    }
}

/// Only in native tests.
impl ResponseHead {
    /// Adds a header field line as if the upstream had sent it; framing and hop-by-hop fields are possible.
    #[must_use]
    pub fn with_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.fields.push(name, value.as_ref());
        self
    }

    /// Makes every setter fail, as in phases that come too late to change the response.
    #[must_use]
    pub fn read_only(self) -> Self {
        self.0.fields.read_only.set(true);
        self
    }
}

/// Only in native tests.
impl Exchange {
    /// Sets the request id.
    #[must_use]
    pub fn with_request_id(mut self, request_id: &str) -> Self {
        request_id.clone_into(&mut self.0.request_id);
        self
    }

    /// Sets name and path pattern of the matched route.
    #[must_use]
    pub fn with_route(mut self, name: &str, pattern: &str) -> Self {
        name.clone_into(&mut self.0.route);
        pattern.clone_into(&mut self.0.route_pattern);
        self
    }

    /// Sets the client's connection.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.0.peer = peer;
        self
    }

    /// Sets the address of the TCP peer and of the client.
    #[must_use]
    pub fn with_client_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.0.peer.address);
        address.clone_into(&mut self.0.peer.client_address);
        self
    }

    /// Sets the principal that an authorizer established.
    #[must_use]
    pub fn with_principal(mut self, principal: &str) -> Self {
        self.0.principal = Some(principal.to_owned());
        self
    }

    /// Sets the namespace that [`Exchange::set`] writes to: the name of the binding (else `plugin`).
    #[must_use]
    pub fn with_namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.0.namespace);
        self
    }

    /// Adds an entry of the context, of any namespace.
    #[must_use]
    pub fn with_entry(self, namespace: &str, key: &str, value: impl Into<ContextValue>) -> Self {
        self.0.put(ContextEntry {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            value: value.into(),
        });
        self
    }
}
