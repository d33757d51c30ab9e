//! The capabilities of the fake host: same modules and signatures as the generated imports.

#![expect(
    clippy::panic,
    reason = "refusing a call during init is a trap in the gateway and a panic in a test"
)]

pub mod crypto;
mod exchange;
pub mod head;
pub mod kv;
pub mod matcher;

use crate::stage::{self, Stage};

/// Stops a call that the gateway would trap.
#[track_caller]
fn refuse_in_init(what: &str) {
    assert!(stage::current() != Stage::Init, "{what} is refused during init");
}

pub mod clock {
    use crate::testing::host;

    #[track_caller]
    pub fn now_ms() -> u64 {
        super::refuse_in_init("the clock");
        host::current().borrow().now_ms
    }
}

pub mod entropy {
    use crate::testing::host;

    #[track_caller]
    pub fn hash_seed() -> (u64, u64) {
        super::refuse_in_init("entropy");
        host::current().borrow().hash_seed
    }
}

pub mod log {
    use crate::log::Level;
    use crate::testing::host;

    pub fn log(level: Level, message: &str) {
        if enabled(level) {
            host::current().borrow_mut().log.push((level, message.to_owned()));
        }
    }

    pub fn enabled(level: Level) -> bool {
        level >= host::current().borrow().level
    }

    pub fn panicked(message: &str) {
        log(Level::Error, message);
    }
}

pub mod metrics {
    use crate::testing::host;

    pub fn add(name: &str, value: u64) {
        *host::current()
            .borrow_mut()
            .counters
            .entry(name.to_owned())
            .or_default() += value;
    }

    pub fn record_value(name: &str, value: f64) {
        host::current()
            .borrow_mut()
            .observations
            .entry(name.to_owned())
            .or_default()
            .push(value);
    }
}

pub mod secret {
    use crate::secret::Error;
    use crate::stage::{self, Stage};
    use crate::testing::host;

    pub fn get(name: &str) -> Result<Vec<u8>, Error> {
        if stage::current() == Stage::Init {
            return Err(Error::Unavailable(
                "secrets are not available during init".to_owned(),
            ));
        }
        match host::current().borrow().secrets.get(name) {
            None => Err(Error::NotGranted(format!("secret {name} is not granted"))),
            Some(None) => Err(Error::Missing(format!("secret {name} has no value"))),
            Some(Some(value)) => Ok(value.clone()),
        }
    }
}

pub mod http {
    use crate::http_client::{Error, Request, Response};
    use crate::stage::{self, Stage};
    use crate::testing::host;

    pub fn send(request: &Request) -> Result<Response, Error> {
        if stage::current() == Stage::Init {
            return Err(Error::Unavailable("http is not available during init".to_owned()));
        }
        let url: http::Uri = request
            .url
            .parse()
            .map_err(|error| Error::InvalidRequest(format!("url {}: {error}", request.url)))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(Error::InvalidRequest(format!(
                "url {}: scheme must be http or https",
                request.url
            )));
        }
        let state = host::current();
        state.borrow_mut().requests.push(request.clone());
        // the handler may look into the host, so the state is not borrowed while it runs
        let handler = state.borrow().http.clone();
        match handler {
            Some(answer) => answer(request),
            None => Err(Error::Denied(format!("{} is not granted", request.url))),
        }
    }
}
