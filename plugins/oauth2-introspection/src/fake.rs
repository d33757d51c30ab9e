//! The world outside, for tests: a scripted authorization server.

use std::{cell::RefCell, collections::HashMap};

use serde_json::Value;

use crate::outside::{Outside, Post, Reply};

pub(crate) struct Fake {
    pub(crate) now_ms: u64,
    pub(crate) reply: Result<Reply, String>,
    pub(crate) posts: RefCell<Vec<Post>>,
    pub(crate) secrets: HashMap<String, Vec<u8>>,
}

impl Fake {
    pub(crate) fn replying(now: u64, reply: Result<Reply, String>) -> Self {
        Self {
            now_ms: now * 1000,
            reply,
            posts: RefCell::default(),
            secrets: HashMap::from([("s".to_owned(), b"p&ss w\n".to_vec())]),
        }
    }

    /// A server that answers so.
    pub(crate) fn answering(now: u64, body: &Value) -> Self {
        let reply = Reply {
            status: 200,
            content_type: "application/json".into(),
            body: body.to_string().into_bytes(),
        };
        Self::replying(now, Ok(reply))
    }
}

impl Outside for Fake {
    fn now_ms(&self) -> u64 {
        self.now_ms
    }

    fn secret(&self, name: &str) -> Result<Vec<u8>, String> {
        let secret = self.secrets.get(name).cloned();
        secret.ok_or_else(|| format!("secret {name:?} is not granted"))
    }

    fn post(&self, post: &Post) -> Result<Reply, String> {
        self.posts.borrow_mut().push(post.clone());
        self.reply.clone()
    }

    fn sha256(&self, bytes: &[u8]) -> Vec<u8> {
        // any function of the bytes does
        bytes.iter().rev().copied().collect()
    }
}
