//! The screen between bytes and a real HTTP/2 server.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

type Field = (Vec<u8>, Vec<u8>);

fn is_malformed((name, value): &Field) -> bool {
    !Name::of(name).takes(value)
}

/// How a client writes a field.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// `0x40` puts it into the table.
    first: u8,
    huffman: bool,
    /// By its index, or that of its name, where there is one.
    indexed: bool,
}

/// A client's side of RFC 7541.
#[derive(Default)]
struct Encoder {
    table: Vec<Field>,
}

impl Encoder {
    fn put(&mut self, out: &mut BytesMut, field: &Field, form: Form) {
        let place = |found: Option<usize>| found.filter(|_| form.indexed).map(|at| at + 62);
        if let Some(index) = place(self.table.iter().position(|entry| entry == field)) {
            return prefix::write(out, 0x80, 7, index);
        }
        let bits = if form.first == 0x40 { 6 } else { 4 };
        let name = self.table.iter().position(|entry| entry.0 == field.0);
        match place(name) {
            Some(index) => prefix::write(out, form.first, bits, index),
            None => {
                out.put_u8(form.first);
                put_string(out, &field.0, form.huffman);
            }
        }
        put_string(out, &field.1, form.huffman);
        if form.first == 0x40 {
            self.table.insert(0, field.clone());
            let size = |entry: &Field| entry.0.len() + entry.1.len() + 32;
            while self.table.iter().map(size).sum::<usize>() > TABLE_MAX {
                self.table.pop();
            }
        }
    }
}

fn put_string(out: &mut BytesMut, text: &[u8], huffman: bool) {
    if huffman {
        prefix::write(out, 0x80, 7, huffman::encoded_length(text));
        huffman::encode(text, out);
    } else {
        prefix::write(out, 0, 7, text.len());
        out.put_slice(text);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut screen = Screen::new(0);
    screen.put_frame(kind, flags, stream, payload);
    screen.ready.to_vec()
}

/// Preface and SETTINGS.
fn greeting() -> Vec<u8> {
    [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat()
}

/// What a server got and said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Fields of the requests with the names that this test sends, as they came.
    requests: Vec<Vec<Field>>,
    answered: Vec<u32>,
    reset: Vec<(u32, u32)>,
}

/// Has a server read bytes, until it has said something about `streams` streams, or ended the connection (`None`).
async fn serve(bytes: &[u8], streams: usize) -> Option<Seen> {
    let (mut client, server) = tokio::io::duplex(1 << 24);
    let seen = Mutex::new(Seen::default());
    let service = service_fn(|request: Request<Incoming>| {
        let field = |(name, value): (&HeaderName, &http::HeaderValue)| {
            (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        let mut fields = vec![(b":path".to_vec(), request.uri().path().as_bytes().to_vec())];
        fields.extend(request.headers().iter().map(field));
        seen.lock().requests.push(fields);
        async { Ok::<_, Infallible>(Response::new(http_body_util::Empty::<bytes::Bytes>::new())) }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(1000)
        .serve_connection(TokioIo::new(server), service);
    let talking = async {
        client.write_all(bytes).await.unwrap();
        let (mut answered, mut reset) = (Vec::new(), Vec::new());
        while answered.len() + reset.len() < streams {
            let mut head = [0; HEAD];
            client.read_exact(&mut head).await.unwrap();
            let head = Head::read(head);
            let mut payload = vec![0; head.length as usize];
            client.read_exact(&mut payload).await.unwrap();
            match head.kind {
                HEADERS => answered.push(head.stream),
                RST_STREAM => reset.push((head.stream, u32::from_be_bytes(payload.try_into().unwrap()))),
                GOAWAY => return None,
                _ => {}
            }
        }
        Some((answered, reset))
    };
    let (mut answered, mut reset) = tokio::select! {
        said = tokio::time::timeout(Duration::from_secs(60), talking) => said.expect("in time")?,
        _ended = serving => return None,
    };
    answered.sort_unstable();
    reset.sort_unstable();
    Some(Seen {
        requests: seen.into_inner().requests,
        answered,
        reset,
    })
}

fn a_field() -> impl Strategy<Value = Field> {
    let name = prop_oneof![
        4 => prop::sample::select(&["x-a", "x-b", "accept", "user-agent"][..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => prop::sample::select(vec![&b"X-A"[..], b":x", b"x y", b":status", b"x\r\ny", b"\xff"]).prop_map(<[u8]>::to_vec),
    ];
    let value = prop_oneof![
        4 => "[ -~]{0,20}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => (900_usize..1500, prop::sample::select(&[b'v', 0, b'\n'][..])).prop_map(|(length, last)| {
            let mut value = vec![b'v'; length];
            value.push(last);
            value
        }),
    ];
    (name, value)
}

fn a_form() -> impl Strategy<Value = Form> {
    (
        prop::sample::select(&[0x40, 0x40, 0, 0x10][..]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(first, huffman, indexed)| Form {
            first,
            huffman,
            indexed,
        })
}

/// A request: fields, and where its block is cut.
fn a_request() -> impl Strategy<Value = (Vec<(Field, Form)>, Option<usize>, u8)> {
    (
        prop::collection::vec((a_field(), a_form()), 0..5),
        prop::option::of(0_usize..200),
        prop::sample::select(&[0, PADDED, PRIORITY, PADDED | PRIORITY][..]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_malformed_request_costs_its_stream_and_the_others_come_as_they_were_sent(
        requests in prop::collection::vec(a_request(), 1..12),
        piece in prop_oneof![Just(usize::MAX), 1_usize..300],
    ) {
        let mut encoder = Encoder::default();
        let mut bytes = greeting();
        let mut expected = Seen::default();
        for (at, (fields, cut, flags)) in requests.iter().enumerate() {
            let stream = 2 * u32::try_from(at).unwrap() + 1;
            let path: Field = (b":path".to_vec(), format!("/{at}").into_bytes());
            // GET, http, a path
            let mut block = BytesMut::from(&[0x82, 0x86][..]);
            encoder.put(&mut block, &path, Form { first: 0x40, huffman: false, indexed: true });
            for (field, form) in fields {
                encoder.put(&mut block, field, *form);
            }
            let cut = cut.map_or(block.len(), |cut| cut.min(block.len()));
            let mut payload = Vec::new();
            if flags & PADDED != 0 {
                payload.push(7);
            }
            if flags & PRIORITY != 0 {
                payload.extend([0, 0, 0, 0, 9]);
            }
            payload.extend(&block[..cut]);
            if flags & PADDED != 0 {
                payload.extend([0; 7]);
            }
            let end = if cut < block.len() { 0 } else { END_HEADERS };
            bytes.extend(frame(HEADERS, flags | END_STREAM | end, stream, &payload));
            if cut < block.len() {
                bytes.extend(frame(CONTINUATION, END_HEADERS, stream, &block[cut..]));
            }
            if fields.iter().any(|(field, _)| is_malformed(field) || field.0 == b":status") {
                expected.reset.push((stream, 1));
            } else {
                expected.answered.push(stream);
                let mut all = vec![path];
                all.extend(fields.iter().map(|(field, _)| field.clone()));
                expected.requests.push(all);
            }
        }
        let (screened, is_blind) = Screen::all(&bytes, piece, 1 << 20);
        prop_assert!(!is_blind);
        if expected.reset.is_empty() {
            prop_assert_eq!(&screened, &bytes);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seen = runtime.block_on(serve(&screened, requests.len()));
        let mut seen = seen.expect("the connection goes on");
        // fields of one name are together where they are read
        for fields in seen.requests.iter_mut().chain(&mut expected.requests) {
            fields.sort_by(|one, other| one.0.cmp(&other.0));
        }
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn whatever_the_frames_are_the_screen_does_what_it_should(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        crate::fuzz::http2_fields(&bytes);
    }
}

#[tokio::test]
async fn a_window_update_by_nothing_costs_its_stream() {
    let get = |stream, end| frame(HEADERS, END_HEADERS | end, stream, &[0x82, 0x86, 0x84]);
    let nothing = |stream| frame(WINDOW_UPDATE, 0, stream, &[0x80, 0, 0, 0]);
    for piece in [1, 5, usize::MAX] {
        let bytes = [greeting(), get(1, 0), nothing(1), get(3, END_STREAM)].concat();
        let seen = serve(&Screen::all(&bytes, piece, 100).0, 2).await.unwrap();
        assert_eq!(seen.reset, [(1, 1)]);
        assert_eq!(seen.answered, [3]);
    }
    // of the connection, and of a stream that is not open yet
    for stream in [0, 5] {
        let bytes = [greeting(), get(1, 0), nothing(stream)].concat();
        assert_eq!(Screen::all(&bytes, 7, 100), (bytes.clone(), false));
        assert_eq!(serve(&bytes, 3).await, None);
    }
}

#[test]
fn what_is_held_has_a_bound_and_passes_when_it_is_reached() {
    let limit = 4096;
    let begun = frame(HEADERS, 0, 1, &[0x82; 1000]);
    let on = frame(CONTINUATION, 0, 1, &[0x82; 1000]);
    let empty = frame(CONTINUATION, 0, 1, &[]);
    for more in [on, empty] {
        let bytes = [greeting(), begun.clone(), more.repeat(FRAMES_MAX)].concat();
        assert_eq!(Screen::all(&bytes, 100, limit), (bytes.clone(), true));
    }
}
