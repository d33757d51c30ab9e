//! gRPC calls: their deadline, which bounds the whole exchange, and the form of what the gateway says in its own name. Everything else about them is
//! HTTP/2 as ever: bodies stream both ways, and trailers pass.

use std::{pin::Pin, time::Duration};

use edgeward_core::{
    grpc::{DEADLINE_EXCEEDED, format_timeout, is_call, message, parse_timeout},
    reject::{Reject, RejectCode},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version, header};
use tokio::time::{Instant, Sleep};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What the gateway knows of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    timeout: Timeout,
    began: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Timeout {
    None,
    Malformed,
    Time(Duration),
}

impl Call {
    /// The call that a request is, if it is one.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        if request.version() < Version::HTTP_2 || *request.method() != Method::POST {
            return None;
        }
        let headers = request.headers();
        if !is_call(headers.get(header::CONTENT_TYPE)?.as_bytes()) {
            return None;
        }
        let timeout = match headers.get(TIMEOUT).map(|value| parse_timeout(value.as_bytes())) {
            None => Timeout::None,
            Some(None) => Timeout::Malformed,
            Some(Some(time)) => Timeout::Time(time),
        };
        Some(Self {
            timeout,
            began: Instant::now(),
        })
    }

    /// Refuses what says how long it may take and cannot be understood.
    ///
    /// # Errors
    /// A malformed `grpc-timeout`.
    pub(crate) fn check(&self) -> Result<(), Reject> {
        match self.timeout {
            Timeout::Malformed => Err(Reject::new(
                RejectCode::BadRequest,
                "grpc-timeout is not one to eight digits and a unit",
            )),
            Timeout::None | Timeout::Time(_) => Ok(()),
        }
    }

    /// When the call has to be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.timeout {
            // beyond all clocks: as good as none
            Timeout::Time(time) => self.began.checked_add(time),
            Timeout::None | Timeout::Malformed => None,
        }
    }

    /// Ready when the deadline has passed.
    pub(crate) fn timer(&self) -> Option<Pin<Box<Sleep>>> {
        Some(Box::pin(tokio::time::sleep_until(self.deadline()?)))
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Writes what is left of the time into the head of a request.
    ///
    /// # Errors
    /// Nothing is left. The timer of the call may be a little behind, since it goes in milliseconds.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) -> Result<(), Reject> {
        let Some(deadline) = self.deadline() else {
            return Ok(());
        };
        let left = deadline - Instant::now();
        if left.is_zero() {
            return Err(expired());
        }
        if let Ok(left) = HeaderValue::try_from(format_timeout(left)) {
            headers.insert(TIMEOUT, left);
        }
        Ok(())
    }
}

/// A call took longer than it may.
pub(crate) fn expired() -> Reject {
    Reject::new(
        RejectCode::DeadlineExceeded,
        "the call did not end within its grpc-timeout",
    )
}

/// Writes how a call ended in the gateway's own name. `http` is the status that it would have without gRPC.
pub(crate) fn end(headers: &mut HeaderMap, reject: &Reject, http: u16) {
    let status = match reject.code {
        RejectCode::DeadlineExceeded => DEADLINE_EXCEEDED,
        _ => edgeward_core::grpc::status_of(http),
    };
    headers.insert(STATUS, HeaderValue::from(u16::from(status)));
    if let Ok(text) = HeaderValue::try_from(message(&reject.detail)) {
        headers.insert(MESSAGE, text);
    }
}

/// The trailers of a call that was cut off.
pub(crate) fn trailers(reject: &Reject) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    end(&mut trailers, reject, reject.status);
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_not_passed_on_and_what_is_left_is_told() {
        let call = |time| Call {
            timeout: Timeout::Time(time),
            began: Instant::now(),
        };
        let mut headers = HeaderMap::new();
        let over = call(Duration::ZERO).pass_on(&mut headers).unwrap_err();
        assert_eq!(over.code, RejectCode::DeadlineExceeded);
        assert!(headers.is_empty());
        call(Duration::from_secs(60)).pass_on(&mut headers).unwrap();
        let left = parse_timeout(headers[TIMEOUT].as_bytes()).unwrap();
        assert!(
            left > Duration::ZERO && left <= Duration::from_secs(60),
            "{left:?}"
        );
    }
}
