//! The spine: every protocol enters here, and every step of a request is listed here in order.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Poll, ready},
    time::{Duration, Instant},
};

use edgeward_core::{
    forwarded::{self, ForwardInfo},
    phase::Phase,
    reject::{Reject, RejectCode},
    route::{Match, Params},
};
use edgeward_runtime::{Exchange, RequestHead};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};

use crate::{
    admit,
    api::{self, Lookup, Voice, cors, voice},
    body::Body,
    finish::{Finish, Outgoing},
    grpc,
    listen::ConnInfo,
    pipeline::{self, SharedChain, Step},
    respond,
    snapshot::{Route, Target},
    upgrade::{self, Upgrade, Wish},
    upstream::{self, SendOptions, UpstreamError, UpstreamErrorKind, UpstreamGroup},
    worker::Worker,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves one request from its head to the response head. Logs, counts and observes when the response body ends.
pub(crate) async fn handle(
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    request: Request<Body>,
) -> Response<Outgoing> {
    let mut finish = begin(worker, conn, request.method(), request.version());
    finish.grpc = grpc::Call::of(&request);
    let mut deadline = finish.grpc.and_then(|call| call.timer());
    // a defect must cost this exchange only
    let result = {
        // polled by hand: the combinators would move the future, which is large, with every request
        let mut steps = pin!(steps(&mut finish, request));
        poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| steps.as_mut().poll(context)));
            let polled = polled.map_or_else(|panic| Poll::Ready(Err(panic)), |polled| polled.map(Ok));
            if polled.is_pending()
                && let Some(deadline) = &mut deadline
            {
                ready!(deadline.as_mut().poll(context));
                return Poll::Ready(Ok(Err(grpc::expired())));
            }
            polled
        })
        .await
    };
    let outcome = result.unwrap_or_else(|_panic| {
        Err(Reject::new(RejectCode::Internal, "the request could not be processed").because("panic"))
    });
    let response = match outcome {
        Ok(response) => response,
        Err(mut reject) => {
            // what fails when the time is over fails because of that
            if finish.grpc.is_some_and(|call| call.is_over()) {
                reject = grpc::expired();
            }
            if reject.code == RejectCode::Internal {
                tracing::error!(request_id = finish.request_id, %reject, "internal error");
            }
            let mut response = voice::error(&finish, &reject);
            if let Some(chain) = &finish.chain {
                response = Box::pin(chain.gateway_error(&reject, response)).await;
            }
            if finish.grpc.is_some() {
                response = respond::as_grpc(&reject, response);
            }
            finish.reject = Some(reject);
            response
        }
    };
    let mut response = without_forbidden_body(&finish.method, response);
    if finish.call.is_some() || finish.voice != Voice::Native {
        voice::decorate(&finish, response.headers_mut());
    }
    if let Some(call) = &finish.call {
        // what canaries are judged by
        finish.answered = Some(finish.started.elapsed());
        if let Some(compressing) = call.arm.compressing {
            compressing.apply(&finish.method, call.coding, &mut response);
        }
    }
    tell_of_http3(&finish.conn, &mut response);
    upgrade::begin(&mut finish, &mut response);
    finish.status = response.status().as_u16();
    response.map(|body| Outgoing::new(body, finish).until(deadline))
}

/// The answer to what could not be read as a request. Logged and counted like any other, with `-` as its method.
pub(crate) fn refuse(
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    reject: Reject,
    version: Version,
) -> Response<Outgoing> {
    let method = Method::from_bytes(b"-").unwrap_or_default();
    refused(begin(worker, conn, &method, version), reject)
}

/// Answers an exchange with a refusal, without its plugins.
pub(crate) fn refused(mut finish: Box<Finish>, reject: Reject) -> Response<Outgoing> {
    let mut response = respond::reject(&reject, &finish.request_id);
    tell_of_http3(&finish.conn, &mut response);
    finish.status = response.status().as_u16();
    finish.reject = Some(reject);
    response.map(|body| Outgoing::new(body, finish))
}

fn begin(worker: Arc<Worker>, conn: Arc<ConnInfo>, method: &Method, version: Version) -> Box<Finish> {
    conn.begin();
    worker
        .shared
        .metrics
        .exchanges
        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // the one snapshot of this exchange
    let snapshot = worker.shared.live.load_full();
    Box::new(Finish {
        worker,
        conn,
        snapshot,
        started: Instant::now(),
        request_id: uuid::Uuid::new_v4().to_string(),
        method: method.clone(),
        version,
        host: String::new(),
        path: String::new(),
        client: None,
        call: None,
        voice: Voice::Native,
        route: None,
        reject: None,
        status: 0,
        endpoint: None,
        attempts: 0,
        upstream: None,
        upstream_status: None,
        request_bytes: None,
        response_bytes: 0,
        chain: None,
        complete: false,
        switched: None,
        grpc: None,
        tunnel: None,
        answered: None,
        raw_target: None,
        raw_authority: None,
        raw_headers: None,
    })
}

/// Where else the listener is (RFC 7838). What an upstream says of itself is not true of the gateway.
fn tell_of_http3(conn: &ConnInfo, response: &mut Response<Body>) {
    if let Some(services) = &conn.alt_svc {
        response.headers_mut().insert(header::ALT_SVC, services.clone());
    }
}

/// Takes the body off where there must be none (RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5): plugins and fixed answers do not look at the
/// method, and HTTP/2 would send what they gave. The answer to HEAD keeps the length that GET would have.
fn without_forbidden_body(method: &Method, mut response: Response<Body>) -> Response<Body> {
    let is_head = *method == Method::HEAD;
    let bodiless = matches!(
        response.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if !(is_head || bodiless) || http_body::Body::is_end_stream(response.body()) {
        return response;
    }
    if is_head
        && !bodiless
        && let Some(length) = http_body::Body::size_hint(response.body()).exact()
        && !response.headers().contains_key(header::CONTENT_LENGTH)
    {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::default();
    response
}

async fn steps(finish: &mut Finish, request: Request<Body>) -> Result<Response<Body>, Reject> {
    let (mut head, body) = request.into_parts();
    let snapshot = Arc::clone(&finish.snapshot);
    let conn = Arc::clone(&finish.conn);
    // 1. refuse what is no request for us
    if let Some(call) = &finish.grpc {
        call.check()?;
    }
    let wish = Wish::take(&mut head)?;
    let admitted = admit::check(&snapshot.limits, conn.listener.lenient, &head)?;
    let authority = admitted.authority.into_owned();
    let path = admitted.path.into_owned();
    if head.uri.authority().is_some()
        && (head.version < Version::HTTP_2 || !head.headers.contains_key(header::HOST))
    {
        // plugins and upstream look at the field, which HTTP/2 and HTTP/3 and an absolute-form target of HTTP/1.0 can do without
        let host = HeaderValue::from_str(&authority).map_err(|error| {
            Reject::new(RejectCode::BadRequest, "request target is no URI").because(error)
        })?;
        head.headers.insert(header::HOST, host);
    }
    if head.version > Version::HTTP_11 {
        admit::join_cookies(&mut head.headers);
    }
    finish.host.clone_from(&authority);
    finish.path.clone_from(&path);
    if let Some(tls) = &conn.listener.tls
        && !tls.may_carry(conn.opened_for(), &authority)
    {
        return Err(Reject::new(
            RejectCode::Misdirected,
            "the connection was opened for another server name",
        ));
    }
    if let Some(answer) = finish.worker.shared.challenges.http(&path) {
        return Ok(respond::challenge(&answer));
    }
    // 2. API, and route: the API's, or the configuration file's
    if !snapshot.apis.is_empty() {
        let client =
            || forwarded::client_address(conn.peer.address.ip(), &conn.listener.trusted_hops, &head.headers);
        let is_trusted = forwarded::is_trusted(conn.peer.address.ip(), &conn.listener.trusted_hops);
        match snapshot.apis.find(&authority, &path, &head, client, is_trusted) {
            Lookup::Elsewhere => {}
            Lookup::Refused(voice, reject) => {
                finish.voice = voice;
                return Err(reject);
            }
            Lookup::Found(call) => {
                let call = finish.call.insert(call);
                api::fields::arrive(call, &mut head.headers, is_trusted)?;
            }
        }
    }
    let arm = finish.call.as_ref().map(|call| Arc::clone(&call.arm));
    if let Some(call) = &mut finish.call
        && let Some(answer) = cors::preflight(call, &head)
    {
        call.preflight = true;
        return Ok(answer);
    }
    let (index, params, path) = match (&arm, &mut finish.call) {
        (Some(arm), Some(call)) => {
            let (index, params) = arm.route(&call.path, &head.method, &head.headers)?;
            call.params = params.clone();
            (index, params, call.path.clone())
        }
        _ => match snapshot
            .table
            .router
            .find(Some(&authority), &path, &head.method, &head.headers)
        {
            Match::Found(index, params) => (index, params, path),
            Match::MethodNotAllowed(allowed) => return Err(method_not_allowed(&head.method, &allowed)),
            Match::NotFound => {
                return Err(Reject::new(
                    RejectCode::RouteNotFound,
                    format!("no route for {path}"),
                ));
            }
        },
    };
    let table = arm.as_ref().map_or(&snapshot.table, |arm| &arm.table);
    let route = table
        .routes
        .get(index)
        .ok_or_else(|| Reject::new(RejectCode::Internal, "route table out of step"))?;
    finish.route = Some(index);
    // 3. limits of the body, and whether it may become a tunnel
    let body = if may_be_none(&head, &body) {
        let settled = Box::pin(body.settled(snapshot.limits.head_timeout.0)).await;
        settled.map_err(|error| pipeline::body_reject(&error))?
    } else {
        body
    };
    let body = admit_body(finish, route, &head, body)?;
    let upgrade = match wish {
        Some(wish) => wish.admit(route.websocket, &head, &body)?,
        None => None,
    };
    if route.phases.has(Phase::Authorize) {
        // signatures are of what the client sent
        finish.raw_target = head.uri.path_and_query().cloned();
        finish.raw_authority = match head.uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => head.headers.get(header::HOST).cloned(),
        };
        let mut parts = route.chain.iter();
        let is_asked = parts.any(|part| part.version.interest().request_digest);
        finish.raw_headers = is_asked.then(|| head.headers.clone());
    }
    // 4. connection fields go, client address and hops are established
    let client = hops(&conn, &mut head, &authority);
    finish.client = Some(client);
    if let Some(upgrade) = &upgrade {
        upgrade.ask(&mut head.headers);
    }
    set_request_id(&mut head, &finish.request_id);
    let has_body = head.method != Method::HEAD;
    let head = RequestHead {
        https: conn.https,
        authority,
        version: head.version,
        path,
        query: head
            .uri
            .query()
            .filter(|query| !query.is_empty())
            .map(str::to_owned),
        method: head.method,
        headers: head.headers,
    };
    // 5. plugins before the upstream: inspect, authorize, transform. Boxed, like 7: their futures are large, and routes without plugins do not pay
    let step = if route.api.is_some() {
        Box::pin(api::before(finish, route, params, client, head, body)).await?
    } else if route.chain.is_empty() {
        Step::Next((head, body))
    } else {
        Box::pin(before(finish, route, params, client, head, body)).await?
    };
    let answer = match step {
        // 6. upstream
        Step::Next((head, body)) => target(finish, route, head, body, upgrade).await?,
        Step::Answer(mut answer) => {
            // a plugin has refused the request in its own words
            finish.reject = answer.extensions_mut().remove();
            answer
        }
    };
    // 7. plugins on the response
    let bodiless = matches!(
        answer.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
    );
    match &finish.chain {
        Some(chain) => Box::pin(chain.response(answer, has_body && !bodiless)).await,
        None => Ok(answer),
    }
}

/// Whether it has to be waited for the body to know whether there is any: the end of a stream of HTTP/2 or HTTP/3 may come behind the head. Without
/// a body the upstream gets no empty one in chunks, which some refuse with a GET, and the request can be sent again.
fn may_be_none(head: &Parts, body: &Body) -> bool {
    let length = http_body::Body::size_hint(body).exact();
    head.version > Version::HTTP_11
        && !body.is_empty()
        && (length == Some(0) || length.is_none() && head.method.is_safe())
}

fn admit_body(finish: &mut Finish, route: &Route, head: &Parts, body: Body) -> Result<Body, Reject> {
    let limit = route.body_limit;
    let too_large = |size: u64| {
        Err(Reject::new(
            RejectCode::RequestTooLarge,
            format!("request body of {size} bytes exceeds {limit}"),
        ))
    };
    if let Some(size) = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        && size > limit
    {
        return too_large(size);
    }
    if body.is_empty() {
        return Ok(body);
    }
    let counter = Arc::new(AtomicU64::new(0));
    finish.request_bytes = Some(Arc::clone(&counter));
    let limits = &finish.snapshot.limits;
    // calls of gRPC may be open for long with little to say
    let rate = if finish.grpc.is_some() {
        0
    } else {
        limits.min_rate.0
    };
    let body = body
        .with_limit(limit)
        .with_timeout(limits.body_timeout.0, rate)
        .with_counter(counter);
    // an upstream learns that a call is over from the end of its request, too
    Ok(match finish.grpc.and_then(|call| call.deadline()) {
        Some(deadline) => body.with_end(deadline),
        None => body,
    })
}

fn hops(conn: &ConnInfo, head: &mut Parts, authority: &str) -> std::net::IpAddr {
    let trusted = &conn.listener.trusted_hops;
    let peer = conn.peer.address.ip();
    let client = forwarded::client_address(peer, trusted, &head.headers);
    forwarded::hop_by_hop::strip(&mut head.headers);
    let info = ForwardInfo {
        peer,
        scheme: if conn.https { "https" } else { "http" },
        host: (!authority.is_empty()).then_some(authority),
        version: head.version,
    };
    forwarded::apply(&mut head.headers, &info, trusted, &conn.forwarded);
    client
}

fn set_request_id(head: &mut Parts, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        head.headers.insert(X_REQUEST_ID, value);
    }
}

async fn before(
    finish: &mut Finish,
    route: &Route,
    params: Params,
    client: std::net::IpAddr,
    head: RequestHead,
    body: Body,
) -> Result<Step<(RequestHead, Body)>, Reject> {
    let chain = chain(finish, route, params, client, head);
    match chain.admit(body, None).await? {
        Step::Next(body) => chain.request(body).await,
        Step::Answer(answer) => Ok(Step::Answer(answer)),
    }
}

/// The route's plugins, about to see the request.
pub(crate) fn chain(
    finish: &mut Finish,
    route: &Route,
    params: Params,
    client: std::net::IpAddr,
    head: RequestHead,
) -> SharedChain {
    let mut exchange = Exchange::new(
        finish.request_id.clone(),
        Arc::clone(&route.info),
        params,
        Arc::clone(&finish.conn.peer),
        client,
        head,
    );
    exchange.raw_target.clone_from(&finish.raw_target);
    exchange.raw_authority.clone_from(&finish.raw_authority);
    exchange.raw_headers = finish.raw_headers.take();
    exchange.encoded_slashes = finish.conn.listener.lenient.encoded_slashes;
    let chain = SharedChain::new(&route.chain, route.phases, exchange);
    finish.chain = Some(chain.clone());
    chain
}

async fn target(
    finish: &mut Finish,
    route: &Route,
    head: RequestHead,
    body: Body,
    upgrade: Option<Upgrade>,
) -> Result<Response<Body>, Reject> {
    match &route.target {
        Target::Fixed(fixed) => Ok(fixed.response()),
        Target::Upstream(group) => send(finish, route, group, head, body, upgrade).await,
        Target::Integration(integration) => {
            Box::pin(api::integrate(finish, route, integration, head, body)).await
        }
        Target::Mock(mock) => Box::pin(api::mock(finish, mock, head, body)).await,
    }
}

/// Sends a request to an upstream, and waits for the head of its answer.
pub(crate) async fn send(
    finish: &mut Finish,
    route: &Route,
    group: &UpstreamGroup,
    head: RequestHead,
    body: Body,
    upgrade: Option<Upgrade>,
) -> Result<Response<Body>, Reject> {
    let mut request = outgoing(head, body)?;
    if let Some(upgrade) = &upgrade {
        // once more: the handshake is not the plugins'
        upgrade.ask(request.headers_mut());
    }
    if let Some(call) = &finish.grpc {
        call.pass_on(request.headers_mut())?;
    }
    let options = SendOptions {
        timeout: route.timeout,
        upgrade,
    };
    let worker = Arc::clone(&finish.worker);
    match upstream::send(&worker.pools, group, request, options).await {
        Ok(sent) => {
            finish.endpoint = Some(sent.endpoint);
            finish.attempts = sent.attempts;
            finish.upstream = Some(Duration::from_micros(sent.head_us));
            finish.switched = sent.switched;
            count_retries(&worker, sent.attempts);
            let mut response = sent.response;
            finish.upstream_status = Some(response.status().as_u16());
            let version = response.version();
            api::fields::keep_connection(finish.call.as_deref(), response.headers_mut());
            forwarded::hop_by_hop::strip(response.headers_mut());
            forwarded::append_via(response.headers_mut(), version);
            // the client's connection decides the version
            *response.version_mut() = Version::default();
            Ok(response)
        }
        Err(error) => {
            finish.endpoint.clone_from(&error.endpoint);
            finish.attempts = error.attempts;
            count_retries(&worker, error.attempts);
            Err(upstream_reject(&error))
        }
    }
}

fn count_retries(worker: &Worker, attempts: u8) {
    if attempts > 1 {
        worker
            .shared
            .metrics
            .upstream_retries
            .fetch_add(u64::from(attempts - 1), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The request as it goes upstream, in absolute form; `upstream` makes of it what the protocol wants.
fn outgoing(head: RequestHead, body: Body) -> Result<Request<Body>, Reject> {
    let internal = |error: &dyn std::fmt::Display| {
        Reject::new(RejectCode::Internal, "the request could not be forwarded").because(error)
    };
    let target = match &head.query {
        Some(query) => PathAndQuery::from_maybe_shared(bytes::Bytes::from(format!("{}?{query}", head.path))),
        None => PathAndQuery::from_maybe_shared(bytes::Bytes::from(head.path)),
    };
    let uri = Uri::builder()
        .path_and_query(target.map_err(|error| internal(&error))?)
        .build()
        .map_err(|error| internal(&error))?;
    let mut request = Request::new(body);
    *request.uri_mut() = uri;
    *request.method_mut() = head.method;
    *request.headers_mut() = head.headers;
    if !request.headers().contains_key(header::HOST) && !head.authority.is_empty() {
        let host = HeaderValue::from_str(&head.authority).map_err(|error| internal(&error))?;
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(request)
}

pub(crate) fn method_not_allowed(method: &Method, allowed: &[Method]) -> Reject {
    let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let mut reject = Reject::new(
        RejectCode::MethodNotAllowed,
        format!("{method} is not served here"),
    );
    if let Ok(value) = HeaderValue::from_str(&list) {
        reject.headers.push((header::ALLOW, value));
    }
    reject
}

fn upstream_reject(error: &UpstreamError) -> Reject {
    let (code, detail) = match &error.kind {
        UpstreamErrorKind::RequestBody(body) => return pipeline::body_reject(body),
        UpstreamErrorKind::NoEndpoint => (RejectCode::NoHealthyUpstream, "the upstream has no endpoint"),
        UpstreamErrorKind::Connect => (RejectCode::UpstreamConnect, "no connection to the upstream"),
        UpstreamErrorKind::Tls => (RejectCode::UpstreamTls, "no secure connection to the upstream"),
        UpstreamErrorKind::ConnectTimeout => (
            RejectCode::UpstreamConnectTimeout,
            "connecting to the upstream took too long",
        ),
        UpstreamErrorKind::ResponseTimeout => {
            (RejectCode::UpstreamTimeout, "the upstream did not answer in time")
        }
        UpstreamErrorKind::Reset | UpstreamErrorKind::Protocol => {
            (RejectCode::UpstreamFailure, "the upstream broke off the exchange")
        }
    };
    Reject::new(code, detail).because(error)
}
