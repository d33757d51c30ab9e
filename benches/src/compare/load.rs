//! What drives the contenders: single requests for the checks, wrk, h2load and curl for the figures, and a paced load of our own for changes.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{h3, process::Process};

/// Time a single request may take.
const ANSWER: Duration = Duration::from_secs(30);

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// Value of a header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// Value of a field in a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// One request on a connection of its own; `fields` are whole lines.
pub(crate) fn ask(port: u16, line: &str, fields: &[String], body: &[u8]) -> Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut request = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for field in fields {
        request += &format!("{field}\r\n");
    }
    if !body.is_empty() {
        request += &format!("content-length: {}\r\n", body.len());
    }
    stream.write_all(format!("{request}\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .with_context(|| format!("{line}: no whole answer"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{line}: no answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Reply {
        status: status.with_context(|| format!("{line}: no status in {head:?}"))?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// A load generator and what it sends.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// wrk, 64 connections of HTTP/1.1.
    Wrk {
        tls: bool,
        fields: Vec<String>,
        script: &'static str,
    },
    /// h2load, 8 connections of 8 streams over TLS.
    H2load,
    /// 8 connections of 8 streams of HTTP/3, by a client of our own.
    H3,
    /// One answer of 1 GiB, by curl; what is counted is MiB.
    Stream,
    /// No load generator: the case is about changes.
    Own,
}

/// What a load generator says.
pub(crate) struct Loaded {
    /// Requests with an answer of success.
    pub(crate) count: f64,
    pub(crate) per_second: f64,
    /// Microseconds.
    pub(crate) p50_p99: Option<(f64, f64)>,
    pub(crate) errors: f64,
}

impl Load {
    /// Program that is needed, and the Debian package that has it.
    pub(crate) fn tool(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Wrk { .. } => Some(("wrk", "wrk")),
            Self::H2load => Some(("h2load", "nghttp2-client")),
            Self::Stream => Some(("curl", "curl")),
            Self::H3 | Self::Own => None,
        }
    }

    /// What figures are per.
    pub(crate) fn unit(&self) -> &'static str {
        if matches!(self, Self::Stream) {
            "MiB"
        } else {
            "request"
        }
    }

    /// Header fields that every request has.
    pub(crate) fn fields(&self) -> &[String] {
        if let Self::Wrk { fields, .. } = self {
            fields
        } else {
            &[]
        }
    }

    /// Runs it.
    pub(crate) fn run(&self, h1: u16, tls: u16, path: &str, seconds: u64, folder: &Path) -> Result<Loaded> {
        let limit = Duration::from_secs(seconds + 60);
        let run = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let name = words.first().map_or("", String::as_str);
            let text = Process::output(name, limit, folder, &words)?;
            Ok::<_, anyhow::Error>(text)
        };
        match self {
            Self::Wrk {
                tls: secure,
                fields,
                script,
            } => {
                let time = format!("-d{seconds}s");
                let url = if *secure {
                    format!("https://localhost:{tls}{path}")
                } else {
                    format!("http://127.0.0.1:{h1}{path}")
                };
                let mut words = vec!["wrk", "-t1", "-c64", &time, "--latency"];
                words.extend(fields.iter().flat_map(|field| ["-H", field]));
                if !script.is_empty() {
                    fs::write(folder.join("load.lua"), script)?;
                    words.extend(["-s", "load.lua"]);
                }
                words.push(&url);
                let text = run(&words)?;
                wrk(&text).with_context(|| format!("wrk: {text}"))
            }
            Self::H2load => {
                let log = folder.join("h2load.log");
                drop(fs::remove_file(&log));
                let (time, url) = (seconds.to_string(), format!("https://localhost:{tls}{path}"));
                let text = run(&[
                    "h2load",
                    "-t1",
                    "-c8",
                    "-m8",
                    "-D",
                    &time,
                    "--log-file=h2load.log",
                    &url,
                ])?;
                h2load(&text, &fs::read_to_string(&log)?).with_context(|| format!("h2load: {text}"))
            }
            Self::H3 => h3::run(
                tls,
                path,
                &folder.join("../../cert.pem"),
                Duration::from_secs(seconds),
            ),
            Self::Stream => {
                let url = format!("http://127.0.0.1:{h1}{path}");
                let form = "%{http_code} %{size_download} %{time_total}";
                let text = run(&[
                    "curl",
                    "-s",
                    "--max-time",
                    "50",
                    "-o",
                    "/dev/null",
                    "-w",
                    form,
                    &url,
                ])?;
                let words: Vec<f64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
                let &[status, size, time] = words.as_slice() else {
                    anyhow::bail!("curl: {text}")
                };
                let count = size / f64::from(1 << 20);
                let whole = (count - 1024.0).abs() < f64::EPSILON && (status - 200.0).abs() < f64::EPSILON;
                Ok(Loaded {
                    count,
                    per_second: count / time,
                    p50_p99: None,
                    errors: f64::from(u8::from(!whole)),
                })
            }
            Self::Own => anyhow::bail!("no load generator"),
        }
    }
}

/// The number that begins with the word after `label`.
fn after(text: &str, label: &str) -> Option<f64> {
    let rest = text.split_once(label)?.1.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

fn wrk(text: &str) -> Option<Loaded> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let count: f64 = line.split_whitespace().next()?.parse().ok()?;
    let latency = |label: &str| {
        let unit = text.split_once(label)?.1.split_whitespace().next()?;
        let unit = unit.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let scale = match unit {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => 6e7,
        };
        Some(after(text, label)? * scale)
    };
    let socket: f64 = text.split_once("Socket errors:").map_or(0.0, |(_, rest)| {
        let labels = ["connect", "read", "write", "timeout"];
        labels.iter().filter_map(|label| after(rest, label)).sum()
    });
    let refused = after(text, "Non-2xx or 3xx responses:").unwrap_or(0.0);
    Some(Loaded {
        count: count - refused,
        per_second: after(text, "Requests/sec:")?,
        p50_p99: Some((latency(" 50%")?, latency(" 99%")?)),
        errors: socket + refused,
    })
}

fn h2load(text: &str, log: &str) -> Option<Loaded> {
    let line = text.lines().find(|line| line.starts_with("requests: "))?;
    let numbers: Vec<f64> = line
        .split([' ', ','])
        .filter_map(|word| word.parse().ok())
        .collect();
    let &[_total, _started, _done, succeeded, failed, errored, timeout] = numbers.as_slice() else {
        return None;
    };
    let finished = text.lines().find(|line| line.starts_with("finished in"))?;
    let mut times: Vec<f64> = log
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
        .collect();
    Some(Loaded {
        count: succeeded,
        per_second: after(finished, ", ")?,
        p50_p99: Some((percentile(&mut times, 0.5), percentile(&mut times, 0.99))),
        errors: failed + errored + timeout,
    })
}

/// A percentile, 0 to 1; NaN of nothing.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values
        .get(index.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// One request of the paced load; times in seconds since its start.
pub(crate) struct Sample {
    /// When it was sent.
    pub(crate) sent: f64,
    /// When the answer was there.
    pub(crate) done: f64,
    /// From when it was due: what waits behind a slow answer counts as slow.
    pub(crate) latency: f64,
    /// The number in `x-cfg: vN`, 0 without it; or what went wrong.
    pub(crate) outcome: Result<u32, String>,
}

/// An open-loop load: each connection sends at its pace, whatever became of the request before.
pub(crate) struct Paced {
    pub(crate) started: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

impl Paced {
    /// Starts `connections` that each send `rate` requests per second.
    pub(crate) fn start(port: u16, path: &'static str, connections: u32, rate: f64) -> Self {
        let (started, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let client = |index: u32| {
            let stop = Arc::clone(&stop);
            let offset = f64::from(index) / (f64::from(connections) * rate);
            std::thread::spawn(move || pace(port, path, started, offset, rate, &stop))
        };
        let threads = (0..connections).map(client).collect();
        Self {
            started,
            stop,
            threads,
        }
    }

    /// Seconds since the start.
    pub(crate) fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Result<Vec<Sample>> {
        self.stop.store(true, Relaxed);
        let mut samples = Vec::new();
        for thread in self.threads.drain(..) {
            let part = thread.join();
            samples.extend(part.map_err(|_panic| anyhow::anyhow!("paced load: a client panicked"))?);
        }
        ensure!(!samples.is_empty(), "paced load: no requests");
        Ok(samples)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn pace(port: u16, path: &str, started: Instant, offset: f64, rate: f64, stop: &AtomicBool) -> Vec<Sample> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let (mut samples, mut connection, mut due) = (Vec::new(), None, offset);
    let now = || started.elapsed().as_secs_f64();
    while !stop.load(Relaxed) {
        std::thread::sleep(Duration::from_secs_f64((due - now()).max(0.0)));
        let sent = now();
        let outcome = paced_request(port, &mut connection, request.as_bytes());
        let done = now();
        samples.push(Sample {
            sent,
            done,
            latency: done - due,
            outcome,
        });
        due += 1.0 / rate;
    }
    samples
}

fn paced_request(port: u16, connection: &mut Option<TcpStream>, request: &[u8]) -> Result<u32, String> {
    // like any client, this one sees that an idle connection was closed
    if connection.as_ref().is_some_and(is_closed) {
        *connection = None;
    }
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => connect(port).map_err(|error| format!("connect: {error}"))?,
    };
    let (head, length) = exchange(&mut stream, request).map_err(|error| format!("{:?}", error.kind()))?;
    debug_assert!(length > 0, "the page is not empty");
    if !field(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *connection = Some(stream);
    }
    match head.split(' ').nth(1) {
        Some("200") => Ok(field(&head, "x-cfg")
            .and_then(|value| value.strip_prefix('v')?.parse().ok())
            .unwrap_or(0)),
        status => Err(format!("status {}", status.unwrap_or("none"))),
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(3))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn is_closed(stream: &TcpStream) -> bool {
    let quiet = |_| matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    let open = stream.set_nonblocking(true).is_ok_and(quiet);
    !(open && stream.set_nonblocking(false).is_ok())
}

/// Sends and reads a whole answer; its head and the length of its body.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<(String, usize)> {
    stream.write_all(request)?;
    let (mut answer, mut buffer) = (Vec::with_capacity(2048), [0; 8192]);
    let mut whole = None;
    while whole.as_ref().is_none_or(|(_, end, _)| answer.len() < *end) {
        let size = stream.read(&mut buffer)?;
        if size == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..size]);
        if whole.is_none()
            && let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&answer[..end]).into_owned();
            let length = field(&head, "content-length").and_then(|value| value.parse().ok());
            let length: usize = length.unwrap_or(0);
            whole = Some((head, end + 4 + length, length));
        }
    }
    Ok(whole.map(|(head, _, length)| (head, length)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "  Latency Distribution\n     50%    1.05ms\n     75%    1.10ms\n     99%  950.00us\n  \
                    12345 requests in 2.00s, 20.1MB read\n  Socket errors: connect 1, read 2, write 0, timeout 3\n  \
                    Non-2xx or 3xx responses: 45\nRequests/sec:   6172.50\n";
        let loaded = wrk(text).unwrap();
        assert_eq!(
            (loaded.count, loaded.per_second, loaded.errors),
            (12300.0, 6172.5, 51.0)
        );
        assert_eq!(loaded.p50_p99, Some((1050.0, 950.0)));
    }

    #[test]
    fn what_h2load_prints_is_understood() {
        let text = "finished in 2.00s, 5.50 req/s, 1MB/s\nrequests: 12 total, 12 started, 11 done, 10 succeeded, 1 failed, 0 errored, 0 timeout\n";
        let loaded = h2load(text, "1\t200\t30\n2\t200\t10\n3\t200\t20\n").unwrap();
        assert_eq!((loaded.count, loaded.per_second, loaded.errors), (10.0, 5.5, 1.0));
        assert_eq!(loaded.p50_p99, Some((20.0, 30.0)));
    }
}
