//! `X-Amzn-Trace-Id` as Amazon API Gateway writes it: a request keeps the trace that it came with, and begins one where it has none.

use http::{HeaderName, HeaderValue};

use super::facts::Known;

/// The field.
pub(super) const FIELD: HeaderName = HeaderName::from_static("x-amzn-trace-id");
/// Longest field of a client that is looked into, in bytes.
const LENGTH_MAX: usize = 1024;

/// The field of a request or of its answer: the same for both, since what is made up is made of the request's id and time.
pub(super) fn of(known: &Known<'_>) -> HeaderValue {
    let sent = known
        .headers
        .and_then(|headers| headers.get(FIELD)?.to_str().ok())
        .filter(|text| text.len() <= LENGTH_MAX)
        .unwrap_or_default();
    let text = written(sent, &known.finish.request_id, known.began().as_secs());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// `Root=1-{8 hex digits of the time in seconds}-{24};Parent={16};Sampled={0 or 1}`. `id` is a UUID.
fn written(sent: &str, id: &str, began: u64) -> String {
    let part = |wanted: &str| {
        sent.split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
    };
    let digits: String = id.bytes().filter(u8::is_ascii_hexdigit).map(char::from).collect();
    let made = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let root = part("Root").filter(|root| is_root(root)).map(str::to_owned);
    let root = root.unwrap_or_else(|| format!("1-{:08x}-{}", began & 0xffff_ffff, made(0, 24)));
    let came = part("Parent").filter(|parent| is_hex(parent, 16));
    let parent = came.unwrap_or_else(|| made(16, 32));
    // whoever began a trace without a word wants it; nobody has asked for one that begins here
    let usual = if came.is_some() { "1" } else { "0" };
    let sampled = part("Sampled").filter(|sampled| matches!(*sampled, "0" | "1" | "?"));
    format!("Root={root};Parent={parent};Sampled={}", sampled.unwrap_or(usual))
}

/// Whether it is the id of a trace: version, time, and number.
fn is_root(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    matches!(&*parts, ["1", time, number] if is_hex(time, 8) && is_hex(number, 24))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_or_begins() {
        let id = "01234567-89ab-4def-8123-456789abcdef";
        let root = "1-5759e988-bd862e3fe1be46a994272793";
        for (sent, wanted) in [
            (
                String::new(),
                "Root=1-5759e988-0123456789ab4def81234567;Parent=8123456789abcdef;Sampled=0".to_owned(),
            ),
            (
                format!("Root={root}"),
                format!("Root={root};Parent=8123456789abcdef;Sampled=0"),
            ),
            (
                format!("root={root}; parent=53995c3f42cd8ad8; Lineage=a"),
                format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=1"),
            ),
            (
                format!("Sampled=0;Parent=53995c3f42cd8ad8;Root={root}"),
                format!("Root={root};Parent=53995c3f42cd8ad8;Sampled=0"),
            ),
            (
                format!("Self=1-67891234-12456789abcdef012345678;Root={root};Sampled=?"),
                format!("Root={root};Parent=8123456789abcdef;Sampled=?"),
            ),
            // what is none
            (
                "Root=1-x;Parent=1;Sampled=yes".to_owned(),
                "Root=1-5759e988-0123456789ab4def81234567;Parent=8123456789abcdef;Sampled=0".to_owned(),
            ),
        ] {
            assert_eq!(written(&sent, id, 0x5759_e988), wanted, "{sent}");
        }
    }
}
