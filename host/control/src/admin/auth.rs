//! The bearer token (RFC 6750 section 2.1).

use std::sync::Arc;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::ApiError;

/// The token that opens the API; keeps its hash only.
pub struct Token(digest::Digest);

impl Token {
    /// From its text.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(hash(token))
    }

    /// Compares in constant time; hashing first makes the lengths equal.
    fn accepts(&self, offered: &str) -> bool {
        verify_slices_are_equal(self.0.as_ref(), hash(offered).as_ref()).is_ok()
    }
}

fn hash(token: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, token.as_bytes())
}

/// Lets requests with the token through.
pub(super) async fn check(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    let offered = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let offered = offered.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    if offered.is_some_and(|offered| token.accepts(offered)) {
        return next.run(request).await;
    }
    let detail = match offered {
        None => {
            "send `authorization: Bearer <token>`; the token is in the gateway's token file (`admin.token-file`)"
        }
        Some(_) => "this is not the token of this gateway",
    };
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, detail).into_response();
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"edgeward\""),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Token::new("0123456789abcdef");
        assert!(token.accepts("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF"] {
            assert!(!token.accepts(wrong), "{wrong}");
        }
    }
}
