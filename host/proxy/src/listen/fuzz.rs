//! Any bytes where a load balancer's header should be, and in header blocks of HTTP/2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;

use super::{
    frames::{CONTINUATION, END_HEADERS, HEAD, HEADERS, Head, PREFACE, WINDOW_UPDATE},
    proxy_header::parse,
    screen::{Name, STATIC, Screen},
};
use crate::{http3::huffman, prefix};

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

/// Largest header block here.
const BLOCK_MAX: usize = 4 << 10;

/// Frames are screened the same however they are cut, what comes out is changed by no other screen, no block that is well-formed is changed, and one
/// that is not has no field any more that can be none, but one that makes it malformed. All blocks have the fields that were sent otherwise, by a
/// naive decoder: the dynamic table stays the same on both sides. The first byte is the size of pieces; then each frame has a byte for its type, one for
/// its flags, and one for its length.
pub fn http2_fields(data: &[u8]) {
    let Some((piece, mut rest)) = data.split_first() else {
        return;
    };
    let mut bytes = vec![0; PREFACE as usize];
    let mut stream = 1_u32;
    while let [kind, flags, length, payload @ ..] = rest {
        let (payload, behind) = payload.split_at(payload.len().min(usize::from(*length)));
        rest = behind;
        let kind = [HEADERS, HEADERS, CONTINUATION, WINDOW_UPDATE, 0, 4][usize::from(kind % 6)];
        bytes.extend(&(payload.len() as u32).to_be_bytes()[1..]);
        bytes.extend([kind, *flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        if kind != WINDOW_UPDATE && flags & END_HEADERS != 0 {
            stream += 2;
        }
    }
    let (screened, is_blind) = Screen::all(&bytes, usize::MAX, BLOCK_MAX);
    assert_eq!(
        Screen::all(&bytes, usize::from(*piece) + 1, BLOCK_MAX),
        (screened.clone(), is_blind)
    );
    if is_blind {
        return;
    }
    assert_eq!(
        Screen::all(&screened, usize::MAX, 4 * BLOCK_MAX).0,
        screened,
        "again"
    );
    let (before, after) = (blocks(&bytes), blocks(&screened));
    let mut after = after.iter();
    // frames stand for WINDOW_UPDATE, too
    let stand_in = |fields: &&Fields| matches!(&fields[..], [(name, value)] if name == b"transfer-encoding" && value == b"0");
    for before in &before {
        let found = after.by_ref().find(|after| *after == before || !stand_in(after));
        assert!(found.is_some(), "fewer blocks than came");
        let after = found.unwrap_or(before);
        let malformed = before.iter().any(|(name, value)| !Name::of(name).takes(value));
        if malformed {
            assert!(
                after.iter().all(|(name, value)| Name::of(name).takes(value)),
                "{after:?}"
            );
            assert!(
                after.iter().any(|(name, _)| name == b"transfer-encoding"),
                "{after:?}"
            );
        } else {
            assert_eq!(after, before);
        }
    }
    assert!(after.all(|after| stand_in(&after)), "more blocks than came");
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of each header block, as far as they are whole. A WINDOW_UPDATE by 0 has one in its place.
fn blocks(bytes: &[u8]) -> Vec<Fields> {
    let mut rest = &bytes[PREFACE as usize..];
    let (mut table, mut most) = (Vec::new(), 4096);
    let (mut blocks, mut block, mut is_open) = (Vec::new(), Vec::new(), false);
    while let Some(head) = rest.first_chunk::<HEAD>().copied().map(Head::read) {
        let payload = &rest[HEAD..HEAD + head.length as usize];
        rest = &rest[HEAD + payload.len()..];
        match head.kind {
            HEADERS => {
                let padding = if head.flags & 8 == 0 {
                    0
                } else {
                    usize::from(payload[0])
                };
                let begin = usize::from(head.flags & 8 != 0) + if head.flags & 0x20 == 0 { 0 } else { 5 };
                block.extend(&payload[begin..payload.len() - padding]);
            }
            CONTINUATION if is_open => block.extend(payload),
            _ => continue,
        }
        is_open = head.flags & END_HEADERS == 0;
        if !is_open {
            blocks.push(fields(&std::mem::take(&mut block), &mut table, &mut most));
        }
    }
    blocks
}

/// RFC 7541 section 6, of a block that is none too bad.
fn fields(block: &[u8], table: &mut Fields, most: &mut usize) -> Fields {
    let size = |table: &Fields| -> usize {
        table
            .iter()
            .map(|(name, value)| name.len() + value.len() + 32)
            .sum()
    };
    let mut fields = Vec::new();
    let mut rest = block;
    while let [first, ..] = *rest {
        let (bits, is_kept) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, false),
        };
        let index = integer(&mut rest, bits);
        let known = |table: &Fields, index: usize| match index - 1 {
            at if at < STATIC.len() => {
                // values do not matter, as long as they are some
                let value = if STATIC[at] == ":status" { "200" } else { "static" };
                (STATIC[at].into(), value.into())
            }
            at => table[at - STATIC.len()].clone(),
        };
        if bits == 5 {
            *most = index;
            while size(table) > *most {
                table.pop();
            }
            continue;
        }
        let field = if bits == 7 {
            known(table, index)
        } else {
            let name = if index == 0 {
                text(&mut rest)
            } else {
                known(table, index).0
            };
            (name, text(&mut rest))
        };
        fields.push(field.clone());
        if is_kept {
            table.insert(0, field);
            while size(table) > *most {
                table.pop();
            }
        }
    }
    fields
}

fn integer(rest: &mut &[u8], bits: u8) -> usize {
    let value = prefix::read(rest, bits);
    assert!(value.is_some(), "no integer was let pass");
    value.unwrap_or_default() as usize
}

fn text(rest: &mut &[u8]) -> Vec<u8> {
    let is_encoded = rest[0] & 0x80 != 0;
    let length = integer(rest, 7);
    let (bytes, behind) = rest.split_at(length);
    *rest = behind;
    if !is_encoded {
        return bytes.to_vec();
    }
    let mut out = BytesMut::new();
    assert!(
        huffman::decode(bytes, &mut out).is_ok(),
        "no Huffman code was let pass"
    );
    out.to_vec()
}
