//! A fake host for native tests: `cargo test` runs hooks on made-up messages, without WebAssembly and without a gateway.
//!
//! What a plugin calls (log, metrics, kv, http, secrets, clock, ...) is answered by a host of the current thread, which
//! [`Host`] sets up and lets you look into afterwards; matching and crypto use the engines of the gateway. Heads come from
//! [`request`] and [`response`] and record edits as the gateway does, with the same refusals; read them back with the usual
//! accessors.
//!
//! ```
//! use edgeward_sdk::testing::{self, Host};
//! use edgeward_sdk::{log_info, secret};
//!
//! let host = Host::new().with_secret("token", "s3cr3t").at_time(1_700_000_000_000).install();
//! assert_eq!(secret::get("token"), Ok(b"s3cr3t".to_vec()));
//! log_info!("hello");
//! assert_eq!(host.log_lines().len(), 1);
//!
//! let request = testing::request("GET", "https://api.example/pets/7?tag=a%20b")
//!     .with_header("accept", "application/json")
//!     .with_path_param("id", "7");
//! assert_eq!(request.query_param("tag").as_deref(), Some("a b"));
//! assert!(request.set_header("connection", "close").is_err());
//! ```

#[doc(hidden)]
pub mod fake;
mod host;
mod messages;
mod package;

pub use host::Host;
pub use messages::{exchange, request, response};
pub use package::{examples, schema_is_written};

use crate::hooks::{Interest, Plugin};

/// Runs a plugin's `init` as the gateway does: clock, entropy, secrets, `kv` and `http` are refused in it, and afterwards the
/// building of matcher sets is.
///
/// # Errors
/// Those of `init`.
pub fn init<P: Plugin>(config: &str) -> Result<(P, Interest), String> {
    crate::stage::during_init(|| P::init(config))
}
