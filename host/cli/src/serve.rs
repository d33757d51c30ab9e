//! `edgeward serve`: boot and stop order of the whole process. Boot: configuration, store, runtime, plugins, snapshot,
//! proxy, control. Stop: drain the proxy while the admin API still tells what happens, then control.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use edgeward_control::{ConfigFile, Control, ControlError, Deployer, FileError, Store};
use edgeward_proxy::Proxy;
use edgeward_runtime::{Runtime, RuntimeOptions};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    output::{Invalid, Output},
    telemetry::{self, LogFormat},
};

/// Threads for everything that is not on the request path.
const CONTROL_THREADS: usize = 4;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration file; it is watched, and loaded again on SIGHUP.
    #[arg(long, short, default_value = "gateway.yaml")]
    config: PathBuf,
    /// Folder for persistent state, in place of `data-dir` in the file.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Form of log lines (on standard error).
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Runs the gateway until it is told to stop.
pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<()> {
    telemetry::start(args.log_format)?;
    install_crypto();
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("edgeward-control")
        .on_thread_start(edgeward_runtime::give_way)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let outcome = threads.block_on(serve(args, output));
    threads.shutdown_timeout(Duration::from_secs(2));
    outcome
}

/// rustls asks for one provider per process.
pub(crate) fn install_crypto() {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed before");
    }
}

/// A configuration that cannot be used, with exit code 2.
pub(crate) fn unusable(file: &std::path::Path, error: FileError) -> anyhow::Error {
    match error {
        FileError::Invalid(problems) => Invalid {
            what: file.display().to_string(),
            problems,
        }
        .into(),
        FileError::Io { .. } => error.into(),
    }
}

async fn serve(args: &Args, output: Output) -> anyhow::Result<()> {
    // from here on a signal waits for its turn instead of ending the process half-way
    let mut signals = Signals::new().context("cannot take signals")?;
    let file = ConfigFile::read(&args.config).map_err(|error| unusable(&args.config, error))?;
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => file.base_dir.join(&file.config.data_dir.0),
    };
    let store = Arc::new(Store::open(&data_dir)?);
    edgeward_proxy::quic_secret(store.quic_secret()?);
    let runtime = Runtime::new(RuntimeOptions {
        cache_dir: Some(store.compiled_dir()),
        cache_key: store.cache_key()?,
        instances: file.config.limits.plugin_instances,
        ..RuntimeOptions::default()
    })?;
    let (deployer, snapshot) = tokio::select! {
        booted = Deployer::boot(runtime.clone(), Arc::clone(&store), file) => match booted {
            Ok(booted) => booted,
            Err(ControlError::Invalid(problems)) => {
                return Err(Invalid { what: args.config.display().to_string(), problems }.into());
            }
            Err(error) => return Err(error.into()),
        },
        () = signals.ending.wait() => return Ok(()),
    };
    let proxy = Arc::new(Proxy::start(runtime, snapshot)?);
    deployer.attach(Arc::clone(&proxy));
    let control = Control::start(deployer).await?;
    announce(&proxy, &control, output);
    run_until_stopped(&mut signals, control.deployer()).await;
    stop(&mut signals, &proxy, control).await;
    Ok(())
}

/// Tells where everything listens: on standard output, because addresses may be known only now (port 0).
fn announce(proxy: &Proxy, control: &Control, output: Output) {
    let addresses = proxy.addresses();
    if output.is_json() {
        let listeners: Vec<_> = addresses
            .iter()
            .map(|(name, address)| json!({"name": name, "address": address}))
            .collect();
        output.event(&json!({
            "event": "listening",
            "listeners": listeners,
            "admin": control.admin_address(),
            "admin-socket": control.admin_socket(),
            "token-file": control.token_file(),
            "pid": std::process::id(),
        }));
        return;
    }
    for (name, address) in addresses {
        output.line(&format!("listening on {address} (listener {name})"));
    }
    if let (Some(address), Some(token)) = (control.admin_address(), control.token_file()) {
        let scheme = if control.deployer().started_with().admin.tls.is_some() {
            "https"
        } else {
            "http"
        };
        output.line(&format!(
            "admin API on {scheme}://{address} (token in {})",
            token.display()
        ));
    }
    if let Some(socket) = control.admin_socket() {
        output.line(&format!("admin API on unix:{}", socket.display()));
    }
}

async fn run_until_stopped(signals: &mut Signals, deployer: &Deployer) {
    loop {
        tokio::select! {
            () = signals.ending.wait() => return,
            _ = signals.hang_up.recv() => {
                tracing::info!("SIGHUP: loading the configuration again");
                let deployer = deployer.clone();
                // its outcome is in log, metrics and status
                tokio::spawn(async move { drop(deployer.reload().await) });
            }
        }
    }
}

async fn stop(signals: &mut Signals, proxy: &Proxy, control: Control) {
    let deployer = control.deployer().clone();
    deployer.stop();
    let limit = deployer.applied().effective.limits.drain_timeout.0;
    tracing::info!(
        limit_s = limit.as_secs(),
        "stopping: no new connections, running exchanges finish"
    );
    tokio::select! {
        () = proxy.drain(limit) => {}
        () = signals.ending.wait() => {
            tracing::warn!("second signal: stopping at once");
            quit();
        }
    }
    control.stop().await;
    tracing::info!("stopped");
}

#[expect(clippy::exit, reason = "the operator asked twice: nothing is waited for")]
fn quit() {
    std::process::exit(1)
}

struct Signals {
    ending: Ending,
    hang_up: Signal,
}

/// Signals that end the process.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            ending: Ending {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Ending {
    /// Waits for SIGTERM or SIGINT.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
