//! A query, decoded, and its canonical form.

use crate::{
    Malformed,
    encode::{decode_query, encode},
};

/// The parameters of a query in their order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    /// Reads a query as it is sent, without `?`. Empty parts (`a&&b`) are no parameters; a part without `=` has an empty value.
    ///
    /// # Errors
    /// A percent sign is not followed by two hexadecimal digits.
    pub fn parse(query: &str) -> Result<Self, Malformed> {
        let parts = query.split('&').filter(|part| !part.is_empty());
        let pairs = parts.map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode_query(name)?, decode_query(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    /// The parameter of that name, if it is there once and is text.
    ///
    /// # Errors
    /// It is there several times, or is no UTF-8.
    pub(crate) fn single(&self, name: &'static str) -> Result<Option<&str>, Malformed> {
        let mut found = self.0.iter().filter(|(one, _)| one == name.as_bytes());
        let Some((_, value)) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err(Malformed::Repeated(name));
        }
        let text = std::str::from_utf8(value).map_err(|_not_text| Malformed::NotText(name))?;
        Ok(Some(text))
    }

    /// Adds a parameter.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.into(), value.into()));
    }

    /// The canonical query string: names and values encoded, sorted by name and then by value in byte order, an empty value with its
    /// `=`. Parameters named in `without` are left out.
    #[must_use]
    pub fn canonical(&self, without: &[&str]) -> String {
        let kept = self
            .0
            .iter()
            .filter(|(name, _)| without.iter().all(|one| one.as_bytes() != name));
        let mut pairs: Vec<(String, String)> =
            kept.map(|(name, value)| (encode(name), encode(value))).collect();
        pairs.sort_unstable();
        let texts: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        texts.join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(query: &str) -> String {
        Query::parse(query).unwrap().canonical(&[])
    }

    #[test]
    fn parameters_are_sorted_by_encoded_name_and_then_by_encoded_value() {
        assert_eq!(canonical("b=2&a=2&a=1&B=3"), "B=3&a=1&a=2&b=2");
        // a name that begins another one comes first, whatever stands behind it
        assert_eq!(canonical("a-b=1&a=2"), "a=2&a-b=1");
        // `-` sorts before digits, and `%` (encoded) before letters
        assert_eq!(canonical("a/=1&a-=1&aa=1"), "a%2F=1&a-=1&aa=1");
    }

    #[test]
    fn empty_values_keep_their_equals_sign_and_empty_parts_vanish() {
        assert_eq!(canonical("b&a=&&"), "a=&b=");
        assert_eq!(canonical(""), "");
        assert_eq!(canonical("=x"), "=x");
        assert_eq!(canonical("a=b=c"), "a=b%3Dc");
    }

    #[test]
    fn encodings_of_the_same_text_are_the_same() {
        for query in ["k=a%20b", "k=a+b", "%6B=a%20b"] {
            assert_eq!(canonical(query), "k=a%20b");
        }
        assert_eq!(canonical("k=%e1%88%b4"), "k=%E1%88%B4");
        assert_eq!(canonical("k=ሴ"), "k=%E1%88%B4");
        assert_eq!(canonical("k=a%2Bb"), "k=a%2Bb");
    }

    #[test]
    fn what_is_named_is_left_out_in_its_exact_case() {
        let query = Query::parse("X-Amz-Signature=1&x-amz-signature=2&a=3").unwrap();
        assert_eq!(query.canonical(&["X-Amz-Signature"]), "a=3&x-amz-signature=2");
    }

    #[test]
    fn a_single_parameter_is_single() {
        let query = Query::parse("a=1&b=2&b=2&c=%ff").unwrap();
        assert_eq!(query.single("a"), Ok(Some("1")));
        assert_eq!(query.single("x"), Ok(None));
        assert_eq!(query.single("b"), Err(Malformed::Repeated("b")));
        assert_eq!(query.single("c"), Err(Malformed::NotText("c")));
    }
}
