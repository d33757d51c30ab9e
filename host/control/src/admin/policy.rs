//! The simulator of policies: a question with its policies in it, and the answer with every reason.

use axum::{Json, body::Bytes};
use edgeward_core::policy::explain::{Explanation, Question};

use super::{ApiError, apis};
use crate::{clock::now_ms, error::ControlError};

/// Decides whether a caller may do something to a method of an API, by policies that the question brings along, and says why: which statement decides, and of each statement what does
/// not match. Nothing of the gateway is looked at or changed, and nothing is noted in the audit log.
///
/// Members: `arn` of the method; `policy` of the caller, `resource-policy` of the API, or both; and as needed `kind` (`none`, `lambda`, `cognito`, `iam`, `iam-same-account`,
/// `iam-cross-account`), `action`, `principal`, `account`, `context` (values by condition key).
#[utoipa::path(
    post, path = "/v1/policy/explain", tag = "policies", security(("token" = [])), request_body = Value,
    responses((status = 200, body = Value), (status = 422, body = ApiError, description = "the question or a policy is not valid: every reason, those of policies with their place as a JSON pointer")),
)]
pub(super) async fn explain(bytes: Bytes) -> Result<Json<Explanation>, ApiError> {
    let question: Question = apis::body(&bytes)?;
    let answer = question.answer(now_ms().div_euclid(1000));
    Ok(Json(answer.map_err(ControlError::Invalid)?))
}
