//! Heads of the fake host: they hold what a test put in and record edits, with the refusals of the gateway.

use std::cell::{Cell, RefCell};

use http::{HeaderName, HeaderValue, Method, Uri};
use percent_encoding::percent_decode_str;

pub use super::exchange::Exchange;
use crate::messages::{Header, HeaderBlock, Pair};

/// Framing fields and hop-by-hop fields (RFC 9110 section 7.6.1): the gateway's own business.
const PROTECTED: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Header fields, and whether they (and what is beside them) can still be changed.
#[derive(Debug, Default)]
pub(in crate::testing) struct Fields {
    list: RefCell<Vec<Header>>,
    pub(in crate::testing) read_only: Cell<bool>,
}

impl Fields {
    pub(in crate::testing) fn push(&self, name: &str, value: &[u8]) {
        self.list.borrow_mut().push(Header {
            name: name.to_ascii_lowercase(),
            value: value.to_vec(),
        });
    }

    fn writable(&self, what: &str) -> Result<(), String> {
        if self.read_only.get() {
            Err(format!("{what} cannot be changed in this phase"))
        } else {
            Ok(())
        }
    }

    fn check(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.writable(&format!("header {name}"))?;
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|error| format!("header {name:?}: {error}"))?;
        HeaderValue::from_bytes(value).map_err(|error| format!("header {name}: {error}"))?;
        if PROTECTED.contains(&parsed.as_str()) {
            return Err(format!("header {name} is set by the gateway"));
        }
        Ok(())
    }

    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let list = self.list.borrow();
        list.iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.clone())
            .collect()
    }

    fn append(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.check(name, value)?;
        self.push(name, value);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.check(name, b"")?;
        self.list
            .borrow_mut()
            .retain(|field| !field.name.eq_ignore_ascii_case(name));
        Ok(())
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.check(name, value)?;
        self.list
            .borrow_mut()
            .retain(|field| !field.name.eq_ignore_ascii_case(name));
        self.push(name, value);
        Ok(())
    }
}

/// A request of a test.
#[derive(Debug)]
pub struct RequestHead {
    method: RefCell<String>,
    scheme: String,
    authority: String,
    raw_target: String,
    pub(in crate::testing) body_digest: Option<Vec<u8>>,
    path: RefCell<String>,
    query: RefCell<String>,
    pub(in crate::testing) version: String,
    pub(in crate::testing) path_params: Vec<(String, String)>,
    pub(in crate::testing) fields: Fields,
}

impl RequestHead {
    #[track_caller]
    pub(in crate::testing) fn new(method: &str, url: &str) -> Self {
        let method = Method::from_bytes(method.as_bytes());
        let method = method.unwrap_or_else(|error| panic!("method of the test request: {error}"));
        let url: Uri = url
            .parse()
            .unwrap_or_else(|error| panic!("url of the test request, {url}: {error}"));
        let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
            panic!("url of the test request, {url}, is not absolute");
        };
        Self {
            method: RefCell::new(method.as_str().to_owned()),
            scheme: scheme.to_owned(),
            authority: authority.to_string(),
            raw_target: url
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            body_digest: None,
            path: RefCell::new(url.path().to_owned()),
            query: RefCell::new(url.query().unwrap_or("").to_owned()),
            version: "HTTP/1.1".to_owned(),
            path_params: Vec::new(),
            fields: Fields::default(),
        }
    }

    pub fn method(&self) -> String {
        self.method.borrow().clone()
    }

    pub fn set_method(&self, method: &str) -> Result<(), String> {
        self.fields.writable("the method")?;
        Method::from_bytes(method.as_bytes()).map_err(|error| format!("method {method:?}: {error}"))?;
        self.method.replace(method.to_owned());
        Ok(())
    }

    pub fn scheme(&self) -> String {
        self.scheme.clone()
    }

    pub fn authority(&self) -> String {
        self.authority.clone()
    }

    pub fn raw_target(&self) -> String {
        self.raw_target.clone()
    }

    pub fn raw_authority(&self) -> String {
        self.authority.clone()
    }

    pub fn raw_headers(&self) -> HeaderBlock {
        let headers = self.headers().into_iter();
        headers.map(|header| (header.name, header.value)).collect()
    }

    pub fn body_digest(&self) -> Option<Vec<u8>> {
        self.body_digest.clone()
    }

    pub fn version(&self) -> String {
        self.version.clone()
    }

    pub fn path(&self) -> String {
        self.path.borrow().clone()
    }

    pub fn set_path(&self, path: &str) -> Result<(), String> {
        self.fields.writable("the path")?;
        if !path.starts_with('/') || !is_uri_text(path, b"/:@") {
            return Err(format!("path {path:?} is no absolute path"));
        }
        self.path.replace(path.to_owned());
        Ok(())
    }

    pub fn query(&self) -> String {
        self.query.borrow().clone()
    }

    pub fn set_query(&self, query: &str) -> Result<(), String> {
        self.fields.writable("the query")?;
        if !is_uri_text(query, b"/:@?") {
            return Err(format!("query {query:?} is no valid query"));
        }
        self.query.replace(query.to_owned());
        Ok(())
    }

    pub fn query_params(&self) -> Vec<Pair> {
        let query = self.query.borrow();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Pair {
                    name: decode(&name.replace('+', " ")),
                    value: decode(&value.replace('+', " ")),
                }
            })
            .collect()
    }

    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query_params()
            .into_iter()
            .find(|pair| pair.name == name)
            .map(|pair| pair.value)
    }

    pub fn path_params(&self) -> Vec<Pair> {
        self.path_params
            .iter()
            .map(|(name, raw)| Pair {
                name: name.clone(),
                value: decode(raw),
            })
            .collect()
    }

    pub fn path_params_raw(&self) -> Vec<Pair> {
        self.path_params
            .iter()
            .map(|(name, raw)| Pair {
                name: name.clone(),
                value: raw.clone(),
            })
            .collect()
    }

    pub fn path_param(&self, name: &str) -> Option<String> {
        self.path_params()
            .into_iter()
            .find(|pair| pair.name == name)
            .map(|pair| pair.value)
    }

    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.fields.values(name).into_iter().next()
    }

    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.fields.values(name)
    }

    pub fn headers(&self) -> Vec<Header> {
        self.fields.list.borrow().clone()
    }

    pub fn set_header(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.fields.set(name, value)
    }

    pub fn append_header(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.fields.append(name, value)
    }

    pub fn remove_header(&self, name: &str) -> Result<(), String> {
        self.fields.remove(name)
    }
}

/// A response of a test.
#[derive(Debug)]
pub struct ResponseHead {
    status: Cell<u16>,
    pub(in crate::testing) fields: Fields,
}

impl ResponseHead {
    pub(in crate::testing) fn new(status: u16) -> Self {
        Self {
            status: Cell::new(status),
            fields: Fields::default(),
        }
    }

    pub fn status(&self) -> u16 {
        self.status.get()
    }

    pub fn set_status(&self, status: u16) -> Result<(), String> {
        self.fields.writable("the status")?;
        if !(200..=599).contains(&status) {
            return Err(format!("status {status} is not within 200 to 599"));
        }
        self.status.set(status);
        Ok(())
    }

    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.fields.values(name).into_iter().next()
    }

    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.fields.values(name)
    }

    pub fn headers(&self) -> Vec<Header> {
        self.fields.list.borrow().clone()
    }

    pub fn set_header(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.fields.set(name, value)
    }

    pub fn append_header(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.fields.append(name, value)
    }

    pub fn remove_header(&self, name: &str) -> Result<(), String> {
        self.fields.remove(name)
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Unreserved characters, sub-delims, complete percent-escapes, and `extra` (RFC 3986 sections 3.3 and 3.4).
fn is_uri_text(text: &str, extra: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let allowed = match byte {
            b'%' => {
                let mut hex = || bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                hex() && hex()
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || extra.contains(&byte),
        };
        if !allowed {
            return false;
        }
    }
    true
}
