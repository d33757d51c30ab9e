//! The decision: every check in the order in which AWS makes it.

use edgeward_sigv4::{
    Algorithm, EMPTY_SHA256, Form, HostCrypto, Mac as _, Payload, Presented, Request, TERMINATOR, Timestamp,
    UNSIGNED_PAYLOAD, private_key, region_set_has, split_target, to_hex,
};

use crate::{
    credentials::{self, Known},
    ecdsa,
    identity::Identity,
    outside::{Incoming, Outside},
    refusal::Refusal,
    settings::Settings,
};

/// A caller whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Access key id.
    pub access_key_id: String,
    /// Whose key it is.
    pub identity: Identity,
}

/// Checks a request.
///
/// # Errors
/// Why the caller is refused.
pub fn check(
    settings: &Settings,
    incoming: &impl Incoming,
    outside: &impl Outside,
) -> Result<Accepted, Refusal> {
    let (method, target, host) = (incoming.method(), incoming.raw_target(), incoming.raw_authority());
    let block = incoming.headers();
    let headers: Vec<_> = block.iter().collect();
    let (path, query) = split_target(&target);
    let request = Request {
        method: &method,
        path,
        query,
        host: &host,
        headers: &headers,
    };
    let presented = read(settings, &request)?;
    let now = Timestamp(outside.now_ms() / 1000);
    let until = check_time(settings, &presented, now)?;
    check_scope(settings, &presented)?;
    check_headers(settings, &presented, &request)?;
    check_connection(&presented, &request)?;
    let payload_hash = payload_hash(settings, &presented, incoming)?;
    let known = find(settings, &presented, now, outside)?;
    let string = check_signature(settings, &presented, &request, &payload_hash, &known)?;
    check_token(&presented, &known, outside)?;
    check_replay(settings, &presented, &string, until, outside)?;
    Ok(Accepted {
        access_key_id: presented.credential.access_key_id,
        identity: known.identity,
    })
}

fn read(settings: &Settings, request: &Request<'_>) -> Result<Presented, Refusal> {
    let presented = Presented::read(request).map_err(|error| {
        let authorization = request.values("authorization").next().unwrap_or_default();
        Refusal::malformed(&error, authorization)
    })?;
    let Some(presented) = presented else {
        return Err(Refusal::no_credentials("the request is not signed"));
    };
    if !settings.forms.contains(&presented.form) {
        let place = match presented.form {
            Form::Header => "header",
            Form::Query => "query",
        };
        return Err(Refusal::no_credentials(format!(
            "the request is signed in the {place}, which is not in `forms`"
        )));
    }
    if !settings.algorithms.contains(&presented.algorithm) {
        let accepted: Vec<&str> = settings.algorithms.iter().map(|one| one.name()).collect();
        return Err(Refusal::algorithm(presented.algorithm.name(), &accepted));
    }
    Ok(presented)
}

/// The time up to which the request is good.
fn check_time(settings: &Settings, presented: &Presented, now: Timestamp) -> Result<Timestamp, Refusal> {
    let (time, skew) = (presented.time, settings.skew);
    let id = &presented.credential.access_key_id;
    if time > now.plus(skew) {
        let seconds = time.0.saturating_sub(now.0);
        return Err(Refusal::time(
            format!(
                "Signature not yet current: {} is still later than {} ({} + {})",
                time.basic(),
                now.plus(skew).basic(),
                now.basic(),
                minutes(skew)
            ),
            "the signature is not valid yet",
            format!("key {id}: signed {seconds} s in the future, clock-skew-seconds is {skew}"),
        ));
    }
    let Some(expires) = presented.expires else {
        if time < now.minus(skew) {
            let seconds = now.0.saturating_sub(time.0);
            return Err(Refusal::time(
                format!(
                    "Signature expired: {} is now earlier than {} ({} - {})",
                    time.basic(),
                    now.minus(skew).basic(),
                    now.basic(),
                    minutes(skew)
                ),
                "the signature has expired",
                format!("key {id}: signed {seconds} s ago, clock-skew-seconds is {skew}"),
            ));
        }
        return Ok(time.plus(skew));
    };
    let most = settings.max_expires;
    if expires > most {
        return Err(Refusal::time(
            format!("X-Amz-Expires must be at most {most} seconds, got '{expires}'."),
            "the signature lives too long",
            format!("key {id}: X-Amz-Expires is {expires}, max-expires-seconds is {most}"),
        ));
    }
    let end = time.plus(expires);
    if now > end {
        let seconds = now.0.saturating_sub(end.0);
        return Err(Refusal::time(
            format!(
                "Signature expired: {} is now earlier than {} ({} + {expires} sec.)",
                end.basic(),
                now.basic(),
                time.basic()
            ),
            "the signature has expired",
            format!("key {id}: the presigned request expired {seconds} s ago"),
        ));
    }
    Ok(end)
}

/// A number of seconds as AWS writes it.
fn minutes(seconds: u64) -> String {
    if seconds.is_multiple_of(60) {
        format!("{} min.", seconds / 60)
    } else {
        format!("{seconds} sec.")
    }
}

fn check_scope(settings: &Settings, presented: &Presented) -> Result<(), Refusal> {
    let credential = &presented.credential;
    let region_fits = |region: &String| match (&credential.region, &presented.region_set) {
        (Some(given), _) => given == region,
        (None, Some(set)) => region_set_has(set, region),
        (None, None) => false,
    };
    let mut wrong = Vec::new();
    if !settings.regions.iter().any(region_fits) {
        let given = credential.region.as_ref().or(presented.region_set.as_ref());
        let given = shown(given.map_or("", String::as_str));
        wrong.push(format!(
            "Credential should be scoped to a valid region, not '{given}'."
        ));
    }
    if credential.service != settings.service {
        wrong.push(format!(
            "Credential should be scoped to correct service: '{}'.",
            settings.service
        ));
    }
    if credential.terminator != TERMINATOR {
        let given = shown(&credential.terminator);
        wrong.push(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{given}'."
        ));
    }
    let date = presented.time.date();
    if credential.date != date {
        let (given, time) = (shown(&credential.date), presented.time.basic());
        wrong.push(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{given}' != '{date}', from '{time}'."
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Refusal::scope(wrong.join(" "), &credential.access_key_id))
}

fn check_headers(settings: &Settings, presented: &Presented, request: &Request<'_>) -> Result<(), Refusal> {
    let tolerated = |name: &str| settings.unsigned_headers.iter().any(|one| one == name);
    let names: Vec<String> = presented
        .unsigned_amz_headers(request)
        .filter(|name| !tolerated(name))
        .take(8)
        .map(shown)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let names = names.join(", ");
    Err(Refusal::unsigned(
        format!("There were headers present in the request which were not signed: {names}"),
        format!(
            "key {}: header {names} is not signed; if a proxy adds it, name it in `unsigned-headers`",
            presented.credential.access_key_id
        ),
    ))
}

/// Refuses signed fields that `Connection` (RFC 9110 section 7.6.1) takes out of what goes on: whoever adds it would change what was signed.
fn check_connection(presented: &Presented, request: &Request<'_>) -> Result<(), Refusal> {
    let mut named = request
        .values("connection")
        .flat_map(|value| value.split(|byte| *byte == b','));
    let is_signed = |option: &[u8]| {
        let is_it = |name: &String| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        presented.signed_headers.iter().any(is_it)
    };
    match named.find(|option| is_signed(option)) {
        None => Ok(()),
        Some(option) => {
            let name = shown(&String::from_utf8_lossy(option.trim_ascii()));
            let text = format!("The signed header {name} is named in Connection and would not go on");
            let detail = format!("key {}: {text}", presented.credential.access_key_id);
            Err(Refusal::unsigned(text, detail))
        }
    }
}

fn payload_hash(
    settings: &Settings,
    presented: &Presented,
    incoming: &impl Incoming,
) -> Result<String, Refusal> {
    let id = &presented.credential.access_key_id;
    if presented.payload == Payload::Unsigned {
        if settings.unsigned_payload {
            return Ok(UNSIGNED_PAYLOAD.to_owned());
        }
        return Err(Refusal::unsigned(
            format!("The payload must be signed: '{UNSIGNED_PAYLOAD}' is not supported."),
            format!("key {id}: {UNSIGNED_PAYLOAD}, and unsigned-payload is false"),
        ));
    }
    let body = incoming
        .body_sha256()
        .map_or_else(|| EMPTY_SHA256.to_owned(), |hash| to_hex(&hash));
    match &presented.payload {
        Payload::Sha256(said) if *said != body => Err(Refusal::unsigned(
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            format!("key {id}: x-amz-content-sha256 is {said}, the body has {body}"),
        )),
        _ => Ok(body),
    }
}

fn find(
    settings: &Settings,
    presented: &Presented,
    now: Timestamp,
    outside: &impl Outside,
) -> Result<Known, Refusal> {
    let id = &presented.credential.access_key_id;
    let known = credentials::find(settings, id, outside).map_err(Refusal::unavailable)?;
    let known = known.ok_or_else(|| Refusal::token(format!("nobody knows key {id}")))?;
    if let Some(end) = known.expires.filter(|end| *end <= now) {
        return Err(Refusal::expired_token(format!(
            "key {id} expired at {}",
            end.basic()
        )));
    }
    Ok(known)
}

/// The string to sign that the signature is of.
fn check_signature(
    settings: &Settings,
    presented: &Presented,
    request: &Request<'_>,
    payload_hash: &str,
    known: &Known,
) -> Result<String, Refusal> {
    let id = &presented.credential.access_key_id;
    let public = match (presented.algorithm, &known.secret) {
        (Algorithm::HmacSha256, Some(_)) => None,
        (Algorithm::HmacSha256, None) => {
            return Err(Refusal::token(format!(
                "key {id} has no secret, only a public key: it cannot verify {}",
                presented.algorithm
            )));
        }
        (Algorithm::EcdsaP256Sha256, _) => Some(public_key(id, known).map_err(Refusal::unavailable)?),
    };
    let holds = |string: &str| match (&public, &known.secret) {
        (Some(key), _) => presented.is_signed_with_key(key, string, &HostCrypto),
        (None, Some(secret)) => Ok(presented.is_signed_with_secret(secret, string, &HostCrypto)),
        (None, None) => Ok(false),
    };
    let candidates = presented.canonical_requests(request, payload_hash, settings.style);
    let mut first = None;
    for canonical in candidates {
        let string = presented.string_to_sign(&canonical, &HostCrypto);
        if holds(&string).map_err(Refusal::unavailable)? {
            return Ok(string);
        }
        first.get_or_insert((canonical, string));
    }
    let (canonical, string) = first.unwrap_or_default();
    let detail = mismatch_detail(presented, request, payload_hash, &string);
    Err(Refusal::mismatch(&canonical, &string, detail))
}

fn public_key(id: &str, known: &Known) -> Result<Vec<u8>, String> {
    if let Some(key) = &known.public_key {
        return Ok(key.clone());
    }
    let derived = known
        .secret
        .as_ref()
        .and_then(|secret| private_key(id, secret, &HostCrypto));
    derived
        .and_then(|private| ecdsa::public_key(&private))
        .ok_or_else(|| format!("key {id}: no public key can be made of its secret"))
}

/// What an operator needs to find out with a client which part differs; no header values, which may be secrets of others.
fn mismatch_detail(presented: &Presented, request: &Request<'_>, payload_hash: &str, string: &str) -> String {
    let absent: Vec<String> = presented.absent_headers(request).take(8).map(shown).collect();
    let absent = if absent.is_empty() {
        String::new()
    } else {
        format!("; signed, but not in the request: {}", absent.join(", "))
    };
    let hash = string.rsplit('\n').next().unwrap_or_default();
    format!(
        "key {}: the signature does not match{absent}; compare with the client: {} of {} {:?} for host {:?}, headers {}, payload {payload_hash}, \
         canonical request {hash}",
        presented.credential.access_key_id,
        presented.algorithm,
        shown(request.method),
        shown(request.path),
        shown(request.host),
        shown(&presented.signed_headers.join(";")),
    )
}

fn check_token(presented: &Presented, known: &Known, outside: &impl Outside) -> Result<(), Refusal> {
    let id = &presented.credential.access_key_id;
    match (&known.session_token, &presented.session_token) {
        (None, None) => Ok(()),
        (Some(wanted), Some(given)) if outside.same(wanted.as_bytes(), given.as_bytes()) => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::token(format!(
            "key {id}: the session token is another one"
        ))),
        (Some(_), None) => Err(Refusal::token(format!("key {id}: the session token is missing"))),
        (None, Some(_)) => Err(Refusal::token(format!(
            "key {id} has no session token, but one came along"
        ))),
    }
}

/// Remembers what was signed and not the signature: of one text there are many signatures of version 4a, and anybody can make a second one
/// from a first.
fn check_replay(
    settings: &Settings,
    presented: &Presented,
    string: &str,
    until: Timestamp,
    outside: &impl Outside,
) -> Result<(), Refusal> {
    let Some(store) = &settings.replay_store else {
        return Ok(());
    };
    let id = &presented.credential.access_key_id;
    let name = format!(
        "sigv4-seen:{}",
        to_hex(&HostCrypto.sha256(format!("{id}\n{string}").as_bytes()))
    );
    // `until` itself is still good
    let ttl_ms = until
        .plus(1)
        .0
        .saturating_mul(1000)
        .saturating_sub(outside.now_ms());
    match outside.write_if_absent(store, &name, b"1", ttl_ms.max(1)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::replayed(id)),
        Err(error) => Err(Refusal::unavailable(format!(
            "requests cannot be remembered: {error}"
        ))),
    }
}

/// The beginning of a text from outside, without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(128)
        .map(|one| if one.is_control() { '?' } else { one })
        .collect()
}
