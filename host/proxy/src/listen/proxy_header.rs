//! The header of the PROXY protocol, versions 1 and 2, with which a load balancer in front tells whom a connection is from
//! (haproxy.org/download/3.0/doc/proxy-protocol.txt).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ppp::{PartialResult as _, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// What a header of version 1 begins with.
const LINE_PREFIX: &[u8] = b"PROXY ";
/// Longest line of version 1 in bytes, with its end.
const LINE_MAX: usize = 107;
/// Version 2 and the command LOCAL.
const LOCAL: u8 = 0x20;
/// Size of a header of version 2 in bytes, without addresses.
const FIXED_SIZE: usize = 16;
/// Largest header in bytes: those of version 2 have fields of the balancer's own behind the addresses.
const SIZE_MAX: usize = 4096;

/// Why a connection from a balancer cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    /// The connection ended or broke before the end of the header.
    #[error("PROXY header: {0}")]
    Io(#[from] io::Error),
    /// It does not begin with a header.
    #[error("no PROXY header: {0}")]
    Malformed(String),
    /// The header has no end in sight.
    #[error("PROXY header above {SIZE_MAX} bytes")]
    TooLarge,
}

/// Reads the header and not a byte behind it. `None` when the header names no TCP address (`LOCAL`, `UNKNOWN`): the connection is the balancer's own.
///
/// # Errors
/// See [`ProxyHeaderError`]; the connection is of no use then.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut header = Vec::new();
    let mut ahead = [0; 256];
    loop {
        let known = header.len();
        let seen = stream.peek(&mut ahead).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        header.extend_from_slice(&ahead[..seen]);
        let parsed = parse(&header)?;
        // all that was seen belongs to a header that is not at its end
        let own = parsed
            .as_ref()
            .map_or(seen, |(_, size)| size.saturating_sub(known));
        stream.read_exact(&mut ahead[..own]).await?;
        if let Some((address, _)) = parsed {
            return Ok(address);
        }
        if header.len() > SIZE_MAX {
            return Err(ProxyHeaderError::TooLarge);
        }
    }
}

/// Address and size of the header that `bytes` begin with; `None` when its end is not there yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyHeaderError> {
    let known = bytes.len().min(LINE_PREFIX.len());
    if bytes[..known] == LINE_PREFIX[..known] {
        return parse_line(bytes);
    }
    // the balancer's own connection, whatever family and addresses it names: the library looks at them, which the specification forbids
    if let Some([LOCAL, _, high, low]) = bytes
        .strip_prefix(v2::PROTOCOL_PREFIX)
        .and_then(|rest| rest.get(..4))
    {
        let size = FIXED_SIZE + usize::from(u16::from_be_bytes([*high, *low]));
        return Ok((size <= bytes.len()).then_some((None, size)));
    }
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(error) if error.is_incomplete() => return Ok(None),
        Err(error) => return Err(ProxyHeaderError::Malformed(error.to_string())),
    };
    let address = match (header.command, header.protocol, &header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(ip)) => {
            Some((ip.source_address, ip.source_port).into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(ip)) => {
            Some((ip.source_address, ip.source_port).into())
        }
        _ => None,
    };
    Ok(Some((address, header.len())))
}

/// The same of version 1. By hand: the library takes some beginnings of a line for malformed lines, and `UNKNOWN` with addresses for a beginning.
fn parse_line(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, ProxyHeaderError> {
    let malformed = |reason: &str| ProxyHeaderError::Malformed(reason.to_owned());
    let Some(end) = bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_MAX {
            Ok(None)
        } else {
            Err(malformed("a line above 107 bytes"))
        };
    };
    let line = bytes[..end]
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or_else(|| malformed("a line that is no text, or does not end with CRLF"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words.as_slice() {
        // whatever follows says nothing
        ["PROXY", "UNKNOWN", ..] => return Ok(Some((None, end + 1))),
        ["PROXY", "TCP4", from, to, from_port, to_port] => {
            client::<Ipv4Addr>([from, to], [from_port, to_port])
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] => {
            client::<Ipv6Addr>([from, to], [from_port, to_port])
        }
        _ => {
            return Err(malformed(
                "neither TCP4 nor TCP6 with two addresses and ports, nor UNKNOWN",
            ));
        }
    };
    let client = client.ok_or_else(|| malformed("an address or a port that is none"))?;
    Ok(Some((Some(client), end + 1)))
}

/// Address and port of the client, if those of both ends are such.
fn client<A: FromStr + Into<IpAddr>>(addresses: [&str; 2], ports: [&str; 2]) -> Option<SocketAddr> {
    let [from, _to]: [A; 2] = [addresses[0].parse().ok()?, addresses[1].parse().ok()?];
    // without a sign, which `parse` takes
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number)
    };
    let [port, _to] = [port(ports[0])?, port(ports[1])?];
    Some(SocketAddr::new(from.into(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// 192.0.2.7:4711 to 192.0.2.1:443.
    const IPV4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];

    #[test]
    fn headers_name_the_client_or_nobody() {
        let four: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let six: SocketAddr = "[2001:db8::7]:4711".parse().unwrap();
        let mut ipv6 = [0; 36];
        ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        ipv6[15] = 7;
        ipv6[32..34].copy_from_slice(&4711_u16.to_be_bytes());
        let with_fields = [&IPV4[..], &[0x04, 0, 2, 0, 0]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n".to_vec(),
                Some(four),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
                Some(six),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                b"PROXY UNKNOWN ffff:f...f:ffff 1 2 65535 65535\r\n".to_vec(),
                None,
            ),
            (v2(1, 0x11, &IPV4), Some(four)),
            (v2(1, 0x11, &with_fields), Some(four)),
            (v2(1, 0x21, &ipv6), Some(six)),
            (v2(0, 0x11, &IPV4), None), // LOCAL
            (v2(0, 0x11, &[]), None),   // with a family, and without its addresses
            (v2(0, 0x55, b"abc"), None),
            (v2(1, 0x00, &[]), None),       // UNSPEC
            (v2(1, 0x12, &IPV4), None),     // a datagram's address says nothing of a stream
            (v2(1, 0x31, &[0; 216]), None), // of a Unix socket
        ] {
            let sent = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(
                parse(&sent).unwrap(),
                Some((expected, header.len())),
                "{header:?}"
            );
            for end in 1..header.len() {
                assert_eq!(parse(&header[..end]).unwrap(), None, "{:?}", &header[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_header_is_told() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP5 192.0.2.7 192.0.2.1 4711 443\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 99999\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 +4711 443\r\n",
            &[b"PROXY UNKNOWN ", &[b'x'; LINE_MAX][..]].concat(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\r\n",
            &v2(2, 0x11, &IPV4),
            &v2(1, 0x11, &IPV4[..8]),
            b"\x16\x03\x01\x02\x00",
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.to_string().starts_with("no PROXY header"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            prefix in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n"[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [prefix, &rest].concat();
            if let Ok(Some((_, size))) = parse(&bytes) {
                prop_assert!(size <= bytes.len());
            }
        }
    }
}
