//! An `init` that fails in the way its configuration says, e.g. `{"mode": "panic"}`.

use edgeward_sdk::collections::HashMap;
use edgeward_sdk::matcher::RegexSet;
use edgeward_sdk::prelude::*;
use edgeward_sdk::{clock, entropy, http_client, kv, secret};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mode: Mode,
    /// The capability that mode `needs` asks for, or the secret, store or address that modes `secret`, `kv` and `http` read.
    #[serde(default)]
    name: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Succeeds.
    Ok,
    /// Returns an error text.
    Error,
    /// Panics.
    Panic,
    /// Asks for the time.
    Clock,
    /// Asks for a hash seed.
    Entropy,
    /// Makes and fills a hash table of the SDK, which must not need entropy here.
    HashMap,
    /// Declares a capability that may not be granted.
    Needs,
    /// Reads a secret and gives the host's refusal as its own error.
    Secret,
    /// The same of a key in a store.
    Kv,
    /// The same of something elsewhere.
    Http,
    /// Builds a set with a pattern that does not parse.
    Pattern,
    /// Never returns.
    Spin,
    /// Allocates until it cannot.
    EatMemory,
}

struct BadInit;

impl Plugin for BadInit {
    #[expect(clippy::panic, reason = "that is what this guest is for")]
    fn init(config: &str) -> Result<(Self, Interest), String> {
        let Config { mode, name } = edgeward_sdk::config::parse(config)?;
        let interest = Interest::none().request_head();
        match mode {
            Mode::Ok => Ok((BadInit, interest)),
            Mode::Error => Err("bad-init was told to fail".to_owned()),
            Mode::Panic => panic!("bad-init was told to panic"),
            Mode::Clock => Err(format!("the clock answered {}", clock::now_ms())),
            Mode::Entropy => Err(format!("entropy answered {:?}", entropy::hash_seed())),
            Mode::HashMap => {
                let table: HashMap<u32, u32> = (0..16).map(|key| (key, key)).collect();
                if table.len() == 16 {
                    Ok((BadInit, interest))
                } else {
                    Err("keys were lost".to_owned())
                }
            }
            Mode::Needs => Ok((BadInit, interest.needs(name))),
            Mode::Secret => match secret::get(&name) {
                Ok(_) => Err("the secret was given during init".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Mode::Kv => match kv::get(&name, "key") {
                Ok(_) => Err("the store answered during init".to_owned()),
                Err(error) => Err(error.reason().to_owned()),
            },
            Mode::Http => match http_client::send(&http_client::Request::get(name)) {
                Ok(_) => Err("a request was sent during init".to_owned()),
                Err(error) => Err(error.reason().to_owned()),
            },
            Mode::Pattern => RegexSet::new(["fine", "(broken"], false).map(|_| (BadInit, interest)),
            Mode::Spin => loop {
                std::hint::black_box(());
            },
            Mode::EatMemory => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
        }
    }
}

impl Transform for BadInit {}

edgeward_sdk::export!(BadInit: transform);
