//! The world outside, for tests: a scripted function.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use serde_json::Value;

use crate::outside::{Call, Outside, Reply};

pub(crate) struct Fake {
    pub(crate) now_ms: u64,
    pub(crate) reply: RefCell<Result<Reply, String>>,
    pub(crate) calls: RefCell<Vec<Call>>,
    pub(crate) secrets: RefCell<HashMap<String, Vec<u8>>>,
    pub(crate) valid: Cell<bool>,
}

impl Fake {
    /// A function that answers so.
    pub(crate) fn answering(body: &Value) -> Self {
        Self::replying(Ok(Reply {
            status: 200,
            body: body.to_string().into_bytes(),
            ..Reply::default()
        }))
    }

    pub(crate) fn replying(reply: Result<Reply, String>) -> Self {
        Self {
            now_ms: 1_700_000_000_000,
            reply: RefCell::new(reply),
            calls: RefCell::default(),
            secrets: RefCell::default(),
            valid: Cell::new(true),
        }
    }

    /// The event of the last call.
    pub(crate) fn event(&self) -> Value {
        let calls = self.calls.borrow();
        serde_json::from_slice(&calls.last().unwrap().body).unwrap()
    }
}

impl Outside for Fake {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        let secrets = self.secrets.borrow();
        let secret = secrets.get(name).cloned();
        secret.ok_or_else(|| format!("secret {name:?} is not granted"))
    }

    fn post(&self, call: &Call) -> Result<Reply, String> {
        self.calls.borrow_mut().push(call.clone());
        self.reply.borrow().clone()
    }

    fn is_valid(&self, _token: &str) -> bool {
        self.valid.get()
    }
}
