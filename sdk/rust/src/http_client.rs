//! Outgoing requests over connections that the gateway pools (WIT interface `http`; named so beside the `http` crate).
//! The grant lists the hosts. Not available during `init`. Redirects are not followed.
//!
//! ```
//! use edgeward_sdk::{http_client, testing};
//!
//! let _host = testing::Host::new()
//!     .with_http(|request| {
//!         assert_eq!(request.method, "GET");
//!         Ok(http_client::Response { status: 200, headers: Vec::new(), body: b"{\"keys\":[]}".to_vec() })
//!     })
//!     .install();
//! let response = http_client::send(&http_client::Request::get("https://idp.example/jwks").timeout_ms(500))?;
//! assert_eq!(response.status, 200);
//! # Ok::<(), http_client::Error>(())
//! ```

pub use crate::bindings::imports::edgeward::plugin::http::{Error, Request, Response};
use crate::messages::Header;

/// Sends a request and waits for the whole response.
///
/// # Errors
/// The URL is bad or not granted, or something went wrong on the way; a response with an error status is no error.
pub fn send(request: &Request) -> Result<Response, Error> {
    crate::host::http::send(request)
}

impl Request {
    /// A request without header fields, body and time limit of its own.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: None,
        }
    }

    /// A `GET` request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Adds a header field line.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.as_ref().to_vec(),
        });
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the time limit for the whole call in milliseconds; the binding's `limits.wall-time` caps it.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u32) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }
}

impl Response {
    /// First value of a header field; the name is compared without case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let field = self
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(&field.value)
    }
}

impl Error {
    /// The host's words.
    pub fn reason(&self) -> &str {
        match self {
            Self::InvalidRequest(reason)
            | Self::Denied(reason)
            | Self::Connect(reason)
            | Self::Timeout(reason)
            | Self::TooLarge(reason)
            | Self::Failed(reason)
            | Self::Unavailable(reason) => reason,
        }
    }
}
