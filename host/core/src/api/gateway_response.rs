//! The gateway's own answers by type, as Amazon API Gateway names them, and how an API changes them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reject::RejectCode;

/// How the gateway's answer of a type differs from the usual one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GatewayResponse {
    /// Status. Default: that of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Header fields: `gatewayresponse.header.x`, or just its name, from `'text'`, `context.x`, `method.request.header.y`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Bodies by media type, of which the request's `Accept` chooses: text with `$context.x`, `$stageVariables.x`, `$method.request.header.x`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
}

macro_rules! types {
    ($($variant:ident $name:literal $status:literal $message:literal $error:literal;)*) => {
        /// A type of answer that the gateway makes itself. Names, statuses and texts are AWS's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum GatewayResponseType {
            $(#[doc = $name] #[serde(rename = $name)] $variant,)*
        }

        impl GatewayResponseType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Usual status; 0 of the two that stand for others.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Usual `message`; empty for `null`.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }

            /// `x-amzn-ErrorType`.
            #[must_use]
            pub const fn error_type(self) -> &'static str {
                match self { $(Self::$variant => $error,)* }
            }
        }
    };
}

types! {
    AccessDenied "ACCESS_DENIED" 403 "User is not authorized to access this resource" "AccessDeniedException";
    ApiConfigurationError "API_CONFIGURATION_ERROR" 500 "Internal server error" "InternalServerErrorException";
    AuthorizerConfigurationError "AUTHORIZER_CONFIGURATION_ERROR" 500 "" "AuthorizerConfigurationException";
    AuthorizerFailure "AUTHORIZER_FAILURE" 500 "" "AuthorizerFailureException";
    BadRequestBody "BAD_REQUEST_BODY" 400 "Invalid request body" "BadRequestException";
    BadRequestParameters "BAD_REQUEST_PARAMETERS" 400 "Bad Request" "BadRequestException";
    Default4xx "DEFAULT_4XX" 0 "Bad Request" "BadRequestException";
    Default5xx "DEFAULT_5XX" 0 "Internal server error" "InternalServerErrorException";
    ExpiredToken "EXPIRED_TOKEN" 403 "The security token included in the request is expired" "ExpiredTokenException";
    IntegrationFailure "INTEGRATION_FAILURE" 504 "Network error communicating with endpoint" "InternalServerErrorException";
    IntegrationTimeout "INTEGRATION_TIMEOUT" 504 "Endpoint request timed out" "InternalServerErrorException";
    InvalidApiKey "INVALID_API_KEY" 403 "Forbidden" "ForbiddenException";
    InvalidSignature "INVALID_SIGNATURE" 403 "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details." "InvalidSignatureException";
    MissingAuthenticationToken "MISSING_AUTHENTICATION_TOKEN" 403 "Missing Authentication Token" "MissingAuthenticationTokenException";
    QuotaExceeded "QUOTA_EXCEEDED" 429 "Limit Exceeded" "LimitExceededException";
    RequestTooLarge "REQUEST_TOO_LARGE" 413 "Request Too Long" "BadRequestException";
    ResourceNotFound "RESOURCE_NOT_FOUND" 404 "Not Found" "NotFoundException";
    Throttled "THROTTLED" 429 "Too Many Requests" "TooManyRequestsException";
    Unauthorized "UNAUTHORIZED" 401 "Unauthorized" "UnauthorizedException";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 415 "Unsupported Media Type" "BadRequestException";
    WafFiltered "WAF_FILTERED" 403 "Forbidden" "ForbiddenException";
}

impl GatewayResponseType {
    /// The type of a refusal.
    #[must_use]
    pub fn of(code: RejectCode) -> Self {
        match code {
            RejectCode::RouteNotFound
            | RejectCode::MethodNotAllowed
            | RejectCode::MissingAuthenticationToken => Self::MissingAuthenticationToken,
            RejectCode::InvalidSignature => Self::InvalidSignature,
            RejectCode::ExpiredToken => Self::ExpiredToken,
            RejectCode::Unauthorized => Self::Unauthorized,
            RejectCode::AccessDenied | RejectCode::PolicyDenied => Self::AccessDenied,
            RejectCode::WafFiltered => Self::WafFiltered,
            RejectCode::AuthorizerFailure => Self::AuthorizerFailure,
            RejectCode::AuthorizerConfiguration => Self::AuthorizerConfigurationError,
            RejectCode::RequestTooLarge => Self::RequestTooLarge,
            RejectCode::BadRequestParameters => Self::BadRequestParameters,
            RejectCode::BadRequestBody => Self::BadRequestBody,
            RejectCode::UnsupportedMediaType => Self::UnsupportedMediaType,
            RejectCode::ApiConfigurationError
            | RejectCode::PluginFailure
            | RejectCode::PluginInvalidAnswer
            | RejectCode::Internal => Self::ApiConfigurationError,
            RejectCode::UpstreamTimeout
            | RejectCode::UpstreamConnectTimeout
            | RejectCode::PluginTimeout
            | RejectCode::DeadlineExceeded => Self::IntegrationTimeout,
            RejectCode::UpstreamFailure
            | RejectCode::UpstreamConnect
            | RejectCode::UpstreamTls
            | RejectCode::NoHealthyUpstream
            | RejectCode::ResponseTooLarge => Self::IntegrationFailure,
            RejectCode::BadRequest
            | RejectCode::Misdirected
            | RejectCode::RequestTimeout
            | RejectCode::UriTooLong
            | RejectCode::HeadTooLarge
            | RejectCode::UpgradeRequired => Self::Default4xx,
            RejectCode::NotImplemented | RejectCode::Overloaded => Self::Default5xx,
        }
    }

    /// The type that stands for this one where an API does not say anything of it.
    #[must_use]
    pub fn fallback(self, status: u16) -> Self {
        let status = if self.status() == 0 { status } else { self.status() };
        if status < 500 {
            Self::Default4xx
        } else {
            Self::Default5xx
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_the_21_types_of_aws_and_each_refusal_has_one() {
        assert_eq!(GatewayResponseType::ALL.len(), 21);
        for code in RejectCode::ALL {
            let kind = GatewayResponseType::of(*code);
            // a type with another class would change what clients and metrics make of it
            if kind.status() != 0 {
                let server = kind.status() >= 500;
                assert_eq!(server, code.status() >= 500, "{}", code.name());
            }
        }
        let name = serde_json::to_value(GatewayResponseType::Default4xx).unwrap();
        assert_eq!(name, "DEFAULT_4XX");
    }
}
