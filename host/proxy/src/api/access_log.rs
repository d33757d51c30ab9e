//! The access log of a stage. Requests leave their lines in a bounded queue and never wait; a thread writes them. What has no room is counted.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use edgeward_core::{
    api::{LogFormat, mapping::Facts as _},
    reject::{Origin, Reject, RejectCode},
};

use super::{
    Call,
    facts::{Known, is_said},
};
use crate::finish::Finish;

/// Lines that wait at most, and their bytes.
const LINES_MAX: usize = 16 << 10;
const BYTES_MAX: usize = 16 << 20;
/// Bytes that are written at a time.
const BATCH: usize = 256 << 10;
/// Time between two words about a destination that cannot be written.
const QUIET: Duration = Duration::from_secs(60);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// A file, which is made with its folders.
    File(PathBuf),
}

/// The access log of a stage, ready.
#[derive(Clone, Debug)]
pub(crate) struct StageLog {
    format: LogFormat,
    /// Lines tell of the request's fields.
    pub(super) reads_fields: bool,
    /// They tell what an authorizer said.
    reads_authorizer: bool,
    writer: Arc<Writer>,
}

impl StageLog {
    /// The writer of `old` goes on where the destination is the same.
    pub(super) fn new(format: LogFormat, destination: &LogDestination, old: Option<&Self>) -> Self {
        let known = old
            .map(|old| &old.writer)
            .filter(|writer| writer.destination == *destination);
        let reads_fields = format.names().any(|name| name == "identity.userAgent");
        let reads_authorizer = format.names().any(is_said);
        Self {
            reads_fields,
            reads_authorizer,
            format,
            writer: known.map_or_else(|| Arc::new(Writer::new(destination.clone())), Arc::clone),
        }
    }

    /// Whether it is of this form and goes there.
    pub(super) fn is(&self, format: &LogFormat, destination: &LogDestination) -> bool {
        self.format == *format && self.writer.destination == *destination
    }

    /// Lines that were written, and that were dropped.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let counts = &self.writer.counts;
        (counts.written.load(Relaxed), counts.dropped.load(Relaxed))
    }

    /// Waits until what was left so far is written, or for a while; not at all where the queue is full.
    pub(crate) fn flush(&self) {
        let Some(queue) = self.writer.queue.get() else {
            return;
        };
        let (done, wait) = sync_channel(1);
        if queue.try_send(Message::Flush(done)).is_ok() {
            let _in_time = wait.recv_timeout(Duration::from_secs(2));
        }
    }

    /// Leaves the line of an exchange that has ended.
    pub(crate) fn leave(&self, finish: &Finish, call: &Call, duration: Duration, request_bytes: u64) {
        let authorizer = super::authorizer_now(finish, self.reads_authorizer);
        // the answer to a wrong signature goes on with what should have been signed, a session token perhaps
        let reject = finish.reject.as_ref();
        let cut = reject.and_then(|reject| {
            let (first, _) = reject.detail.split_once('\n')?;
            Some(Reject {
                detail: first.to_owned(),
                ..reject.clone()
            })
        });
        let known = Known {
            headers: call.headers.as_ref(),
            query: call.query.as_deref(),
            authorizer: &authorizer,
            error: cut.as_ref().or(reject),
            ..Known::new(finish, call)
        };
        let mut line = self
            .format
            .line(|name| outcome(finish, name, duration, request_bytes).or_else(|| known.context(name)));
        line.push('\n');
        self.writer.push(line);
    }
}

/// What is known of an exchange only when it has ended.
fn outcome(finish: &Finish, name: &str, duration: Duration, request_bytes: u64) -> Option<String> {
    let upstream = || finish.upstream.map(|time| time.as_millis().to_string());
    let failed = || {
        let of_server = |reject: &&Reject| reject.code.origin() == Origin::Upstream;
        finish.reject.as_ref().filter(of_server)
    };
    let is_blocked = || {
        finish
            .reject
            .as_ref()
            .is_some_and(|reject| reject.code == RejectCode::WafFiltered)
    };
    Some(match name {
        "status" => finish.status.to_string(),
        "responseLength" => finish.response_bytes.to_string(),
        "responseLatency" => duration.as_millis().to_string(),
        "dataProcessed" => (request_bytes + finish.response_bytes).to_string(),
        "integrationLatency" | "integration.latency" => upstream()?,
        "integrationStatus" | "integration.integrationStatus" | "integration.status" => {
            finish.upstream_status?.to_string()
        }
        "integrationErrorMessage" | "integration.error" => failed()?.detail.clone(),
        "wafResponseCode" if is_blocked() => "WAF_BLOCK".to_owned(),
        "identity.clientCert.subjectDN" => finish.conn.client_subject.as_deref()?.to_owned(),
        "tlsVersion" => format!("TLSv{}", finish.conn.peer.tls_version?),
        _ => return None,
    })
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    /// Bytes in the queue.
    waiting: AtomicUsize,
}

/// Writes lines to one destination, on a thread that begins with the first of them and ends with the writer.
#[derive(Debug)]
struct Writer {
    destination: LogDestination,
    queue: OnceLock<SyncSender<Message>>,
    counts: Arc<Counts>,
}

enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

impl Writer {
    fn new(destination: LogDestination) -> Self {
        Self {
            destination,
            queue: OnceLock::new(),
            counts: Arc::default(),
        }
    }

    fn push(&self, line: String) {
        let queue = self.queue.get_or_init(|| {
            let (sender, receiver) = sync_channel(LINES_MAX);
            let (destination, counts) = (self.destination.clone(), Arc::clone(&self.counts));
            let thread = std::thread::Builder::new().name("access-log".to_owned());
            // without the thread nobody receives, and lines are dropped and counted
            if let Err(error) = thread.spawn(move || run(&receiver, destination, &counts)) {
                tracing::error!(%error, "no thread for an access log");
            }
            sender
        });
        let length = line.len();
        let waiting = self.counts.waiting.fetch_add(length, Relaxed);
        if waiting + length > BYTES_MAX || queue.try_send(Message::Line(line)).is_err() {
            self.counts.waiting.fetch_sub(length, Relaxed);
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

fn run(receiver: &Receiver<Message>, destination: LogDestination, counts: &Counts) {
    edgeward_runtime::give_way();
    let mut output = Output {
        destination,
        file: None,
    };
    let mut told: Option<Instant> = None;
    while let Ok(first) = receiver.recv() {
        let (mut batch, mut lines, mut done) = (String::new(), 0, None);
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    batch.push_str(&line);
                    lines += 1;
                }
                Message::Flush(sender) => {
                    done = Some(sender);
                    break;
                }
            }
            next = (batch.len() < BATCH).then(|| receiver.try_recv().ok()).flatten();
        }
        let count = match output.write(batch.as_bytes()) {
            Ok(()) => &counts.written,
            Err(error) => {
                output.file = None;
                if told.is_none_or(|told| told.elapsed() >= QUIET) {
                    told = Some(Instant::now());
                    tracing::error!(destination = ?output.destination, %error, "an access log cannot be written");
                }
                &counts.dropped
            }
        };
        count.fetch_add(lines, Relaxed);
        counts.waiting.fetch_sub(batch.len(), Relaxed);
        if let Some(done) = done {
            let _waited_for = done.try_send(());
        }
    }
}

struct Output {
    destination: LogDestination,
    file: Option<File>,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &self.destination {
            LogDestination::Stdout => {
                let mut output = io::stdout().lock();
                output.write_all(bytes)?;
                output.flush()
            }
            LogDestination::File(path) => {
                // one that was moved away is left to whoever did that
                let file = match self.file.take().filter(|file| is_at(file, path)) {
                    Some(file) => file,
                    None => open(path)?,
                };
                self.file.insert(file).write_all(bytes)
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(open), Ok(there)) = (file.metadata(), path.metadata()) else {
        return false;
    };
    id(open) == id(there)
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(path: &Path, old: Option<&StageLog>) -> StageLog {
        let format = LogFormat::parse("$context.requestId").unwrap();
        StageLog::new(format, &LogDestination::File(path.to_owned()), old)
    }

    #[test]
    fn lines_are_written_in_order_and_a_file_that_was_moved_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.log");
        let first = log(&path, None);
        for line in 0..1000 {
            first.writer.push(format!("{line}\n"));
        }
        first.flush();
        let expected: String = (0..1000).map(|line| format!("{line}\n")).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        std::fs::rename(&path, folder.path().join("old.log")).unwrap();
        // the stage was changed
        let second = log(&path, Some(&first));
        second.writer.push("new\n".to_owned());
        second.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(second.counts(), (1001, 0));
        assert_eq!(log(&folder.path().join("c.log"), Some(&second)).counts(), (0, 0));
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("is-a-folder");
        std::fs::create_dir(&path).unwrap();
        let log = log(&path, None);
        let line = "x".repeat(1 << 20);
        for _ in 0..100 {
            log.writer.push(line.clone());
        }
        log.flush();
        assert_eq!(log.counts(), (0, 100));
        assert_eq!(log.writer.counts.waiting.load(Relaxed), 0);
    }
}
