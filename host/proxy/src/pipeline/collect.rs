//! Bodies that are read whole, up to a limit, before anything goes on.

use bytes::{Bytes, BytesMut};
use edgeward_core::reject::{Reject, RejectCode};
use futures_util::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};

use crate::body::{Body, BodyError};

/// A body that was read up to a limit.
pub(super) enum Collected {
    /// All of it.
    Whole(Bytes, Option<HeaderMap>),
    /// It is larger; nothing of it is lost.
    TooLarge(Body),
    /// It was not read.
    Unread(Body),
}

impl Collected {
    pub(super) fn into_body(self) -> Body {
        match self {
            Self::Whole(bytes, trailers) => whole(bytes, trailers),
            Self::TooLarge(body) | Self::Unread(body) => body,
        }
    }
}

pub(super) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Body {
    match trailers {
        None => Body::full(bytes),
        Some(trailers) => {
            // an empty frame would be one that ends nothing, which peers count as abuse
            let data = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
            let frames = data.into_iter().chain([Ok(Frame::trailers(trailers))]);
            Body::boxed(StreamBody::new(stream::iter(frames)))
        }
    }
}

/// A whole body of at most `limit` bytes, without trailers; `over` is the refusal of a larger one.
pub(crate) async fn whole_body(body: Body, limit: u64, over: RejectCode) -> Result<Bytes, Reject> {
    if body.is_empty() {
        return Ok(Bytes::new());
    }
    match collect(body, limit).await? {
        Collected::Whole(bytes, _) => Ok(bytes),
        Collected::TooLarge(_) | Collected::Unread(_) => {
            Err(Reject::new(over, format!("body exceeds {limit} bytes")))
        }
    }
}

/// Reads a body up to `limit` bytes. Above it, what was read is put in front of the rest.
pub(super) async fn collect(mut body: Body, limit: u64) -> Result<Collected, Reject> {
    if http_body::Body::size_hint(&body).lower() > limit {
        return Ok(Collected::TooLarge(body));
    }
    let mut bytes = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| body_reject(&error))?.into_data() {
            Ok(data) => {
                bytes.extend_from_slice(&data);
                if bytes.len() as u64 > limit {
                    let front = Frame::data(bytes.freeze());
                    return Ok(Collected::TooLarge(Body::behind(front, body)));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Collected::Whole(bytes.freeze(), trailers))
}

/// What a failed body means for the answer.
pub(crate) fn body_reject(error: &BodyError) -> Reject {
    let code = match error {
        BodyError::TooLarge { .. } => RejectCode::RequestTooLarge,
        BodyError::Timeout => RejectCode::RequestTimeout,
        BodyError::ClientGone | BodyError::Malformed(_) => RejectCode::BadRequest,
        BodyError::Coding(_) => RejectCode::UnsupportedMediaType,
        BodyError::Upstream(_) => RejectCode::UpstreamFailure,
        BodyError::Aborted(_) => RejectCode::PluginFailure,
    };
    Reject::new(code, error.to_string()).because(error)
}
