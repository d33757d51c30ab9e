//! Checked configuration: what every request is checked against. Built once in `init`; every problem is reported at once. Blocks are kept by the
//! host, so that their number costs an instance nothing.

use edgeward_sdk::{config::Problems, matcher::IpSet};

use crate::{
    block,
    config::{Address, Config, Effect, Order},
};

/// Most rules: one look-up each.
const RULES_MAX: usize = 100;
/// Most blocks of a rule: what the host takes in one set.
const BLOCKS_MAX: usize = 20_000;
/// Longest name of a rule in bytes.
const NAME_MAX: usize = 64;
/// Most problems that are told of one list.
const PROBLEMS_MAX: usize = 10;

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rules in the order in which they count.
    pub rules: Vec<Rule>,
    /// For addresses that no rule fits.
    pub default: Effect,
    /// Which address is looked at.
    pub address: Address,
    /// Status of a refusal: 403 or 404.
    pub status: u16,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    blocks: IpSet,
}

impl Rule {
    /// True when the address is in one of the rule's blocks.
    #[must_use]
    pub fn fits(&self, address: &str) -> bool {
        self.blocks.contains(address)
    }
}

impl Settings {
    /// Checks a configuration and has the host build its sets.
    ///
    /// # Errors
    /// All problems, separated by `; `, each with the path of the key.
    pub fn new(config: Config) -> Result<Self, String> {
        let mut problems = Problems::default();
        if config.rules.is_empty() {
            problems.push("rules: an empty list decides nothing");
        }
        if config.rules.len() > RULES_MAX {
            problems.push(format!("rules: {} exceed {RULES_MAX}", config.rules.len()));
        }
        if !matches!(config.status, 403 | 404) {
            problems.push(format!("status: {} is neither 403 nor 404", config.status));
        }
        let mut rules = Vec::new();
        for (index, rule) in config.rules.into_iter().enumerate().take(RULES_MAX) {
            match rule_of(index, rule) {
                Ok(rule) => rules.push(rule),
                Err(found) => problems.extend(found),
            }
        }
        problems.check()?;
        if config.order == Order::DenyOverrides {
            // stable: within each effect the order of the list holds
            rules.sort_by_key(|rule| rule.effect == Effect::Allow);
        }
        Ok(Self {
            rules,
            default: config.default,
            address: config.address,
            status: config.status,
        })
    }
}

fn rule_of(index: usize, rule: crate::config::Rule) -> Result<Rule, Vec<String>> {
    let path = format!("rules[{index}]");
    let mut problems = Vec::new();
    let name = rule.name.unwrap_or_else(|| format!("rule-{}", index + 1));
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        problems.push(format!(
            "{path}.name: {name:?} is not 1 to {NAME_MAX} bytes without control characters"
        ));
    }
    let (effect, key, blocks) = match (rule.allow, rule.deny) {
        (Some(blocks), None) => (Effect::Allow, "allow", blocks),
        (None, Some(blocks)) => (Effect::Deny, "deny", blocks),
        _ => {
            problems.push(format!("{path}: needs allow or deny, one of the two"));
            return Err(problems);
        }
    };
    if blocks.len() > BLOCKS_MAX {
        problems.push(format!(
            "{path}.{key}: {} blocks exceed {BLOCKS_MAX}; make two rules of them",
            blocks.len()
        ));
        return Err(problems);
    }
    let mut texts = Vec::with_capacity(blocks.len());
    let mut bad = 0;
    for (at, text) in blocks.iter().enumerate() {
        match block::canonical(text) {
            Ok(text) => texts.push(text),
            Err(error) => {
                bad += 1;
                if bad <= PROBLEMS_MAX {
                    problems.push(format!("{path}.{key}[{at}]: {text:?} {error}"));
                }
            }
        }
    }
    if bad > PROBLEMS_MAX {
        problems.push(format!("{path}.{key}: and {} more", bad - PROBLEMS_MAX));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let blocks = IpSet::new(texts).map_err(|error| vec![format!("{path}.{key}: {error}")])?;
    Ok(Rule { name, effect, blocks })
}
