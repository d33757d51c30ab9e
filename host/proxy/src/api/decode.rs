//! Bodies that come compressed and are looked into: their coding is undone while they flow, and what goes on is plain.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use edgeward_core::{
    api::coding,
    reject::{Reject, RejectCode},
};
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;

use crate::body::{Body, BodyError};

/// Bytes that are made at a time.
const PIECE: usize = 16 << 10;

/// A coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coded {
    Gzip,
    Deflate,
}

impl Coded {
    /// How a body is compressed, if it is. Takes out of the fields what is not true of the plain body. `unknown` is the refusal of codings that are not known.
    ///
    /// # Errors
    /// The coding is neither `gzip` nor `deflate`, or there are several.
    pub(super) fn take(
        headers: &mut HeaderMap,
        body: &Body,
        unknown: RejectCode,
    ) -> Result<Option<Self>, Reject> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let (Some(value), rest) = (values.next(), values.next()) else {
            return Ok(None);
        };
        if body.is_empty() {
            return Ok(None);
        }
        let name = value.to_str().unwrap_or_default().trim();
        let coded = match (name.to_ascii_lowercase().as_str(), rest) {
            ("identity" | "", None) => None,
            ("gzip" | "x-gzip", None) => Some(Self::Gzip),
            ("deflate", None) => Some(Self::Deflate),
            _ => {
                let mut reject = Reject::new(unknown, format!("the content coding `{name}` cannot be read"));
                if unknown == RejectCode::UnsupportedMediaType {
                    // RFC 9110 section 15.5.16
                    let known = HeaderValue::from_static("gzip, deflate");
                    reject.headers.push((header::ACCEPT_ENCODING, known));
                }
                return Err(reject);
            }
        };
        headers.remove(header::CONTENT_ENCODING);
        if coded.is_some() {
            coding::recoded(headers);
        }
        Ok(coded)
    }

    /// The body as it was before it was compressed, of at most `limit` bytes.
    pub(super) fn undone(self, body: Body, limit: u64) -> Body {
        Body::boxed(Stream {
            body,
            coded: self,
            decoder: None,
            input: Bytes::new(),
            more: false,
            ended: false,
            trailers: None,
        })
        .with_limit(limit)
    }
}

/// The body as it was before it was compressed, of at most `limit` bytes; its fields say so. `unknown` is the refusal of codings that are not known.
///
/// # Errors
/// The coding is neither `gzip` nor `deflate`, or there are several.
pub(super) fn decoded(
    headers: &mut HeaderMap,
    body: Body,
    limit: u64,
    unknown: RejectCode,
) -> Result<Body, Reject> {
    Ok(match Coded::take(headers, &body, unknown)? {
        Some(coded) => coded.undone(body, limit),
        None => body,
    })
}

/// A body whose coding is undone while it flows.
struct Stream {
    body: Body,
    coded: Coded,
    /// Made with the first byte, which tells what `deflate` means; none between the members of gzip.
    decoder: Option<Decompress>,
    input: Bytes,
    /// The decoder filled all the room that it had: it may have more.
    more: bool,
    /// The last byte that came ended what is compressed.
    ended: bool,
    trailers: Option<HeaderMap>,
}

impl Stream {
    /// Some bytes, if there are any.
    fn piece(&mut self) -> Result<Vec<u8>, BodyError> {
        let coded = self.coded;
        let first = self.input.first().copied().unwrap_or_default();
        if self.decoder.is_none() && self.ended && coded == Coded::Deflate {
            return Err(BodyError::Coding("there is more behind its end"));
        }
        self.ended = false;
        let decoder = self.decoder.get_or_insert_with(|| match coded {
            Coded::Gzip => Decompress::new_gzip(15),
            // RFC 1950 wants a header, which some leave out
            Coded::Deflate => Decompress::new(first & 0x0f == 8),
        });
        let before = decoder.total_in();
        let mut output = Vec::with_capacity(PIECE);
        let status = decoder
            .decompress_vec(&self.input, &mut output, FlushDecompress::None)
            .map_err(|_error| BodyError::Coding("its bytes are wrong"))?;
        let taken = usize::try_from(decoder.total_in() - before).unwrap_or(usize::MAX);
        let is_stuck = taken == 0 && output.is_empty() && !self.input.is_empty();
        drop(self.input.split_to(taken.min(self.input.len())));
        self.more = output.len() == output.capacity();
        if status == Status::StreamEnd {
            self.decoder = None;
            self.ended = true;
            self.more = false;
        } else if is_stuck {
            return Err(BodyError::Coding("its bytes are wrong"));
        }
        Ok(output)
    }

    /// What is behind the last byte.
    fn last(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        if !self.ended {
            self.ended = true;
            return Some(Err(BodyError::Coding("its end is missing")));
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.more || !self.input.is_empty() {
                match self.piece() {
                    Ok(piece) if piece.is_empty() => continue,
                    piece => return Poll::Ready(Some(piece.map(|piece| Frame::data(piece.into())))),
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(self.last()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return Poll::Ready(self.last());
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn plain(coding: &str, bytes: &[u8], step: usize, limit: u64) -> Result<Bytes, Reject> {
        let frames: Vec<_> = bytes
            .chunks(step)
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let body = Body::boxed(StreamBody::new(stream::iter(frames)));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let body = decoded(&mut headers, body, limit, RejectCode::UnsupportedMediaType)?;
        assert!(headers.is_empty(), "{headers:?}");
        let whole = body
            .collect()
            .await
            .map_err(|error| crate::pipeline::body_reject(&error))?;
        Ok(whole.to_bytes())
    }

    #[tokio::test]
    async fn bodies_come_out_as_they_went_in_however_they_are_cut() {
        let data: Vec<u8> = (0..200_000_u32).map(|at| (at / 700) as u8).collect();
        let members = [gzip(&data[..1000]), gzip(&data[1000..])].concat();
        for (coding, bytes) in [
            ("gzip", gzip(&data)),
            ("X-GZIP", members),
            ("deflate", zlib(&data)),
            ("deflate", raw(&data)),
        ] {
            for step in [1, 7, bytes.len()] {
                let out = plain(coding, &bytes, step, u64::MAX).await.unwrap();
                assert!(out == data, "{coding} in steps of {step}");
            }
        }
        let none = plain("gzip", &gzip(b""), 3, 0).await.unwrap();
        assert!(none.is_empty());
    }

    #[tokio::test]
    async fn what_is_cut_off_or_wrong_or_unknown_is_no_body() {
        let good = gzip(&[7; 5000]);
        let mut bent = good.clone();
        let last = bent.len() - 5;
        bent[last] ^= 1;
        let with_more = |bytes: Vec<u8>| [bytes, b"more".to_vec()].concat();
        for (coding, bytes) in [
            ("gzip", good[..good.len() - 1].to_vec()),
            ("gzip", bent),
            ("gzip", with_more(good.clone())),
            ("gzip", b"plain text".to_vec()),
            ("deflate", with_more(zlib(b"abc"))),
            ("deflate", zlib(b"abc")[..6].to_vec()),
            ("br", good.clone()),
            ("gzip, gzip", good.clone()),
            ("what", good.clone()),
        ] {
            let reject = plain(coding, &bytes, 64, 1 << 20).await.unwrap_err();
            assert_eq!(
                reject.code,
                RejectCode::UnsupportedMediaType,
                "{coding}: {reject}"
            );
        }
    }

    #[tokio::test]
    async fn a_small_body_that_becomes_a_huge_one_ends_at_the_limit() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 60_000);
        let reject = plain("gzip", &bomb, bomb.len(), 1 << 20).await.unwrap_err();
        assert_eq!(reject.code, RejectCode::RequestTooLarge);
    }
}
