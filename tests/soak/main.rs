//! The soak behind `cargo xtask soak`: the real gateway as a process, and clients of every protocol, well-behaved, slow and gone, for an hour, while plugins,
//! certificates, configuration, a listener and an upstream change. At the end memory has to be flat, everything that was opened closed, and nothing
//! unexpected may have happened.
//!
//! An actor takes turns: one turn each so often, and several at a time where there are copies of it. A turn ends in a way that its actor knows, or counts
//! as unexpected with its words. Files: one for each family of actors; `site.rs` is what they work on.
#![expect(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a program that checks: a broken set-up ends it, and a panic ends the turn and is counted"
)]

mod changes;
mod http1;
mod http2;
mod http3;
mod log;
mod origin;
mod samples;
mod site;
mod slow;
mod streams;
mod tally;
mod tls;
mod verdict;
mod websocket;

use std::{
    any::Any,
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeward_tests::edgeward;
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::{
    samples::Sample,
    site::Site,
    tally::{Tally, Turn},
};

/// Longest time that a turn may take. Those that wait for the gateway's time limits take up to a minute.
const TURN_MAX: Duration = Duration::from_secs(240);
/// Time for connections, and threads without work, to end when traffic has.
const SETTLE_MAX: Duration = Duration::from_secs(180);

/// Somebody who takes turns.
struct Actor {
    name: &'static str,
    /// Turns at a time.
    copies: u32,
    /// From the beginning of a turn to that of the next.
    every: Duration,
    turn: fn(Arc<Site>) -> Taken,
}

/// A turn that is being taken.
type Taken = Pin<Box<dyn Future<Output = Turn> + Send>>;

/// `name: copies every milliseconds ms, function` lines as a table of [`Actor`]s.
macro_rules! actors {
    ($($name:literal: $copies:literal every $every:literal ms, $turn:path;)*) => {
        [$(Actor {
            name: $name,
            copies: $copies,
            every: Duration::from_millis($every),
            turn: |site| Box::pin($turn(site)),
        }),*]
    };
}

/// Everybody. Together some 200 requests per second: the gateway is to live long, not to be fast.
const ACTORS: [Actor; 37] = actors! {
    "HTTP/1.1, kept alive": 2 every 700 ms, http1::keep_alive;
    "HTTP/1.1 over TLS, kept alive": 1 every 500 ms, http1::keep_alive_tls;
    "HTTP/1.1, pipelined": 1 every 300 ms, http1::pipelined;
    "HTTP/1.1, upload in chunks": 1 every 500 ms, http1::chunked_upload;
    "HTTP/1.1, upload given up": 1 every 400 ms, http1::aborted_upload;
    "HTTP/1.1, download given up": 1 every 400 ms, http1::aborted_download;
    "HTTP/1.1, flaky upstream": 1 every 200 ms, http1::flaky;
    "HTTP/1.1, upstream at times": 1 every 300 ms, http1::sometimes;
    "HTTP/2, many streams": 1 every 600 ms, http2::many_streams;
    "HTTP/2, streams reset": 1 every 500 ms, http2::resets;
    "HTTP/2, uploads reset": 1 every 500 ms, http2::aborted_uploads;
    "HTTP/2, GOAWAY of the client": 1 every 400 ms, http2::goaway;
    "HTTP/2, listener at times": 2 every 500 ms, http2::passing;
    "HTTP/3, many streams": 1 every 600 ms, http3::many_streams;
    "HTTP/3, streams reset": 1 every 700 ms, http3::resets;
    "HTTP/3, client gone": 1 every 2000 ms, http3::gone;
    "HTTP/3, address changes": 1 every 1500 ms, http3::migrates;
    "HTTP/3, early data": 1 every 1000 ms, http3::early_data;
    "HTTP/3, handshakes broken off": 1 every 2000 ms, http3::broken_handshakes;
    "WebSocket, busy": 1 every 1000 ms, websocket::busy;
    "WebSocket, quiet": 3 every 1000 ms, websocket::quiet;
    "WebSocket, silent": 2 every 1000 ms, websocket::silent;
    "WebSocket, given up": 1 every 1000 ms, websocket::aborted;
    "gRPC calls": 2 every 600 ms, streams::calls;
    "gRPC calls given up": 1 every 800 ms, streams::aborted_calls;
    "event streams": 2 every 1000 ms, streams::event_streams;
    "slow head": 1 every 1000 ms, slow::head;
    "head without end": 2 every 1000 ms, slow::endless_head;
    "slow body": 1 every 1000 ms, slow::body;
    "body without end": 2 every 1000 ms, slow::endless_body;
    "slow reader": 1 every 1000 ms, slow::reader;
    "reader stalls": 2 every 1000 ms, slow::stalled_reader;
    "reader stalls, HTTP/3": 1 every 1000 ms, slow::stalled_reader_h3;
    "idle connections": 2 every 1000 ms, slow::idle;
    "TLS, broken off": 1 every 1000 ms, tls::broken_off;
    "TLS, none": 1 every 1000 ms, tls::no_tls;
    "TLS, stalls and distrust": 1 every 1000 ms, stalls_and_distrust;
};

/// Those who change the gateway.
const CHANGES: [Actor; 6] = actors! {
    "change: plugin swapped": 1 every 5000 ms, changes::swaps;
    "change: module uploaded": 1 every 60000 ms, changes::uploads;
    "change: certificate replaced": 1 every 12000 ms, changes::certificates;
    "change: certificate put": 1 every 20000 ms, changes::stored_certificates;
    "change: configuration, listener": 1 every 15000 ms, changes::reloads;
    "change: upstream at times": 1 every 12000 ms, changes::upstream;
};

async fn stalls_and_distrust(site: Arc<Site>) -> Turn {
    tls::distrusted(Arc::clone(&site)).await?;
    tls::stalled(site).await
}

/// What the command line says.
struct Options {
    time: Duration,
    gateway: PathBuf,
    report: Option<PathBuf>,
    /// Only actors whose name has this in it; empty for all.
    only: String,
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut minutes, mut gateway, mut report, mut only) = (60.0, None, None, String::new());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--minutes" => minutes = value()?.parse().map_err(|error| format!("--minutes: {error}"))?,
                "--gateway" => gateway = Some(PathBuf::from(value()?)),
                "--report" => report = Some(PathBuf::from(value()?)),
                "--only" => only = value()?,
                _ => {
                    return Err(format!(
                        "{word}: unknown; there are --minutes N, --gateway PATH, --report FILE, --only ACTOR"
                    ));
                }
            }
        }
        let time =
            Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| format!("--minutes: {error}"))?;
        let gateway = gateway.unwrap_or_else(edgeward);
        Ok(Self {
            time,
            gateway: gateway
                .canonicalize()
                .map_err(|error| format!("{}: {error}", gateway.display()))?,
            report,
            only,
        })
    }
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            tell(&format!("error: {problem}"));
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let holds = runtime.block_on(soak(&options));
    // tasks of the harness that wait for nothing more
    runtime.shutdown_background();
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A line of output.
pub(crate) fn tell(line: &str) {
    println!("{line}");
}

async fn soak(options: &Options) -> bool {
    let site = Arc::new(Site::start(&options.gateway).await);
    tell(&format!(
        "soak      {} for {:.1} minutes, pid {}, http://{} and https://{}",
        options.gateway.display(),
        options.time.as_secs_f64() / 60.0,
        site.gateway.pid(),
        site.plain(),
        site.tls()
    ));
    changes::prepare(&site).await;
    let began = Instant::now();
    let before = settle(&site, began, None).await;
    let open_before = json!(samples::descriptors(site.gateway.pid()));

    let began = Instant::now();
    let tally = Arc::new(Tally::default());
    let mut playing = Vec::new();
    let actors = ACTORS.iter().chain(&CHANGES);
    for actor in actors.filter(|actor| actor.name.contains(&options.only)) {
        for _ in 0..actor.copies {
            playing.push(tokio::spawn(play(
                actor,
                Arc::clone(&site),
                Arc::clone(&tally),
                began,
            )));
        }
    }
    let taken = Mutex::new(Vec::new());
    let every = (options.time / 60).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let watching = samples::watch(&site, began, every, &taken);
    let ending = async {
        tokio::time::sleep(options.time).await;
        site.end();
    };
    tokio::join!(watching, ending);
    for actor in playing {
        actor.await.unwrap();
    }
    changes::finish(&site).await;
    let after = settle(&site, began, Some(&before)).await;
    tell(&after.line());
    let open_after = json!(samples::descriptors(site.gateway.pid()));

    let mut site = Arc::into_inner(site).unwrap();
    site.gateway.signal(Signal::TERM);
    let status = site.gateway.ended().await;
    let samples = taken.into_inner();
    let (text, json, holds) = verdict::judge(&verdict::End {
        planned: options.time,
        before,
        after,
        status,
        samples: &samples,
        tally: &tally,
        site: &site,
        open: [open_before, open_after],
    });
    unexpected(&tally);
    tell(&format!("\n{text}"));
    if let Some(report) = &options.report {
        std::fs::write(report, format!("{json:#}\n")).unwrap();
    }
    tell(if holds {
        "Flat and quiet."
    } else {
        "NOT as it has to be."
    });
    holds
}

/// Prints each kind of unexpected end, with its first example.
fn unexpected(tally: &Tally) {
    for (actor, ends) in tally.json().as_object().into_iter().flatten() {
        for kind in ends["unexpected"].as_array().into_iter().flatten() {
            tell(&format!(
                "unexpected: {actor}: {} times, first after {} s: {}",
                kind["count"], kind["first-at-s"], kind["first"]
            ));
        }
    }
}

/// Takes turns until the soak is over.
async fn play(actor: &'static Actor, site: Arc<Site>, tally: Arc<Tally>, began: Instant) {
    let mut clock = tokio::time::interval(actor.every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _now = clock.tick() => {}
            () = site.rest(actor.every) => {}
        }
        if site.is_over() {
            return;
        }
        let at = Instant::now();
        let mut turn = tokio::spawn((actor.turn)(Arc::clone(&site)));
        let end = match tokio::time::timeout(TURN_MAX, &mut turn).await {
            Ok(Ok(end)) => end,
            Ok(Err(panic)) => Err(panic
                .try_into_panic()
                .map_or_else(|error| error.to_string(), words)),
            Err(_elapsed) => {
                turn.abort();
                Err(format!("a turn took longer than {TURN_MAX:?}"))
            }
        };
        if let Err(words) = &end {
            tell(&format!(
                "{:>5} s  {}: {words}",
                began.elapsed().as_secs(),
                actor.name
            ));
        }
        tally.add(actor.name, began.elapsed(), at.elapsed(), end);
    }
}

/// What a panic said.
fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

/// Looks until nothing is open or changes any more; after traffic, until no more is open than before. The last look, whatever it shows.
async fn settle(site: &Site, began: Instant, before: Option<&Sample>) -> Sample {
    let deadline = Instant::now() + SETTLE_MAX;
    let mut last: Option<Sample> = None;
    loop {
        let sample = Sample::take(site, began).await;
        let same =
            last.is_some_and(|last| last.descriptors == sample.descriptors && last.threads == sample.threads);
        let back = before.is_none_or(|before| {
            sample.descriptors <= before.descriptors && sample.threads <= before.threads
        });
        let quiet = sample.metric("edgeward_connections") == 0 && sample.metric("edgeward_exchanges") == 0;
        if same && back && quiet || Instant::now() > deadline {
            return sample;
        }
        last = Some(sample);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}
