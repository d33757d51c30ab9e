//! What the function is told, in the forms of Amazon API Gateway ("Input to an API Gateway Lambda authorizer", "Control access to HTTP APIs with AWS
//! Lambda authorizers").

use serde_json::{Map, Value, json};

use crate::{
    certificate::client_cert,
    config::{ApiKind, HeaderNames, PayloadFormat},
    seen::{Seen, lossy},
    settings::Settings,
};

/// Fields that concern the connection, and are nothing that a function is told (RFC 9110 section 7.6.1).
const UNSEEN: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Members of `requestContext.identity` that are there in any case.
const IDENTITY: [&str; 13] = [
    "accessKey",
    "accountId",
    "caller",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "sourceIp",
    "user",
    "userAgent",
    "userArn",
    "clientCert",
];

/// `arn:{partition}:execute-api:{region}:{account}:{api}/{stage}/{VERB}/{path}`: the one that the gateway holds policies against, where it says it.
#[must_use]
pub fn method_arn(settings: &Settings, seen: &Seen) -> String {
    if let Some(arn) = seen.variable("methodArn") {
        return arn;
    }
    let said = |name: &str, own: &str| seen.variable(name).unwrap_or_else(|| own.to_owned());
    let partition = said("partition", &settings.partition);
    let (region, method) = (said("region", &settings.region), &seen.method);
    let [account, api, stage] = ["accountId", "apiId", "stage"].map(|name| seen.text(name));
    let path = seen.path.strip_prefix('/').unwrap_or(&seen.path);
    format!("arn:{partition}:execute-api:{region}:{account}:{api}/{stage}/{method}/{path}")
}

/// Of a `TOKEN` authorizer.
#[must_use]
pub fn token(settings: &Settings, seen: &Seen, token: &str) -> Value {
    json!({"type": "TOKEN", "authorizationToken": token, "methodArn": method_arn(settings, seen)})
}

/// Of a `REQUEST` authorizer. `identity` are the values of the identity sources.
#[must_use]
pub fn request(settings: &Settings, seen: &Seen, identity: &[String]) -> Value {
    match settings.payload_format {
        PayloadFormat::V1 => version_1(settings, seen, identity),
        PayloadFormat::V2 => version_2(settings, seen, identity),
    }
}

fn version_1(settings: &Settings, seen: &Seen, identity: &[String]) -> Value {
    let fields = Many::of(fields(seen).map(|(name, value)| (written(settings.header_names, &name), value)));
    let query = Many::of(seen.query_params.iter().cloned());
    let is_http = settings.api == ApiKind::Http;
    // under a domain with a base path, and in HTTP APIs, the path is told as it was sent
    let whole = is_http || seen.variable("customDomain.basePathMatched").is_some();
    let path = if whole {
        seen.text("path")
    } else {
        seen.path.clone()
    };
    let mut event = json!({
        "type": "REQUEST",
        "methodArn": method_arn(settings, seen),
        "resource": seen.text("resourcePath"),
        "path": path,
        "httpMethod": seen.method,
        "headers": fields.last(),
        "multiValueHeaders": fields.all(),
        "queryStringParameters": query.last(),
        "multiValueQueryStringParameters": query.all(),
        "pathParameters": pairs(&seen.path_params),
        "stageVariables": seen.stage_variables,
        "requestContext": context_1(seen),
    });
    if let (true, Some(members)) = (is_http, event.as_object_mut()) {
        let identity = identity.join(",");
        members.insert("version".into(), "1.0".into());
        members.insert("identitySource".into(), identity.clone().into());
        members.insert("authorizationToken".into(), identity.into());
    }
    event
}

fn context_1(seen: &Seen) -> Value {
    let mut identity: Map<String, Value> = IDENTITY
        .iter()
        .map(|name| ((*name).to_owned(), Value::Null))
        .collect();
    let known = seen.context.get("identity").and_then(Value::as_object);
    identity.extend(known.cloned().into_iter().flatten());
    if identity.get("clientCert").is_none_or(Value::is_null) {
        let certificate = seen.certificate.as_deref().and_then(client_cert);
        match certificate {
            Some(certificate) => drop(identity.insert("clientCert".into(), certificate)),
            None => drop(identity.remove("clientCert")),
        }
    }
    let mut context = json!({"resourceId": seen.context.get("resourceId"), "identity": identity});
    let names = [
        "accountId",
        "apiId",
        "deploymentId",
        "domainName",
        "domainPrefix",
        "extendedRequestId",
        "httpMethod",
        "operationName",
        "path",
        "protocol",
        "requestId",
        "requestTime",
        "resourcePath",
        "stage",
    ];
    for name in names {
        if let Some(value) = seen.variable(name) {
            context[name] = value.into();
        }
    }
    context["requestTimeEpoch"] = epoch(seen);
    if let Some(canary) = seen.variable("isCanaryRequest") {
        context["isCanaryRequest"] = (canary == "true").into();
    }
    context
}

fn version_2(settings: &Settings, seen: &Seen, identity: &[String]) -> Value {
    let headers = Many::of(fields(seen).filter(|(name, _)| name != "cookie"));
    let cookies: Vec<String> = seen
        .header_values("cookie")
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .map(|pair| lossy(pair.trim_ascii()))
        .filter(|pair| !pair.is_empty())
        .collect();
    let mut event = json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": method_arn(settings, seen),
        "identitySource": identity,
        "routeKey": seen.text("routeKey"),
        "rawPath": seen.text("path"),
        "rawQueryString": seen.query,
        "headers": headers.joined(),
        "requestContext": context_2(seen),
    });
    // what is not there is left out
    let optional = [
        ("cookies", json!(cookies), cookies.is_empty()),
        (
            "queryStringParameters",
            Many::of(seen.query_params.iter().cloned()).joined(),
            seen.query_params.is_empty(),
        ),
        (
            "pathParameters",
            pairs(&seen.path_params),
            seen.path_params.is_empty(),
        ),
        (
            "stageVariables",
            json!(seen.stage_variables),
            seen.stage_variables.is_empty(),
        ),
    ];
    for (name, value, is_empty) in optional {
        if !is_empty {
            event[name] = value;
        }
    }
    event
}

fn context_2(seen: &Seen) -> Value {
    let told = seen
        .context
        .get("identity")
        .and_then(|identity| identity.get("clientCert"));
    let certificate = told
        .cloned()
        .or_else(|| seen.certificate.as_deref().and_then(client_cert));
    let mut context = json!({
        "http": {
            "method": seen.method,
            "path": seen.text("path"),
            "protocol": seen.text("protocol"),
            "sourceIp": seen.text("identity.sourceIp"),
            "userAgent": seen.text("identity.userAgent"),
        },
        "time": seen.text("requestTime"),
        "timeEpoch": epoch(seen),
    });
    for name in [
        "accountId",
        "apiId",
        "domainName",
        "domainPrefix",
        "requestId",
        "routeKey",
        "stage",
    ] {
        context[name] = seen.text(name).into();
    }
    if let Some(certificate) = certificate {
        context["authentication"] = json!({"clientCert": certificate});
    }
    context
}

fn epoch(seen: &Seen) -> Value {
    let epoch = seen.text("requestTimeEpoch").parse::<u64>();
    epoch.map_or(Value::Null, Value::from)
}

/// The header fields that a function is told, with those that a gateway adds.
fn fields(seen: &Seen) -> impl Iterator<Item = (String, String)> {
    let added = |name: &str| ["x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"].contains(&name);
    let own = seen
        .headers
        .iter()
        .filter(move |(name, _)| !UNSEEN.contains(&name.as_str()) && !added(name))
        .map(|(name, value)| (name.clone(), lossy(value)));
    // the gateway has put the client's address there already
    let mut hops: Vec<String> = seen.header_values("x-forwarded-for").map(lossy).collect();
    if hops.is_empty() {
        hops.push(seen.client.clone());
    }
    let port = seen.authority.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.unwrap_or(if seen.scheme == "https" { "443" } else { "80" });
    own.chain([
        ("x-forwarded-for".to_owned(), hops.join(", ")),
        ("x-forwarded-port".to_owned(), port.to_owned()),
        ("x-forwarded-proto".to_owned(), seen.scheme.clone()),
    ])
}

/// `x-api-key` as `X-Api-Key`: HTTP/2 has lower-case names only, and functions for REST APIs compare exactly.
fn written(names: HeaderNames, name: &str) -> String {
    if names == HeaderNames::Lower {
        return name.to_owned();
    }
    let mut begins = true;
    name.chars()
        .map(|letter| {
            let letter = if begins {
                letter.to_ascii_uppercase()
            } else {
                letter
            };
            begins = letter == '-';
            letter
        })
        .collect()
}

fn pairs(list: &[(String, String)]) -> Value {
    list.iter()
        .map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect::<Map<String, Value>>()
        .into()
}

/// Values by name, in order.
struct Many(Vec<(String, Vec<String>)>);

impl Many {
    fn of(list: impl Iterator<Item = (String, String)>) -> Self {
        let mut sorted: Vec<(String, String)> = list.collect();
        // stable: the values of a name stay in order
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut many: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in sorted {
            match many.last_mut() {
                Some((last, values)) if *last == name => values.push(value),
                _ => many.push((name, vec![value])),
            }
        }
        Self(many)
    }

    fn map(&self, value: impl Fn(&[String]) -> Value) -> Value {
        let members = self.0.iter();
        members
            .map(|(name, values)| (name.clone(), value(values)))
            .collect::<Map<String, Value>>()
            .into()
    }

    fn last(&self) -> Value {
        self.map(|values| json!(values.last()))
    }

    fn all(&self) -> Value {
        self.map(|values| json!(values))
    }

    fn joined(&self) -> Value {
        self.map(|values| values.join(",").into())
    }
}
