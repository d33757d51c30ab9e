//! The form of a request on the way out: target and host.

use edgeward_core::config::UpstreamProtocol;
use http::{
    Request, Uri, Version,
    header::{EXPECT, HOST, HeaderValue},
    uri::{Authority, PathAndQuery, Scheme},
};

use super::group::UpstreamGroup;

/// Gives the request the form of the upstream's protocol. `Expect` goes: the server side has dealt with it.
pub(super) fn prepare(group: &UpstreamGroup, request: &mut Request<()>) {
    request.headers_mut().remove(EXPECT);
    match group.config.protocol {
        UpstreamProtocol::Http1 => prepare_h1(group, request),
        UpstreamProtocol::Http2 => prepare_h2(group, request),
    }
}

/// Origin-form with `Host` (RFC 9112 sections 3.2.1 and 3.2).
fn prepare_h1(group: &UpstreamGroup, request: &mut Request<()>) {
    *request.version_mut() = Version::HTTP_11;
    if let Some((host, _)) = &group.host {
        request.headers_mut().insert(HOST, host.clone());
    } else if !request.headers().contains_key(HOST) {
        let authority = request.uri().authority().unwrap_or(&group.targets[0].authority);
        if let Ok(host) = HeaderValue::from_str(without_user(authority.as_str())) {
            request.headers_mut().insert(HOST, host);
        }
    }
    if request.uri().authority().is_some() || request.uri().scheme().is_some() {
        *request.uri_mut() = Uri::from(path_of(request.uri()));
    }
}

/// `:scheme`, `:authority` and `:path` (RFC 9113 section 8.3.1); `Host` would say the same a second time.
fn prepare_h2(group: &UpstreamGroup, request: &mut Request<()>) {
    *request.version_mut() = Version::HTTP_2;
    let sent = request.headers_mut().remove(HOST);
    let authority = match (&group.host, &sent) {
        (Some((_, authority)), _) => authority.clone(),
        (None, Some(host)) => {
            Authority::try_from(host.as_bytes()).unwrap_or_else(|_not_one| group.targets[0].authority.clone())
        }
        (None, None) => request
            .uri()
            .authority()
            .unwrap_or(&group.targets[0].authority)
            .clone(),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if group.tls.is_some() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path_of(request.uri()));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query()
        .filter(|path| !path.as_str().is_empty())
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"))
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}
