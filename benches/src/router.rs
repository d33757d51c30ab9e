//! Route look-up in tables of 10 to 100 000 routes.

use std::hint::black_box;

use anyhow::Result;
use edgeward_core::route::{HostPattern, PathPattern, RouteSpec, Router};
use http::{HeaderMap, Method};

use crate::measure::{report, thread_cpu};

const LOOKUPS: u64 = 200_000;

pub(crate) fn run() -> Result<()> {
    for count in [10, 1_000, 100_000] {
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
        let router = Router::build(&specs)?;
        let headers = HeaderMap::new();
        // a handful of requests, as in real traffic, so that the table's size shows and not only the cache's
        let targets: Vec<_> = (0..64)
            .map(|step| {
                let index = step * (count / 64).max(1) % count;
                (
                    format!("api{}.example.com", index % 50),
                    format!("/v1/things{index}/42/parts"),
                )
            })
            .collect();
        let rounds: Vec<_> = (0..7)
            .map(|_| {
                let start = thread_cpu();
                for (host, path) in targets
                    .iter()
                    .cycle()
                    .take(usize::try_from(LOOKUPS).unwrap_or(usize::MAX))
                {
                    black_box(router.find(Some(host), path, &Method::GET, &headers));
                }
                (thread_cpu() - start) as f64 / LOOKUPS as f64
            })
            .collect();
        report(&format!("router: look-up among {count} routes"), &rounds, "ns");
    }
    Ok(())
}
