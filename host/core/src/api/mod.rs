//! The API model: what publishers define, as data. An API has routes, integrations, models and the rest (`model.rs`); a [`Definition`] is all of it
//! together, and what a deployment keeps; stages and domains say where a deployment is reached (`stage.rs`). `check.rs` finds what cannot be.
//!
//! Names and meanings are those of Amazon API Gateway, written as in the configuration file. [`mapping`] has the language of parameter mappings,
//! [`uri`] the addresses of integrations with what is filled into them, [`coding`] what is compressed for whom.

mod access_log;
mod beside;
mod binary;
mod check;
pub mod coding;
pub mod context;
mod cors;
mod gateway_response;
mod identity;
pub mod mapping;
mod model;
mod places;
mod script;
mod stage;
pub mod uri;
mod validation;

pub use access_log::{AccessLog, LogFormat};
pub use beside::*;
pub use binary::{BinaryTypes, Conversion};
pub use check::{RouteKey, is_base_path, is_name, is_stage_name, missing_variables, selection, whole_value};
pub use cors::Cors;
pub use gateway_response::{GatewayResponse, GatewayResponseType};
pub use identity::IdentitySource;
pub use model::*;
pub use places::{check_domain, check_stage};
pub use script::{is_script, request_script, response_script};
pub use stage::*;
pub use validation::BodySchema;
pub(crate) use validation::model_named;
