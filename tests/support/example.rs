//! Requests with expected answers, as the examples keep them in `expect.http`:
//!
//! ```text
//! ### name of the case
//! GET /pets/1?x=y HTTP/1.1
//! host: api.example
//!
//! optional body
//!
//! HTTP/1.1 200
//! content-type: application/json
//!
//! texts that occur in the body, one per line
//! ```
//!
//! A field of the expectation must be there with that value, or with one that contains it when it is written `*text*`; `!name:`
//! must not be there. Lines that begin with `#` (but not `###`) are comments.

/// One request and what is expected of its answer.
#[derive(Debug, Default)]
pub struct Expectation {
    /// Name of the case.
    pub name: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header fields of the request.
    pub fields: Vec<(String, String)>,
    /// Body of the request.
    pub body: String,
    /// Expected status.
    pub status: u16,
    /// Expected fields; the name begins with `!` for one that must not be there.
    pub expected_fields: Vec<(String, String)>,
    /// Texts that occur in the body.
    pub expected_texts: Vec<String>,
}

/// Reads `expect.http`.
///
/// # Panics
/// On text that is not in the form above: a mistake in the example.
#[must_use]
pub fn parse_examples(text: &str) -> Vec<Expectation> {
    let cases = text
        .split("\n###")
        .map(|case| case.strip_prefix("###").unwrap_or(case));
    cases
        .filter(|case| case.contains("HTTP/1.1 "))
        .map(parse)
        .collect()
}

fn parse(text: &str) -> Expectation {
    let (name, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut lines = rest.lines().filter(|line| !line.starts_with('#')).peekable();
    while lines.next_if(|line| line.trim().is_empty()).is_some() {}
    let first = lines.next().unwrap_or_else(|| panic!("{name}: no request"));
    let mut words = first.split_whitespace();
    let mut case = Expectation {
        name: name.trim().to_owned(),
        method: words.next().unwrap_or_default().to_owned(),
        target: words
            .next()
            .unwrap_or_else(|| panic!("{name}: no target in {first:?}"))
            .to_owned(),
        ..Expectation::default()
    };
    let is_status = |line: &&str| line.starts_with("HTTP/1.1 ");
    while let Some(line) = lines.next_if(|line| !line.trim().is_empty() && !is_status(line)) {
        case.fields.push(field(&case.name, line));
    }
    let mut body = Vec::new();
    while let Some(line) = lines.next_if(|line| !is_status(line)) {
        body.push(line);
    }
    body.join("\n").trim().clone_into(&mut case.body);
    let status = lines
        .next()
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    case.status = status.unwrap_or_else(|| panic!("{name}: no `HTTP/1.1 <status>` line"));
    while let Some(line) = lines.next_if(|line| !line.trim().is_empty()) {
        case.expected_fields.push(field(&case.name, line));
    }
    case.expected_texts = lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    case
}

fn field(case: &str, line: &str) -> (String, String) {
    let (name, value) = line
        .split_once(':')
        .unwrap_or_else(|| panic!("{case}: {line:?} is no field"));
    (name.trim().to_ascii_lowercase(), value.trim().to_owned())
}
