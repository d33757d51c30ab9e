//! What comes out: the machine, tables, verdicts, and all of it as JSON.

use std::fs;

use indexmap::IndexMap;
use serde::Serialize;

use super::{
    cases::Case,
    contenders::{Contender, Program, Work},
    load::percentile,
    rounds::{CPU, FOREIGN, Figures},
};

/// Largest difference between rounds, as a share of the median, that still allows a verdict.
const SPREAD_MAX: f64 = 0.15;
/// Largest share of the cores that others may use.
pub(crate) const FOREIGN_MAX: f64 = 0.10;

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    /// Version of each program, or how to install it.
    pub(crate) programs: IndexMap<&'static str, String>,
    pub(crate) cases: Vec<Outcome>,
}

/// Where and in what state.
#[derive(Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    load_average: String,
    /// Share of the two cores that others used before the first case.
    pub(crate) foreign: f64,
}

impl Machine {
    pub(crate) fn read(foreign: f64) -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            cpu: model
                .unwrap_or("unknown")
                .trim_matches(['\t', ' ', ':'])
                .to_owned(),
            cores: info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease"),
            load_average: read("/proc/loadavg"),
            foreign,
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "machine   {} cores of {}, kernel {}",
            self.cores, self.cpu, self.kernel
        );
        println!(
            "load      average {}; others use {:.0} % of cores 0 and 1",
            self.load_average,
            self.foreign * 100.0
        );
    }
}

/// A case.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What `cpu_us` and `per_s` count.
    pub(crate) unit: &'static str,
    pub(crate) contenders: Vec<Row>,
    /// Sentences; nothing when there is no verdict.
    pub(crate) verdict: Vec<String>,
    pub(crate) no_verdict: Option<String>,
}

/// A contender of a case.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(skip)]
    contender: Contender,
    pub(crate) rounds: Vec<Figures>,
    medians: Figures,
    /// CPU time over that of others.
    ratios: Figures,
    pub(crate) error: Option<String>,
}

impl Row {
    pub(crate) fn new(contender: &Contender) -> Self {
        Self {
            name: contender.name.clone(),
            contender: contender.clone(),
            rounds: Vec::new(),
            medians: Figures::new(),
            ratios: Figures::new(),
            error: None,
        }
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.rounds
            .iter()
            .filter_map(|round| round.get(key).copied())
            .collect()
    }

    fn cpu(&self) -> Option<f64> {
        self.medians.get(CPU).copied()
    }

    /// How far rounds are apart, as a share of the median.
    fn spread(&self) -> f64 {
        let values = self.values(CPU);
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        self.cpu().map_or(0.0, |median| (high - low) / median)
    }
}

impl Outcome {
    pub(crate) fn new(case: &Case, rows: Vec<Row>) -> Self {
        let mut outcome = Self {
            name: case.name,
            what: case.what,
            unit: case.load.unit(),
            contenders: rows,
            verdict: Vec::new(),
            no_verdict: None,
        };
        for row in &mut outcome.contenders {
            let keys: Vec<_> = row
                .rounds
                .first()
                .map(|round| round.keys().copied().collect())
                .unwrap_or_default();
            for key in keys {
                let median = percentile(&mut row.values(key), 0.5);
                row.medians.insert(key, median);
            }
            if row.cpu().is_some() {
                let spread = row.spread();
                row.medians.insert("spread", spread);
            }
        }
        outcome.compare();
        outcome
    }

    /// Ratios, and the verdict if the rounds allow one.
    fn compare(&mut self) {
        let find = |wanted: &dyn Fn(&Contender) -> bool| {
            let found = self
                .contenders
                .iter()
                .find(|row| row.cpu().is_some() && wanted(&row.contender));
            found.and_then(|row| Some((row.name.clone(), row.cpu()?)))
        };
        let peers = self
            .contenders
            .iter()
            .filter(|row| row.contender.program != Program::Edgeward);
        let best = peers
            .filter_map(|row| Some((row.name.clone(), row.cpu()?)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let marks = [
            (
                "x_plain",
                find(&|row| row.program == Program::Edgeward && row.work == Work::Plain),
            ),
            ("x_nginx", find(&|row| row.program == Program::Nginx)),
            ("x_envoy", find(&|row| row.program == Program::Envoy)),
            ("x_best", best),
        ];
        self.no_verdict = self.doubt();
        for row in &mut self.contenders {
            let Some(cpu) = row.medians.get(CPU).copied() else {
                continue;
            };
            let mut parts = Vec::new();
            for (key, mark) in &marks {
                let Some((name, mark)) = mark else { continue };
                if *key == "x_plain" && *name == row.name {
                    continue;
                }
                row.ratios.insert(key, cpu / mark);
                let best = if *key == "x_best" { ", the best peer" } else { "" };
                if *name != row.name {
                    parts.push(format!("{:.2} times {name}{best}", cpu / mark));
                }
            }
            if row.contender.program == Program::Edgeward && !parts.is_empty() && self.no_verdict.is_none() {
                self.verdict.push(format!(
                    "{} takes {cpu:.1} us of CPU per {}: {}",
                    row.name,
                    self.unit,
                    parts.join("; ")
                ));
            }
        }
    }

    /// Why these rounds allow no verdict.
    fn doubt(&self) -> Option<String> {
        for row in &self.contenders {
            let foreign = row.values(FOREIGN).into_iter().fold(0.0, f64::max);
            if foreign > FOREIGN_MAX {
                return Some(format!(
                    "others used {:.0} % of the cores during a round of {}",
                    foreign * 100.0,
                    row.name
                ));
            }
            if row.rounds.len() == 1 && row.cpu().is_some() {
                return Some("one round has no spread".to_owned());
            }
            if row.spread() > SPREAD_MAX {
                return Some(format!(
                    "the rounds of {} are {:.0} % apart",
                    row.name,
                    row.spread() * 100.0
                ));
            }
        }
        None
    }

    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.name, self.what);
        let mut columns: Vec<&str> = Vec::new();
        for key in self
            .contenders
            .iter()
            .flat_map(|row| row.medians.keys().chain(row.ratios.keys()))
        {
            if !columns.contains(key) {
                columns.push(key);
            }
        }
        let heads: String = columns.iter().map(|key| format!(" {key:>12}")).collect();
        println!("  {:<24}{heads}", "");
        for row in &self.contenders {
            if let Some(error) = &row.error {
                println!("  {:<24} {error}", row.name);
            }
            if row.rounds.is_empty() {
                continue;
            }
            let cell = |key: &&str| {
                let value = row.medians.get(*key).or_else(|| row.ratios.get(*key));
                format!(
                    " {:>12}",
                    value.map_or_else(|| "-".to_owned(), |value| number(*value))
                )
            };
            println!(
                "  {:<24}{}",
                row.name,
                columns.iter().map(cell).collect::<String>()
            );
        }
        for sentence in &self.verdict {
            println!("  {sentence}");
        }
        if let Some(reason) = &self.no_verdict {
            println!("  no verdict: {reason}");
        }
    }
}

fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        value if value < 10.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::cases;

    fn outcome(rounds: [&[f64]; 2], foreign: f64) -> Outcome {
        let case = cases::all().swap_remove(0);
        let rows = case.contenders.iter().zip(rounds).map(|(contender, rounds)| {
            let mut row = Row::new(contender);
            row.rounds = rounds
                .iter()
                .map(|cpu| Figures::from([(CPU, *cpu), (FOREIGN, foreign)]))
                .collect();
            row
        });
        Outcome::new(&case, rows.collect())
    }

    #[test]
    fn quiet_rounds_that_agree_give_a_verdict() {
        let outcome = outcome([&[30.0, 31.0, 29.0], &[15.0, 15.0, 15.1]], 0.02);
        assert_eq!(
            outcome.verdict,
            ["edgeward takes 30.0 us of CPU per request: 2.00 times nginx; 2.00 times nginx, the best peer"]
        );
        assert_eq!(outcome.no_verdict, None);
    }

    #[test]
    fn noise_spread_and_single_rounds_give_none() {
        for (rounds, foreign, reason) in [
            ([[30.0, 40.0, 30.0].as_slice(), &[15.0, 15.0]], 0.0, "apart"),
            ([&[30.0, 30.0], &[15.0, 15.0]], 0.2, "others used"),
            ([&[30.0], &[15.0]], 0.0, "one round"),
        ] {
            let outcome = outcome(rounds, foreign);
            assert!(outcome.verdict.is_empty());
            assert!(outcome.no_verdict.unwrap().contains(reason));
        }
    }
}
