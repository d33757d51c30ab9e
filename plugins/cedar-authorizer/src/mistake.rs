//! Mistakes that Cedar finds in a text, with line and column.

use miette::Diagnostic;

/// Most mistakes that are told of one text.
const MISTAKES_MAX: usize = 50;

/// The mistakes as lines for the operator, e.g. `line 3, column 7: unexpected token ...`: all that the error has, those it is related to too.
#[must_use]
pub fn all(error: &dyn Diagnostic, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(error, text, 0, &mut found);
    found
}

/// One mistake in a line.
#[must_use]
pub fn one(error: &dyn Diagnostic, text: &str) -> String {
    let label = error.labels().and_then(|mut labels| labels.next());
    let mut line = String::new();
    if let Some(label) = &label {
        let (row, column) = place(text, label.offset());
        line = format!("line {row}, column {column}: ");
    }
    line.push_str(&plain(&error.to_string()));
    if let Some(said) = label.as_ref().and_then(|label| label.label()) {
        line.push_str(&format!(" ({})", plain(said)));
    }
    if let Some(help) = error.help() {
        line.push_str(&format!(" ({})", plain(&help.to_string())));
    }
    line
}

/// As [`Display`](std::fmt::Display) has it and what it comes from, on one line: for errors without a place.
#[must_use]
pub fn chain(error: &dyn Diagnostic) -> String {
    let mut line = plain(&error.to_string());
    let mut cause = error.source();
    for _ in 0..4 {
        let Some(inner) = cause else { break };
        let text = plain(&inner.to_string());
        if !line.contains(&text) {
            line.push_str(&format!(": {text}"));
        }
        cause = inner.source();
    }
    if let Some(help) = error.help() {
        line.push_str(&format!(" ({})", plain(&help.to_string())));
    }
    line
}

fn collect(error: &dyn Diagnostic, text: &str, depth: usize, found: &mut Vec<String>) {
    if found.len() >= MISTAKES_MAX {
        return;
    }
    let line = one(error, text);
    if !found.contains(&line) {
        found.push(line);
    }
    if depth < 4 {
        for related in error.related().into_iter().flatten() {
            collect(related, text, depth + 1, found);
        }
    }
}

/// Line and column of a byte, both from 1; columns count characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let offset = (0..=offset.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let row = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (row, column)
}

/// Without line breaks.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        for (offset, wanted) in [(0, (1, 1)), (2, (1, 2)), (4, (2, 1)), (5, (2, 2)), (99, (2, 3))] {
            assert_eq!(place("\u{e9}a\nbc", offset), wanted, "{offset}");
        }
        // within a character: where it begins
        assert_eq!(place("\u{e9}a", 1), (1, 1));
        assert_eq!(place("", 0), (1, 1));
    }
}
