//! Name and password out of the `Authorization` field (RFC 7617, RFC 9110 section 11.4).

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Longest field in bytes.
const FIELD_MAX: usize = 4096;
/// Longest name in bytes.
pub const NAME_MAX: usize = 256;
/// Longest password in bytes.
const PASSWORD_MAX: usize = 1024;

/// Name and password. Has no `Debug`: a password is nothing to print.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the user.
    pub name: String,
    /// Password.
    pub password: String,
}

/// Why there are no credentials; the text has nothing of the field in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no field.
    Absent,
    /// It cannot be read.
    Malformed(String),
}

/// True for what a name may be: RFC 7617 section 2 forbids the colon and control characters.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.contains(':') && !name.chars().any(char::is_control)
}

/// Reads the field.
///
/// # Errors
/// There is none, there are several, or it is nothing that RFC 7617 knows.
pub fn read(lines: &[Vec<u8>]) -> Result<Credentials, Missing> {
    let malformed = |text: String| Err(Missing::Malformed(text));
    let line = match lines {
        [] => return Err(Missing::Absent),
        [line] => line,
        more => return malformed(format!("{} Authorization fields", more.len())),
    };
    if line.len() > FIELD_MAX {
        return malformed(format!(
            "the field has {} bytes, more than {FIELD_MAX}",
            line.len()
        ));
    }
    let scheme = line.get(..5).unwrap_or_default();
    let rest = line.get(5..).unwrap_or_default();
    let token = rest.trim_ascii_start();
    if !scheme.eq_ignore_ascii_case(b"basic") || token.len() == rest.len() {
        return malformed("the scheme is not Basic, or nothing follows it".into());
    }
    let Ok(decoded) = STANDARD.decode(token) else {
        return malformed("the credentials are not base64".into());
    };
    let Ok(text) = String::from_utf8(decoded) else {
        return malformed("the credentials are not UTF-8".into());
    };
    let Some((name, password)) = text.split_once(':') else {
        return malformed("there is no colon between name and password".into());
    };
    if !is_name(name) {
        return malformed(format!(
            "the name is empty, longer than {NAME_MAX} bytes or has control characters"
        ));
    }
    if password.len() > PASSWORD_MAX || password.chars().any(char::is_control) {
        return malformed(format!(
            "the password is longer than {PASSWORD_MAX} bytes or has control characters"
        ));
    }
    Ok(Credentials {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: impl AsRef<[u8]>) -> Result<(String, String), Missing> {
        read(&[line.as_ref().to_vec()]).map(|found| (found.name, found.password))
    }

    fn basic(text: impl AsRef<[u8]>) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_examples_of_rfc_7617_are_read() {
        let pair = |name: &str, password: &str| Ok((name.to_owned(), password.to_owned()));
        assert_eq!(
            one("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            pair("Aladdin", "open sesame")
        );
        assert_eq!(one("Basic dGVzdDoxMjPCow=="), pair("test", "123£"));
        assert_eq!(one("bAsIc  dGVzdDoxMjPCow=="), pair("test", "123£"));
        assert_eq!(one(basic("a:b:c")), pair("a", "b:c"));
        assert_eq!(one(basic("a:")), pair("a", ""));
    }

    #[test]
    fn everything_else_is_refused() {
        assert_eq!(read(&[]).err(), Some(Missing::Absent));
        let twice = vec![basic("a:b").into_bytes(); 2];
        assert_eq!(
            read(&twice).err(),
            Some(Missing::Malformed("2 Authorization fields".into()))
        );
        for (line, wanted) in [
            (String::new(), "not Basic"),
            ("Basic".into(), "nothing follows"),
            ("Basic ".into(), "no colon"),
            ("BasicYTpi".into(), "nothing follows"),
            ("Bearer YTpi".into(), "not Basic"),
            ("Basic YTpi YTpi".into(), "not base64"),
            ("Basic YTpi=".into(), "not base64"),
            ("Basic YTo".into(), "not base64"),
            ("Basic YTpj_-".into(), "not base64"),
            (basic(b"a:\xff"), "not UTF-8"),
            (basic("ab"), "no colon"),
            (basic(":b"), "the name is empty"),
            (basic("a\0:b"), "control characters"),
            (
                basic("a:b\r"),
                "the password is longer than 1024 bytes or has control",
            ),
            (basic("a:\u{85}"), "control characters"),
            (basic(format!("{}:", "a".repeat(257))), "longer than 256 bytes"),
            (basic(format!("a:{}", "b".repeat(1025))), "longer than 1024 bytes"),
            (format!("Basic {}", "A".repeat(4096)), "more than 4096"),
        ] {
            match one(&line) {
                Err(Missing::Malformed(text)) => assert!(text.contains(wanted), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn what_clients_send_is_what_comes_out(name in "[^:\\p{Cc}]{1,40}", password in "[^\\p{Cc}]{0,40}") {
            prop_assert_eq!(one(basic(format!("{name}:{password}"))), Ok((name, password)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(line: Vec<u8>, text: Vec<u8>) {
            let _any = one(&line);
            if let Ok((name, password)) = one(basic(&text)) {
                prop_assert!(is_name(&name));
                prop_assert_eq!(format!("{name}:{password}").into_bytes(), text);
            }
        }
    }
}
