//! Classes of characters: `[...]`, `\d`, `\p{Alpha}`.

/// `[...]`, `\d`
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) items: Vec<Item>,
    pub(super) negated: bool,
    pub(super) any_case: bool,
}

/// A part of a class.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    Range(char, char),
    /// A kind of characters; true: all others.
    Kind(fn(char) -> bool, bool),
}

impl Class {
    pub(super) fn contains(&self, c: char) -> bool {
        let found = self.has(c)
            || self.any_case
                && c.is_ascii_alphabetic()
                && (self.has(c.to_ascii_lowercase()) || self.has(c.to_ascii_uppercase()));
        found != self.negated
    }

    fn has(&self, c: char) -> bool {
        self.items.iter().any(|item| match item {
            Item::Range(from, to) => (*from..=*to).contains(&c),
            Item::Kind(kind, negated) => kind(c) != *negated,
        })
    }
}
