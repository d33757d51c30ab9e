//! Worker threads: each a current-thread runtime with its own sockets and upstream pools.

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Shared,
    listen::{self, Listener, WorkerSocket},
    upstream::Pools,
};

/// What one worker thread works with.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// Which of the workers it is.
    pub(crate) index: usize,
    pub(crate) pools: Pools,
    /// Cancelled when the gateway drains.
    pub(crate) drain: CancellationToken,
    /// Cancelled when there is no time left for connections.
    pub(crate) cut: CancellationToken,
    pub(crate) connections: TaskTracker,
    /// Work that goes on after an exchange has ended (observers).
    pub(crate) background: TaskTracker,
}

/// A command to a worker.
pub(crate) enum Command {
    /// Accept on this socket.
    Listen(Arc<Listener>, WorkerSocket),
    /// Stop accepting, let connections finish for that long, end.
    Drain(Duration),
}

/// The other end of a worker.
pub(crate) struct WorkerHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

/// Starts a worker thread.
pub(crate) fn start(shared: &Arc<Shared>, index: usize) -> io::Result<WorkerHandle> {
    let (sender, commands) = mpsc::channel(64);
    let shared = Arc::clone(shared);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            edgeward_runtime::go_first();
            // The first use on a thread collects entropy for some 30 ms: not in the first handshake.
            let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
            if random.fill(&mut [0]).is_err() {
                tracing::error!("the system has no random numbers: TLS handshakes will fail");
            }
            let worker = Arc::new(Worker {
                shared,
                index,
                pools: Pools::new(),
                drain: CancellationToken::new(),
                cut: CancellationToken::new(),
                connections: TaskTracker::new(),
                background: TaskTracker::new(),
            });
            runtime.block_on(run(worker, commands));
        })?;
    Ok(WorkerHandle {
        commands: sender,
        thread: Some(thread),
    })
}

/// Time for the last packets of HTTP/3 connections that are cut off.
const LAST_WORDS: Duration = Duration::from_millis(100);

async fn run(worker: Arc<Worker>, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(listener, socket) => {
                let worker = Arc::clone(&worker);
                match socket {
                    WorkerSocket::Tcp(socket) => tokio::spawn(listen::accept(worker, listener, socket)),
                    WorkerSocket::Quic(socket) => {
                        tokio::spawn(listen::quic::accept(worker, listener, socket))
                    }
                };
            }
            Command::Drain(limit) => {
                worker.drain.cancel();
                let all = async {
                    listen::drained(&worker.connections).await;
                    listen::drained(&worker.background).await;
                };
                if tokio::time::timeout(limit, all).await.is_err() {
                    tracing::warn!(
                        connections = worker.connections.len(),
                        "connections cut off: they did not end in time"
                    );
                    // the kernel closes those of TCP; clients of HTTP/3 hear it from this thread or never
                    worker.cut.cancel();
                    tokio::time::sleep(LAST_WORDS).await;
                }
                return;
            }
        }
    }
}
