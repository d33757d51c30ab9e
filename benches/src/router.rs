//! Route look-up in tables of 10 to 100 000 routes.

use std::hint::black_box;

use anyhow::Result;
use edgeward_core::route::{HostPattern, PathPattern, RouteSpec, Router};
use http::{HeaderMap, Method};

use crate::measure::{Report, thread_cpu};

const LOOKUPS: usize = 200_000;

/// Requests that take turns: a handful, as in real traffic, so that the table's size shows and not only the cache's.
const TARGETS: usize = 64;

/// A table of routes over 50 hosts, and requests for it.
pub(crate) struct Table {
    router: Router,
    /// Host and path.
    targets: Vec<(String, String)>,
}

impl Table {
    pub(crate) fn new(count: usize) -> Result<Self> {
        let specs = (0..count)
            .map(|index| {
                Ok(RouteSpec {
                    hosts: vec![HostPattern::parse(&format!("api{}.example.com", index % 50))?],
                    methods: vec![Method::GET],
                    path: PathPattern::parse(&format!("/v1/things{index}/{{id}}/parts"))?,
                    headers: Vec::new(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let targets = (0..TARGETS).map(|step| {
            let index = step * (count / TARGETS).max(1) % count;
            (
                format!("api{}.example.com", index % 50),
                format!("/v1/things{index}/42/parts"),
            )
        });
        Ok(Self {
            router: Router::build(&specs)?,
            targets: targets.collect(),
        })
    }

    /// Finds that many routes.
    pub(crate) fn look_up(&self, times: usize) {
        let headers = HeaderMap::new();
        for (host, path) in self.targets.iter().cycle().take(times) {
            black_box(self.router.find(Some(host), path, &Method::GET, &headers));
        }
    }
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    for count in [10, 1_000, 100_000] {
        let table = Table::new(count)?;
        let rounds: Vec<_> = (0..7)
            .map(|_| {
                let start = thread_cpu();
                table.look_up(LOOKUPS);
                (thread_cpu() - start) as f64 / LOOKUPS as f64
            })
            .collect();
        report.case(format!("router: look-up among {count} routes"), &rounds, "ns");
    }
    Ok(())
}
