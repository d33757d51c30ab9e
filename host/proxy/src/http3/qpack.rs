//! Field sections without a dynamic table (RFC 9204 section 4.5): we allow clients none, and use none.

use std::{collections::HashMap, sync::LazyLock};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, StatusCode};

use super::{
    code::{Code, Fault},
    huffman,
    statics::STATIC,
};
use crate::prefix;

/// A name or value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Static(&'static str),
    Shared(Bytes),
}

impl Text {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(text) => text.as_bytes(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// As a field value; `None` for bytes that it must not have.
    pub(super) fn into_value(self) -> Option<HeaderValue> {
        match self {
            Self::Static(text) => Some(HeaderValue::from_static(text)),
            Self::Shared(bytes) => HeaderValue::from_maybe_shared(bytes).ok(),
        }
    }
}

fn failed(what: &'static str) -> Fault {
    Fault::Connection(Code::DecompressionFailed, what)
}

/// Reads a field section, field by field. `take` may end the reading; its error is handed on.
///
/// # Errors
/// What is not in the format, or refers to the dynamic table, costs the connection (RFC 9204 section 6).
pub(super) fn decode<E: From<Fault>>(
    mut section: Bytes,
    mut take: impl FnMut(Text, Text) -> Result<(), E>,
) -> Result<(), E> {
    let mut scratch = BytesMut::new();
    // section 4.5.1: without a dynamic table both are 0, whatever the sign of the second
    if prefixed(&mut section, 8)? != 0 {
        return Err(failed("field section refers to the dynamic table").into());
    }
    prefixed(&mut section, 7)?;
    while let Some(first) = section.first().copied() {
        let (name, value) = if first & 0x80 != 0 {
            // indexed field line, section 4.5.2
            let (name, value) = entry(&mut section, first & 0x40 != 0, 6)?;
            (name, Text::Static(value))
        } else if first & 0x40 != 0 {
            // literal field line with name reference, section 4.5.4
            let (name, _) = entry(&mut section, first & 0x10 != 0, 4)?;
            (name, string(&mut section, 7, &mut scratch)?)
        } else if first & 0x20 != 0 {
            // literal field line with literal name, section 4.5.6
            let name = string(&mut section, 3, &mut scratch)?;
            (name, string(&mut section, 7, &mut scratch)?)
        } else {
            return Err(failed("field line refers to the dynamic table").into());
        };
        take(name, value)?;
    }
    Ok(())
}

fn entry(section: &mut Bytes, is_static: bool, bits: u8) -> Result<(Text, &'static str), Fault> {
    if !is_static {
        return Err(failed("field line refers to the dynamic table"));
    }
    let index = usize::try_from(prefixed(section, bits)?).unwrap_or(usize::MAX);
    let (name, value) = STATIC
        .get(index)
        .ok_or_else(|| failed("index beyond the static table"))?;
    Ok((Text::Static(name), value))
}

fn prefixed(input: &mut Bytes, bits: u8) -> Result<u64, Fault> {
    prefix::read(input, bits).ok_or_else(|| failed("integer is cut off, or beyond all bounds"))
}

/// A string whose length has so many bits in its first byte, behind the flag for Huffman.
fn string(section: &mut Bytes, bits: u8, scratch: &mut BytesMut) -> Result<Text, Fault> {
    let encoded = section.first().is_some_and(|first| first >> bits & 1 == 1);
    let length = usize::try_from(prefixed(section, bits)?).unwrap_or(usize::MAX);
    if length > section.len() {
        return Err(failed("string beyond the field section"));
    }
    let bytes = section.split_to(length);
    if !encoded {
        return Ok(Text::Shared(bytes));
    }
    // one allocation for what follows, too
    if scratch.capacity() < length * 8 / 5 + 1 {
        scratch.reserve((length + section.len()) * 8 / 5 + 1);
    }
    huffman::decode(&bytes, scratch).map_err(|_malformed| failed("string is not in the Huffman code"))?;
    Ok(Text::Shared(scratch.split().freeze()))
}

/// Static entries by name: of names that may come in answers, the first.
static NAMES: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for (index, (name, _)) in STATIC.iter().enumerate() {
        names.entry(*name).or_insert(index);
    }
    names
});

/// Begins the field section of a response.
pub(super) fn put_status(out: &mut BytesMut, status: StatusCode) {
    out.put_slice(&[0, 0]);
    let known = STATIC
        .iter()
        .position(|(name, value)| *name == ":status" && *value == status.as_str());
    match known {
        Some(index) => prefix::write(out, 0xc0, 6, index),
        None => put_field(out, ":status", status.as_str().as_bytes()),
    }
}

/// Begins a field section of trailers.
pub(super) fn put_nothing(out: &mut BytesMut) {
    out.put_slice(&[0, 0]);
}

/// Appends a field.
pub(super) fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    let Some(first) = NAMES.get(name).copied() else {
        put_string(out, 0x20, 3, name.as_bytes());
        put_string(out, 0, 7, value);
        return;
    };
    // entries of a name stand together, but for a few that are not worth the search
    let same = STATIC[first..]
        .iter()
        .take_while(|(other, _)| *other == name)
        .position(|(_, other)| !other.is_empty() && other.as_bytes() == value);
    match same {
        Some(at) => prefix::write(out, 0xc0, 6, first + at),
        None => {
            prefix::write(out, 0x50, 4, first);
            put_string(out, 0, 7, value);
        }
    }
}

fn put_string(out: &mut BytesMut, flags: u8, bits: u8, text: &[u8]) {
    let encoded = huffman::encoded_length(text);
    if encoded < text.len() {
        prefix::write(out, flags | 1 << bits, bits, encoded);
        huffman::encode(text, out);
    } else {
        prefix::write(out, flags, bits, text.len());
        out.put_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(section: &[u8]) -> Result<Vec<(String, String)>, Fault> {
        let mut fields = Vec::new();
        decode(Bytes::copy_from_slice(section), |name, value| {
            fields.push((
                String::from_utf8_lossy(name.as_bytes()).into_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            ));
            Ok::<_, Fault>(())
        })?;
        Ok(fields)
    }

    #[test]
    fn the_literal_example_of_the_standard_is_read() {
        // RFC 9204 appendix B.1
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(
            read(section).unwrap(),
            [(":path".to_owned(), "/index.html".to_owned())]
        );
    }

    #[test]
    fn what_needs_a_dynamic_table_or_is_cut_off_costs_the_connection() {
        for (section, part) in [
            (&b"\x01\x00"[..], "dynamic table"),
            (b"\x00\x00\x80", "dynamic table"),
            (b"\x00\x00\x40\x00", "dynamic table"),
            (b"\x00\x00\x10", "dynamic table"),
            (b"\x00\x00\x00\x00", "dynamic table"),
            (b"\x00\x00\xff\x24", "beyond the static table"),
            (
                b"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "beyond all bounds",
            ),
            (b"\x00\x00\x51\x0b/ind", "beyond the field section"),
            (b"\x00\x00\x51\x81\x00", "Huffman"),
            (b"\x00", "cut off"),
            (b"", "cut off"),
            (b"\x00\x00\x5f", "cut off"),
        ] {
            let fault = read(section).unwrap_err();
            assert!(matches!(fault, Fault::Connection(Code::DecompressionFailed, _)));
            assert!(fault.to_string().contains(part), "{fault} should contain {part}");
        }
    }

    #[test]
    fn entries_of_the_table_take_one_or_two_bytes() {
        let mut out = BytesMut::new();
        put_status(&mut out, StatusCode::OK);
        assert_eq!(&out[..], [0, 0, 0xd9]);
        put_field(&mut out, "content-type", b"application/json");
        assert_eq!(&out[3..], [0xc0 | 46]);
        out.truncate(3);
        put_field(&mut out, "x-frame-options", b"sameorigin");
        assert_eq!(&out[3..], [0xff, 98 - 63]);
    }

    proptest! {
        #[test]
        fn fields_come_back(
            status in 100_u16..1000,
            fields in proptest::collection::vec(("[a-z-]{1,20}|content-type|date|vary|server", "[ -~]{0,300}"), 0..20),
        ) {
            let mut out = BytesMut::new();
            put_status(&mut out, StatusCode::from_u16(status).unwrap());
            for (name, value) in &fields {
                put_field(&mut out, name, value.as_bytes());
            }
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            expected.extend(fields);
            prop_assert_eq!(read(&out).unwrap(), expected);
        }

        #[test]
        fn no_bytes_do_harm(section in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = read(&section);
        }
    }
}
