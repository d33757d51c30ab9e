//! A body whose chunks pass through one plugin on their way. Nothing is read before it is asked for.

use std::sync::Arc;

use bytes::Bytes;
use edgeward_core::{config::OnError, reject::Reject};
use edgeward_runtime::{BodyAction, BodyState};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;

use super::{Chain, SharedChain, Way, log, respond_with};
use crate::body::{Body, BodyError};

/// A body on its way through a plugin.
pub(super) struct Streaming {
    pub(super) chain: SharedChain,
    pub(super) way: Way,
    pub(super) index: usize,
    /// None after the end.
    pub(super) body: Option<Body>,
    pub(super) trailers: Option<HeaderMap>,
    /// There while the head is held.
    pub(super) early: Option<Early>,
}

/// How a body hook ended an exchange whose head is still held: with an answer, or with a refusal.
pub(super) type Early = Arc<parking_lot::Mutex<Option<Result<Response<Body>, Reject>>>>;

impl Streaming {
    pub(super) async fn next(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        loop {
            if let Some(trailers) = self.trailers.take() {
                return Some(Ok(Frame::trailers(trailers)));
            }
            let body = self.body.as_mut()?;
            let (chunk, state) = match body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => (data, BodyState::More),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        (Bytes::new(), BodyState::Last)
                    }
                },
                Some(Err(error)) => {
                    self.body = None;
                    return Some(Err(error));
                }
                None => (Bytes::new(), BodyState::Last),
            };
            if state == BodyState::Last {
                self.body = None;
            } else if chunk.is_empty() {
                continue;
            }
            match self.run(chunk, state).await {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Some(Ok(Frame::data(out))),
                Err(error) => {
                    self.body = None;
                    self.trailers = None;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn run(&mut self, chunk: Bytes, state: BodyState) -> Result<Bytes, BodyError> {
        let mut chain = self.chain.lock().await;
        let Chain { exchange, links } = &mut *chain;
        let aborted = |why: &str| BodyError::Aborted(Arc::from(why));
        let Some(link) = links.get_mut(self.index) else {
            return Err(aborted("plugin is gone"));
        };
        if link.skipped {
            return Ok(chunk);
        }
        match link.body(self.way, exchange, &chunk, state).await {
            Ok(BodyAction::Proceed) => Ok(chunk),
            Ok(BodyAction::Replace(bytes)) => Ok(bytes),
            Ok(BodyAction::Respond(answer)) => match &self.early {
                Some(early) => {
                    *early.lock() = Some(Ok(respond_with(answer)));
                    Err(aborted("a plugin answered"))
                }
                None => Err(aborted("a plugin answered after the head was sent")),
            },
            Err(failure) if self.early.is_some() => match link.failed(self.way.phase(), &failure, exchange) {
                Ok(None) => Ok(chunk),
                ended => {
                    if let Some(early) = &self.early {
                        *early.lock() = ended.transpose();
                    }
                    Err(aborted("a plugin failed"))
                }
            },
            Err(failure) => {
                log(&failure, exchange);
                link.failed = true;
                match link.session.version().on_error(self.way.phase()) {
                    OnError::Open => {
                        link.skipped = true;
                        Ok(chunk)
                    }
                    OnError::Closed | OnError::Respond(_) => {
                        Err(aborted("a plugin failed in the middle of the body"))
                    }
                }
            }
        }
    }
}
