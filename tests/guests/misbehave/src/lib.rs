//! Misbehaves in the way and in the phase its configuration says, e.g. `{"mode": "spin", "phase": "authorize"}`. The request
//! header `x-mode` chooses another way for one request, `x-mode: none` none at all.
//!
//! It imports `http` (for `slow-http` and `flood-http`), so its binding needs that grant in every mode.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "that is what this guest is for"
)]

use std::hint::black_box;

use edgeward_sdk::http_client::{self, Request};
use edgeward_sdk::prelude::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Misbehave {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    phase: Phase,
    /// Where `slow-http` and `flood-http` go.
    #[serde(default)]
    url: String,
    /// How often the floods repeat.
    #[serde(default = "default_times")]
    times: u32,
}

fn default_times() -> u32 {
    1_000_000
}

#[derive(serde::Deserialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    None,
    /// Never returns.
    Spin,
    /// Panics: the host's error names this file and a line.
    Trap,
    /// Traps without a panic.
    Unreachable,
    /// Divides by zero.
    Divide,
    /// Indexes beyond the end of a list.
    OutOfBounds,
    /// Calls itself without end.
    Recurse,
    /// Allocates until it cannot.
    EatMemory,
    /// Writes log lines of 1 KiB.
    FloodLog,
    /// Writes context entries of 64 KiB each, and ignores that they are refused.
    FloodContext,
    /// Appends request header lines of 1 KiB each, and ignores that they are refused.
    FloodHeaders,
    /// Makes cheap host calls.
    FloodHostCalls,
    /// Creates metrics.
    FloodMetrics,
    /// Sends outgoing requests.
    FloodHttp,
    /// Answers with status 99, fields that are none, and a framing field.
    GarbageAnswer,
    /// Passes one context entry of `times` bytes to the host.
    HugeEntry,
    /// Answers with a body of `times` bytes.
    HugeAnswer,
    /// Asks for a store and a secret that it was not granted.
    NotGranted,
    /// Waits for an outgoing request as long as the host lets it.
    SlowHttp,
}

#[derive(serde::Deserialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Authorize,
    Inspect,
    #[default]
    RequestHead,
    RequestBody,
    ResponseHead,
    ResponseBody,
    GatewayError,
    Observe,
}

impl Plugin for Misbehave {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let plugin: Self = edgeward_sdk::config::parse(config)?;
        let none = Interest::none();
        let interest = match plugin.phase {
            Phase::Authorize => none.authorize(),
            Phase::Inspect => none.inspect(BodyMode::None),
            Phase::RequestHead => none.request_head(),
            Phase::RequestBody => none.request_body(BodyMode::Stream),
            Phase::ResponseHead => none.response_head(),
            Phase::ResponseBody => none.response_body(BodyMode::Stream),
            Phase::GatewayError => none.gateway_error(),
            Phase::Observe => none.observe(),
        };
        Ok((plugin, interest))
    }
}

impl Misbehave {
    /// Does its worst. What it returns is the answer to give, if it got that far.
    fn go(&self, request: &RequestHead, exchange: &Exchange) -> Option<Answer> {
        let mode = match request.header_str("x-mode") {
            Some(name) => mode_named(&name),
            None => self.mode,
        };
        match mode {
            Mode::None => {}
            Mode::Spin => loop {
                black_box(());
            },
            Mode::Trap => panic!("misbehave was told to trap"),
            Mode::Unreachable => std::process::abort(),
            Mode::Divide => drop(black_box(black_box(1_u32) / black_box(0))),
            Mode::OutOfBounds => drop(black_box(black_box(vec![1_u8])[black_box(7)])),
            Mode::Recurse => drop(black_box(recurse(1))),
            Mode::EatMemory => eat_memory(),
            Mode::GarbageAnswer => {
                let answer = Answer::new(99)
                    .header("bad name", "x")
                    .header("x-bad-value", "a\r\nb: c");
                return Some(answer.header("content-length", "7").body("not seven bytes"));
            }
            Mode::HugeEntry => drop(exchange.set("huge", "x".repeat(self.times as usize))),
            Mode::HugeAnswer => return Some(Answer::new(200).body("x".repeat(self.times as usize))),
            Mode::NotGranted => {
                drop(black_box(edgeward_sdk::kv::get("ghost", "key")));
                drop(black_box(edgeward_sdk::secret::get("ghost")));
            }
            _ => return self.flood(mode, request, exchange),
        }
        None
    }

    /// The modes that work the host. The answer says how often it refused.
    fn flood(&self, mode: Mode, request: &RequestHead, exchange: &Exchange) -> Option<Answer> {
        let kilobyte = "x".repeat(1024);
        let mut refused = 0_u32;
        let mut last_reason = String::new();
        for turn in 0..self.times {
            let result = match mode {
                Mode::FloodLog => {
                    edgeward_sdk::log::warn(&kilobyte);
                    Ok(())
                }
                Mode::FloodContext => exchange.set(&format!("key-{turn}"), kilobyte.repeat(64)),
                Mode::FloodHeaders => request.append_header(&format!("x-flood-{turn}"), &kilobyte),
                Mode::FloodMetrics => {
                    edgeward_sdk::metrics::add(&format!("flood_{turn}"), 1);
                    Ok(())
                }
                Mode::FloodHttp | Mode::SlowHttp => match http_client::send(&Request::get(&self.url)) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                },
                _ => {
                    black_box(request.method());
                    Ok(())
                }
            };
            if let Err(reason) = result {
                refused += 1;
                last_reason = reason;
            }
            if mode == Mode::SlowHttp {
                break;
            }
        }
        Some(Answer::new(200).body(format!("refused {refused} times: {last_reason}")))
    }
}

/// The mode of that name. A name that is none is a mistake in a test, which a panic shows.
fn mode_named(name: &str) -> Mode {
    let text = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
    match serde::Deserialize::deserialize(text) {
        Ok(mode) => mode,
        Err(error) => panic!("x-mode: {error}"),
    }
}

#[expect(unconditional_recursion, reason = "that is what this mode is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(frame[7] + 1) + frame[3]
}

fn eat_memory() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
}

impl Authorize for Misbehave {
    fn authorize(&mut self, request: &RequestHead, exchange: &Exchange) -> Decision {
        match self.go(request, exchange) {
            Some(answer) => answer.into(),
            None => Decision::allow("misbehave"),
        }
    }
}

impl Inspect for Misbehave {
    fn inspect(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        _body: Vec<u8>,
        _state: BodyState,
    ) -> Verdict {
        self.go(request, exchange)
            .map_or_else(Verdict::allow, Verdict::block_with)
    }
}

impl Transform for Misbehave {
    fn on_request_head(&mut self, request: &RequestHead, exchange: &Exchange) -> HeadAction {
        self.go(request, exchange)
            .map_or(HeadAction::Proceed, HeadAction::Respond)
    }

    fn on_request_body(
        &mut self,
        request: &RequestHead,
        exchange: &Exchange,
        _chunk: Vec<u8>,
        _state: BodyState,
    ) -> BodyAction {
        self.go(request, exchange)
            .map_or(BodyAction::Proceed, BodyAction::Respond)
    }

    fn on_response_head(
        &mut self,
        request: &RequestHead,
        _response: &ResponseHead,
        exchange: &Exchange,
    ) -> HeadAction {
        self.go(request, exchange)
            .map_or(HeadAction::Proceed, HeadAction::Respond)
    }

    fn on_response_body(
        &mut self,
        request: &RequestHead,
        _response: &ResponseHead,
        exchange: &Exchange,
        _chunk: Vec<u8>,
        _state: BodyState,
    ) -> BodyAction {
        self.go(request, exchange)
            .map_or(BodyAction::Proceed, BodyAction::Respond)
    }

    fn on_gateway_error(
        &mut self,
        request: &RequestHead,
        _response: &ResponseHead,
        exchange: &Exchange,
        _error: GatewayError,
    ) -> Option<Answer> {
        self.go(request, exchange)
    }
}

impl Observe for Misbehave {
    fn on_complete(&mut self, request: &RequestHead, exchange: &Exchange, _outcome: Outcome) {
        // nobody is there to take the answer
        drop(self.go(request, exchange));
    }
}

edgeward_sdk::export!(Misbehave: authorize, inspect, transform, observe);
