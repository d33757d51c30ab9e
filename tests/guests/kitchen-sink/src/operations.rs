//! The operations of `x-sink`.

use std::collections::HashMap as StdHashMap;

use edgeward_sdk::collections::HashMap;
use edgeward_sdk::crypto::{self, HashAlgorithm, PublicKey, RsaKey, SignatureAlgorithm};
use edgeward_sdk::http_client::{self, Request};
use edgeward_sdk::matcher::RegexSet;
use edgeward_sdk::prelude::*;
use edgeward_sdk::{clock, entropy, kv, log, metrics, secret};
use serde_json::{Value, json};

use crate::KitchenSink;

/// What an operation comes to.
pub(crate) enum Outcome {
    /// Go on.
    Proceed,
    /// Report this.
    Value(Value),
    /// Report that the host refused.
    Error(String),
    /// Answer so.
    Answer(Answer),
    /// Allow as this caller (`authorize`).
    Allow(Allowed),
    /// Deny or block so (`authorize`, `inspect`).
    Deny(Denied),
    /// Allow with this label (`inspect`).
    Label(String),
    /// Report the body (`inspect`).
    Body,
}

impl Outcome {
    /// The outcome as an answer to the client.
    pub(crate) fn answer(self) -> Answer {
        let (status, body) = match self {
            Self::Answer(answer) => return answer,
            Self::Value(value) => (200, json!({"ok": value})),
            Self::Error(reason) => (500, json!({"error": reason})),
            Self::Proceed => (200, json!({"ok": null})),
            Self::Allow(_) | Self::Deny(_) | Self::Label(_) | Self::Body => {
                (500, json!({"error": "the operation does not fit the phase"}))
            }
        };
        Answer::new(status)
            .header("content-type", "application/json")
            .body(body.to_string())
    }
}

type Reported = Result<Outcome, String>;

fn value(value: impl Into<Value>) -> Reported {
    Ok(Outcome::Value(value.into()))
}

/// Edits pass the request on; a refused one is reported.
fn edited(result: Result<(), String>) -> Reported {
    result.map(|()| Outcome::Proceed)
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(word: &str) -> Result<T, String> {
    word.parse().map_err(|error| format!("x-sink: {word:?}: {error}"))
}

impl KitchenSink {
    /// Runs one operation: its name and its words.
    pub(crate) fn run(&self, line: &str, request: &RequestHead, exchange: &Exchange) -> Outcome {
        let words: Vec<&str> = line.split(' ').collect();
        let result = match words.as_slice() {
            [operation, words @ ..] if operation.starts_with("kv-") => store(operation, words),
            [operation, words @ ..] if operation.starts_with("context") => {
                context(operation, words, exchange)
            }
            [operation, words @ ..] if operation.starts_with("matcher") => self.matcher(operation, words),
            words => self.other(words, request, exchange),
        };
        result.unwrap_or_else(Outcome::Error)
    }

    fn other(&self, words: &[&str], request: &RequestHead, exchange: &Exchange) -> Reported {
        match words {
            ["head"] => value(json!({"request": head(request), "exchange": known(exchange)})),
            ["headers", name] => {
                let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
                let all: Vec<_> = request.header_values(name).into_iter().map(text).collect();
                value(json!({"first": request.header(name).map(text), "all": all}))
            }
            ["query-param", name] => value(json!(request.query_param(name))),
            ["path-param", name] => value(json!(request.path_param(name))),
            ["set-method", method] => edited(request.set_method(method)),
            ["set-path", path] => edited(request.set_path(path)),
            ["set-query"] => edited(request.set_query("")),
            ["set-query", query] => edited(request.set_query(query)),
            ["set-header", name, words @ ..] => edited(request.set_header(name, words.join(" "))),
            ["append-header", name, words @ ..] => edited(request.append_header(name, words.join(" "))),
            ["remove-header", name] => edited(request.remove_header(name)),
            ["answer", status, words @ ..] => {
                let answer = Answer::new(number(status)?)
                    .header("x-sink-answer", "yes")
                    .body(words.join(" "));
                Ok(Outcome::Answer(answer))
            }
            ["allow", principal, ttl] => {
                let allowed = Allowed::new(*principal).usage_key(format!("key-of-{principal}"));
                let claims = ContextValue::from(json!({"sub": principal}));
                Ok(Outcome::Allow(
                    allowed.fact("claims", claims).ttl_seconds(number(ttl)?),
                ))
            }
            ["deny", status, words @ ..] => {
                let denied = Denied::new(number(status)?, words.join(" "));
                Ok(Outcome::Deny(
                    denied.header("www-authenticate", "Sink realm=\"test\""),
                ))
            }
            ["label", label] => Ok(Outcome::Label((*label).to_owned())),
            ["body"] => Ok(Outcome::Body),
            ["calls"] => value(self.calls),
            ["hash-seed"] => value(hash_seed()),
            ["clock"] => value(clock::now_ms()),
            // works for so many milliseconds first, and calls the host all the while
            ["spin", millis, words @ ..] => {
                let until = clock::now_ms() + millis.parse::<u64>().map_err(|error| error.to_string())?;
                while clock::now_ms() < until {}
                self.other(words, request, exchange)
            }
            ["secret", name] => match secret::get(name) {
                Ok(secret) => value(String::from_utf8_lossy(&secret).into_owned()),
                Err(error) => Err(error.to_string()),
            },
            ["crypto"] => value(crypto_report()),
            ["verify", algorithm, words @ ..] => verify(algorithm, words),
            ["copy-header", from, to] => {
                let bytes = request.header(from).ok_or("there is no such header")?;
                edited(request.set_header(to, bytes))
            }
            ["http", url] => fetch(&Request::get(*url)),
            ["http", url, method] => fetch(
                &Request::new(*method, *url)
                    .header("x-from-sink", "yes")
                    .body("hello"),
            ),
            ["log", level, words @ ..] => write_log(level, &words.join(" ")),
            ["metrics", name, count] => {
                metrics::add(name, number(count)?);
                value("added")
            }
            ["record", name, measured] => {
                metrics::record_value(name, number(measured)?);
                value("recorded")
            }
            _ => Err(format!("x-sink: {:?} is no operation", words.join(" "))),
        }
    }

    fn matcher(&self, operation: &str, words: &[&str]) -> Reported {
        let input = words.join(" ");
        match operation {
            "matcher" => {
                let bytes = input.as_bytes();
                let hit = |hit: edgeward_sdk::matcher::Hit| json!([hit.pattern, hit.start, hit.end]);
                value(json!({
                    "regex": self.regex.matches(bytes),
                    "regex-is-match": self.regex.is_match(bytes),
                    "regex-find": self.regex.find(bytes).map(hit),
                    "literal": self.literals.matches(bytes),
                    "literal-is-match": self.literals.is_match(bytes),
                    "literal-find": self.literals.find(bytes).map(hit),
                }))
            }
            "matcher-ip" => value(json!(self.addresses.find(&input))),
            "matcher-late" => match RegexSet::new([input], false) {
                Ok(_) => Err("a set was built outside init".to_owned()),
                Err(reason) => value(reason),
            },
            other => Err(format!("x-sink: {other:?} is no operation")),
        }
    }
}

/// Everything the accessors of the request tell.
fn head(request: &RequestHead) -> Value {
    let headers: Vec<_> = request
        .headers()
        .into_iter()
        .map(|field| json!([field.name, String::from_utf8_lossy(&field.value)]))
        .collect();
    json!({
        "method": request.method(),
        "scheme": request.scheme(),
        "authority": request.authority(),
        "version": request.version(),
        "path": request.path(),
        "query": request.query(),
        "query-params": request.query_params(),
        "path-params": request.path_params(),
        "path-params-raw": request.path_params_raw(),
        "headers": headers,
    })
}

/// Everything the accessors of the exchange tell.
fn known(exchange: &Exchange) -> Value {
    let peer = exchange.peer();
    json!({
        "request-id": exchange.request_id(),
        "route": exchange.route(),
        "route-pattern": exchange.route_pattern(),
        "principal": exchange.principal(),
        "peer": {
            "address": peer.address,
            "port": peer.port,
            "client-address": peer.client_address,
            "tls-version": peer.tls_version,
            "sni": peer.sni,
            "client-certificate": peer.client_certificate.as_deref().map(hex),
        },
        "entries": entries(exchange),
    })
}

fn entries(exchange: &Exchange) -> Value {
    let entry = |entry: ContextEntry| json!([entry.namespace, entry.key, context_value(&entry.value)]);
    exchange.entries().into_iter().map(entry).collect()
}

/// A context value with its type, e.g. `["integer", 7]`.
fn context_value(value: &ContextValue) -> Value {
    match value {
        ContextValue::Text(text) => json!(["text", text]),
        ContextValue::Integer(integer) => json!(["integer", integer]),
        ContextValue::Number(number) => json!(["number", number]),
        ContextValue::Boolean(boolean) => json!(["boolean", boolean]),
        ContextValue::Json(text) => json!(["json", text]),
        ContextValue::Bytes(bytes) => json!(["bytes", bytes]),
    }
}

/// `context`, `context-get NAMESPACE KEY`, `context-set KEY TYPE VALUE`, `context-set-and-go ...` (the same, then proceeds).
fn context(operation: &str, words: &[&str], exchange: &Exchange) -> Reported {
    match (operation, words) {
        ("context", []) => value(entries(exchange)),
        ("context-get", [namespace, key]) => {
            value(json!(exchange.get(namespace, key).as_ref().map(context_value)))
        }
        ("context-set" | "context-set-and-go", [key, kind, words @ ..]) => {
            let text = words.join(" ");
            let new = match *kind {
                "text" => ContextValue::Text(text),
                "integer" => ContextValue::Integer(number(&text)?),
                "number" => ContextValue::Number(number(&text)?),
                "boolean" => ContextValue::Boolean(text == "true"),
                "json" => ContextValue::Json(text),
                "bytes" => ContextValue::Bytes(text.into_bytes()),
                "zeros" => ContextValue::Bytes(vec![0; number(&text)?]),
                other => return Err(format!("x-sink: {other:?} is no type of a context value")),
            };
            exchange.set(key, new)?;
            if operation == "context-set" {
                value(entries(exchange))
            } else {
                Ok(Outcome::Proceed)
            }
        }
        _ => Err(format!(
            "x-sink: {operation:?} does not take {} words",
            words.len()
        )),
    }
}

/// `kv-get STORE KEY`, `kv-set STORE KEY VALUE [TTL]`, `kv-zeros STORE KEY BYTES`, `kv-cas STORE KEY EXPECTED VALUE [TTL]`,
/// `kv-increment STORE KEY DELTA [TTL]`, `kv-delete STORE KEY`; times to live in milliseconds.
fn store(operation: &str, words: &[&str]) -> Reported {
    let ttl = |word: Option<&&str>| word.map(|word| number::<u64>(word)).transpose();
    let result = match (operation, words) {
        ("kv-get", [store, key]) => kv::get(store, key).map(|entry| {
            json!(entry.map(
                |entry| json!({"value": String::from_utf8_lossy(&entry.value), "version": entry.version})
            ))
        }),
        ("kv-set", [store, key, text, rest @ ..]) => {
            kv::set(store, key, text, ttl(rest.first())?).map(|version| json!(version))
        }
        ("kv-zeros", [store, key, bytes]) => {
            kv::set(store, key, vec![0; number(bytes)?], None).map(|version| json!(version))
        }
        ("kv-cas", [store, key, expected, text, rest @ ..]) => {
            kv::compare_and_set(store, key, number(expected)?, text, ttl(rest.first())?)
                .map(|version| json!(version))
        }
        ("kv-increment", [store, key, delta, rest @ ..]) => {
            kv::increment(store, key, number(delta)?, ttl(rest.first())?).map(|sum| json!(sum))
        }
        ("kv-delete", [store, key]) => kv::delete(store, key).map(|deleted| json!(deleted)),
        _ => {
            return Err(format!(
                "x-sink: {operation:?} does not take {} words",
                words.len()
            ));
        }
    };
    match result {
        Ok(report) => value(report),
        Err(error) => Err(error.to_string()),
    }
}

/// The seed of this instance, and the order in which tables of `std` and of the SDK iterate over the same keys.
fn hash_seed() -> Value {
    let std: StdHashMap<u32, ()> = (0..16).map(|key| (key, ())).collect();
    let sdk: HashMap<u32, ()> = (0..16).map(|key| (key, ())).collect();
    let (k0, k1) = entropy::hash_seed();
    json!({
        "seed": [format!("{k0:016x}"), format!("{k1:016x}")],
        "std-order": std.keys().collect::<Vec<_>>(),
        "sdk-order": sdk.keys().collect::<Vec<_>>(),
    })
}

/// Known answers: FIPS 180-4 (`abc`), RFC 4231 case 2, RFC 8032 section 7.1 test 1.
fn crypto_report() -> Value {
    let hmac = crypto::hmac(HashAlgorithm::Sha256, b"Jefe", b"what do ya want for nothing?");
    let key = unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let mut signature = unhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    let key = PublicKey::Ed25519(key);
    let verify = |algorithm, signature: &[u8]| json!(crypto::verify(algorithm, &key, b"", signature));
    let good = verify(SignatureAlgorithm::Ed25519, &signature);
    let misfit = verify(SignatureAlgorithm::Es256, &signature);
    signature.reverse();
    json!({
        "sha256": hex(&crypto::hash(HashAlgorithm::Sha256, b"abc")),
        "sha384": hex(&crypto::hash(HashAlgorithm::Sha384, b"abc")),
        "sha512": hex(&crypto::hash(HashAlgorithm::Sha512, b"abc")),
        "hmac-verify": crypto::hmac_verify(HashAlgorithm::Sha256, b"Jefe", b"what do ya want for nothing?", &hmac),
        "hmac": hex(&hmac),
        "hmac384": hex(&crypto::hmac(HashAlgorithm::Sha384, b"Jefe", b"what do ya want for nothing?")),
        "hmac512": hex(&crypto::hmac(HashAlgorithm::Sha512, b"Jefe", b"what do ya want for nothing?")),
        "equal": [crypto::constant_time_equal(b"abc", b"abc"), crypto::constant_time_equal(b"abc", b"abd")],
        "ed25519": good,
        "ed25519-wrong": verify(SignatureAlgorithm::Ed25519, &signature),
        "ed25519-as-es256": misfit,
    })
}

/// `verify ALGORITHM rsa N E MESSAGE SIGNATURE`, and with `ec KEY`, `ed25519 KEY`, `spki KEY` in the middle; all in hex.
fn verify(algorithm: &str, words: &[&str]) -> Reported {
    let algorithm = match algorithm {
        "RS256" => SignatureAlgorithm::Rs256,
        "RS384" => SignatureAlgorithm::Rs384,
        "RS512" => SignatureAlgorithm::Rs512,
        "PS256" => SignatureAlgorithm::Ps256,
        "PS384" => SignatureAlgorithm::Ps384,
        "PS512" => SignatureAlgorithm::Ps512,
        "ES256" => SignatureAlgorithm::Es256,
        "ES384" => SignatureAlgorithm::Es384,
        "ES512" => SignatureAlgorithm::Es512,
        "EdDSA" => SignatureAlgorithm::Ed25519,
        other => return Err(format!("x-sink: {other:?} is no algorithm")),
    };
    let (key, message, signature) = match words {
        ["rsa", n, e, message, signature] => {
            let (n, e) = (unhex(n), unhex(e));
            (PublicKey::Rsa(RsaKey { n, e }), message, signature)
        }
        ["ec", key, message, signature] => (PublicKey::Ec(unhex(key)), message, signature),
        ["ed25519", key, message, signature] => (PublicKey::Ed25519(unhex(key)), message, signature),
        ["spki", key, message, signature] => (PublicKey::Spki(unhex(key)), message, signature),
        _ => return Err(format!("x-sink: {words:?} is no key, message and signature")),
    };
    crypto::verify(algorithm, &key, &unhex(message), &unhex(signature))
        .map(|good| Outcome::Value(json!(good)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
            .unwrap_or(0)
    };
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, &next| byte * 16 + digit(next)))
        .collect()
}

fn fetch(request: &Request) -> Reported {
    match http_client::send(request) {
        Ok(response) => {
            let headers = response.headers.iter();
            let headers = headers.map(|field| json!([field.name, String::from_utf8_lossy(&field.value)]));
            let body = String::from_utf8_lossy(&response.body);
            value(json!({"status": response.status, "headers": headers.collect::<Vec<_>>(), "body": body}))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn write_log(level: &str, message: &str) -> Reported {
    let level = match level {
        "trace" => log::Level::Trace,
        "debug" => log::Level::Debug,
        "info" => log::Level::Info,
        "warn" => log::Level::Warn,
        _ => log::Level::Error,
    };
    log::log(level, message);
    value(log::enabled(level))
}

/// Edits of `x-sink-response`, separated by `;`: `set-status N`, `set-header NAME VALUE`, `append-header NAME VALUE`,
/// `remove-header NAME`.
///
/// # Errors
/// The host's refusal of the first edit that was refused.
pub(crate) fn edit_response(edits: &str, response: &ResponseHead) -> Result<(), String> {
    for edit in edits.split(';') {
        let words: Vec<&str> = edit.split(' ').collect();
        match words.as_slice() {
            ["set-status", status] => response.set_status(number(status)?)?,
            ["set-header", name, words @ ..] => response.set_header(name, words.join(" "))?,
            ["append-header", name, words @ ..] => response.append_header(name, words.join(" "))?,
            ["remove-header", name] => response.remove_header(name)?,
            _ => return Err(format!("x-sink-response: {edit:?} is no edit")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgeward_sdk::testing::{self, Host};

    use super::*;

    fn ask(line: &str) -> Value {
        let (mut sink, _) = testing::init::<KitchenSink>("null").unwrap();
        let request = testing::request("GET", "https://h.example/pets/a%20b?x=1+2&y")
            .with_path_param("id", "a%20b")
            .with_header("x-sink", line);
        let HeadAction::Respond(answer) = sink.on_request_head(&request, &testing::exchange()) else {
            panic!("{line} gave no answer");
        };
        serde_json::from_slice(&answer.body).unwrap()
    }

    #[test]
    fn head_reports_every_accessor() {
        let report = ask("head");
        assert_eq!(
            report["ok"]["request"]["query-params"],
            json!([["x", "1 2"], ["y", ""]])
        );
        assert_eq!(report["ok"]["request"]["path-params"], json!([["id", "a b"]]));
        assert_eq!(report["ok"]["exchange"]["peer"]["address"], "192.0.2.1");
    }

    #[test]
    fn crypto_gives_the_known_answers() {
        let report = &ask("crypto")["ok"];
        assert_eq!(
            report["sha256"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            report["hmac"],
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(report["ed25519"], json!({"Ok": true}));
        assert_eq!(report["ed25519-wrong"], json!({"Ok": false}));
        assert!(report["ed25519-as-es256"]["Err"].is_string());
    }

    #[test]
    fn capabilities_answer_or_refuse() {
        let _host = Host::new()
            .with_secret("s", "v")
            .with_kv("shop")
            .at_time(5)
            .install();
        assert_eq!(ask("secret s")["ok"], "v");
        assert!(ask("secret other")["error"].is_string());
        assert_eq!(ask("clock")["ok"], 5);
        assert_eq!(ask("kv-increment shop n 3")["ok"], 3);
        assert!(ask("kv-get other n")["error"].is_string());
        assert_eq!(ask("matcher 1 UNION  SELECT passwd")["ok"]["regex"], json!([0]));
        assert_eq!(ask("matcher-ip 10.1.2.3")["ok"], 1);
        assert!(ask("matcher-late x")["ok"].is_string());
    }
}
