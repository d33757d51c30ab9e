//! Uses what `std` offers on WASI. Answers the request header `x-wasi` with JSON: `hash` (hashes and iteration order of `std`
//! tables made in this request), `clock`, `random`, `print` and `flood` (to the log), `file`, `socket`, `env`.
//!
//! `{"in-init": "hash"}` makes a `std` table in `init`, whose seed must not be frozen into a snapshot; `{"in-init": "clock"}` asks
//! for the time there, `random` and `insecure-random` for random numbers, which the host refuses.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "WASI output goes to the log"
)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime};

use edgeward_sdk::prelude::*;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    in_init: InInit,
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum InInit {
    #[default]
    Nothing,
    Hash,
    Clock,
    Random,
    InsecureRandom,
}

struct WasiGuest {
    /// Made in `init` when so configured.
    table: Option<HashMap<u32, u32>>,
}

impl Plugin for WasiGuest {
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let config: Config = edgeward_sdk::config::parse(config)?;
        let table = match config.in_init {
            InInit::Nothing => None,
            InInit::Hash => Some(table()),
            InInit::Random => return Err(format!("random: {}", wasip2::random::random::get_random_u64())),
            InInit::InsecureRandom => {
                let bytes = wasip2::random::insecure::get_insecure_random_bytes(8);
                return Err(format!("insecure: {bytes:?}"));
            }
            InInit::Clock => return Err(format!("the clock answered {}", now_ms())),
        };
        Ok((WasiGuest { table }, Interest::none().request_head()))
    }
}

fn table() -> HashMap<u32, u32> {
    (0..16).map(|key| (key, key)).collect()
}

fn now_ms() -> u128 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |elapsed| elapsed.as_millis())
}

impl WasiGuest {
    fn report(&self, what: &str) -> Value {
        match what {
            "hash" => json!({
                "hash": RandomState::new().hash_one("key"),
                "order": table().keys().collect::<Vec<_>>(),
                "order-in-init": self.table.as_ref().map(|table| table.keys().collect::<Vec<_>>()),
            }),
            "clock" => {
                let start = Instant::now();
                json!({"now-ms": u64::try_from(now_ms()).unwrap_or(0), "monotonic": start.elapsed().as_secs() < 60})
            }
            "print" => {
                println!("a line on stdout");
                eprintln!("a line on stderr");
                json!({"printed": true})
            }
            "flood" => {
                for line in 0..1000 {
                    println!("wasi flood {line}");
                }
                json!({"printed": true})
            }
            "random" => json!({
                "random": wasip2::random::random::get_random_u64().to_string(),
                "insecure": wasip2::random::insecure::get_insecure_random_u64().to_string(),
            }),
            "file" => json!({"error": std::fs::read("/etc/passwd").err().map(|error| error.to_string())}),
            "socket" => {
                let connected = std::net::TcpStream::connect("127.0.0.1:80");
                json!({"error": connected.err().map(|error| error.to_string())})
            }
            "env" => {
                let vars = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
                json!({"vars": vars.collect::<Vec<_>>(), "args": std::env::args_os().count()})
            }
            other => json!({"error": format!("x-wasi: {other} is unknown")}),
        }
    }
}

impl Transform for WasiGuest {
    fn on_request_head(&mut self, request: &RequestHead, _exchange: &Exchange) -> HeadAction {
        match request.header_str("x-wasi") {
            None => HeadAction::Proceed,
            Some(what) => {
                let body = self.report(&what).to_string();
                Answer::new(200)
                    .header("content-type", "application/json")
                    .body(body)
                    .into()
            }
        }
    }
}

edgeward_sdk::export!(WasiGuest: transform);
