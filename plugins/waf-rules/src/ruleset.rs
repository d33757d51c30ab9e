//! Compiling: rules become tests over few matcher sets. All patterns of rules with the same chain of transformations, kind and case
//! share one set, so that a value is transformed once per chain and scanned with one host call per set.

use crate::config::{Action, Config, Exclusion, Match, Mode, OneOrMany, Rule, Size, StarterAction};
use crate::field::Field;
use crate::transformation::Transformation;
use edgeward_sdk::matcher::{IpSet, LiteralSet, RegexSet};
use serde::Deserialize;

/// Most rules of a configuration.
pub const MAX_RULES: usize = 5000;
const STARTER_SET: &str = include_str!("starter-set.json");

/// Compiled rules.
#[derive(Debug)]
pub struct Ruleset {
    /// In the order of evaluation.
    pub rules: Vec<Compiled>,
    /// Distinct chains.
    pub chains: Vec<Vec<Transformation>>,
    /// Matcher sets.
    pub groups: Vec<Group>,
    /// All fields that some rule looks at.
    pub fields: Vec<Field>,
    /// See `Config::threshold`.
    pub threshold: Option<u32>,
}

/// A rule, ready to run.
#[derive(Debug)]
pub struct Compiled {
    /// Identifier.
    pub id: String,
    /// What a match means.
    pub message: String,
    /// Where it looks.
    pub fields: Vec<Field>,
    /// Its test.
    pub test: Test,
    /// A value that does not match is the finding.
    pub negate: bool,
    /// What a match does.
    pub action: Action,
    /// Labels.
    pub labels: Vec<String>,
    /// Score.
    pub score: u32,
    /// Patterns of locations that it does not look at.
    pub excluded: Vec<String>,
}

/// What a rule asks of a value.
#[derive(Debug)]
pub enum Test {
    /// One of the patterns `from..to` of a group occurs.
    Set {
        /// Index of the group.
        group: usize,
        /// First pattern.
        from: u32,
        /// After the last pattern.
        to: u32,
    },
    /// The value is an address in the set.
    Ip(IpSet),
    /// Size after the chain.
    Size(usize, Size),
    /// Equality after the chain.
    Equals {
        /// Index of the chain.
        chain: usize,
        /// The texts.
        texts: Vec<String>,
        /// ASCII case is ignored.
        case_insensitive: bool,
    },
    /// There is no value.
    Absent,
}

/// A matcher set and the chain before it.
#[derive(Debug)]
pub struct Group {
    /// Index of the chain.
    pub chain: usize,
    /// The set.
    pub set: Set,
    /// True when only rules of the starter set are in it; none of them matches inside of a single word.
    pub starter_only: bool,
}

/// Either kind of set.
#[derive(Debug, Clone, Copy)]
pub enum Set {
    /// Regular expressions.
    Regex(RegexSet),
    /// Literals.
    Literal(LiteralSet),
}

/// The rules that come with the plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Starter {
    sqli: Vec<StarterRule>,
    xss: Vec<StarterRule>,
    path_traversal: Vec<StarterRule>,
    command_injection: Vec<StarterRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StarterRule {
    id: String,
    message: String,
    field: Vec<String>,
    transformations: Vec<Transformation>,
    regex: Vec<String>,
}

/// Patterns of a group until its set is built.
struct Draft {
    chain: usize,
    regex: bool,
    case_insensitive: bool,
    starter_only: bool,
    patterns: Vec<String>,
    /// Rule id and its first pattern, to name the culprit when the set is refused.
    owners: Vec<(String, usize)>,
}

#[derive(Default)]
struct Compiler {
    rules: Vec<Compiled>,
    chains: Vec<Vec<Transformation>>,
    drafts: Vec<Draft>,
    fields: Vec<Field>,
    exclusions: Vec<Exclusion>,
}

/// Compiles a configuration. The error names the rule by position and id, and the bad value.
pub fn compile(config: &Config) -> Result<Ruleset, String> {
    if !(400..=599).contains(&config.block.status) {
        return Err(format!(
            "block.status: {} is not between 400 and 599",
            config.block.status
        ));
    }
    if config.body.limit == 0 {
        return Err("body.limit: 0 would refuse every body; the limit is at least 1 byte".to_owned());
    }
    if config.rules.len() > MAX_RULES {
        return Err(format!(
            "rules: {} rules; the limit is {MAX_RULES}",
            config.rules.len()
        ));
    }
    if config.threshold == Some(0) {
        return Err("threshold: 0 would block every request; it is at least 1".to_owned());
    }
    let mut compiler = Compiler {
        exclusions: config.exclusions.clone(),
        ..Compiler::default()
    };
    for (index, rule) in config.rules.iter().enumerate() {
        compiler
            .add(rule, config.mode, false)
            .map_err(|error| format!("rules[{index}] `{}`: {error}", rule.id))?;
    }
    compiler.add_starter_set(config)?;
    compiler.check_exclusions()?;
    compiler.finish(config.threshold)
}

impl Compiler {
    fn add_starter_set(&mut self, config: &Config) -> Result<(), String> {
        let starter: Starter =
            serde_json::from_str(STARTER_SET).map_err(|error| format!("starter set: {error}"))?;
        let switches = &config.starter_set;
        let classes = [
            ("sqli", switches.sqli, starter.sqli),
            ("xss", switches.xss, starter.xss),
            ("path-traversal", switches.path_traversal, starter.path_traversal),
            (
                "command-injection",
                switches.command_injection,
                starter.command_injection,
            ),
        ];
        for (class, switch, rules) in classes {
            let action = match switch {
                StarterAction::Off => continue,
                StarterAction::Block => Action::Block,
                StarterAction::Count => Action::Count,
            };
            for rule in rules {
                let patterns = rule
                    .regex
                    .iter()
                    .map(|pattern| pattern.replace(r"\b", r"(?-u:\b)"))
                    .collect();
                let rule = Rule {
                    id: rule.id,
                    message: Some(rule.message),
                    field: OneOrMany::Many(rule.field),
                    transformations: rule.transformations,
                    test: Match {
                        regex: Some(patterns),
                        ..Match::default()
                    },
                    action,
                    labels: vec![format!("attack-{class}")],
                    negate: false,
                    score: 0,
                };
                self.add(&rule, config.mode, true)
                    .map_err(|error| format!("starter set, rule `{}`: {error}", rule.id))?;
            }
        }
        Ok(())
    }

    fn add(&mut self, rule: &Rule, mode: Mode, starter: bool) -> Result<(), String> {
        check_name("id", &rule.id)?;
        if self.rules.iter().any(|other| other.id == rule.id) {
            return Err("the id is taken by another rule".to_owned());
        }
        if rule.score > 0 && rule.action != Action::Count {
            return Err(format!(
                "score: {} has a meaning only with `action: count`",
                rule.score
            ));
        }
        for label in &rule.labels {
            check_name("labels", label)?;
        }
        let names = rule.field.as_slice();
        if names.is_empty() {
            return Err("field: the list is empty".to_owned());
        }
        let fields = names
            .iter()
            .map(|name| Field::parse(name))
            .collect::<Result<Vec<_>, _>>()?;
        let test = self
            .test(rule, starter)
            .map_err(|error| format!("match: {error}"))?;
        for field in &fields {
            if !self.fields.contains(field) {
                self.fields.push(field.clone());
            }
        }
        let action = match (rule.action, mode) {
            (Action::Block, Mode::Count) => Action::Count,
            (action, _) => action,
        };
        let excluded = self
            .exclusions
            .iter()
            .filter(|e| covers(&e.rule, &rule.id))
            .map(|e| e.field.clone())
            .collect();
        self.rules.push(Compiled {
            id: rule.id.clone(),
            message: rule
                .message
                .clone()
                .unwrap_or_else(|| format!("rule {} matched", rule.id)),
            fields,
            test,
            negate: rule.negate,
            action,
            labels: rule.labels.clone(),
            score: rule.score,
            excluded,
        });
        Ok(())
    }

    fn test(&mut self, rule: &Rule, starter: bool) -> Result<Test, String> {
        let test = &rule.test;
        let kinds = [
            test.regex.is_some(),
            test.literals.is_some(),
            test.ip.is_some(),
            test.size.is_some(),
            test.equals.is_some(),
            test.absent.is_some(),
        ];
        let count = kinds.iter().filter(|is| **is).count();
        if count != 1 {
            return Err(format!(
                "{count} of regex, literals, ip, size, equals, absent; exactly one is needed"
            ));
        }
        if test.case_insensitive && test.regex.is_none() && test.literals.is_none() && test.equals.is_none() {
            return Err("case-insensitive goes with regex, literals or equals only".to_owned());
        }
        if rule.negate && test.absent.is_some() {
            return Err(
                "`absent` cannot be negated: a field that is present is matched by `size: {over: 0}`"
                    .to_owned(),
            );
        }
        if let Some(patterns) = &test.regex {
            return self.patterns(rule, patterns, true, starter);
        }
        if let Some(literals) = &test.literals {
            return self.patterns(rule, literals, false, starter);
        }
        let chain = self.chain(&rule.transformations);
        if let Some(blocks) = &test.ip {
            not_empty("ip", blocks)?;
            return IpSet::new(blocks.iter().cloned()).map(Test::Ip);
        }
        if let Some(size) = test.size {
            return match size {
                Size {
                    over: None,
                    under: None,
                } => Err("size has neither `over` nor `under`".to_owned()),
                size => Ok(Test::Size(chain, size)),
            };
        }
        if let Some(texts) = &test.equals {
            not_empty("equals", texts)?;
            return Ok(Test::Equals {
                chain,
                texts: texts.clone(),
                case_insensitive: test.case_insensitive,
            });
        }
        match test.absent {
            Some(true) => Ok(Test::Absent),
            _ => Err(
                "`absent: false` matches nothing; a field that is present is matched by `size: {over: 0}`"
                    .to_owned(),
            ),
        }
    }

    /// Index of a chain, added when it is new.
    fn chain(&mut self, chain: &[Transformation]) -> usize {
        self.chains
            .iter()
            .position(|known| known == chain)
            .unwrap_or_else(|| {
                self.chains.push(chain.to_vec());
                self.chains.len() - 1
            })
    }

    fn patterns(
        &mut self,
        rule: &Rule,
        patterns: &[String],
        regex: bool,
        starter: bool,
    ) -> Result<Test, String> {
        let kind = if regex { "regex" } else { "literals" };
        not_empty(kind, patterns)?;
        if let Some(at) = patterns.iter().position(String::is_empty) {
            return Err(format!("{kind}[{at}] is empty and would match everything"));
        }
        let (chain, case_insensitive) = (self.chain(&rule.transformations), rule.test.case_insensitive);
        let same = |d: &Draft| d.chain == chain && d.regex == regex && d.case_insensitive == case_insensitive;
        let group = self.drafts.iter().position(same).unwrap_or_else(|| {
            self.drafts.push(Draft {
                chain,
                regex,
                case_insensitive,
                starter_only: true,
                patterns: Vec::new(),
                owners: Vec::new(),
            });
            self.drafts.len() - 1
        });
        let draft = &mut self.drafts[group];
        draft.starter_only &= starter;
        let from = draft.patterns.len();
        draft.owners.push((rule.id.clone(), from));
        draft.patterns.extend_from_slice(patterns);
        let index =
            |at: usize| u32::try_from(at).map_err(|_too_many| format!("more than {} patterns", u32::MAX));
        Ok(Test::Set {
            group,
            from: index(from)?,
            to: index(draft.patterns.len())?,
        })
    }

    /// An exclusion of a rule that is not there is a typing error, or a rule that was renamed: better said than silently dead.
    fn check_exclusions(&self) -> Result<(), String> {
        for (index, exclusion) in self.exclusions.iter().enumerate() {
            if exclusion.rule == "*" && exclusion.field == "*" {
                return Err(format!(
                    "exclusions[{index}]: needs `rule` or `field`; without both it would switch every rule off"
                ));
            }
            if !self.rules.iter().any(|rule| covers(&exclusion.rule, &rule.id)) {
                return Err(format!(
                    "exclusions[{index}].rule: no rule `{}` is loaded",
                    exclusion.rule
                ));
            }
        }
        Ok(())
    }

    fn finish(self, threshold: Option<u32>) -> Result<Ruleset, String> {
        let mut groups = Vec::with_capacity(self.drafts.len());
        for draft in self.drafts {
            groups.push(Group {
                chain: draft.chain,
                set: draft.build()?,
                starter_only: draft.starter_only,
            });
        }
        Ok(Ruleset {
            rules: self.rules,
            chains: self.chains,
            groups,
            fields: self.fields,
            threshold,
        })
    }
}

impl Draft {
    fn build(&self) -> Result<Set, String> {
        if !self.regex {
            return LiteralSet::new(self.patterns.iter().cloned(), self.case_insensitive).map(Set::Literal);
        }
        RegexSet::new(self.patterns.iter().cloned(), self.case_insensitive)
            .map(Set::Regex)
            .map_err(|error| {
                // one rule after the other, to name the one that is wrong
                for (at, (id, from)) in self.owners.iter().enumerate() {
                    let to = self
                        .owners
                        .get(at + 1)
                        .map_or(self.patterns.len(), |(_, next)| *next);
                    if let Err(error) =
                        RegexSet::new(self.patterns[*from..to].iter().cloned(), self.case_insensitive)
                    {
                        return format!("rule `{id}`: match: regex: {error}");
                    }
                }
                format!("rules with the same transformations: match: regex: {error}")
            })
    }
}

fn not_empty(kind: &str, list: &[String]) -> Result<(), String> {
    if list.is_empty() {
        Err(format!("{kind}: the list is empty"))
    } else {
        Ok(())
    }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return Err(format!(
            "{what}: `{name}` is not 1 to 64 letters, digits, `.`, `_`, `-`"
        ));
    }
    Ok(())
}

/// True if a pattern, a text or the beginning of one and `*`, covers the text.
pub fn covers(pattern: &str, text: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == text, |prefix| text.starts_with(prefix))
}
