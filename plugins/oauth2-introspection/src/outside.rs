//! What the logic needs from outside, as one seam: the host in a gateway, a simulation in tests.

/// A question to the authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Address.
    pub url: String,
    /// `Authorization`, when there is one.
    pub authorization: Option<String>,
    /// The form.
    pub form: String,
    /// Time limit in milliseconds.
    pub timeout_ms: u32,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `Content-Type`, empty when there is none.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The world outside the plugin. Error texts name what was asked for; they go to the log, never to a caller.
pub trait Outside {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
    /// A granted secret.
    ///
    /// # Errors
    /// It is not granted or has no value.
    fn secret(&self, name: &str) -> Result<Vec<u8>, String>;
    /// POSTs a form.
    ///
    /// # Errors
    /// There was no answer.
    fn post(&self, post: &Post) -> Result<Reply, String>;
    /// SHA-256.
    fn sha256(&self, bytes: &[u8]) -> Vec<u8>;
}
