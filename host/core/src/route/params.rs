//! The path parameters of one match: where in the request path they are, and their names.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

/// Start and end of a captured value, in bytes of the request path.
pub(super) type Span = (u32, u32);
/// Up to eight parameters need no allocation.
pub(super) type Spans = SmallVec<[Span; 8]>;

/// The captured path parameters, in the order of the pattern. The values are not copied: they are
/// ranges of the path given to [`super::Router::find`], still percent-encoded. The default has no
/// parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    names: Option<Arc<[Box<str>]>>,
    spans: Spans,
}

impl Params {
    /// `names` is `None` for a route without parameters, and as long as `spans` otherwise.
    pub(super) fn new(names: Option<Arc<[Box<str>]>>, spans: Spans) -> Self {
        Self { names, spans }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the route has no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Name and raw value of every parameter. `path` is the path that was looked up; ranges outside
    /// of another path yield empty values.
    #[must_use]
    pub fn iter<'a>(&'a self, path: &'a str) -> ParamIter<'a> {
        ParamIter {
            names: self.names.as_deref().unwrap_or_default().iter(),
            spans: self.spans.iter(),
            path,
        }
    }

    /// The raw value of parameter `name`, see [`Params::iter`].
    #[must_use]
    pub fn get<'a>(&'a self, path: &'a str, name: &str) -> Option<&'a str> {
        self.iter(path)
            .find_map(|(known, value)| (known == name).then_some(value))
    }
}

/// See [`Params::iter`].
#[derive(Debug, Clone)]
pub struct ParamIter<'a> {
    names: std::slice::Iter<'a, Box<str>>,
    spans: std::slice::Iter<'a, Span>,
    path: &'a str,
}

impl<'a> Iterator for ParamIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.names.next()?;
        let (start, end) = *self.spans.next()?;
        Some((
            name,
            self.path.get(start as usize..end as usize).unwrap_or_default(),
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl ExactSizeIterator for ParamIter<'_> {}

/// Percent-decodes a raw parameter value. Nothing is lost: the value may be any bytes, `+` stays,
/// and invalid encodings (which a normalised path does not have) stay as they are. In a greedy
/// value a decoded `%2F` cannot be told from a separator any more; split first if that matters.
#[must_use]
pub fn decode_param(raw: &str) -> Cow<'_, [u8]> {
    percent_decode_str(raw).into()
}
