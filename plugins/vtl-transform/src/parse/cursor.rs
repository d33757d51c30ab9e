//! A place in a text.

/// A place in a text, and its line.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

/// True for what a name may begin with.
pub(super) fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<'a> Cursor<'a> {
    /// The start of a text whose first line has that number.
    pub(super) fn new(text: &'a str, line: u32) -> Self {
        Self { text, at: 0, line }
    }

    /// Line of the place.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// What lies between another place, before, and this one.
    pub(super) fn since(&self, start: &Self) -> &'a str {
        self.text.get(start.at..self.at).unwrap_or_default()
    }

    /// What comes.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The byte behind the next one.
    pub(super) fn second(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1).copied()
    }

    /// Goes on by that many bytes, or fewer where the text ends or a character would be cut.
    pub(super) fn take(&mut self, length: usize) -> &'a str {
        let rest = self.rest();
        let mut length = length.min(rest.len());
        while !rest.is_char_boundary(length) {
            length -= 1;
        }
        let taken = rest.get(..length).unwrap_or_default();
        self.at += taken.len();
        let lines = taken.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        taken
    }

    /// Goes on up to an ASCII byte for which `stop` says so.
    pub(super) fn until(&mut self, stop: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| byte.is_ascii() && stop(byte));
        self.take(end.unwrap_or(rest.len()))
    }

    /// Skips white space.
    pub(super) fn white_space(&mut self) {
        let blank = self.rest().bytes().take_while(u8::is_ascii_whitespace).count();
        self.take(blank);
    }

    /// Takes a text if it comes next.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.take(text.len());
        }
        found
    }

    /// Takes a word if it comes next and ends there.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let rest = self.rest().strip_prefix(word);
        let found = rest.is_some_and(|rest| !rest.bytes().next().is_some_and(continues_name));
        if found {
            self.take(word.len());
        }
        found
    }

    /// A name: letters, digits, `_`, and `-` before one of them.
    pub(super) fn name(&mut self) -> Option<&'a str> {
        if !self.peek().is_some_and(begins_name) {
            return None;
        }
        let bytes = self.rest().as_bytes();
        let mut end = 0;
        loop {
            match bytes.get(end) {
                Some(byte) if continues_name(*byte) => end += 1,
                Some(b'-') => {
                    let hyphens = bytes.iter().skip(end).take_while(|byte| **byte == b'-').count();
                    if !bytes.get(end + hyphens).is_some_and(|byte| continues_name(*byte)) {
                        break;
                    }
                    end += hyphens;
                }
                _ => break,
            }
        }
        Some(self.take(end))
    }

    /// Skips the rest of the line if it is blank, with its end.
    pub(super) fn line_end(&mut self) {
        let rest = self.rest();
        let blank = rest
            .bytes()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        let end = rest.get(blank..).unwrap_or_default();
        if end.starts_with("\r\n") {
            self.take(blank + 2);
        } else if end.starts_with(['\n', '\r']) {
            self.take(blank + 1);
        }
    }

    /// What comes next, for a message.
    pub(super) fn describe(&self) -> String {
        self.rest().chars().next().map_or_else(
            || "the end of the text".to_owned(),
            |c| format!("`{}`", c.escape_debug()),
        )
    }
}
