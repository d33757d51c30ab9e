//! The real binary: as a running gateway, and as a command that ends.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

use http::Request;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Body, Connection, DEADLINE, Reply, client, eventually, paths};

/// A running `edgeward serve`; killed when dropped.
pub struct Process {
    child: Child,
    folder: PathBuf,
    /// Name and address of the listeners.
    pub listeners: Vec<(String, SocketAddr)>,
    /// Where the admin API is.
    pub admin: SocketAddr,
    /// File with its token.
    pub token_file: PathBuf,
}

impl Process {
    /// Starts a gateway on `gateway.yaml` in a folder and waits until it listens.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::try_start(folder).unwrap_or_else(|log| panic!("edgeward does not start: {log}"))
    }

    /// The same for one that may not start.
    ///
    /// # Errors
    /// What it said and its log, when it ended.
    pub fn try_start(folder: &Path) -> Result<Self, String> {
        let log = folder.join("edgeward.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        Self::launch(&paths::edgeward(), folder, file.into())
            .map_err(|told| told + &std::fs::read_to_string(&log).unwrap_or_default())
    }

    /// The same for any program of the gateway, with its log going somewhere else.
    ///
    /// # Errors
    /// What it said, when it ended.
    pub fn launch(program: &Path, folder: &Path, log: Stdio) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(["serve", "--json", "--log-format", "json", "-c"])
            .arg(folder.join("gateway.yaml"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // later lines are not waited for
                drop(sender.try_send(line));
            }
        });
        let began = Instant::now();
        let mut told = String::new();
        let event = loop {
            match lines.recv_timeout(DEADLINE.saturating_sub(began.elapsed())) {
                Ok(line) => {
                    let event: Value = serde_json::from_str(&line).unwrap_or_default();
                    if event["event"] == "listening" {
                        break event;
                    }
                    told += &line;
                }
                Err(_ended) => {
                    drop(child.kill());
                    drop(child.wait());
                    return Err(told);
                }
            }
        };
        let listener = |listener: &Value| {
            (
                listener["name"].as_str().unwrap().to_owned(),
                listener["address"].as_str().unwrap().parse().unwrap(),
            )
        };
        Ok(Self {
            child,
            folder: folder.to_path_buf(),
            listeners: event["listeners"]
                .as_array()
                .unwrap()
                .iter()
                .map(listener)
                .collect(),
            admin: event["admin"].as_str().unwrap().parse().unwrap(),
            token_file: event["token-file"].as_str().unwrap().into(),
        })
    }

    /// Where the first listener is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners[0].1
    }

    /// Where a listener is, by its name.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no listener {name}")).1
    }

    /// The admin token.
    #[must_use]
    pub fn token(&self) -> String {
        std::fs::read_to_string(&self.token_file)
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("edgeward.log")).unwrap_or_default()
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let token = format!("Bearer {}", self.token());
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", token);
        if method == "GET" {
            builder
        } else {
            // as many clients do, whether there is a body or not
            builder.header("content-type", "application/json")
        }
    }

    /// A request to the admin API, with the token.
    pub async fn admin(&self, method: &str, path: &str, body: Body) -> Reply {
        let builder = self.request(method, path);
        client::ask(self.admin, builder, body).await
    }

    /// The same for a gateway that may be killed at any time.
    pub async fn try_admin(&self, method: &str, path: &str, body: Body) -> Option<Reply> {
        let stream = tokio::net::TcpStream::connect(self.admin).await.ok()?;
        drop(stream);
        let builder = self.request(method, path);
        Connection::h1(self.admin)
            .await
            .try_send(builder, body)
            .await
            .ok()
    }

    /// GET of the admin API as JSON; must work.
    pub async fn admin_get(&self, path: &str) -> Value {
        let reply = self.admin("GET", path, client::empty()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        // it may have ended already
        let _gone = kill_process(pid, signal);
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        eventually("the end of the process", async || {
            child.borrow_mut().try_wait().unwrap()
        })
        .await
    }

    /// Kills it at once, as a loss of power would, and waits for its end.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a command of the binary came to.
#[derive(Debug)]
pub struct Cli {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Cli {
    /// Standard output as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs a command of the binary in a folder.
pub async fn cli(folder: &Path, words: &[&str]) -> Cli {
    cli_with(folder, words, &[], DEADLINE).await
}

/// The same with environment variables and a deadline, for commands that run cargo.
pub async fn cli_with(
    folder: &Path,
    words: &[&str],
    variables: &[(&str, &OsStr)],
    deadline: Duration,
) -> Cli {
    let mut command = tokio::process::Command::new(paths::edgeward());
    command
        .args(words)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(deadline, command.output())
        .await
        .unwrap_or_else(|_elapsed| panic!("edgeward {words:?} took longer than {deadline:?}"))
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Cli {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}
