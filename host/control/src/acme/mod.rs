//! Certificates that are ordered from authorities (ACME, RFC 8555) and renewed in time. One task; what it gets goes the road of every other
//! certificate: checked, durable, live. An order may take its time; others do not wait for it.
//!
//! `schedule` says when, `authority` does it, `store/acme.rs` keeps accounts and how far orders have come.

pub(crate) mod authority;
mod schedule;

use std::{collections::BTreeMap, time::Duration};

use edgeward_core::config::{Acme, Config, acme_certificate_name, canonical_names, is_acme_certificate_name};
use edgeward_proxy::CertificatePem;
use instant_acme::Account;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::{
    authority::{OrderError, Wish},
    schedule::{Step, Validity},
};
use crate::{
    Deployer,
    clock::{now_ms, rfc3339},
    deploy::Applied,
    error::ControlError,
    store::{Store, StoreError, StoredCertificate},
};
pub(crate) use schedule::Progress;

/// Orders that are worked on at the same time at one authority.
const AT_ONCE: usize = 4;
/// Longest time for one order; and for what leads to it: the account, and the question when to renew.
const ORDER_TIME: Duration = Duration::from_secs(2 * 3600);
const ASK_TIME: Duration = Duration::from_secs(60);
/// Pause after a defect.
const DEFECT_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause: the clock of the machine may be set meanwhile.
const PAUSE_MAX: i64 = 3_600_000;

/// How far orders have come, and a bell for the task.
pub(crate) struct Orders {
    /// By the names of their certificates.
    progress: Mutex<BTreeMap<String, Progress>>,
    bell: Notify,
    /// What was issued and could not be put into effect: it is, before another is ordered.
    issued: Mutex<BTreeMap<String, (String, CertificatePem)>>,
    /// Held while an account is made in place of another.
    accounts: tokio::sync::Mutex<()>,
}

/// A certificate that is ordered.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OrderView {
    /// Name of the certificate.
    pub certificate: String,
    /// Name of the authority.
    pub authority: String,
    /// Server names.
    pub names: Vec<String>,
    /// Until when the certificate that is there holds, RFC 3339; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When it is ordered next, as things are, RFC 3339.
    pub next_order: String,
    /// When the attempt that is under way began, RFC 3339; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_way_since: Option<String>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the configuration orders.
#[derive(Clone)]
struct Wanted {
    /// Name of the certificate.
    name: String,
    authority: String,
    config: Acme,
    names: Vec<String>,
}

impl Wanted {
    /// Everything that listeners want, each once.
    fn all(config: &Config) -> BTreeMap<String, Self> {
        let listeners = config
            .listeners
            .iter()
            .filter_map(|listener| listener.tls.as_ref());
        let wanted = listeners
            .flat_map(|tls| &tls.certificates)
            .filter_map(|certificate| {
                let (authority, settings) = config.acme.get_key_value(certificate.acme.as_ref()?)?;
                let name = acme_certificate_name(&certificate.names)?;
                Some((
                    name.clone(),
                    Self {
                        name,
                        authority: authority.clone(),
                        config: settings.clone(),
                        names: certificate.names.clone(),
                    },
                ))
            });
        wanted.collect()
    }

    /// All that matters to the authority, as text.
    fn text(&self) -> String {
        serde_json::to_string(&(&self.config, &self.names)).unwrap_or_default()
    }

    /// The certificate that is there, if it is what is ordered.
    fn current<'a>(&self, applied: &'a Applied) -> Option<&'a StoredCertificate> {
        let stored = applied.certificates.get(&self.name)?;
        let same = canonical_names(&stored.pem.names) == canonical_names(&self.names)
            && stored.directory.as_deref() == Some(self.config.directory.as_str());
        same.then_some(stored)
    }
}

fn validity(stored: &StoredCertificate) -> Option<Validity> {
    let info = stored.pem.info().ok()?;
    let ms = |seconds: i64| seconds.saturating_mul(1000);
    Some(Validity {
        not_before: ms(info.not_before),
        not_after: ms(info.not_after),
    })
}

impl Orders {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            progress: Mutex::new(store.acme.orders()),
            bell: Notify::new(),
            issued: Mutex::default(),
            accounts: tokio::sync::Mutex::default(),
        }
    }

    /// The configuration has changed.
    pub(crate) fn look_again(&self) {
        self.bell.notify_one();
    }

    /// The progress of an order, which is that of no other.
    fn of(&self, wanted: &Wanted) -> Progress {
        let text = wanted.text();
        let known = self.progress.lock().get(&wanted.name).cloned();
        known
            .filter(|known| known.of == text)
            .unwrap_or_else(|| Progress::new(text))
    }

    /// Changes it.
    fn change(&self, wanted: &Wanted, change: impl FnOnce(&mut Progress)) {
        let text = wanted.text();
        let mut all = self.progress.lock();
        let progress = all.entry(wanted.name.clone()).or_default();
        if progress.of != text {
            *progress = Progress::new(text);
        }
        change(progress);
    }

    /// The attempt that was under way is not any more.
    fn ended(&self, wanted: &Wanted) {
        let text = wanted.text();
        let mut all = self.progress.lock();
        if let Some(progress) = all.get_mut(&wanted.name).filter(|progress| progress.of == text) {
            progress.under_way_since = None;
        }
    }

    fn keep(&self, store: &Store) {
        let all = self.progress.lock().clone();
        if let Err(error) = store.acme.keep_orders(&all) {
            tracing::error!(%error, "how far orders have come is lost when the gateway stops");
        }
    }
}

impl Deployer {
    /// Certificates that are ordered.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderView> {
        let applied = self.applied();
        let wanted = Wanted::all(&applied.file);
        wanted
            .values()
            .map(|wanted| self.order_view(&applied, wanted))
            .collect()
    }

    fn order_view(&self, applied: &Applied, wanted: &Wanted) -> OrderView {
        let progress = self.own_orders().of(wanted);
        let current = wanted.current(applied).and_then(validity);
        let next = progress.order_at(current, now_ms());
        OrderView {
            certificate: wanted.name.clone(),
            authority: wanted.authority.clone(),
            names: wanted.names.clone(),
            not_after: current.map(|current| rfc3339(current.not_after)),
            next_order: rfc3339(next),
            under_way_since: progress.under_way_since.map(rfc3339),
            failures: progress.failures,
            error: progress.error,
        }
    }

    /// Orders a certificate now, however long it still holds and however often that failed. It comes in its own time: the view says how that went.
    ///
    /// # Errors
    /// No certificate of this name is ordered.
    pub fn renew_certificate(&self, name: &str) -> Result<OrderView, ControlError> {
        let applied = self.applied();
        let all = Wanted::all(&applied.file);
        let wanted = all.get(name).ok_or_else(|| {
            let known: Vec<_> = all.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none is".to_owned()
            } else {
                known.join(", ")
            };
            StoreError::NotFound(format!(
                "no certificate `{name}` is ordered (ordered are: {known})"
            ))
        })?;
        let orders = self.own_orders();
        orders.change(wanted, |progress| progress.forced = true);
        orders.keep(self.store());
        orders.look_again();
        Ok(self.order_view(&applied, wanted))
    }
}

/// Orders and renews until it is stopped.
pub(crate) async fn run(deployer: Deployer, stop: CancellationToken) {
    loop {
        let rounds = tokio::spawn(rounds(deployer.clone(), stop.clone()));
        if rounds.await.is_ok() {
            return;
        }
        tracing::error!("a defect stopped the ordering of certificates, it goes on in a minute");
        tokio::select! {
            () = tokio::time::sleep(DEFECT_PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn rounds(deployer: Deployer, stop: CancellationToken) {
    let mut under_way = UnderWay::default();
    loop {
        let next = tokio::select! {
            next = begin(&deployer, &mut under_way) => next,
            () = stop.cancelled() => return,
        };
        let pause = next.saturating_sub(now_ms()).clamp(0, PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())) => {}
            () = deployer.own_orders().bell.notified() => {}
            Some(ended) = under_way.tasks.join_next_with_id() => under_way.ended(&deployer, ended),
            () = stop.cancelled() => return,
        }
    }
}

/// What is being ordered or asked about. Ends with this.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    by_task: Vec<(AbortHandle, Wanted)>,
}

impl UnderWay {
    /// Whether that can begin beside what is under way: one name has one answer at a time, and authorities have limits.
    fn leaves_room_for(&self, wanted: &Wanted) -> bool {
        let names = canonical_names(&wanted.names);
        let others = || self.by_task.iter().map(|(_, other)| other);
        let at_once = others()
            .filter(|other| other.authority == wanted.authority)
            .count();
        at_once < AT_ONCE && others().all(|other| names.is_disjoint(&canonical_names(&other.names)))
    }

    /// Gives up what is not wanted any more as it was.
    fn keep_only(&self, wanted: &BTreeMap<String, Wanted>) {
        for (task, old) in &self.by_task {
            let still = wanted.get(&old.name).is_some_and(|new| new.text() == old.text());
            if !still {
                task.abort();
            }
        }
    }

    fn begin(&mut self, wanted: Wanted, work: impl Future<Output = ()> + Send + 'static) {
        self.by_task.push((self.tasks.spawn(work), wanted));
    }

    fn ended(&mut self, deployer: &Deployer, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(at) = self.by_task.iter().position(|(task, _)| task.id() == id) else {
            return;
        };
        let (_, wanted) = self.by_task.swap_remove(at);
        deployer.own_orders().ended(&wanted);
        if ended.is_err_and(|error| error.is_panic()) {
            tracing::error!(
                certificate = wanted.name,
                "a defect ended the ordering of a certificate"
            );
        }
    }
}

/// Begins what is due, and returns when more is.
async fn begin(deployer: &Deployer, under_way: &mut UnderWay) -> i64 {
    if deployer.is_stopping() {
        // whoever comes to look at a challenge would find nobody
        return i64::MAX;
    }
    let applied = deployer.applied();
    let orders = deployer.own_orders();
    let wanted = Wanted::all(&applied.file);
    under_way.keep_only(&wanted);
    remove_expired(deployer, &applied, &wanted).await;
    let mut next = i64::MAX;
    for wanted in wanted.into_values() {
        let current = wanted.current(&applied).and_then(validity);
        let now = now_ms();
        let step = orders.of(&wanted).step(current, now);
        if let Step::Wait(until) = step {
            next = next.min(until);
            continue;
        }
        // else it comes when something has ended
        if under_way.leaves_room_for(&wanted) {
            // before anything of it can fail or end: else it would be due again at once
            orders.change(&wanted, |progress| match step {
                Step::Order => progress.begun(now),
                Step::Ask | Step::Wait(_) => progress.asked(now),
            });
            orders.keep(deployer.store());
            let work = work(deployer.clone(), wanted.clone(), step);
            under_way.begin(wanted, work);
        }
    }
    next
}

async fn work(deployer: Deployer, wanted: Wanted, step: Step) {
    let applied = deployer.applied();
    let current = wanted.current(&applied);
    let account = account(&deployer, &applied, &wanted, None).await;
    match (account, step) {
        (Ok(account), Step::Order) => {
            let attempt = attempt(&deployer, &account, &wanted, current);
            let outcome = tokio::time::timeout(ORDER_TIME, attempt).await;
            let outcome = outcome.unwrap_or_else(|_elapsed| Err(too_long(ORDER_TIME)));
            finish(&deployer, &wanted, current, outcome);
        }
        (Err(problem), Step::Order) => finish(&deployer, &wanted, current, Err(problem)),
        (Ok(account), _) => ask(&deployer, &account, &wanted, current).await,
        (Err(problem), _) => {
            tracing::warn!(
                authority = wanted.authority,
                %problem,
                "the authority cannot be asked when to renew"
            );
            not_suggested(&deployer, &wanted, current);
        }
    }
    deployer.own_orders().keep(deployer.store());
}

fn too_long(limit: Duration) -> OrderError {
    OrderError::Authority(format!("took longer than {} s", limit.as_secs()))
}

/// Removes certificates that were ordered once, are not wanted any more and have expired.
async fn remove_expired(deployer: &Deployer, applied: &Applied, wanted: &BTreeMap<String, Wanted>) {
    deployer
        .own_orders()
        .progress
        .lock()
        .retain(|name, _| wanted.contains_key(name));
    for (name, stored) in applied.certificates.iter() {
        let expired = || validity(stored).is_none_or(|validity| validity.not_after < now_ms());
        if is_acme_certificate_name(name)
            && !wanted.contains_key(name)
            && expired()
            && let Err(error) = deployer.remove_certificate(name, None).await
        {
            tracing::warn!(certificate = name, %error, "a certificate that has expired was not removed");
        }
    }
}

/// The account at the authority; another one than `unknown`.
async fn account(
    deployer: &Deployer,
    applied: &Applied,
    wanted: &Wanted,
    unknown: Option<&Account>,
) -> Result<Account, OrderError> {
    let lock = &deployer.own_orders().accounts;
    let store = &deployer.store().acme;
    let account = authority::account(&wanted.config, &applied.base_dir, store, lock, unknown);
    let account = tokio::time::timeout(ASK_TIME, account).await;
    account.unwrap_or_else(|_elapsed| Err(too_long(ASK_TIME)))
}

/// Asks an authority when it wants a certificate to be renewed.
async fn ask(deployer: &Deployer, account: &Account, wanted: &Wanted, current: Option<&StoredCertificate>) {
    let Some(stored) = current else { return };
    let answer = tokio::time::timeout(ASK_TIME, authority::renewal(account, &stored.pem)).await;
    match answer.ok().flatten() {
        Some((window, again)) => deployer.own_orders().change(wanted, |progress| {
            progress.suggested(window, again, now_ms(), fastrand::f64())
        }),
        None => not_suggested(deployer, wanted, current),
    }
}

fn not_suggested(deployer: &Deployer, wanted: &Wanted, current: Option<&StoredCertificate>) {
    let Some(current) = current.and_then(validity) else {
        return;
    };
    deployer.own_orders().change(wanted, |progress| {
        progress.not_suggested(current, now_ms(), fastrand::f64())
    });
}

/// Orders one certificate and puts it into effect.
async fn attempt(
    deployer: &Deployer,
    account: &Account,
    wanted: &Wanted,
    current: Option<&StoredCertificate>,
) -> Result<Validity, OrderError> {
    let orders = deployer.own_orders();
    let progress = orders.of(wanted);
    let issued = orders.issued.lock().remove(&wanted.name);
    if let Some((of, pem)) = issued
        && of == progress.of
    {
        return live(deployer, wanted, pem).await;
    }
    // what failed last time is not the first choice
    let mut challenges = wanted.config.challenges.clone();
    let first = progress.failures as usize % challenges.len().max(1);
    challenges.rotate_left(first);
    let replaces = current
        .filter(|_| progress.ari)
        .and_then(|stored| authority::identifier(&stored.pem));
    let wish = Wish {
        names: &wanted.names,
        challenges: &challenges,
        profile: wanted.config.profile.as_deref(),
        replaces,
    };
    let Some(proxy) = deployer.proxy() else {
        return Err(OrderError::Authority("the gateway is starting".to_owned()));
    };
    let pem = match authority::order(account, &wish, proxy.challenges()).await {
        Err(OrderError::NoAccount(why)) => {
            tracing::warn!(
                authority = wanted.authority,
                why,
                "the authority does not know the account: another one is made"
            );
            let account = self::account(deployer, &deployer.applied(), wanted, Some(account)).await?;
            authority::order(&account, &wish, proxy.challenges()).await?
        }
        outcome => outcome?,
    };
    live(deployer, wanted, pem).await
}

/// Puts a certificate into effect.
async fn live(deployer: &Deployer, wanted: &Wanted, pem: CertificatePem) -> Result<Validity, OrderError> {
    let unusable = || OrderError::Authority("the certificate cannot be read".to_owned());
    let stored = StoredCertificate {
        directory: Some(wanted.config.directory.clone()),
        ..StoredCertificate::new(pem.clone())
    };
    let validity = validity(&stored).ok_or_else(unusable)?;
    if let Err(error) = deployer.keep_certificate(&wanted.name, stored).await {
        // authorities do not issue the same again and again
        let issued = (wanted.text(), pem);
        deployer
            .own_orders()
            .issued
            .lock()
            .insert(wanted.name.clone(), issued);
        return Err(OrderError::Authority(format!("it was issued, but {error}")));
    }
    Ok(validity)
}

fn finish(
    deployer: &Deployer,
    wanted: &Wanted,
    current: Option<&StoredCertificate>,
    outcome: Result<Validity, OrderError>,
) {
    let (now, jitter) = (now_ms(), fastrand::f64());
    let names = wanted.names.join(", ");
    deployer.own_orders().change(wanted, |progress| match outcome {
        Ok(validity) => {
            progress.succeeded(validity, now, jitter);
            let until = rfc3339(validity.not_after);
            tracing::info!(certificate = wanted.name, authority = wanted.authority, names, until, "ordered a certificate");
        }
        Err(error) => {
            progress.failed(error.to_string(), current.and_then(validity), error.wait_ms(), now, jitter);
            let again = rfc3339(progress.next_attempt);
            tracing::warn!(certificate = wanted.name, authority = wanted.authority, names, %error, failures = progress.failures, again, "a certificate could not be ordered");
        }
    });
}
