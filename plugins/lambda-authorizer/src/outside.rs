//! What the logic needs from outside, as one seam: the host in a gateway, a simulation in tests.

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Address.
    pub url: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The event, JSON.
    pub body: Vec<u8>,
    /// Time limit in milliseconds.
    pub timeout_ms: u32,
}

/// What a function answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `X-Amz-Function-Error`: the function was called and failed.
    pub function_error: Option<String>,
    /// `X-Amzn-ErrorType`: the function could not be called.
    pub error_type: Option<String>,
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
    /// POSTs to a function.
    ///
    /// # Errors
    /// There was no answer.
    fn post(&self, call: &Call) -> Result<Reply, String>;
    /// True when a token looks as configured.
    fn is_valid(&self, token: &str) -> bool;
}
