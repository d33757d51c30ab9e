//! Policies in the language of AWS IAM: the resource policies of APIs, and what authorizers answer. `read` makes a [`Policy`] of a document or tells everything
//! that is wrong with it, [`Policy::judge`] holds it against a request, [`decide`] says what comes of the policies of caller and API together, and
//! [`explain`] does the same with every reason. What the language has, and where this is not as on AWS, is in docs/policies.md.

mod arn;
mod condition;
mod date;
mod decide;
pub mod explain;
mod identity;
mod key;
pub(crate) mod naive;
mod pattern;
mod principal;
mod read;
mod request;
mod small;
mod statement;
#[cfg(test)]
mod tests;
mod tree;

pub use arn::{Action, Home, MethodArn};
pub use decide::{Authorization, Decision, Outcome, Side, decide, decide_before};
pub use identity::Identity;
pub use key::{Context, Facts, Key, Nothing, Value, Values};
pub use read::Read;
pub use request::{Caller, Request};
pub use statement::{Effect, Policy, PolicyKind, Verdict};
