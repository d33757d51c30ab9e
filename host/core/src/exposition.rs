//! Text that Prometheus reads (exposition format 0.0.4): the samples of a family stand together behind its `# TYPE` line, whatever order they
//! are added in.

use std::fmt::{Display, Write as _};

/// Metric families in the order of their first sample.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: String,
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
    /// Sum and count.
    Summary,
}

/// A label: name and value. The value may be any text.
pub type Label<'a> = (&'a str, &'a str);

impl Exposition {
    /// Names a family, so that it has its line even without samples, and gives a way to add some.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Samples<'_> {
        let known = self.families.iter().position(|family| family.name == name);
        let at = known.unwrap_or(self.families.len());
        if known.is_none() {
            self.families.push(Family {
                name,
                kind,
                help,
                samples: String::new(),
            });
        }
        Samples { families: self, at }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for family in &self.families {
            let Family {
                name, help, samples, ..
            } = family;
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
                Kind::Summary => "summary",
            };
            // writing to a String cannot fail
            let _unused = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
        }
        out
    }
}

/// Adds samples to a family.
#[derive(Debug)]
pub struct Samples<'a> {
    families: &'a mut Exposition,
    at: usize,
}

impl Samples<'_> {
    /// A sample of the family's own name.
    pub fn add(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.part("", labels, value)
    }

    /// A sample of a part of the family: `_bucket`, `_sum`, `_count`.
    pub fn part(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        if let Some(family) = self.families.families.get_mut(self.at) {
            let out = &mut family.samples;
            let mut write = || {
                write!(out, "{}{suffix}", family.name)?;
                for (at, (name, value)) in labels.iter().enumerate() {
                    let before = if at == 0 { '{' } else { ',' };
                    write!(out, "{before}{name}=\"{}\"", escape(value))?;
                }
                let after = if labels.is_empty() { "" } else { "}" };
                writeln!(out, "{after} {value}")
            };
            // writing to a String cannot fail
            let _unused = write();
        }
        self
    }
}

fn escape(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .into()
}

#[cfg(test)]
mod tests {
    use super::{Exposition, Kind};

    #[test]
    fn families_stand_together_and_values_are_escaped() {
        let mut text = Exposition::default();
        text.family("a_total", Kind::Counter, "What a is.")
            .add(&[("name", "x\"\\\n")], 1);
        text.family("b", Kind::Summary, "What b is.")
            .part("_sum", &[], 2.5);
        text.family("a_total", Kind::Counter, "What a is.")
            .add(&[("name", "y"), ("other", "z")], 2);
        assert_eq!(
            text.text(),
            "# HELP a_total What a is.\n# TYPE a_total counter\na_total{name=\"x\\\"\\\\\\n\"} 1\na_total{name=\"y\",other=\"z\"} 2\n\
             # HELP b What b is.\n# TYPE b summary\nb_sum 2.5\n"
        );
    }
}
