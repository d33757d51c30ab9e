//! The variables of `$context`: which there are, so that a name that is none is found when an API is deployed and not when nothing comes of it.

use super::mapping;

/// Variables that mappings can have a value from.
const SET: [&str; 34] = [
    "accountId",
    "apiId",
    "customDomain.basePathMatched",
    "deploymentId",
    "domainName",
    "domainPrefix",
    "error.message",
    "error.messageString",
    "error.responseType",
    "error.validationErrorString",
    "extendedRequestId",
    "httpMethod",
    "identity.accessKey",
    "identity.accountId",
    "identity.caller",
    "identity.sourceIp",
    "identity.user",
    "identity.userAgent",
    "identity.userArn",
    "isCanaryRequest",
    "operationName",
    "path",
    "protocol",
    "requestId",
    "requestTime",
    "requestTimeEpoch",
    "resourcePath",
    "routeKey",
    "stage",
    "status",
    // and those that have their value at the end of an exchange, in access logs
    "integrationErrorMessage",
    "integrationLatency",
    "integrationStatus",
    "wafResponseCode",
];
/// Variables of AWS that are empty here in mappings; access logs have some of them.
const EMPTY: [&str; 23] = [
    "awsEndpointRequestId",
    "awsEndpointRequestId2",
    "cipherSuite",
    "customDomain.routingRuleIdMatched",
    "dataProcessed",
    "identity.apiKey",
    "identity.apiKeyId",
    "identity.cognitoAuthenticationProvider",
    "identity.cognitoAuthenticationType",
    "identity.cognitoIdentityId",
    "identity.cognitoIdentityPoolId",
    "identity.principalOrgId",
    "identity.vpcId",
    "identity.vpceId",
    "resourceId",
    "responseLatency",
    "responseLength",
    "responseTransferMode",
    "responseType",
    "tlsVersion",
    "wafStatus",
    "webaclArn",
    "xrayTraceId",
];
/// What the names of variables begin with whose number has no end: what authorizers say, or AWS's log of phases, certificates and templates.
const FAMILIES: [&str; 8] = [
    "authenticate.",
    "authorize.",
    "authorizer.",
    "identity.clientCert.",
    "integration.",
    "requestOverride.",
    "responseOverride.",
    "waf.",
];

/// What is said under a name behind `authorizer.`: the fact of this name, or a member of one that is JSON, as `claims.sub` and `claims['custom:role']`. `jwt.claims.sub`
/// is the same, as AWS's events of HTTP APIs have it.
#[must_use]
pub fn said(name: &str, fact: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(whole) = fact(name) {
        return Some(whole);
    }
    let name = name.strip_prefix("jwt.").unwrap_or(name);
    let Some(end) = name.find(['.', '[']) else {
        return fact(name);
    };
    let (first, path) = name.split_at(end);
    let steps = mapping::steps(path.strip_prefix('.').unwrap_or(path))?;
    mapping::json_at(fact(first)?.as_bytes(), &steps)
}

/// Refuses what is no variable.
///
/// # Errors
/// There is none of this name; with the nearest ones.
pub(super) fn check(name: &str) -> Result<(), String> {
    let known = || SET.iter().chain(&EMPTY).copied();
    let mut families = FAMILIES.iter().filter_map(|family| name.strip_prefix(family));
    if known().any(|one| one == name) || families.any(|rest| !rest.is_empty()) {
        return Ok(());
    }
    let mut near: Vec<(usize, &str)> = known()
        .map(|one| {
            (
                strsim::damerau_levenshtein(&one.to_lowercase(), &name.to_lowercase()),
                one,
            )
        })
        .filter(|(distance, one)| *distance <= 1 + one.len() / 4)
        .collect();
    near.sort_unstable();
    let near: Vec<String> = near.iter().take(3).map(|(_, one)| format!("`{one}`")).collect();
    let what = format!("`$context` has no variable `{name}`");
    Err(if near.is_empty() {
        format!("{what}; docs/apis.md lists those that there are")
    } else {
        format!("{what}: did you mean {}?", near.join(" or "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_what_authorizers_say_have_names_too() {
        let fact = |name: &str| {
            match name {
            "claims" => Some(
                r#"{"sub": "ada", "custom:role": "dev", "https://a.example/x": {"y": [1, 2]}, "age": 7, "no": null}"#.to_owned(),
            ),
            "a.b" => Some("whole".to_owned()),
            "plan" => Some("gold".to_owned()),
            _ => None,
        }
        };
        for (name, value) in [
            ("claims.sub", Some("ada")),
            ("jwt.claims.sub", Some("ada")),
            ("claims['custom:role']", Some("dev")),
            ("claims.custom:role", Some("dev")),
            (r#"claims["https://a.example/x"].y"#, Some("[1,2]")),
            ("claims['https://a.example/x'].y[1]", Some("2")),
            ("claims.age", Some("7")),
            ("claims.missing", None),
            ("claims.sub.more", None),
            ("claims[", None),
            ("plan", Some("gold")),
            ("plan.x", None),
            ("a.b", Some("whole")),
            ("nothing", None),
            ("jwt.plan", Some("gold")),
        ] {
            assert_eq!(said(name, fact).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn names_that_are_no_variables_are_refused_with_those_that_are_near() {
        for name in [
            "requestId",
            "identity.sourceIp",
            "identity.userArn",
            "identity.clientCert.subjectDN",
            "authorizer.x-y",
            "authorizer.claims.sub",
        ] {
            check(name).unwrap();
        }
        for (name, told) in [
            ("requestID", "did you mean `requestId`"),
            ("identity.sourceIP", "`identity.sourceIp`"),
            ("stageName", "docs/apis.md"),
            ("authorizer.", "no variable `authorizer.`"),
            ("authorizer", "no variable `authorizer`"),
            ("", "no variable ``"),
        ] {
            let error = check(name).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        // no name twice
        let mut all: Vec<_> = SET.iter().chain(&EMPTY).collect();
        all.sort_unstable();
        assert!(all.is_sorted_by(|a, b| a < b));
    }
}
