//! Instances of a version: made, kept while idle, put back to the snapshot or thrown away.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use wasmtime::Store;

use crate::{
    bindings::exports::edgeward::plugin::{authorize, inspect, lifecycle, observe, transform},
    failure::{Failed, FailureKind, exceeded},
    memory::{self, Delta, Rewind},
    session::bounded,
    state::{Budget, HostState, Mode},
    version::{PluginVersion, classify},
    wasi::Frozen,
};

/// How long an idle instance is kept for the next request.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(10);

/// Idle instances of a version, boxed because they are moved often.
pub(crate) type Idle = parking_lot::Mutex<Vec<Box<Instance>>>;

/// A running instance of a version.
pub(crate) struct Instance {
    pub(crate) store: Store<HostState>,
    pub(crate) guests: Guests,
    uses: u32,
    born: Instant,
    /// When it was last put among the idle ones.
    rested: Instant,
    /// How its memory is put back, where it can be.
    rewind: Option<Rewind>,
    /// The thread that took it.
    pub(crate) home: u64,
    /// Bytes of memory when it was made.
    memory: usize,
    /// It ran on another thread than the one that took it.
    pub(crate) moved: bool,
}

/// What one exchange has of a version between two calls.
#[derive(Default)]
pub(crate) enum Held {
    /// Nothing: it was not called yet, or will not be again.
    #[default]
    Nothing,
    /// An instance of its own.
    Instance(Box<Instance>),
    /// What it changed in an instance that serves others meanwhile.
    Parked(Delta, Budget),
}

pub(crate) struct Guests {
    pub(crate) authorize: Option<authorize::Guest>,
    pub(crate) transform: Option<transform::Guest>,
    pub(crate) inspect: Option<inspect::Guest>,
    pub(crate) observe: Option<observe::Guest>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.store.data().stats.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PluginVersion {
    /// Takes back an instance that its exchange needs no more: keeps it where reuse allows it.
    pub(crate) fn release(&self, mut instance: Box<Instance>) {
        let again = match (&mut instance.rewind, self.reuse) {
            (Some(rewind), _) => rewind.rewind(instance.moved),
            (None, Some(reuse)) => instance.uses < reuse.requests && instance.born.elapsed() < reuse.ttl.0,
            (None, None) => false,
        };
        if again {
            self.rest(instance);
        }
    }

    /// Puts an instance among the idle ones.
    fn rest(&self, mut instance: Box<Instance>) {
        instance.store.data_mut().exchange = None;
        instance.rested = Instant::now();
        let mut idle = memory::of_thread(&self.idle).lock();
        // more idle instances than this were a burst
        if idle.len() < 64 {
            idle.push(instance);
        }
    }

    /// Parts an instance from the exchange that it served, which will go on with [`PluginVersion::resume`]: its memory and the next exchange's then
    /// are the same, and in the processor's cache. Instances that cannot be parted from stay with it.
    pub(crate) fn park(&self, mut instance: Box<Instance>) -> Held {
        match instance
            .rewind
            .as_mut()
            .and_then(|rewind| rewind.take(instance.moved))
        {
            Some(delta) => {
                let budget = instance.store.data().budget;
                self.rest(instance);
                Held::Parked(delta, budget)
            }
            None => Held::Instance(instance),
        }
    }

    /// An instance that is as the exchange left it.
    pub(crate) async fn resume(&self, held: Held) -> Result<Box<Instance>, Failed> {
        match held {
            Held::Nothing => self.obtain().await,
            Held::Instance(instance) => Ok(instance),
            Held::Parked(delta, budget) => {
                let mut instance = self.obtain().await?;
                instance.store.data_mut().budget = budget;
                if let Some(rewind) = &mut instance.rewind {
                    rewind.give(&delta);
                }
                Ok(instance)
            }
        }
    }

    /// An instance: an idle one that was rewound, or where reuse allows it, else a new one.
    async fn obtain(&self) -> Result<Box<Instance>, Failed> {
        if let Some(mut instance) = self.idle_instance() {
            instance.uses += 1;
            instance.home = memory::thread();
            instance.moved = false;
            if instance.rewind.is_some() {
                instance.store.data_mut().memory_used = instance.memory;
            }
            instance.store.data_mut().budget = Budget::of(&self.capabilities.limits);
            if let Some(rewind) = &mut instance.rewind {
                rewind.start();
            }
            return Ok(instance);
        }
        match self.instantiate().await {
            Err((FailureKind::Capacity, _)) => {
                // idle instances give way
                self.runtime.sweep(Duration::ZERO);
                self.instantiate().await
            }
            made => made,
        }
    }

    /// An idle instance of this thread, or else of another one.
    fn idle_instance(&self) -> Option<Box<Instance>> {
        if !self.rewinds && self.reuse.is_none() {
            return None;
        }
        let young = |instance: &Instance| {
            self.reuse
                .is_none_or(|reuse| instance.born.elapsed() < reuse.ttl.0)
        };
        let newest = |list: &Idle| {
            let mut idle = list.lock();
            std::iter::from_fn(|| idle.pop()).find(|instance| young(instance))
        };
        std::iter::once(memory::of_thread(&self.idle))
            .chain(&self.idle)
            .find_map(newest)
    }

    /// Makes an instance for the first request of a version, so that it need not wait.
    pub(crate) async fn warm(&self) {
        // what goes wrong will go wrong again for the request, and is told then
        if self.rewinds
            && let Ok(instance) = self.obtain().await
        {
            self.rest(instance);
        }
    }

    /// Lets go of idle instances that nobody has used for `age`, or that are too old for reuse.
    pub(crate) fn sweep(&self, age: Duration) {
        for list in &self.idle {
            let mut idle = list.lock();
            let kept = |instance: &mut Box<Instance>| {
                let young = self
                    .reuse
                    .is_none_or(|reuse| instance.born.elapsed() < reuse.ttl.0);
                let busy = self.reuse.is_some() && !age.is_zero();
                young && (busy || instance.rested.elapsed() < age)
            };
            let gone: Vec<_> = idle.extract_if(.., |instance| !kept(instance)).collect();
            drop(idle);
            drop(gone);
        }
        let mut image = self.image.lock();
        // nobody but this version has it
        if image.as_ref().is_some_and(|image| Arc::strong_count(image) == 1) {
            *image = None;
        }
    }

    async fn instantiate(&self) -> Result<Box<Instance>, Failed> {
        let _running = self.runtime.running.enter();
        let mut store = self.store(Mode::Init, &Frozen::default());
        store
            .data_mut()
            .begin_call(Mode::Init, self.capabilities.limits.init_time.0);
        let made = if self.rewinds {
            memory::begin();
            if self.runtime.is_full() {
                let message = "as many instances as there may be are in use".to_owned();
                return Err((FailureKind::Capacity, message));
            }
            // without waiting, so that nothing else is made on this thread meanwhile: no code of the plugin's runs here (`crate::rewind`), the compiler's
            // own that fills the memory must not yield to the epoch
            store.set_epoch_deadline(u64::from(u32::MAX));
            let made = self.pre.instantiate_async(&mut store).now_or_never();
            made.unwrap_or_else(|| Err(exceeded(FailureKind::Init, "making an instance had to wait")))
        } else {
            self.pre.instantiate_async(&mut store).await
        };
        let made = match made {
            Ok(instance) => self
                .guests(&mut store, &instance)
                .map(|guests| (instance, guests)),
            Err(error) => Err(error),
        };
        let (instance, guests) = made.map_err(|error| classify(store.data_mut(), &error))?;
        if !self.snapshotted {
            self.init(&mut store, &instance).await?;
        }
        let rewind = if self.rewinds {
            let rewind = Rewind::new(&self.image);
            let failed = |error| {
                (
                    FailureKind::Capacity,
                    format!("an instance could not be made: {error}"),
                )
            };
            Some(rewind.map_err(failed)?)
        } else {
            None
        };
        let memory = store.data().memory_used;
        let limits = &self.capabilities.limits;
        let largest = limits.host_buffers.max(limits.body).max(limits.egress);
        store.set_hostcall_fuel(usize::try_from(largest.0).unwrap_or(usize::MAX));
        self.stats.instances.fetch_add(1, Ordering::Relaxed);
        self.stats.live.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Instance {
            store,
            guests,
            uses: 1,
            born: Instant::now(),
            rested: Instant::now(),
            rewind,
            home: memory::thread(),
            memory,
            moved: false,
        }))
    }

    fn guests(
        &self,
        store: &mut Store<HostState>,
        instance: &wasmtime::component::Instance,
    ) -> wasmtime::Result<Guests> {
        // each hook has indices of its own type
        macro_rules! load {
            ($hook:ident) => {
                self.indices
                    .$hook
                    .as_ref()
                    .map(|indices| indices.load(&mut *store, instance))
                    .transpose()?
            };
        }
        Ok(Guests {
            authorize: load!(authorize),
            transform: load!(transform),
            inspect: load!(inspect),
            observe: load!(observe),
        })
    }

    /// Runs `init` in an instance that did not start from a snapshot.
    async fn init(
        &self,
        store: &mut Store<HostState>,
        instance: &wasmtime::component::Instance,
    ) -> Result<(), Failed> {
        let wall = Some(self.capabilities.limits.init_time.0.saturating_mul(4));
        let answer = match self.indices.lifecycle.load(&mut *store, instance) {
            Ok(guest) => bounded(wall, guest.call_init(&mut *store, &self.config)).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(Ok(lifecycle::Interest { .. })) => {
                let state = store.data_mut();
                state.matchers = std::mem::take(&mut state.built).into();
                Ok(())
            }
            Ok(Err(message)) => Err((FailureKind::Init, message)),
            Err(error) => Err(classify(store.data_mut(), &error)),
        }
    }
}
