//! Bodies that are converted between bytes and base64, where an API of the profile `apigw` says so. Elsewhere bytes are bytes.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use edgeward_core::{
    api::{Api, BinaryTypes, ContentHandling, Conversion},
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderName, header};

use super::{Voice, decode::decoded};
use crate::{body::Body, finish::framing_removed, pipeline};

/// Largest body that is converted, in bytes: what AWS takes at most.
const CONVERTED_MAX: u64 = 10 << 20;
/// Padding may be left out, as senders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What an integration converts.
#[derive(Debug)]
pub(super) struct Converting {
    types: BinaryTypes,
    request: Option<ContentHandling>,
}

impl Converting {
    /// `None` where nothing is ever converted. `responses` is what the integration's responses say.
    pub(super) fn new(
        voice: Voice,
        api: &Api,
        request: Option<ContentHandling>,
        mut responses: impl Iterator<Item = Option<ContentHandling>>,
    ) -> Option<Self> {
        let types = BinaryTypes::new(&api.binary_media_types);
        let says = request.is_some() || responses.any(|handling| handling.is_some());
        (voice == Voice::Rest && (says || !types.is_empty())).then_some(Self { types, request })
    }

    /// Whether requests may be converted.
    pub(super) fn reads_requests(&self) -> bool {
        self.request.is_some()
    }

    pub(super) fn of_request(&self, headers: &HeaderMap) -> Option<Conversion> {
        let kind = text(headers, &header::CONTENT_TYPE).unwrap_or("application/json");
        self.types.of_request(self.request, kind)
    }

    pub(super) fn of_response(
        &self,
        handling: Option<ContentHandling>,
        headers: &HeaderMap,
        request: &HeaderMap,
    ) -> Option<Conversion> {
        let kind = text(headers, &header::CONTENT_TYPE).unwrap_or("application/json");
        let accept = text(request, &header::ACCEPT).unwrap_or_default();
        self.types.of_response(handling, kind, accept)
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The body in base64, if that is what is to be done: before templates see it.
///
/// # Errors
/// It is too large, or cannot be read.
pub(super) async fn encoded(
    conversion: Option<Conversion>,
    headers: &mut HeaderMap,
    body: Body,
    over: RejectCode,
) -> Result<Body, Reject> {
    if conversion != Some(Conversion::Encode) || body.is_empty() {
        return Ok(body);
    }
    let bytes = read(headers, body, CONVERTED_MAX, over).await?;
    framing_removed(headers);
    Ok(Body::full(BASE64.encode(&bytes)))
}

/// The body that is in base64, if that is what is to be done: behind templates.
///
/// # Errors
/// As [`encoded`], or it is not in base64.
pub(super) async fn bytes(
    conversion: Option<Conversion>,
    headers: &mut HeaderMap,
    body: Body,
    over: RejectCode,
) -> Result<Body, Reject> {
    if conversion != Some(Conversion::Decode) || body.is_empty() {
        return Ok(body);
    }
    let mut text = read(headers, body, CONVERTED_MAX, over).await?.to_vec();
    text.retain(|byte| !byte.is_ascii_whitespace());
    let bytes = BASE64.decode(&text).map_err(|error| {
        Reject::new(
            RejectCode::ApiConfigurationError,
            "the body could not be converted",
        )
        .because(format_args!("it is not in base64: {error}"))
    })?;
    framing_removed(headers);
    Ok(Body::full(bytes))
}

/// A whole body, without its content coding. `over` tells whose it is: the refusal of one that is too large.
///
/// # Errors
/// It is larger than `limit`, or its coding cannot be undone.
pub(super) async fn read(
    headers: &mut HeaderMap,
    body: Body,
    limit: u64,
    over: RejectCode,
) -> Result<Bytes, Reject> {
    let unknown = if over == RejectCode::ResponseTooLarge {
        RejectCode::UpstreamFailure
    } else {
        RejectCode::UnsupportedMediaType
    };
    let body = decoded(headers, body, u64::MAX, unknown)?;
    pipeline::whole_body(body, limit, over)
        .await
        .map_err(|mut reject| {
            if reject.code == RejectCode::UnsupportedMediaType && unknown == RejectCode::UpstreamFailure {
                reject = Reject::new(unknown, "the upstream sent a body that cannot be read")
                    .because(reject.detail);
            }
            reject
        })
}
