//! Who is the client, and what upstreams are told about it: `X-Forwarded-For/Proto/Host`,
//! `Forwarded` (RFC 7239) and `Via` (RFC 9110 section 7.6.3), and which received values are
//! believed.
//!
//! Every hop appends the address it received a request from, so a list is read from the right:
//! the peer of the connection vouches for the last entry if the peer is a trusted proxy, the last
//! entry for the one before it if it is trusted too, and so on. The first address that is not
//! trusted is the client; what stands left of it is the client's own claim.
//!
//! Where both lists are present `X-Forwarded-For` counts, because it is what most proxies maintain;
//! a `Forwarded` that says something else was passed through unread and is replaced. At most
//! [`MAX_HOPS`] entries are read and sent on, the rightmost ones.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use ipnet::IpNet;
use smallvec::SmallVec;

pub mod hop_by_hop;

/// Most entries of a forwarding list that are read or sent.
pub const MAX_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a client may not claim about itself: everything upstreams are known to read the client's
/// address, scheme, host or path prefix from.
static CLAIMS: [HeaderName; 11] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
];

/// How the gateway received a request.
#[derive(Debug, Clone, Copy)]
pub struct ForwardInfo<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority of the request, with the port if one was given.
    pub host: Option<&'a str>,
    /// The version the request was received with.
    pub version: Version,
}

/// The fields that the last request of a connection was given, for the next one: most ask for the same host.
#[derive(Debug, Default)]
pub struct LastFields(Mutex<Option<Fields>>);

#[derive(Debug)]
struct Fields {
    peer: IpAddr,
    scheme: Box<str>,
    host: Option<Box<str>>,
    fields: HeaderMap,
}

impl LastFields {
    /// Sets the fields of a request whose peer's word does not count.
    fn write(&self, headers: &mut HeaderMap, info: &ForwardInfo<'_>, peer: IpAddr) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |last: &Fields| {
            (last.peer, &*last.scheme, last.host.as_deref()) == (peer, info.scheme, info.host)
        };
        let last = match &mut *last {
            Some(last) if same(last) => last,
            last => {
                let mut fields = HeaderMap::new();
                Update::default().write(&mut fields, info, peer);
                last.insert(Fields {
                    peer,
                    scheme: info.scheme.into(),
                    host: info.host.map(Box::from),
                    fields,
                })
            }
        };
        // with `Via`: grow at most once
        headers.reserve(last.fields.len() + 1);
        for (name, value) in &last.fields {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// One entry of a forwarding list.
#[derive(Debug, Clone, Copy, Default)]
struct Hop<'a> {
    /// The entry as received.
    text: &'a str,
    /// `None` for `unknown`, an obfuscated identifier (RFC 7239 section 6) or nonsense.
    address: Option<IpAddr>,
    /// Only in `Forwarded`.
    proto: Option<&'a str>,
    /// Only in `Forwarded`, with its quotes.
    host: Option<&'a str>,
}

/// Rightmost entry first.
type Hops<'a> = SmallVec<[Hop<'a>; 4]>;

/// The address of the client: the first one from the right that is not trusted, beginning with
/// `peer`, or the leftmost one if all are trusted. The walk ends at an entry that is no address;
/// then it is the last address before. IPv4-mapped IPv6 addresses count as IPv4.
#[must_use]
pub fn client_address(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let listed = x_forwarded_for(headers);
    let hops = if listed.is_empty() {
        forwarded(headers)
    } else {
        listed
    };
    walk(peer, trusted, &hops).0
}

/// Rewrites the forwarding headers of a request for the upstream.
///
/// From a peer that is not trusted the received ones (`Forwarded`, `X-Forwarded-*` and their like)
/// are dropped and set anew. From a trusted one the lists are appended to, and the
/// `X-Forwarded-Proto` and `X-Forwarded-Host` it sent are kept (the last one of several: a hop that adds instead of replacing leaves
/// the client's claim before its own); those it did not send are taken from
/// its `Forwarded` or else from `info`. If it maintains only one of the lists, the other one is made
/// to say the same. `Via` is always appended to: it is for finding loops, not for trust.
///
/// Without a port: lists carry addresses only. `last` is any, best one of the connection.
pub fn apply(headers: &mut HeaderMap, info: &ForwardInfo<'_>, trusted: &[IpNet], last: &LastFields) {
    let peer = info.peer.to_canonical();
    if is_trusted(peer, trusted) {
        let update = Update::after_trusted_peer(peer, trusted, headers);
        update.write(headers, info, peer);
    } else {
        // Most clients claim nothing, and comparing is cheaper than removing in vain.
        if headers.keys().any(|name| CLAIMS.contains(name)) {
            for name in &CLAIMS {
                headers.remove(name);
            }
        }
        last.write(headers, info, peer);
    }
    append_via(headers, info.version);
}

/// Appends the gateway to `Via` (RFC 9110 section 7.6.3) as `edgeward`; `received` is the version of the message the gateway got. For
/// requests [`apply`] does it, responses need it too.
pub fn append_via(headers: &mut HeaderMap, received: Version) {
    macro_rules! via {
        ($version:literal) => {{
            const VALUE: HeaderValue = HeaderValue::from_static(concat!($version, " edgeward"));
            VALUE
        }};
    }
    let value = match received {
        Version::HTTP_09 => via!("0.9"),
        Version::HTTP_10 => via!("1.0"),
        Version::HTTP_2 => via!("2.0"),
        Version::HTTP_3 => via!("3.0"),
        _ => via!("1.1"),
    };
    headers.append(VIA, value);
}

/// What is left of the received headers, in front of what the gateway adds.
#[derive(Debug, Default)]
struct Update {
    /// Entries with separators behind them.
    list: String,
    /// The same for `Forwarded`.
    forwarded: String,
    /// For want of `X-Forwarded-Proto`.
    proto: Option<String>,
    /// For want of `X-Forwarded-Host`.
    host: Option<String>,
}

impl Update {
    fn after_trusted_peer(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> Self {
        let mut listed = x_forwarded_for(headers);
        let mut forwarded = forwarded(headers);
        // Leave room for the peer.
        listed.truncate(MAX_HOPS - 1);
        forwarded.truncate(MAX_HOPS - 1);
        let addresses = |hops: &Hops<'_>| hops.iter().map(|hop| hop.address).collect::<SmallVec<[_; 4]>>();
        let mut update = Self::default();
        if listed.is_empty() {
            for hop in forwarded.iter().rev() {
                let text = hop
                    .address
                    .map_or_else(|| "unknown".to_owned(), |address| address.to_string());
                push_entry(&mut update.list, &text);
            }
        } else {
            for hop in listed.iter().rev() {
                push_entry(&mut update.list, hop.text);
            }
        }
        if listed.is_empty() || addresses(&listed) == addresses(&forwarded) {
            for hop in forwarded.iter().rev() {
                push_entry(&mut update.forwarded, hop.text);
            }
            // The element that names the client tells what the client asked for.
            let (_, client) = walk(peer, trusted, &forwarded);
            if let Some(hop) = client.and_then(|at| forwarded.get(at)) {
                update.proto = hop.proto.map(unquote).filter(|proto| is_token(proto));
                update.host = hop.host.map(unquote);
            }
        } else {
            for hop in listed.iter().rev() {
                update.forwarded.push_str("for=");
                match hop.address {
                    Some(address) => push_node(&mut update.forwarded, address, &address.to_string()),
                    None => update.forwarded.push_str("unknown"),
                }
                update.forwarded.push_str(", ");
            }
        }
        update
    }

    fn write(self, headers: &mut HeaderMap, info: &ForwardInfo<'_>, peer: IpAddr) {
        let address = peer.to_string();
        let mut element = self.forwarded;
        element.reserve(64 + info.host.map_or(0, str::len));
        element.push_str("for=");
        push_node(&mut element, peer, &address);
        if let Some(host) = info.host.filter(|host| HeaderValue::from_str(host).is_ok()) {
            element.push_str(";host=");
            push_value(&mut element, host);
        }
        element.push_str(";proto=");
        push_value(&mut element, info.scheme);
        set(headers, FORWARDED, element);
        let list = if self.list.is_empty() {
            address
        } else {
            self.list + &address
        };
        set(headers, X_FORWARDED_FOR, list);
        for name in [X_FORWARDED_PROTO, X_FORWARDED_HOST] {
            let mut received = headers.get_all(&name).iter();
            if let (Some(_), Some(last)) = (received.next(), received.next_back()) {
                let last = last.clone();
                headers.insert(name, last);
            }
        }
        if !headers.contains_key(X_FORWARDED_PROTO) {
            match (self.proto, info.scheme) {
                (Some(proto), _) => set(headers, X_FORWARDED_PROTO, proto),
                (None, "http") => drop(headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"))),
                (None, "https") => drop(headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"))),
                (None, scheme) => set(headers, X_FORWARDED_PROTO, scheme.to_owned()),
            }
        }
        if !headers.contains_key(X_FORWARDED_HOST)
            && let Some(host) = self.host.or_else(|| info.host.map(str::to_owned))
        {
            set(headers, X_FORWARDED_HOST, host);
        }
    }
}

/// The client's address, and its index in `hops` unless it is the peer, which is trusted.
fn walk(peer: IpAddr, trusted: &[IpNet], hops: &Hops<'_>) -> (IpAddr, Option<usize>) {
    let mut client = (peer, None);
    for (at, hop) in hops.iter().enumerate() {
        let Some(address) = hop.address else { break };
        client = (address, Some(at));
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// Whether an address is in one of the blocks.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

fn x_forwarded_for(headers: &HeaderMap) -> Hops<'_> {
    let mut hops = Hops::new();
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        let (text, whole) = readable(value);
        for text in text.rsplit(',').map(str::trim).filter(|text| !text.is_empty()) {
            if hops.len() == MAX_HOPS {
                return hops;
            }
            hops.push(Hop {
                text,
                address: parse_address(text),
                ..Hop::default()
            });
        }
        if !whole {
            break;
        }
    }
    hops
}

fn forwarded(headers: &HeaderMap) -> Hops<'_> {
    let mut hops = Hops::new();
    for value in headers.get_all(FORWARDED).iter().rev() {
        let (mut rest, whole) = readable(value);
        while !rest.is_empty() {
            if hops.len() == MAX_HOPS {
                return hops;
            }
            // What cannot be split is the claim of whoever wrote it and everybody before.
            let Some((before, element)) = split_last(rest, b',') else {
                return hops;
            };
            rest = before;
            if element.is_empty() {
                continue;
            }
            let Some(hop) = parse_element(element) else {
                return hops;
            };
            hops.push(hop);
        }
        if !whole {
            break;
        }
    }
    hops
}

/// What stands behind the last byte that is not visible ASCII, and whether that is everything. A
/// client that sends such bytes spoils its own claims, not what trusted hops have appended to them.
fn readable(value: &HeaderValue) -> (&str, bool) {
    let bytes = value.as_bytes();
    let start = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b' '..=b'~' | b'\t'))
        .map_or(0, |at| at + 1);
    (
        std::str::from_utf8(&bytes[start..]).unwrap_or_default(),
        start == 0,
    )
}

/// Splits at the last `separator` outside of quoted strings: what is before it (empty if there is
/// none) and the trimmed part behind it. Reads from the right, so that an unfinished quoted string
/// cannot swallow what trusted hops have appended to it. `None` if the part itself has one.
fn split_last(text: &str, separator: u8) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        if bytes[at] == b'"' {
            // Inside, a quote behind an odd number of backslashes is an escaped one.
            let escapes = bytes[..at]
                .iter()
                .rev()
                .take_while(|byte| **byte == b'\\')
                .count();
            if !quoted || escapes % 2 == 0 {
                quoted = !quoted;
            }
        } else if bytes[at] == separator && !quoted {
            return Some((&text[..at], text[at + 1..].trim()));
        }
    }
    (!quoted).then(|| ("", text.trim()))
}

/// A `forwarded-element` (RFC 7239 section 4). An element without `for` is one of an unknown node.
fn parse_element(element: &str) -> Option<Hop<'_>> {
    let mut hop = Hop {
        text: element,
        ..Hop::default()
    };
    let mut rest = element;
    while !rest.is_empty() {
        let (before, pair) = split_last(rest, b';')?;
        rest = before;
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        if !is_token(name) || !(quoted || is_token(value)) {
            return None;
        }
        match name.to_ascii_lowercase().as_str() {
            "for" => hop.address = parse_address(&unquote(value)),
            "proto" => hop.proto = Some(value),
            "host" => hop.host = Some(value),
            _ => {}
        }
    }
    Some(hop)
}

/// An address with or without brackets and port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address| address.to_canonical())
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        out.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    out
}

/// Appends a `node` (RFC 7239 section 6): `text` is `address` as text.
fn push_node(out: &mut String, address: IpAddr, text: &str) {
    if address.is_ipv4() {
        out.push_str(text);
    } else {
        out.push_str("\"[");
        out.push_str(text);
        out.push_str("]\"");
    }
}

fn push_entry(list: &mut String, entry: &str) {
    list.push_str(entry);
    list.push_str(", ");
}

/// Appends a token or, if `value` is none, a quoted string.
fn push_value(out: &mut String, value: &str) {
    if is_token(value) {
        out.push_str(value);
        return;
    }
    out.push('"');
    for char in value.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out.push('"');
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a token may have this byte (RFC 9110 section 5.6.2).
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Sets a header; what cannot be a value (a host with control characters) is left out instead.
fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    match HeaderValue::try_from(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests;
