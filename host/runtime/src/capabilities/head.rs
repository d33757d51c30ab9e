//! Heads and exchange: the accessors and setters that every hook gets. They read and edit the exchange that moved into the state for the call.

use std::borrow::Cow;

use edgeward_core::normalize::parse_query;
use http::{HeaderMap, HeaderName, Version};
use percent_encoding::percent_decode_str;
use wasmtime::{Result, component::Resource};

use crate::{
    bindings::edgeward::plugin::{
        head::{Host, HostExchange, HostRequestHead, HostResponseHead},
        types::{self, ContextEntry, ContextValue as WitValue, Header, HeaderBlock, Pair, Peer},
    },
    exchange::{
        ContextValue, ExchangeHandle, HeaderEdit, RequestHandle, ResponseHandle, ResponseHead, Side,
        request_editable, response_editable,
    },
    failure::{FailureKind, exceeded},
    state::{HostState, Mode},
};

/// Most entries that plugins may put into one context.
const CONTEXT_ENTRIES_MAX: usize = 256;
/// Longest key of a context entry, in bytes.
const CONTEXT_KEY_MAX: usize = 256;

type Outcome = std::result::Result<(), String>;
type Request = Resource<RequestHandle>;
type Response = Resource<ResponseHandle>;
type Exchange = Resource<ExchangeHandle>;

impl types::Host for HostState {}
impl Host for HostState {}

fn first(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    headers.get(name).map(|value| value.as_bytes().to_vec())
}

fn values(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    // a name that is no token is in no head
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Vec::new();
    };
    headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes().to_vec())
        .collect()
}

fn all(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
        })
        .collect()
}

/// Heads are far below 4 GiB.
fn block(headers: &HeaderMap) -> HeaderBlock {
    let mut block = HeaderBlock {
        bytes: Vec::with_capacity(1024),
        ends: Vec::with_capacity(2 * headers.len()),
    };
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            block.bytes.extend_from_slice(part);
            block
                .ends
                .push(u32::try_from(block.bytes.len()).unwrap_or(u32::MAX));
        }
    }
    block
}

fn pair(name: impl Into<String>, value: impl Into<String>) -> Pair {
    Pair {
        name: name.into(),
        value: value.into(),
    }
}

fn decoded(raw: &str) -> Cow<'_, str> {
    percent_decode_str(raw).decode_utf8_lossy()
}

impl HostState {
    fn phase_allows(&self, side: Side) -> Outcome {
        let Mode::Serve(phase) = self.mode else {
            return Err("nothing can be edited during init".to_owned());
        };
        let sent = |sent: fn(&crate::exchange::Exchange) -> bool| self.exchange.as_deref().is_some_and(sent);
        let (allowed, what) = match side {
            Side::Request => (
                request_editable(phase) && !sent(|exchange| exchange.request_sent),
                "request",
            ),
            Side::Response => (
                response_editable(phase) && !sent(|exchange| exchange.response_sent),
                "response",
            ),
        };
        if allowed {
            Ok(())
        } else {
            Err(format!("the {what} cannot be edited in phase {phase}"))
        }
    }

    fn edit_header(&mut self, side: Side, name: &str, edit: &HeaderEdit<'_>) -> Result<Outcome> {
        self.enter()?;
        if let Err(error) = self.phase_allows(side) {
            return Ok(Err(error));
        }
        let bytes = match edit {
            HeaderEdit::Set(value) | HeaderEdit::Append(value) => name.len() + value.len(),
            HeaderEdit::Remove => name.len(),
        };
        self.hold(bytes)?;
        Ok(self.exchange()?.edit_header(side, name, edit))
    }

    fn edit_request(
        &mut self,
        bytes: usize,
        edit: impl FnOnce(&mut crate::exchange::Exchange) -> Outcome,
    ) -> Result<Outcome> {
        self.enter()?;
        if let Err(error) = self.phase_allows(Side::Request) {
            return Ok(Err(error));
        }
        self.hold(bytes)?;
        Ok(edit(self.exchange()?))
    }

    fn read(&mut self) -> Result<&crate::exchange::Exchange> {
        self.enter()?;
        Ok(self.exchange()?)
    }

    fn read_response(&mut self) -> Result<&ResponseHead> {
        self.read()?
            .response
            .as_ref()
            .ok_or_else(|| exceeded(FailureKind::Denied, "there is no response in this phase"))
    }
}

impl HostRequestHead for HostState {
    fn method(&mut self, _: Request) -> Result<String> {
        Ok(self.read()?.request.method.as_str().to_owned())
    }
    fn set_method(&mut self, _: Request, method: String) -> Result<Outcome> {
        self.edit_request(method.len(), |exchange| exchange.set_method(&method))
    }
    fn scheme(&mut self, _: Request) -> Result<String> {
        Ok(if self.read()?.request.https {
            "https"
        } else {
            "http"
        }
        .to_owned())
    }
    fn authority(&mut self, _: Request) -> Result<String> {
        Ok(self.read()?.request.authority.clone())
    }
    fn raw_target(&mut self, _: Request) -> Result<String> {
        let exchange = self.read()?;
        Ok(match &exchange.raw_target {
            Some(raw) => raw.as_str().to_owned(),
            None => match &exchange.request.query {
                Some(query) => format!("{}?{query}", exchange.request.path),
                None => exchange.request.path.clone(),
            },
        })
    }
    fn raw_authority(&mut self, _: Request) -> Result<String> {
        let exchange = self.read()?;
        let raw = exchange.raw_authority.as_ref();
        Ok(raw
            .and_then(|raw| raw.to_str().ok())
            .unwrap_or(&exchange.request.authority)
            .to_owned())
    }
    fn raw_headers(&mut self, _: Request) -> Result<HeaderBlock> {
        let exchange = self.read()?;
        Ok(block(
            exchange.raw_headers.as_ref().unwrap_or(&exchange.request.headers),
        ))
    }
    fn body_digest(&mut self, _: Request) -> Result<Option<Vec<u8>>> {
        Ok(self.read()?.body_digest.map(|digest| digest.to_vec()))
    }
    fn version(&mut self, _: Request) -> Result<String> {
        Ok(match self.read()?.request.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_3 => "HTTP/3.0",
            _ => "HTTP/1.1",
        }
        .to_owned())
    }
    fn path(&mut self, _: Request) -> Result<String> {
        Ok(self.read()?.request.path.clone())
    }
    fn set_path(&mut self, _: Request, path: String) -> Result<Outcome> {
        self.edit_request(path.len(), |exchange| exchange.set_path(&path))
    }
    fn query(&mut self, _: Request) -> Result<String> {
        Ok(self.read()?.request.query.clone().unwrap_or_default())
    }
    fn set_query(&mut self, _: Request, query: String) -> Result<Outcome> {
        self.edit_request(query.len(), |exchange| exchange.set_query(&query))
    }
    fn query_params(&mut self, _: Request) -> Result<Vec<Pair>> {
        let query = self.read()?.request.query.as_deref().unwrap_or_default();
        Ok(parse_query(query)
            .map(|(name, value)| pair(name, value))
            .collect())
    }
    fn query_param(&mut self, _: Request, name: String) -> Result<Option<String>> {
        let query = self.read()?.request.query.as_deref().unwrap_or_default();
        Ok(parse_query(query)
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.into_owned()))
    }
    fn path_params(&mut self, _: Request) -> Result<Vec<Pair>> {
        Ok(self
            .read()?
            .params()
            .map(|(name, raw)| pair(name, decoded(raw)))
            .collect())
    }
    fn path_params_raw(&mut self, _: Request) -> Result<Vec<Pair>> {
        Ok(self.read()?.params().map(|(name, raw)| pair(name, raw)).collect())
    }
    fn path_param(&mut self, _: Request, name: String) -> Result<Option<String>> {
        Ok(self
            .read()?
            .params()
            .find(|(key, _)| *key == name)
            .map(|(_, raw)| decoded(raw).into_owned()))
    }
    fn header(&mut self, _: Request, name: String) -> Result<Option<Vec<u8>>> {
        Ok(first(&self.read()?.request.headers, &name))
    }
    fn header_values(&mut self, _: Request, name: String) -> Result<Vec<Vec<u8>>> {
        Ok(values(&self.read()?.request.headers, &name))
    }
    fn headers(&mut self, _: Request) -> Result<Vec<Header>> {
        Ok(all(&self.read()?.request.headers))
    }
    fn set_header(&mut self, _: Request, name: String, value: Vec<u8>) -> Result<Outcome> {
        self.edit_header(Side::Request, &name, &HeaderEdit::Set(&value))
    }
    fn append_header(&mut self, _: Request, name: String, value: Vec<u8>) -> Result<Outcome> {
        self.edit_header(Side::Request, &name, &HeaderEdit::Append(&value))
    }
    fn remove_header(&mut self, _: Request, name: String) -> Result<Outcome> {
        self.edit_header(Side::Request, &name, &HeaderEdit::Remove)
    }
    fn drop(&mut self, _: Request) -> Result<()> {
        Ok(())
    }
}

impl HostResponseHead for HostState {
    fn status(&mut self, _: Response) -> Result<u16> {
        Ok(self.read_response()?.status.as_u16())
    }
    fn set_status(&mut self, _: Response, status: u16) -> Result<Outcome> {
        self.enter()?;
        if let Err(error) = self.phase_allows(Side::Response) {
            return Ok(Err(error));
        }
        Ok(self.exchange()?.set_status(status))
    }
    fn header(&mut self, _: Response, name: String) -> Result<Option<Vec<u8>>> {
        Ok(first(&self.read_response()?.headers, &name))
    }
    fn header_values(&mut self, _: Response, name: String) -> Result<Vec<Vec<u8>>> {
        Ok(values(&self.read_response()?.headers, &name))
    }
    fn headers(&mut self, _: Response) -> Result<Vec<Header>> {
        Ok(all(&self.read_response()?.headers))
    }
    fn set_header(&mut self, _: Response, name: String, value: Vec<u8>) -> Result<Outcome> {
        self.edit_header(Side::Response, &name, &HeaderEdit::Set(&value))
    }
    fn append_header(&mut self, _: Response, name: String, value: Vec<u8>) -> Result<Outcome> {
        self.edit_header(Side::Response, &name, &HeaderEdit::Append(&value))
    }
    fn remove_header(&mut self, _: Response, name: String) -> Result<Outcome> {
        self.edit_header(Side::Response, &name, &HeaderEdit::Remove)
    }
    fn drop(&mut self, _: Response) -> Result<()> {
        Ok(())
    }
}

impl HostExchange for HostState {
    fn request_id(&mut self, _: Exchange) -> Result<String> {
        Ok(self.read()?.request_id.clone())
    }
    fn route(&mut self, _: Exchange) -> Result<String> {
        Ok(self.read()?.route.name.clone())
    }
    fn route_pattern(&mut self, _: Exchange) -> Result<String> {
        Ok(self.read()?.route.pattern.clone())
    }
    fn peer(&mut self, _: Exchange) -> Result<Peer> {
        let exchange = self.read()?;
        Ok(Peer {
            address: exchange.peer.address.ip().to_string(),
            port: exchange.peer.address.port(),
            client_address: exchange.client.to_string(),
            tls_version: exchange.peer.tls_version.map(str::to_owned),
            sni: exchange.peer.sni.clone(),
            client_certificate: exchange.peer.client_certificate.clone(),
        })
    }
    fn get(&mut self, _: Exchange, namespace: String, key: String) -> Result<Option<WitValue>> {
        Ok(self
            .read()?
            .context
            .get(&(std::sync::Arc::from(namespace), key))
            .map(to_wit))
    }
    fn set(&mut self, _: Exchange, key: String, value: WitValue) -> Result<Outcome> {
        self.enter()?;
        let value = match from_wit(value) {
            Ok(value) => value,
            Err(error) => return Ok(Err(format!("context `{key}`: {error}"))),
        };
        if key.len() > CONTEXT_KEY_MAX {
            return Ok(Err(format!(
                "context key of {} bytes exceeds {CONTEXT_KEY_MAX}",
                key.len()
            )));
        }
        if self.exchange()?.context.len() >= CONTEXT_ENTRIES_MAX {
            return Ok(Err(format!(
                "context `{key}`: there are {CONTEXT_ENTRIES_MAX} entries already"
            )));
        }
        self.hold(key.len() + value.size())?;
        let namespace = std::sync::Arc::clone(&self.capabilities.plugin);
        self.exchange()?.set_context(&namespace, &key, value);
        Ok(Ok(()))
    }
    fn entries(&mut self, _: Exchange) -> Result<Vec<ContextEntry>> {
        Ok(self
            .read()?
            .context
            .iter()
            .map(|((namespace, key), value)| ContextEntry {
                namespace: namespace.to_string(),
                key: key.clone(),
                value: to_wit(value),
            })
            .collect())
    }
    fn principal(&mut self, _: Exchange) -> Result<Option<String>> {
        Ok(self.read()?.principal.clone())
    }
    fn drop(&mut self, _: Exchange) -> Result<()> {
        Ok(())
    }
}

fn to_wit(value: &ContextValue) -> WitValue {
    match value {
        ContextValue::Text(text) => WitValue::Text(text.clone()),
        ContextValue::Integer(number) => WitValue::Integer(*number),
        ContextValue::Number(number) => WitValue::Number(*number),
        ContextValue::Boolean(truth) => WitValue::Boolean(*truth),
        ContextValue::Json(text) => WitValue::Json(text.clone()),
        ContextValue::Bytes(bytes) => WitValue::Bytes(bytes.clone()),
    }
}

/// The value, if it is one: JSON text must parse.
pub(crate) fn from_wit(value: WitValue) -> std::result::Result<ContextValue, String> {
    Ok(match value {
        WitValue::Text(text) => ContextValue::Text(text),
        WitValue::Integer(number) => ContextValue::Integer(number),
        WitValue::Number(number) => ContextValue::Number(number),
        WitValue::Boolean(truth) => ContextValue::Boolean(truth),
        WitValue::Json(text) => {
            serde_json::from_str::<serde::de::IgnoredAny>(&text)
                .map_err(|error| format!("not JSON: {error}"))?;
            ContextValue::Json(text)
        }
        WitValue::Bytes(bytes) => ContextValue::Bytes(bytes),
    })
}
