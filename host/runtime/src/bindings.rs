//! The only place that runs bindgen. `wit/` is the source; nothing here is written by hand.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "edgeward:plugin/plugin",
    imports: {
        "edgeward:plugin/http.send": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "edgeward:plugin/head.request-head": crate::exchange::RequestHandle,
        "edgeward:plugin/head.response-head": crate::exchange::ResponseHandle,
        "edgeward:plugin/head.exchange": crate::exchange::ExchangeHandle,
    },
});
