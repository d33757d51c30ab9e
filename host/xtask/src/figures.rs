//! The figures in the documentation: tables and a plot, made from what the benchmarks wrote with `--json` (`benches/results/`).

use std::fmt::Write as _;

use anyhow::Context as _;
use indexmap::IndexMap;
use serde::Deserialize;

/// What `cargo xtask bench --json FILE` writes.
#[derive(Deserialize)]
pub(crate) struct Bench {
    notes: Vec<String>,
    cases: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    unit: String,
    median: f64,
    low: f64,
    high: f64,
}

/// The part of what `cargo xtask bench compare --json FILE` writes that is shown.
#[derive(Deserialize)]
pub(crate) struct Comparison {
    machine: Machine,
    rounds: u32,
    seconds: u64,
    programs: IndexMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    what: String,
    contenders: Vec<Contender>,
    no_verdict: Option<String>,
}

impl Case {
    /// Contenders and their CPU time over nginx's.
    fn bars(&self) -> Vec<(&str, f64)> {
        let bars = self
            .contenders
            .iter()
            .filter_map(|row| Some((row.name.as_str(), row.figure("x_nginx")?)));
        bars.collect()
    }
}

#[derive(Deserialize)]
struct Contender {
    name: String,
    medians: IndexMap<String, f64>,
    ratios: IndexMap<String, f64>,
    error: Option<String>,
}

impl Contender {
    fn figure(&self, key: &str) -> Option<f64> {
        self.medians.get(key).or_else(|| self.ratios.get(key)).copied()
    }

    fn cell(&self, key: &str) -> String {
        self.figure(key).map_or_else(String::new, number)
    }
}

/// `page` with what is between the lines `<!-- begin: NAME ... -->` and `<!-- end: NAME -->` replaced.
///
/// # Errors
/// The page has no such lines.
pub(crate) fn filled(page: &str, name: &str, content: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- begin: {name}"), format!("<!-- end: {name} -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| {
        let (told, rest) = rest.split_once("-->\n")?;
        let (_, after) = rest.split_once(&end)?;
        Some((before, told, after))
    });
    let (before, told, after) = parts.with_context(|| format!("no lines `{begin} ... -->` and `{end}`"))?;
    Ok(format!(
        "{before}{begin}{told}-->\n{}\n{end}{after}",
        content.trim_end()
    ))
}

/// The table of the benchmark program's own figures.
pub(crate) fn bench(bench: &Bench) -> String {
    let mut text = "| case | median | lowest to highest round |\n|---|--:|--:|\n".to_owned();
    for Line {
        name,
        unit,
        median,
        low,
        high,
    } in &bench.cases
    {
        let _infallible = writeln!(text, "| {name} | {median:.2} {unit} | {low:.2} to {high:.2} |");
    }
    text.push('\n');
    for note in &bench.notes {
        let _infallible = writeln!(text, "- {note}");
    }
    text
}

/// Columns of cases under load: heading, figure.
const COLUMNS: [(&str, &str); 8] = [
    ("CPU, us", "cpu_us"),
    ("to nginx", "x_nginx"),
    ("to Envoy", "x_envoy"),
    ("to plain", "x_plain"),
    ("per s", "per_s"),
    ("p99, us", "p99_us"),
    ("MB", "rss_mb"),
    ("spread", "spread"),
];

/// The tables of the comparison: one of all cases under load, one for each other case, and what there is to say.
pub(crate) fn comparison(run: &Comparison) -> String {
    let versions: Vec<_> = run
        .programs
        .iter()
        .map(|(name, told)| format!("{name} {}", version(told)))
        .collect();
    let Machine { cpu, cores, kernel } = &run.machine;
    let kernel = kernel.split('-').next().unwrap_or_default();
    let mut text = format!(
        "{} rounds of {} s on {cores} cores of {cpu}, Linux {kernel}; {}.\n\n",
        run.rounds,
        run.seconds,
        versions.join(", ")
    );
    let (loads, others): (Vec<_>, Vec<_>) = run
        .cases
        .iter()
        .partition(|case| case.contenders.iter().any(|row| row.figure("cpu_us").is_some()));
    let headings = COLUMNS.map(|(heading, _)| heading);
    table(&mut text, &["case", "contender"], &headings);
    for case in &loads {
        for (index, row) in case
            .contenders
            .iter()
            .filter(|row| !row.medians.is_empty())
            .enumerate()
        {
            let name = if index == 0 {
                format!("`{}`", case.name)
            } else {
                String::new()
            };
            let cells = COLUMNS.map(|(_, key)| row.cell(key));
            let _infallible = writeln!(text, "| {name} | {} | {} |", row.name, cells.join(" | "));
        }
    }
    for case in &others {
        let rows = || case.contenders.iter().filter(|row| !row.medians.is_empty());
        let Some(first) = rows().next() else { continue };
        let keys: Vec<_> = first.medians.keys().map(String::as_str).collect();
        let _infallible = writeln!(text, "\n`{}`: {}\n", case.name, case.what);
        table(&mut text, &["contender"], &keys);
        for row in rows() {
            let cells: Vec<_> = keys.iter().map(|key| row.cell(key)).collect();
            let _infallible = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
        }
    }
    text.push('\n');
    for case in &run.cases {
        if let Some(reason) = &case.no_verdict {
            let _infallible = writeln!(text, "- `{}`: no verdict, {reason}", case.name);
        }
        for row in &case.contenders {
            if let Some(error) = row.error.as_deref().and_then(|error| error.lines().next()) {
                let _infallible = writeln!(text, "- `{}`: {}: {error}", case.name, row.name);
            }
        }
    }
    text
}

/// The head of a table; `names` are to the left, `figures` to the right.
fn table(text: &mut String, names: &[&str], figures: &[&str]) {
    let _infallible = writeln!(text, "| {} | {} |", names.join(" | "), figures.join(" | "));
    let _infallible = writeln!(
        text,
        "|{}{}",
        "---|".repeat(names.len()),
        "--:|".repeat(figures.len())
    );
}

/// As the benchmarks print figures: three digits or more.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        value if value < 10.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// The version in what a program says of itself.
fn version(told: &str) -> &str {
    if told.starts_with("skipped") {
        return "(missing)";
    }
    let is_version =
        |word: &&str| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.');
    let found = told.split([' ', '/']).find(is_version);
    found
        .and_then(|word| word.split('-').next())
        .unwrap_or("(unknown)")
}

/// Colours by program; those of variants (`envoy-lua`) are paler. Text follows the reader's colour scheme.
const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .case { font-weight: 600 }
  .mark { stroke: #1f2328; stroke-dasharray: 3 3 }
  .edgeward { fill: #d9622b } .nginx { fill: #2e9e5b } .haproxy { fill: #3b7dd8 } .envoy { fill: #8a63d2 }
  .variant { fill-opacity: 0.6 }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .mark { stroke: #e6edf3 } }
";
/// Pixels: names to the left, bars from there, room for the figure to the right of the longest.
const NAMES: f64 = 180.0;
const BARS: f64 = 520.0;
const RIGHT: f64 = 60.0;
const ROW: f64 = 18.0;
const HEADING: f64 = 28.0;

/// The plot: CPU time per request over nginx's, a bar for each contender of each case that nginx takes part in.
pub(crate) fn plot(run: &Comparison) -> String {
    let cases: Vec<_> = run
        .cases
        .iter()
        .map(|case| (case, case.bars()))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let largest = cases
        .iter()
        .flat_map(|(_, bars)| bars)
        .map(|(_, ratio)| *ratio)
        .fold(1.0, f64::max);
    let scale = BARS / largest;
    let (mut rows, mut y) = (String::new(), HEADING);
    for (case, bars) in &cases {
        y += HEADING;
        let _infallible = writeln!(
            rows,
            r#"<text class="case" x="0" y="{}">{}: {}</text>"#,
            y - 8.0,
            case.name,
            escaped(&case.what)
        );
        for (name, ratio) in bars {
            let program = name.split('-').next().unwrap_or_default();
            let variant = if *name == program { "" } else { " variant" };
            let (width, base) = (ratio * scale, y + 13.0);
            let _infallible = writeln!(
                rows,
                r#"<text x="{}" y="{base}" text-anchor="end">{name}</text><rect class="{program}{variant}" x="{NAMES}" y="{}" width="{width:.1}" height="{}"/><text x="{:.1}" y="{base}">{ratio:.2}</text>"#,
                NAMES - 8.0,
                y + 2.0,
                ROW - 4.0,
                NAMES + width.max(scale) + 6.0, // never on the mark at 1
            );
            y += ROW;
        }
        let (mark, top) = (NAMES + scale, y - ROW * bars.len() as f64);
        let _infallible = writeln!(
            rows,
            r#"<line class="mark" x1="{mark:.1}" y1="{top}" x2="{mark:.1}" y2="{y}"/>"#
        );
    }
    let (width, height) = (NAMES + BARS + RIGHT, y + 8.0);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="title desc">
<title id="title">CPU time per request, relative to nginx</title>
<desc id="desc">Bars for each contender of each case; nginx is 1, shorter is better. The figures are in docs/performance.md.</desc>
<style>{STYLE}</style>
<text x="0" y="18">CPU time per request, nginx = 1 (shorter is better)</text>
{rows}</svg>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    // as text: the order of figures matters
    const RUN: &str = r#"{
        "machine": {"cpu": "Some CPU", "cores": 2, "kernel": "6.1.2-generic", "load_average": "0 0 0", "foreign": 0.0},
        "rounds": 3,
        "seconds": 5,
        "programs": {
            "edgeward": "edgeward 0.1.0",
            "nginx": "nginx version: nginx/1.22.1",
            "haproxy": "skipped: apt-get install haproxy"
        },
        "cases": [
            {
                "name": "h1", "what": "plain & <simple>", "unit": "request", "verdict": [],
                "no_verdict": "the rounds of nginx are 20 % apart",
                "contenders": [
                    {"name": "edgeward", "rounds": [], "medians": {"cpu_us": 13.0}, "ratios": {"x_nginx": 1.3}, "error": null},
                    {"name": "edgeward-headers", "rounds": [], "medians": {"cpu_us": 20.0}, "ratios": {"x_nginx": 2.0}, "error": null},
                    {"name": "nginx", "rounds": [], "medians": {"cpu_us": 10.0}, "ratios": {"x_nginx": 1.0}, "error": null},
                    {"name": "haproxy", "rounds": [], "medians": {}, "ratios": {}, "error": "skipped: apt-get install haproxy\nmore"}
                ]
            },
            {
                "name": "swap", "what": "changes", "unit": "request", "verdict": [], "no_verdict": null,
                "contenders": [{"name": "nginx", "rounds": [], "medians": {"requests": 1234.0, "failed": 0.0}, "ratios": {}, "error": null}]
            }
        ]
    }"#;

    fn run() -> Comparison {
        serde_json::from_str(RUN).unwrap()
    }

    #[test]
    fn what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- begin: x (made by y) -->\nold\n<!-- end: x -->\nb\n";
        let new = filled(page, "x", "new\n\n").unwrap();
        assert_eq!(new, "a\n<!-- begin: x (made by y) -->\nnew\n<!-- end: x -->\nb\n");
        assert_eq!(filled(&new, "x", "new").unwrap(), new);
        let error = filled(page, "z", "").unwrap_err().to_string();
        assert!(error.contains("<!-- begin: z"), "{error}");
    }

    #[test]
    fn tables_of_the_comparison() {
        let expected = "3 rounds of 5 s on 2 cores of Some CPU, Linux 6.1.2; edgeward 0.1.0, nginx 1.22.1, haproxy (missing).

| case | contender | CPU, us | to nginx | to Envoy | to plain | per s | p99, us | MB | spread |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
| `h1` | edgeward | 13.0 | 1.30 |  |  |  |  |  |  |
|  | edgeward-headers | 20.0 | 2.00 |  |  |  |  |  |  |
|  | nginx | 10.0 | 1.00 |  |  |  |  |  |  |

`swap`: changes

| contender | requests | failed |
|---|--:|--:|
| nginx | 1234 | 0 |

- `h1`: no verdict, the rounds of nginx are 20 % apart
- `h1`: haproxy: skipped: apt-get install haproxy
";
        assert_eq!(comparison(&run()), expected);
    }

    #[test]
    fn the_plot_has_a_bar_for_each_contender_and_nothing_from_elsewhere() {
        let plot = plot(&run());
        assert_eq!(plot.matches("<rect").count(), 3);
        assert!(plot.contains(">h1: plain &amp; &lt;simple></text>"), "{plot}");
        // the longest bar has all the width, the others their share
        for bar in [
            r#"class="edgeward" x="180" y="58" width="338.0""#,
            r#"class="edgeward variant" x="180" y="76" width="520.0""#,
            r#"class="nginx" x="180" y="94" width="260.0""#,
        ] {
            assert!(plot.contains(bar), "{bar} in {plot}");
        }
        assert!(!plot.contains("<script") && !plot.contains("@import") && !plot.contains("href"));
    }

    #[test]
    fn the_table_of_the_benchmarks() {
        let run = serde_json::from_value(serde_json::json!({
            "notes": ["loaded"],
            "cases": [{"name": "one", "unit": "us", "median": 1.5, "low": 1.0, "high": 2.25}],
        }))
        .unwrap();
        assert_eq!(
            bench(&run),
            "| case | median | lowest to highest round |\n|---|--:|--:|\n| one | 1.50 us | 1.00 to 2.25 |\n\n- loaded\n"
        );
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (told, expected) in [
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "2.6.12",
            ),
            (
                "envoy  version: 9e55809337/1.40.0/Clean/RELEASE/BoringSSL",
                "1.40.0",
            ),
            ("something", "(unknown)"),
        ] {
            assert_eq!(version(told), expected);
        }
    }
}
