//! The control plane: never on the path of a request.
//!
//! `file` reads the configuration and works out what published versions change in it; `store` keeps what has to survive a
//! restart; `access` decides who may do what through the admin API; `deploy` is the only writer of what runs; `watch`, `admin` and `acme` ask it for changes.

pub mod access;
mod acme;
pub mod admin;
pub mod bundle;
pub mod clock;
pub mod deploy;
pub mod error;
pub mod file;
pub mod import;
pub mod model;
pub mod store;
pub mod watch;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use acme::OrderView;
pub use admin::AdminServer;
pub use deploy::{Deployer, Published, Target};
pub use error::ControlError;
pub use file::{ConfigFile, FileError};
pub use store::{Store, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::watch::Watch;

/// The running control plane: admin API and configuration watching.
pub struct Control {
    deployer: Deployer,
    admin: Option<AdminServer>,
    token_file: Option<PathBuf>,
    watch: Watch,
    /// The tasks that order certificates and judge canaries, and what ends them.
    tasks: ([JoinHandle<()>; 2], CancellationToken),
}

/// The control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlStartError {
    /// The admin API cannot.
    #[error(transparent)]
    Admin(#[from] admin::AdminStartError),
    /// No thread.
    #[error("cannot watch the configuration: {0}")]
    Watch(io::Error),
}

impl Control {
    /// Starts the admin API, unless it is turned off, and the watching of the configuration. Needs a multi-thread tokio
    /// runtime around it, other than the data plane's.
    ///
    /// # Errors
    /// Address taken, token unusable, no thread.
    pub async fn start(deployer: Deployer) -> Result<Self, ControlStartError> {
        let settings = deployer.started_with().admin.clone();
        let (mut admin, mut token_file) = (None, None);
        if settings.enabled {
            let path = match &settings.token_file {
                Some(path) => deployer.applied().base_dir.join(path),
                None => deployer.store().token_path(),
            };
            let base_dir = deployer.applied().base_dir.clone();
            admin = Some(AdminServer::start(deployer.clone(), &settings, &base_dir, path.clone()).await?);
            token_file = Some(path);
        }
        let (files, changed) = (deployer.clone(), deployer.clone());
        let handle = tokio::runtime::Handle::current();
        let watch = Watch::start(
            move || files.watched_files(),
            // the outcome is in log, metrics and status
            move || drop(handle.block_on(changed.reload())),
        )
        .map_err(ControlStartError::Watch)?;
        let stop = CancellationToken::new();
        let orders = tokio::spawn(acme::run(deployer.clone(), stop.clone()));
        let judge = tokio::spawn(deploy::judge::run(deployer.clone(), stop.clone()));
        Ok(Self {
            deployer,
            admin,
            token_file,
            watch,
            tasks: ([orders, judge], stop),
        })
    }

    /// Address of the admin API.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminServer::address)
    }

    /// Where the unix socket of the admin API is.
    #[must_use]
    pub fn admin_socket(&self) -> Option<&Path> {
        self.admin.as_ref().and_then(AdminServer::socket)
    }

    /// File with the admin token.
    #[must_use]
    pub fn token_file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref()
    }

    /// Makes changes.
    #[must_use]
    pub fn deployer(&self) -> &Deployer {
        &self.deployer
    }

    /// Ends watching, then the admin API.
    pub async fn stop(self) {
        self.deployer.stop();
        let (tasks, stop) = self.tasks;
        stop.cancel();
        for task in tasks {
            if task.await.is_err() {
                tracing::error!("a task of the control plane panicked");
            }
        }
        // joining the thread may wait for a change that is under way
        let watch = self.watch;
        if tokio::task::spawn_blocking(move || drop(watch)).await.is_err() {
            tracing::error!("ending the configuration watch panicked");
        }
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
    }
}
