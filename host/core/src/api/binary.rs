//! Which bodies are bytes and which are text, and what is converted between them: the tables of Amazon API Gateway's REST APIs.

use super::ContentHandling;

/// Media types whose bodies are bytes.
#[derive(Clone, Debug, Default)]
pub struct BinaryTypes(Vec<String>);

/// What is done to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Text in base64 becomes bytes.
    Decode,
    /// Bytes become text in base64.
    Encode,
}

impl BinaryTypes {
    /// From `binary-media-types`.
    #[must_use]
    pub fn new(types: &[String]) -> Self {
        Self(types.iter().map(|kind| kind.to_ascii_lowercase()).collect())
    }

    /// Whether every body is text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether bodies of a media type are bytes. Of several, as in `Accept`, the first counts; `*/*` and `image/*` in the list stand for all and for those
    /// of a kind.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        let first = field
            .split([',', ';'])
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        self.0.iter().any(|kind| {
            let of_a_kind = kind
                .strip_suffix('*')
                .is_some_and(|kind| kind.len() > 2 && kind.ends_with('/') && first.starts_with(kind));
            kind == "*/*" || *kind == first || of_a_kind
        })
    }

    /// What is done to the body of a request before the server gets it.
    #[must_use]
    pub fn of_request(&self, handling: Option<ContentHandling>, content_type: &str) -> Option<Conversion> {
        match (self.has(content_type), handling?) {
            (false, ContentHandling::ConvertToBinary) => Some(Conversion::Decode),
            (true, ContentHandling::ConvertToText) => Some(Conversion::Encode),
            (true, ContentHandling::ConvertToBinary) | (false, ContentHandling::ConvertToText) => None,
        }
    }

    /// What is done to the body of a response before the client gets it.
    #[must_use]
    pub fn of_response(
        &self,
        handling: Option<ContentHandling>,
        content_type: &str,
        accept: &str,
    ) -> Option<Conversion> {
        let is_binary = self.has(content_type);
        // without a word of the integration the client says what it wants
        let wants_binary = match handling {
            Some(ContentHandling::ConvertToBinary) => true,
            Some(ContentHandling::ConvertToText) => false,
            None => self.has(accept),
        };
        match (is_binary, wants_binary) {
            (false, true) => Some(Conversion::Decode),
            (true, false) => Some(Conversion::Encode),
            (true, true) | (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_BINARY: Option<ContentHandling> = Some(ContentHandling::ConvertToBinary);
    const TO_TEXT: Option<ContentHandling> = Some(ContentHandling::ConvertToText);

    fn types(of: &[&str]) -> BinaryTypes {
        BinaryTypes::new(&of.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_type_of_a_field_counts_without_parameters_and_case() {
        let some = types(&["image/PNG", "video/*"]);
        for (field, expected) in [
            ("image/png", true),
            ("IMAGE/png;q=0.8, text/html", true),
            ("text/html, image/png", false),
            ("image/*", false),
            ("video/mp4", true),
            ("videos/mp4", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(some.has(field), expected, "{field}");
        }
        assert!(types(&["*/*"]).has("text/html") && types(&["*/*"]).has("") && !types(&[]).has("*/*"));
    }

    #[test]
    fn requests_are_converted_as_the_table_says() {
        for (list, kind, handling, expected) in [
            (&[][..], "text/plain", None, None),
            (&[], "text/plain", TO_BINARY, Some(Conversion::Decode)),
            (&[], "text/plain", TO_TEXT, None),
            (&["image/png"], "text/plain", None, None),
            (&["image/png"], "text/plain", TO_BINARY, Some(Conversion::Decode)),
            (&["image/png"], "text/plain", TO_TEXT, None),
            (&["image/png"], "image/png", None, None),
            (&["image/png"], "image/png", TO_BINARY, None),
            (&["image/png"], "image/png", TO_TEXT, Some(Conversion::Encode)),
        ] {
            assert_eq!(
                types(list).of_request(handling, kind),
                expected,
                "{list:?} {kind} {handling:?}"
            );
        }
    }

    #[test]
    fn responses_are_converted_as_the_table_says() {
        use Conversion::{Decode, Encode};
        let png = &["image/png"][..];
        for (list, kind, accept, handling, expected) in [
            (&[][..], "text/plain", "text/plain", None, None),
            (&[], "text/plain", "text/plain", TO_BINARY, Some(Decode)),
            (&[], "text/plain", "text/plain", TO_TEXT, None),
            (png, "text/plain", "text/plain", None, None),
            (png, "text/plain", "text/plain", TO_BINARY, Some(Decode)),
            (png, "text/plain", "text/plain", TO_TEXT, None),
            (png, "text/plain", "image/png", None, Some(Decode)),
            (png, "text/plain", "image/png", TO_BINARY, Some(Decode)),
            (png, "text/plain", "image/png", TO_TEXT, None),
            (png, "image/png", "text/plain", None, Some(Encode)),
            (png, "image/png", "text/plain", TO_BINARY, None),
            (png, "image/png", "text/plain", TO_TEXT, Some(Encode)),
            (png, "image/png", "image/png", None, None),
            (png, "image/png", "image/png", TO_BINARY, None),
            (png, "image/png", "image/png", TO_TEXT, Some(Encode)),
        ] {
            let converted = types(list).of_response(handling, kind, accept);
            assert_eq!(converted, expected, "{list:?} {kind} {accept} {handling:?}");
        }
    }
}
