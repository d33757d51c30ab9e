//! Any bytes on a connection to a gateway that runs in this process, with an upstream behind it that is strict.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use edgeward_core::normalize::normalize_path;
use edgeward_proxy::{
    Proxy,
    fuzz::strict::{self, Framing, Head, Read},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::upstream::{self, Offence, SEEN};
use crate::Gateway;

/// With this a connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long nothing may come until it is taken that nothing will: a gateway may wait for more where the strict reader does not.
const QUIET: Duration = Duration::from_millis(100);
/// How often the end of a connection is waited for, each time for [`QUIET`]: counted, since a process that is stopped and continued has lost one wait, not
/// its patience.
const WAITS: usize = 300;

/// The gateway, and what watches it.
struct Stage {
    runtime: tokio::runtime::Runtime,
    /// Runs until the process ends.
    _proxy: Proxy,
    address: SocketAddr,
    offence: Offence,
    /// Panics of any thread.
    panics: Arc<Mutex<Vec<String>>>,
    /// A connection for usual requests.
    usual: Mutex<Option<TcpStream>>,
}

/// A request as the strict reader sees it in the bytes of the client.
struct Asked {
    method: String,
    /// Path in normal form, and query; none where the target is not one of a path.
    target: Option<String>,
    /// With its body.
    whole: bool,
}

/// Every answer is well-formed and belongs to a request, there are no more answers than requests and one refusal, the upstream sees nothing that is not
/// strict, nothing panics, the connection ends, and a usual request is answered afterwards. The first byte says in how many pieces the others are sent.
pub fn end_to_end(data: &[u8]) {
    static STAGE: LazyLock<Stage> = LazyLock::new(Stage::set);
    if let Some((first, bytes)) = data.split_first() {
        STAGE.play(bytes, usize::from(first & 3) + 1);
    }
}

impl Stage {
    fn set() -> Self {
        let panics = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&panics);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            seen.lock().push(info.to_string());
            before(info);
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let offence = Offence::default();
        let gateway = runtime.block_on(async {
            let address = upstream::start(Arc::clone(&offence)).await;
            Gateway::start(json!({
                "workers": 1,
                "limits": {
                    "head": "8KiB", "uri": "1KiB", "header-count": 20, "body": "16KiB", "head-timeout": "5s", "body-timeout": "5s",
                    "idle-timeout": "5s",
                },
                "upstreams": {"strict": {"endpoints": [address.to_string()]}},
                "routes": [
                    {"path": "/fixed", "respond": {"status": 200, "body": "fixed"}},
                    {"path": "/w/{path+}", "upstream": "strict", "websocket": true},
                    {"path": "/{path+}", "upstream": "strict"},
                    {"path": "/", "upstream": "strict", "methods": ["GET", "POST"]},
                ],
            }))
            .await
        });
        let address = gateway.address();
        // there are no files in its folder, which goes
        let Gateway { proxy, .. } = gateway;
        Self {
            runtime,
            _proxy: proxy,
            address,
            offence,
            panics,
            usual: Mutex::new(None),
        }
    }

    fn play(&self, bytes: &[u8], pieces: usize) {
        let (asked, rest) = requests(bytes);
        let answers = self.runtime.block_on(async {
            let answers = self.exchange(bytes, pieces, &asked).await;
            self.usual_request().await;
            answers
        });
        if !bytes.starts_with(PREFACE) {
            check(&answers, &asked, rest);
        }
        assert_eq!(*self.offence.lock(), None, "the upstream takes offence");
        let panics = self.panics.lock();
        assert!(panics.is_empty(), "{panics:?}");
    }

    /// Sends the bytes and reads to the end.
    async fn exchange(&self, bytes: &[u8], pieces: usize, asked: &[Asked]) -> Vec<u8> {
        let mut stream = connect(self.address).await;
        for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
            // a gateway that has refused may have closed
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let due = asked.iter().filter(|request| request.whole).count();
        let mut answers = Vec::new();
        // a client that closes before its answers are there has gone, and gets none
        while whole(&answers, asked) < due {
            match timeout(QUIET, stream.read_buf(&mut answers)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return answers,
                Err(_elapsed) => break,
            }
        }
        drop(stream.shutdown().await);
        for _ in 0..WAITS {
            match timeout(QUIET, stream.read_buf(&mut answers)).await {
                Ok(Ok(1..)) | Err(_) => {}
                Ok(Ok(0) | Err(_)) => return answers,
            }
        }
        panic!("the connection does not end: {}", answers.escape_ascii());
    }

    /// A request on a connection of its own, which is kept.
    async fn usual_request(&self) {
        let kept = self.usual.lock().take();
        for kept in [kept, None] {
            let mut stream = match kept {
                Some(kept) => kept,
                None => connect(self.address).await,
            };
            let mut answer = Vec::new();
            if stream
                .write_all(b"GET /usual HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .is_err()
            {
                continue;
            }
            for _ in 0..WAITS {
                match timeout(QUIET, stream.read_buf(&mut answer)).await {
                    Ok(Ok(1..)) => {}
                    Err(_elapsed) => continue,
                    Ok(Ok(0) | Err(_)) => break, // it was idle for too long
                }
                if let Read::Whole(head, _) = strict::head(&answer) {
                    let seen: Vec<_> = head.values(SEEN).collect();
                    assert_eq!(seen, [b"GET /usual"], "{}", answer.escape_ascii());
                    *self.usual.lock() = Some(stream);
                    return;
                }
            }
        }
        panic!("a usual request is not answered any more");
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The requests in the client's bytes, and whether there is something that is none behind them.
fn requests(bytes: &[u8]) -> (Vec<Asked>, bool) {
    let mut asked = Vec::new();
    let mut rest = bytes;
    loop {
        let mut behind = rest;
        while let Some(less) = behind.strip_prefix(b"\r\n") {
            behind = less;
        }
        let Read::Whole(head, used) = strict::head(behind) else {
            return (asked, !rest.is_empty());
        };
        let (Ok(line), Ok(framing)) = (head.request_line(), head.request_framing()) else {
            return (asked, true);
        };
        let body = strict::body(&behind[used..], framing);
        asked.push(Asked {
            method: line.method,
            target: std::str::from_utf8(&line.target).ok().and_then(normal),
            whole: matches!(body, Read::Whole(..)),
        });
        match body {
            Read::Whole(_, more) => rest = &behind[used + more..],
            Read::More | Read::Wrong(_) => return (asked, true),
        }
    }
}

/// A target as it goes to the upstream.
fn normal(target: &str) -> Option<String> {
    let target = match target.split_once("://") {
        // absolute form; that of an empty path is `/`
        Some((scheme, rest)) if !scheme.contains('/') => {
            let begin = rest.find(['/', '?']).unwrap_or(rest.len());
            let target = &rest[begin..];
            if target.starts_with('/') {
                target.to_owned()
            } else {
                format!("/{target}")
            }
        }
        _ => target.to_owned(),
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let path = normalize_path(path).ok()?;
    Some(if query.is_empty() {
        path.into_owned()
    } else {
        format!("{path}?{query}")
    })
}

/// A response and what is behind it; none where it is not whole.
fn response<'a>(bytes: &'a [u8], method: &str) -> Option<(Head, u16, &'a [u8])> {
    let (head, used) = match strict::head(bytes) {
        Read::Whole(head, used) => (head, used),
        Read::More => return None,
        Read::Wrong(problem) => panic!("{problem}: {}", bytes.escape_ascii()),
    };
    let framed = head.status_line().and_then(|(_, status)| {
        // what could not be read as a request is answered as if it were GET, whatever its first word is
        let refused = head.values("connection").eq([b"close"]) && head.values(SEEN).count() == 0;
        let has_body = refused && bytes.len() > used;
        let method = if has_body { "GET" } else { method };
        Ok((status, head.response_framing(status, method)?))
    });
    let (status, framing) = framed.unwrap_or_else(|problem| panic!("{problem}: {}", bytes.escape_ascii()));
    match strict::body(&bytes[used..], framing) {
        Read::Whole(_, more) => Some((head, status, &bytes[used + more..])),
        Read::More => None,
        Read::Wrong(problem) => panic!("{problem}: {}", bytes.escape_ascii()),
    }
}

/// How many whole responses there are, interim ones not counted. One that ends with the connection is not, before that.
fn whole(answers: &[u8], asked: &[Asked]) -> usize {
    let mut count = 0;
    let mut rest = answers;
    loop {
        let method = asked.get(count).map_or("GET", |request| &request.method);
        match response(rest, method) {
            Some((head, status, behind)) => {
                if head.response_framing(status, method) == Ok(Framing::Close) {
                    return count;
                }
                count += usize::from(status >= 200);
                rest = behind;
            }
            None => return count,
        }
    }
}

/// Holds the answers against the requests. The last may be cut off, since the client has said that it goes.
fn check(answers: &[u8], asked: &[Asked], rest: bool) {
    let mut requests = asked.iter();
    let mut refusals = usize::from(rest);
    let mut behind = answers;
    while !behind.is_empty() {
        let request = requests.clone().next();
        let method = request.map_or("GET", |request| &request.method);
        let Some((head, status, next)) = response(behind, method) else {
            return;
        };
        behind = next;
        assert!(!matches!(status, 101 | 500 | 502), "{}", answers.escape_ascii());
        if status < 200 {
            continue;
        }
        if requests.next().is_none() {
            assert!(refusals > 0, "an answer too many: {}", answers.escape_ascii());
            refusals -= 1;
        }
        let mut seen = head.values(SEEN);
        if let Some(seen) = seen.next() {
            let request = request.expect("what the upstream has seen was asked for");
            let target = request
                .target
                .as_deref()
                .expect("a target that was served is a path");
            let asked = format!("{} {target}", request.method);
            assert_eq!(String::from_utf8_lossy(seen), asked, "{}", answers.escape_ascii());
        }
    }
}
