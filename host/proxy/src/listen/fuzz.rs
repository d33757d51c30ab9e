//! Any bytes where a load balancer's header should be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::proxy_header::parse;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the specification says of bytes that begin with a whole header.
#[derive(Debug, PartialEq, Eq)]
enum Naive {
    Header(Option<SocketAddr>, usize),
    Malformed,
    More,
}

/// A header is known as such at its last byte and not before, nothing behind it changes it, it is what the specification says, and what is none stays none
/// whatever comes behind.
pub fn proxy_header(data: &[u8]) {
    let naive = naive(data);
    match parse(data) {
        Ok(Some((address, size))) => {
            assert!(size <= data.len(), "reads past the end");
            assert_eq!(naive, Naive::Header(address, size), "{}", data.escape_ascii());
            assert_eq!(parse(&data[..size]).ok(), Some(Some((address, size))));
            for end in (0..size).rev().take(300).chain(0..size.min(300)) {
                let beginning = parse(&data[..end]);
                assert!(
                    matches!(beginning, Ok(None)),
                    "{}: {beginning:?}",
                    data[..end].escape_ascii()
                );
            }
        }
        Ok(None) => assert_eq!(naive, Naive::More, "{}", data.escape_ascii()),
        Err(_) => {
            // what cannot become a header may be known as such before its end
            assert!(
                !matches!(naive, Naive::Header(..)),
                "{}: {naive:?}",
                data.escape_ascii()
            );
            for more in [&b"\0"[..], b"\n", b"\r\n", &[0xff; 300]] {
                let longer = parse(&[data, more].concat());
                assert!(longer.is_err(), "{}: {longer:?}", data.escape_ascii());
            }
        }
    }
}

/// By section 2 of the specification, with no care for what can be known before the end.
fn naive(data: &[u8]) -> Naive {
    let v2 = data.len().min(SIGNATURE.len());
    if data[..v2] == SIGNATURE[..v2] {
        return version_2(data);
    }
    let Some(end) = data.windows(2).position(|window| window == b"\r\n") else {
        let begins = b"PROXY ".starts_with(data) || data.starts_with(b"PROXY ");
        return if begins && data.len() < 107 && !data.contains(&b'\n') {
            Naive::More
        } else {
            Naive::Malformed
        };
    };
    let line = std::str::from_utf8(&data[..end]).unwrap_or_default();
    if end + 2 > 107 || line.contains('\n') {
        return Naive::Malformed;
    }
    let words: Vec<&str> = line.split(' ').collect();
    let size = end + 2;
    if words.starts_with(&["PROXY", "UNKNOWN"]) {
        return Naive::Header(None, size);
    }
    let ["PROXY", family, addresses @ ..] = words.as_slice() else {
        return Naive::Malformed;
    };
    let [from, to, from_port, to_port] = addresses else {
        return Naive::Malformed;
    };
    let (Ok(from), Ok(to)) = (from.parse::<IpAddr>(), to.parse::<IpAddr>()) else {
        return Naive::Malformed;
    };
    let fits = match *family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    let port = |text: &str| -> Option<u16> {
        let number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| number)
    };
    match (fits, port(from_port), port(to_port)) {
        (true, Some(port), Some(_)) => Naive::Header(Some(SocketAddr::new(from, port)), size),
        _ => Naive::Malformed,
    }
}

fn version_2(data: &[u8]) -> Naive {
    let Some([version, family, high, low]) = data.get(12..16) else {
        return Naive::More;
    };
    let size = 16 + usize::from(u16::from_be_bytes([*high, *low]));
    let payload = data.get(16..size);
    let addresses = match family >> 4 {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => usize::MAX,
    };
    match (*version, payload) {
        // the connection is the balancer's own, whatever family and addresses may say
        (0x20, Some(_)) => Naive::Header(None, size),
        (0x20, None) => Naive::More,
        (0x21, _) if family & 0xf > 2 || size - 16 < addresses => Naive::Malformed,
        (0x21, None) => Naive::More,
        (0x21, Some(payload)) => Naive::Header(source(*family, payload), size),
        _ => Naive::Malformed,
    }
}

/// Where a stream of TCP is from.
fn source(family: u8, payload: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| {
        let bytes = payload.get(at..at + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    match family {
        0x11 => {
            let address: [u8; 4] = payload.get(..4)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), port(8)?))
        }
        0x21 => {
            let address: [u8; 16] = payload.get(..16)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), port(32)?))
        }
        _ => None,
    }
}
