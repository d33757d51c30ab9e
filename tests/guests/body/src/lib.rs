//! Changes, holds and counts bodies of requests and responses, in the way its configuration says, e.g.
//! `{"mode": "reverse-buffer", "side": "response", "limit": 1024, "over": "pass"}`.

use edgeward_sdk::prelude::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    mode: Mode,
    #[serde(default)]
    side: Side,
    /// Limit of the buffering modes in bytes.
    #[serde(default = "default_limit")]
    limit: u64,
    #[serde(default)]
    over: Over,
}

fn default_limit() -> u64 {
    64 * 1024
}

#[derive(serde::Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Upper-cases each chunk (ASCII).
    UpperStream,
    /// Reverses the whole body; a body above the limit gets header `x-body: too-large` where it passes.
    ReverseBuffer,
    /// Holds the head, lets chunks pass to the host, and at the end writes `x-body-length`. Answers 403 when the text `forbidden`
    /// occurs within one chunk.
    HoldUntilBody,
    /// Appends `[n bytes]` after the last chunk.
    Count,
    /// Keeps everything back until the last chunk.
    KeepBack,
    /// Answers 409 at the end of the (streamed) body, when the head is long gone.
    AnswerAtEnd,
}

#[derive(serde::Deserialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Side {
    Request,
    Response,
    #[default]
    Both,
}

#[derive(serde::Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "kebab-case")]
enum Over {
    #[default]
    Reject,
    Pass,
}

struct Body {
    mode: Mode,
    /// One for the request, one for the response: a plugin can see both bodies at once.
    request: Progress,
    response: Progress,
}

/// How far a body is.
#[derive(Default)]
struct Progress {
    bytes: usize,
    kept: Vec<u8>,
}

impl Plugin for Body {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: Config = edgeward_sdk::config::parse(config)?;
        let body_mode = match config.mode {
            Mode::ReverseBuffer => {
                let over = match config.over {
                    Over::Reject => OverLimit::Reject,
                    Over::Pass => OverLimit::Pass,
                };
                BodyMode::Buffer {
                    limit: config.limit,
                    over,
                }
            }
            _ => BodyMode::Stream,
        };
        let mut interest = Interest::none();
        if config.side != Side::Response {
            interest = interest.request_head().request_body(body_mode);
        }
        if config.side != Side::Request {
            interest = interest.response_head().response_body(body_mode);
        }
        Ok((
            Body {
                mode: config.mode,
                request: Progress::default(),
                response: Progress::default(),
            },
            interest,
        ))
    }
}

impl Transform for Body {
    fn on_request_head(&mut self, _request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        self.request = Progress::default();
        head_action(self.mode)
    }

    fn on_request_body(
        &mut self,
        request: &RequestHead,
        _exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        step(self.mode, &mut self.request, chunk, state, |name, value| {
            request.set_header(name, value)
        })
    }

    fn on_response_head(
        &mut self,
        _request: &RequestHead,
        _response: &ResponseHead,
        _exchange: &Exchange,
    ) -> HeadAction {
        self.response = Progress::default();
        head_action(self.mode)
    }

    fn on_response_body(
        &mut self,
        _request: &RequestHead,
        response: &ResponseHead,
        _exchange: &Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> BodyAction {
        step(self.mode, &mut self.response, chunk, state, |name, value| {
            response.set_header(name, value)
        })
    }
}

fn head_action(mode: Mode) -> HeadAction {
    if mode == Mode::HoldUntilBody {
        HeadAction::Hold
    } else {
        HeadAction::Proceed
    }
}

fn step(
    mode: Mode,
    progress: &mut Progress,
    mut chunk: Vec<u8>,
    state: BodyState,
    set_header: impl Fn(&str, &str) -> Result<(), String>,
) -> BodyAction {
    progress.bytes += chunk.len();
    let last = state != BodyState::More;
    let edit = |name: &str, value: &str| match set_header(name, value) {
        Ok(()) => BodyAction::Proceed,
        Err(reason) => Answer::new(500).body(reason).into(),
    };
    match mode {
        Mode::UpperStream => {
            chunk.make_ascii_uppercase();
            BodyAction::Replace(chunk)
        }
        Mode::ReverseBuffer if state == BodyState::TooLarge => edit("x-body", "too-large"),
        Mode::ReverseBuffer => {
            chunk.reverse();
            BodyAction::Replace(chunk)
        }
        Mode::HoldUntilBody if chunk.windows(9).any(|window| window == b"forbidden") => {
            Answer::new(403).body("forbidden word in the body").into()
        }
        Mode::HoldUntilBody if last => edit("x-body-length", &progress.bytes.to_string()),
        Mode::Count if last => {
            chunk.extend_from_slice(format!("[{} bytes]", progress.bytes).as_bytes());
            BodyAction::Replace(chunk)
        }
        Mode::KeepBack => {
            progress.kept.append(&mut chunk);
            BodyAction::Replace(if last {
                std::mem::take(&mut progress.kept)
            } else {
                Vec::new()
            })
        }
        Mode::AnswerAtEnd if last => Answer::new(409).body("answered at the end of the body").into(),
        Mode::HoldUntilBody | Mode::Count | Mode::AnswerAtEnd => BodyAction::Proceed,
    }
}

edgeward_sdk::export!(Body: transform);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: Mode, chunks: &[&str]) -> Vec<BodyAction> {
        let mut progress = Progress::default();
        let mut actions = Vec::new();
        for (index, chunk) in chunks.iter().enumerate() {
            let state = if index + 1 == chunks.len() {
                BodyState::Last
            } else {
                BodyState::More
            };
            actions.push(step(
                mode,
                &mut progress,
                chunk.as_bytes().to_vec(),
                state,
                |_, _| Ok(()),
            ));
        }
        actions
    }

    #[test]
    fn counting_adds_up_over_chunks() {
        let actions = run(Mode::Count, &["ab", "cde", ""]);
        assert_eq!(actions.last(), Some(&BodyAction::Replace(b"[5 bytes]".to_vec())));
    }

    #[test]
    fn kept_bytes_come_out_at_the_end() {
        let actions = run(Mode::KeepBack, &["ab", "c"]);
        assert_eq!(
            actions,
            [
                BodyAction::Replace(Vec::new()),
                BodyAction::Replace(b"abc".to_vec())
            ]
        );
    }
}
