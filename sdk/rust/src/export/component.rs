//! The glue between the generated exports and the traits: owns the plugin's state cell and the panic hook.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;
use std::thread::LocalKey;

use ref_cast::RefCast;

use crate::bindings::imports::edgeward::plugin::head as generated;
use crate::bindings::{authorize, inspect, lifecycle, observe, transform};
use crate::head::{Exchange, RequestHead, ResponseHead};
use crate::hooks::{self, BodyMode};
use crate::messages::{Answer, BodyState};
use crate::{log, stage};

/// A plugin type with the cell that holds its state in an instance.
pub trait Instance: hooks::Plugin {
    /// The cell; empty until `init`.
    fn cell() -> &'static LocalKey<RefCell<Option<Self>>>;
}

/// The type that the generated export macros are given.
#[derive(Debug)]
pub struct Component<P>(PhantomData<P>);

/// Runs a hook on the plugin's state.
fn with<P: Instance, R>(hook: impl FnOnce(&mut P) -> R) -> R {
    P::cell().with_borrow_mut(|plugin| match plugin {
        Some(plugin) => hook(plugin),
        None => {
            log::panicked("a hook was called before a successful init");
            std::process::abort()
        }
    })
}

/// Tells the gateway message and place of a panic; the abort that follows is the trap.
fn report_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("panic");
    match info.location() {
        Some(place) => {
            log::panicked(&format!(
                "{message} at {}:{}:{}",
                place.file(),
                place.line(),
                place.column()
            ));
        }
        None => log::panicked(message),
    }
}

impl<P: Instance> lifecycle::exports::edgeward::plugin::lifecycle::Guest for Component<P> {
    fn init(config: String) -> Result<lifecycle::exports::edgeward::plugin::lifecycle::Interest, String> {
        use lifecycle::exports::edgeward::plugin::lifecycle as generated;

        std::panic::set_hook(Box::new(report_panic));
        let (plugin, interest) = stage::during_init(|| P::init(&config))?;
        P::cell().set(Some(plugin));

        let mode = |mode| match mode {
            BodyMode::None => generated::BodyMode::None,
            BodyMode::Stream => generated::BodyMode::Stream,
            BodyMode::Buffer { limit, over } => {
                generated::BodyMode::Buffer(generated::Buffering { limit, over })
            }
        };
        Ok(generated::Interest {
            phases: interest.phases,
            request_body: mode(interest.request_body),
            response_body: mode(interest.response_body),
            request_digest: interest.request_digest,
            capabilities: interest.capabilities,
        })
    }
}

impl<P: Instance + hooks::Authorize> authorize::exports::edgeward::plugin::authorize::Guest for Component<P> {
    fn authorize(request: &generated::RequestHead, exchange: &generated::Exchange) -> hooks::Decision {
        with(|plugin: &mut P| plugin.authorize(RequestHead::ref_cast(request), Exchange::ref_cast(exchange)))
    }
}

impl<P: Instance + hooks::Inspect> inspect::exports::edgeward::plugin::inspect::Guest for Component<P> {
    fn inspect(
        request: &generated::RequestHead,
        exchange: &generated::Exchange,
        body: Vec<u8>,
        state: BodyState,
    ) -> hooks::Verdict {
        with(|plugin: &mut P| {
            plugin.inspect(
                RequestHead::ref_cast(request),
                Exchange::ref_cast(exchange),
                body,
                state,
            )
        })
    }
}

impl<P: Instance + hooks::Observe> observe::exports::edgeward::plugin::observe::Guest for Component<P> {
    fn on_complete(
        request: &generated::RequestHead,
        exchange: &generated::Exchange,
        outcome: hooks::Outcome,
    ) {
        with(|plugin: &mut P| {
            plugin.on_complete(
                RequestHead::ref_cast(request),
                Exchange::ref_cast(exchange),
                outcome,
            );
        });
    }
}

impl<P: Instance + hooks::Transform> transform::exports::edgeward::plugin::transform::Guest for Component<P> {
    fn on_request_head(
        request: &generated::RequestHead,
        exchange: &generated::Exchange,
    ) -> hooks::HeadAction {
        with(|plugin: &mut P| {
            plugin.on_request_head(RequestHead::ref_cast(request), Exchange::ref_cast(exchange))
        })
    }

    fn on_request_body(
        request: &generated::RequestHead,
        exchange: &generated::Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> hooks::BodyAction {
        with(|plugin: &mut P| {
            plugin.on_request_body(
                RequestHead::ref_cast(request),
                Exchange::ref_cast(exchange),
                chunk,
                state,
            )
        })
    }

    fn on_response_head(
        request: &generated::RequestHead,
        response: &generated::ResponseHead,
        exchange: &generated::Exchange,
    ) -> hooks::HeadAction {
        with(|plugin: &mut P| {
            plugin.on_response_head(
                RequestHead::ref_cast(request),
                ResponseHead::ref_cast(response),
                Exchange::ref_cast(exchange),
            )
        })
    }

    fn on_response_body(
        request: &generated::RequestHead,
        response: &generated::ResponseHead,
        exchange: &generated::Exchange,
        chunk: Vec<u8>,
        state: BodyState,
    ) -> hooks::BodyAction {
        with(|plugin: &mut P| {
            plugin.on_response_body(
                RequestHead::ref_cast(request),
                ResponseHead::ref_cast(response),
                Exchange::ref_cast(exchange),
                chunk,
                state,
            )
        })
    }

    fn on_gateway_error(
        request: &generated::RequestHead,
        response: &generated::ResponseHead,
        exchange: &generated::Exchange,
        error: hooks::GatewayError,
    ) -> Option<Answer> {
        with(|plugin: &mut P| {
            plugin.on_gateway_error(
                RequestHead::ref_cast(request),
                ResponseHead::ref_cast(response),
                Exchange::ref_cast(exchange),
                error,
            )
        })
    }
}
