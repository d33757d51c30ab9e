//! A reader of HTTP/1 messages (RFC 9112) that shares nothing with the gateway's own, knows no leniency and no limits, and is in no hurry: what the gateway
//! takes and what it sends is held against it.

/// Names in lower case, and values without the blanks around them.
pub type Fields = Vec<(String, Vec<u8>)>;

/// What bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// This, and how many bytes it takes.
    Whole(T, usize),
    /// The beginning of one.
    More,
    /// Not one, for this reason.
    Wrong(&'static str),
}

/// A start line and fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// Without its end.
    pub start: Vec<u8>,
    /// In order.
    pub fields: Fields,
}

/// A request line, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// Method.
    pub method: String,
    /// Request target.
    pub target: Vec<u8>,
    /// Of `HTTP/1.`
    pub minor: u8,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection ends.
    Close,
}

/// A body, and what is behind it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Its data.
    pub data: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
}

/// Reads a head with its empty line.
#[must_use]
pub fn head(bytes: &[u8]) -> Read<Head> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Read::More;
    };
    let (start, rest) = line(&bytes[..end + 4]).unwrap_or_default();
    if start.iter().any(u8::is_ascii_control) {
        return Read::Wrong("a control character in the start line");
    }
    match fields(rest) {
        Ok(fields) => Read::Whole(
            Head {
                start: start.to_vec(),
                fields,
            },
            end + 4,
        ),
        Err(problem) => Read::Wrong(problem),
    }
}

impl Head {
    /// Values of a field.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let values = self.fields.iter().filter(move |(known, _)| known == name);
        values.map(|(_, value)| value.as_slice())
    }

    /// The start line of a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn request_line(&self) -> Result<RequestLine, &'static str> {
        let parts: Vec<_> = self.start.split(|byte| *byte == b' ').collect();
        let [method, target, version] = parts.as_slice() else {
            return Err("a request line has three parts");
        };
        if !is_token(method) {
            return Err("a method is a token");
        }
        if target.is_empty() || target.contains(&b'#') {
            return Err("a request target is neither empty nor has it a fragment");
        }
        Ok(RequestLine {
            method: String::from_utf8_lossy(method).into_owned(),
            target: target.to_vec(),
            minor: minor(version)?,
        })
    }

    /// Minor version and status of a response.
    ///
    /// # Errors
    /// What is wrong with its start line.
    pub fn status_line(&self) -> Result<(u8, u16), &'static str> {
        let mut parts = self.start.splitn(3, |byte| *byte == b' ');
        let (Some(version), Some(status), Some(_reason)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a status line has three parts");
        };
        let status = std::str::from_utf8(status).ok().filter(|text| text.len() == 3);
        let status = status.and_then(|text| text.parse().ok());
        match status {
            Some(status @ 100..) => Ok((minor(version)?, status)),
            _ => Err("a status has three digits"),
        }
    }

    /// How the body of a request is framed (RFC 9112 section 6.3): in one way.
    ///
    /// # Errors
    /// It is framed in two ways, or in one that others read differently.
    pub fn request_framing(&self) -> Result<Framing, &'static str> {
        Ok(self.declared()?.unwrap_or(Framing::Length(0)))
    }

    /// How the body of a response with `status` to a request with `method` is framed.
    ///
    /// # Errors
    /// As for requests.
    pub fn response_framing(&self, status: u16, method: &str) -> Result<Framing, &'static str> {
        let declared = self.declared()?;
        if status < 200 || matches!(status, 204 | 304) || method == "HEAD" {
            return Ok(Framing::Length(0));
        }
        Ok(declared.unwrap_or(Framing::Close))
    }

    fn declared(&self) -> Result<Option<Framing>, &'static str> {
        let lengths: Vec<_> = self.values("content-length").collect();
        let codings: Vec<_> = self.values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([length], []) => {
                let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
                let number = std::str::from_utf8(length).ok().filter(|_| is_number);
                let number = number.and_then(|digits| digits.parse().ok());
                Ok(Some(Framing::Length(number.ok_or("a length is a number")?)))
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
            ([], _) => Err("a coding other than `chunked`"),
            _ => Err("framed in two ways"),
        }
    }
}

/// Reads a body. One that ends with the connection takes all bytes.
#[must_use]
pub fn body(bytes: &[u8], framing: Framing) -> Read<Body> {
    match framing {
        Framing::Close => Read::Whole(
            Body {
                data: bytes.to_vec(),
                trailers: Vec::new(),
            },
            bytes.len(),
        ),
        Framing::Length(length) => match usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(..length))
        {
            Some(data) => Read::Whole(
                Body {
                    data: data.to_vec(),
                    trailers: Vec::new(),
                },
                data.len(),
            ),
            None => Read::More,
        },
        Framing::Chunked => chunks(bytes),
    }
}

fn chunks(bytes: &[u8]) -> Read<Body> {
    let mut body = Body::default();
    let mut rest = bytes;
    loop {
        let Some((size, behind)) = line(rest) else {
            return Read::More;
        };
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, extension) = size.split_at(digits);
        let size = std::str::from_utf8(digits).ok();
        let Some(size) = size.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return Read::Wrong("a chunk begins with its size");
        };
        let extension = extension.trim_ascii_start();
        if !(extension.is_empty() || extension.starts_with(b";")) {
            return Read::Wrong("behind the size of a chunk are extensions only");
        }
        rest = behind;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok();
        let Some((data, behind)) = size.and_then(|size| rest.split_at_checked(size)) else {
            return Read::More;
        };
        body.data.extend_from_slice(data);
        rest = match behind {
            [b'\r', b'\n', behind @ ..] => behind,
            [] | [b'\r'] => return Read::More,
            _ => return Read::Wrong("a chunk ends with CRLF"),
        };
    }
    let end = if rest.starts_with(b"\r\n") {
        Some(2)
    } else {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n");
        end.map(|end| end + 4)
    };
    let Some(end) = end else {
        return Read::More;
    };
    match fields(&rest[..end]) {
        Ok(trailers) => {
            body.trailers = trailers;
            Read::Whole(body, bytes.len() - rest.len() + end)
        }
        Err(problem) => Read::Wrong(problem),
    }
}

/// Field lines up to the empty one.
fn fields(section: &[u8]) -> Result<Fields, &'static str> {
    let mut fields = Vec::new();
    let mut rest = section;
    loop {
        let (field, behind) = line(rest).ok_or("a field section ends with an empty line")?;
        rest = behind;
        if field.is_empty() {
            return Ok(fields);
        }
        let colon = field.iter().position(|byte| *byte == b':');
        let (name, value) = field.split_at(colon.ok_or("a field has a colon")?);
        if !is_token(name) {
            return Err("a field name is a token");
        }
        let value = trim(&value[1..]);
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a control character in a field value");
        }
        fields.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    }
}

/// The line up to the first CRLF, and what is behind.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

/// Without blanks and tabs around it.
fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(begin, |at| at + 1);
    &value[begin..end]
}

fn is_token(text: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(token)
}

fn minor(version: &[u8]) -> Result<u8, &'static str> {
    match version {
        b"HTTP/1.0" => Ok(0),
        b"HTTP/1.1" => Ok(1),
        _ => Err("the version is HTTP/1.0 or HTTP/1.1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &[u8]) -> Result<(Head, Body, usize), &'static str> {
        let (head, used) = match head(message) {
            Read::Whole(head, used) => (head, used),
            Read::More => return Err("more of the head"),
            Read::Wrong(problem) => return Err(problem),
        };
        head.request_line()?;
        match body(&message[used..], head.request_framing()?) {
            Read::Whole(body, more) => Ok((head, body, used + more)),
            Read::More => Err("more of the body"),
            Read::Wrong(problem) => Err(problem),
        }
    }

    #[test]
    fn messages_are_read_to_their_end() {
        let message = b"POST /a HTTP/1.1\r\nHost:  a \r\ntransfer-encoding: Chunked\r\n\r\n3;x\r\nabc\r\n0\r\nt: 1\r\n\r\nGET";
        let (head, body, used) = read(message).unwrap();
        assert_eq!(head.values("host").collect::<Vec<_>>(), [b"a"]);
        assert_eq!(body.data, b"abc");
        assert_eq!(body.trailers, [("t".to_owned(), b"1".to_vec())]);
        assert_eq!(&message[used..], b"GET");
        let (_, body, used) = read(b"POST /a HTTP/1.0\r\ncontent-length: 2\r\n\r\nabc").unwrap();
        assert_eq!((body.data, used), (b"ab".to_vec(), 41));
    }

    #[test]
    fn what_is_not_strict_is_refused() {
        for (message, part) in [
            (&b"GET / HTTP/1.1\r\n"[..], "more of the head"),
            (b"GET / HTTP/1.1\r\nx: a\nb\r\n\r\n", "control"),
            (b"GET / HTTP/1.1\r\nx : a\r\n\r\n", "token"),
            (b"GET / HTTP/1.1\r\nx\r\n\r\n", "colon"),
            (b"GET  / HTTP/1.1\r\n\r\n", "three parts"),
            (b"GET / HTTP/1.2\r\n\r\n", "version"),
            (
                b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
                "two ways",
            ),
            (b"GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", "number"),
            (b"GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", "coding"),
            (
                b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
                "CRLF",
            ),
            (
                b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
                "its size",
            ),
        ] {
            let problem = read(message).unwrap_err();
            assert!(problem.contains(part), "{problem} should contain {part}");
        }
    }
}
