//! The integration suite: real sockets and real guests, one file per part of the gateway.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken set-up ends the test, and the message says where"
)]

mod access;
mod acme;
mod admin;
mod api_policies;
mod apis;
mod apis_answers;
mod apis_beside;
mod apis_bodies;
mod apis_canaries;
mod apis_deployments;
mod apis_of_file;
mod apis_requests;
mod apis_stages;
mod apis_templates;
mod authorize;
mod authorizer_edges;
mod authorizer_functions;
mod authorizer_plugins;
mod authorizers;
mod backup;
mod bodies;
mod budgets;
mod cache;
mod capabilities;
mod cedar;
mod certificates;
mod cli;
mod clients;
mod conditions;
mod config;
mod conformance;
mod crash;
mod credentials;
mod decisions;
mod examples;
mod failures;
mod fuzz;
mod grpc;
mod h1;
mod h2;
mod h3;
mod hot_swap;
mod limits;
mod listeners;
mod modules;
mod oidc;
mod openapi;
mod process;
mod proxy_protocol;
mod routing;
mod schemathesis;
mod shadows;
mod signed;
mod snapshot;
mod soak;
mod streaming;
mod tidy;
mod tls;
mod tls_policy;
mod transform;
mod tutorial;
mod upstream;
mod waf;
mod websocket;
