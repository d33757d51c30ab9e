//! Responses that are compressed on their way to the client. What comes in pieces goes out in pieces: when nothing more is there for the moment, what
//! came so far is sent. A response takes its encoder's memory and a piece or two: some 350 KiB with gzip and deflate, 1.4 MiB with Zstandard, 2.1 MiB with Brotli.

use std::{
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll},
};

use brotli::CompressorWriter;
use bytes::Bytes;
use edgeward_core::api::coding::{Coding, may_be_coded, recoded};
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use http::{HeaderMap, HeaderValue, Method, Response, header};
use http_body::{Body as _, Frame};

use super::Voice;
use crate::body::{Body, BodyError};

/// Bytes that are compressed at a time.
const PIECE: usize = 16 << 10;
/// Bytes after which others get their turn.
const TURN: usize = 64 << 10;
/// Largest body in memory that is compressed at once, so that its length is known.
const AT_ONCE: usize = 64 << 10;
/// Levels that servers use for what they compress with each request.
const DEFLATE_LEVEL: Compression = Compression::new(6);
const BROTLI_LEVEL: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 18;

/// What an API says of compression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compressing {
    /// Responses of at least this size, in bytes.
    least: u64,
    known: &'static [Coding],
}

impl Compressing {
    pub(super) fn new(least: u64, voice: Voice) -> Self {
        let known = match voice {
            Voice::Native => Coding::ALL,
            Voice::Rest | Voice::Http => Coding::AWS,
        };
        Self { least, known }
    }

    /// The coding for the response to a request with these fields.
    pub(super) fn choose(self, request: &HeaderMap) -> Option<Coding> {
        Coding::accepted(request, self.known)
    }

    /// Compresses a response, if it is one of those that are.
    pub(crate) fn apply(self, method: &Method, coding: Option<Coding>, response: &mut Response<Body>) {
        let declared = || {
            response
                .headers()
                .get(header::CONTENT_LENGTH)?
                .to_str()
                .ok()?
                .parse()
                .ok()
        };
        let length: Option<u64> = response
            .body()
            .size_hint()
            .exact()
            .filter(|_| *method != Method::HEAD)
            .or_else(declared);
        if length.is_some_and(|length| length < self.least.max(1))
            || !may_be_coded(response.status(), response.headers())
        {
            return;
        }
        vary(response.headers_mut());
        let Some(coding) = coding else { return };
        if *method == Method::HEAD {
            // the length that GET would have is not known
            response.headers_mut().remove(header::CONTENT_LENGTH);
            return;
        }
        match compressed(coding, response.body_mut()) {
            Ok(body) => *response.body_mut() = body,
            Err(error) => {
                tracing::warn!(coding = coding.name(), %error, "a response could not be compressed");
                return;
            }
        }
        recoded(response.headers_mut());
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
}

fn vary(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::VARY).iter();
    let is_there = values.any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"))
    });
    if !is_there {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The body in that coding. On errors the body is as it was.
fn compressed(coding: Coding, body: &mut Body) -> io::Result<Body> {
    let mut encoder = Encoder::new(coding)?;
    if let Some(bytes) = body.in_memory().filter(|bytes| bytes.len() <= AT_ONCE) {
        encoder.writer().write_all(bytes)?;
        return Ok(Body::full(encoder.finish()?));
    }
    Ok(Body::boxed(Stream {
        body: std::mem::take(body),
        encoder: Some(encoder),
        input: Bytes::new(),
        held: false,
        trailers: None,
        turn: 0,
    }))
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), DEFLATE_LEVEL)),
            Coding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), DEFLATE_LEVEL)),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), 4096, BROTLI_LEVEL, BROTLI_WINDOW);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Deflate(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Deflate(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// A body that is compressed while it flows.
struct Stream {
    body: Body,
    /// None behind the last byte.
    encoder: Option<Encoder>,
    input: Bytes,
    /// The encoder holds bytes back.
    held: bool,
    trailers: Option<HeaderMap>,
    /// Bytes of this turn.
    turn: usize,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

fn failed(error: &io::Error) -> Polled {
    let error = BodyError::Aborted(format!("compression: {error}").into());
    Poll::Ready(Some(Err(error)))
}

fn frame(bytes: Vec<u8>) -> Polled {
    Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
}

impl Stream {
    /// The rest, once the body has ended.
    fn last(&mut self) -> Polled {
        match self.encoder.take().map(Encoder::finish) {
            Some(Ok(rest)) if !rest.is_empty() => frame(rest),
            Some(Err(error)) => failed(&error),
            Some(Ok(_)) | None => {
                Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    /// What came in so far, when nothing more is there.
    fn flushed(&mut self) -> Polled {
        let Some(encoder) = self.encoder.as_mut().filter(|_| self.held) else {
            return Poll::Pending;
        };
        self.held = false;
        if let Err(error) = encoder.writer().flush() {
            return failed(&error);
        }
        let output = std::mem::take(encoder.output());
        if output.is_empty() {
            Poll::Pending
        } else {
            frame(output)
        }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        loop {
            let this = &mut *self;
            let Some(encoder) = &mut this.encoder else {
                return this.last();
            };
            if !this.input.is_empty() {
                if this.turn >= TURN {
                    this.turn = 0;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let piece = this.input.split_to(this.input.len().min(PIECE));
                this.turn += piece.len();
                this.held = true;
                if let Err(error) = encoder.writer().write_all(&piece) {
                    return failed(&error);
                }
                let output = encoder.output();
                if !output.is_empty() {
                    return frame(std::mem::take(output));
                }
                continue;
            }
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending => {
                    this.turn = 0;
                    return this.flushed();
                }
                Poll::Ready(None) => return this.last(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(next))) => match next.into_data() {
                    Ok(data) => this.input = data,
                    Err(next) => {
                        this.trailers = next.into_trailers().ok();
                        return this.last();
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn plain(coding: &str, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            "gzip" => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
            "deflate" => drop(
                flate2::read::ZlibDecoder::new(bytes)
                    .read_to_end(&mut out)
                    .unwrap(),
            ),
            "br" => drop(
                brotli::Decompressor::new(bytes, 4096)
                    .read_to_end(&mut out)
                    .unwrap(),
            ),
            "zstd" => out = zstd::decode_all(bytes).unwrap(),
            other => panic!("{other}"),
        }
        out
    }

    fn pieces(frames: Vec<Frame<Bytes>>) -> Body {
        Body::boxed(StreamBody::new(stream::iter(frames.into_iter().map(Ok))))
    }

    #[tokio::test]
    async fn every_coding_gives_back_what_went_in_with_its_trailers() {
        let noise: Vec<u8> = (0..400_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for coding in Coding::ALL {
            for size in [1, 1000, 65_536, 65_537, 400_000] {
                let data = Bytes::from(noise[..size].to_vec());
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("1"));
                let streamed = pieces(vec![
                    Frame::data(data.clone()),
                    Frame::data(data.clone()),
                    Frame::trailers(trailers.clone()),
                ]);
                for (mut body, expected, ends) in [
                    (Body::full(data.clone()), data.to_vec(), None),
                    (streamed, [&*data, &*data].concat(), Some(trailers)),
                ] {
                    let body = compressed(*coding, &mut body).unwrap();
                    assert_eq!(body.in_memory().is_some(), ends.is_none() && size <= AT_ONCE);
                    let whole = body.collect().await.unwrap();
                    assert_eq!(whole.trailers(), ends.as_ref());
                    let bytes = whole.to_bytes();
                    assert!(
                        plain(coding.name(), &bytes) == expected,
                        "{} {size}",
                        coding.name()
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn what_came_is_sent_when_nothing_more_comes() {
        for coding in Coding::ALL {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Frame<Bytes>>(1);
            let source = stream::unfold(receiver, |mut receiver| async move {
                let frame = receiver.recv().await?;
                Some((Ok(frame), receiver))
            });
            let mut body = Body::boxed(StreamBody::new(source));
            let mut body = compressed(*coding, &mut body).unwrap();
            let mut seen = Vec::new();
            for text in ["first", "second"] {
                sender.send(Frame::data(Bytes::from(text))).await.unwrap();
                loop {
                    let next = tokio::time::timeout(std::time::Duration::from_secs(5), body.frame());
                    seen.extend_from_slice(&next.await.unwrap().unwrap().unwrap().into_data().unwrap());
                    let mut sofar = Vec::new();
                    let mut decoder: Box<dyn Read> = match coding {
                        Coding::Gzip => Box::new(flate2::read::GzDecoder::new(&*seen)),
                        Coding::Deflate => Box::new(flate2::read::ZlibDecoder::new(&*seen)),
                        Coding::Brotli => Box::new(brotli::Decompressor::new(&*seen, 4096)),
                        Coding::Zstd => Box::new(zstd::Decoder::new(&*seen).unwrap()),
                    };
                    // the end is missing
                    drop(decoder.read_to_end(&mut sofar));
                    if sofar.ends_with(text.as_bytes()) {
                        break;
                    }
                }
            }
            drop(sender);
            let rest = body.collect().await.unwrap().to_bytes();
            seen.extend_from_slice(&rest);
            assert_eq!(plain(coding.name(), &seen), b"firstsecond");
        }
    }

    #[test]
    fn small_ones_stay_and_caches_are_told_of_the_others() {
        let compressing = Compressing::new(10, Voice::Native);
        for (method, coding, text, vary, encoding) in [
            (Method::GET, Some(Coding::Gzip), "123456789", false, None),
            (Method::GET, Some(Coding::Gzip), "1234567890", true, Some("gzip")),
            (Method::GET, None, "1234567890", true, None),
            (Method::HEAD, Some(Coding::Gzip), "", true, None),
        ] {
            let mut response = Response::new(Body::full(text));
            if method == Method::HEAD {
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, HeaderValue::from_static("10"));
            }
            compressing.apply(&method, coding, &mut response);
            let field = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(field(header::VARY).is_some(), vary, "{method} {text}");
            assert_eq!(field(header::CONTENT_ENCODING), encoding, "{method} {text}");
            assert_eq!(field(header::CONTENT_LENGTH), None, "{method} {text}");
        }
        let mut response = Response::new(Body::full("1234567890"));
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("origin, accept-encoding"));
        compressing.apply(&Method::GET, None, &mut response);
        assert_eq!(response.headers().get_all(header::VARY).iter().count(), 1);
    }
}
