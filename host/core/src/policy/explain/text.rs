//! An explanation as text, for a terminal.

use std::fmt::{self, Display, Formatter};

use super::{ConditionPart, Explanation, Part, PolicyExplanation, StatementExplanation, side};
use crate::policy::Outcome;

/// Values of a list that are shown.
const SHOWN_MAX: usize = 5;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let decision = match self.decision {
            Outcome::Allow => "allowed",
            Outcome::ImplicitDeny => "denied (implicitly)",
            Outcome::ExplicitDeny => "denied (explicitly)",
        };
        writeln!(f, "{decision}: {}", self.reason)?;
        writeln!(f, "  {} on {}", self.action.name(), self.arn)?;
        let principal = self.principal.as_deref().unwrap_or("anonymous");
        writeln!(f, "  by {principal}, authorization: {}", self.kind.name())?;
        for policy in &self.policies {
            policy.fmt(f)?;
        }
        if !self.variables.is_empty() {
            writeln!(f, "variables:")?;
        }
        for (name, value) in &self.variables {
            match value {
                Some(value) => writeln!(f, "  ${{{name}}} is `{value}`")?,
                None => writeln!(f, "  ${{{name}}} has no value, which is like nothing")?,
            }
        }
        if !self.warnings.is_empty() {
            writeln!(f, "warnings:")?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "  {warning}"))
    }
}

impl Display for PolicyExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let says = match self.says {
            "allow" => "allows it",
            "allow-by-account" => "allows it to the caller's account",
            "deny" => "denies it",
            _ => "says nothing about it",
        };
        writeln!(f, "{} {says}:", side(self.policy))?;
        self.statements.iter().try_for_each(|statement| statement.fmt(f))
    }
}

impl Display for StatementExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "  statement {}", self.index)?;
        if let Some(sid) = &self.sid {
            write!(f, " `{sid}`")?;
        }
        let applies = if self.applies { "applies" } else { "does not apply" };
        writeln!(f, " ({}): {applies}", self.effect)?;
        let parts = self.principal.iter().chain([&self.action, &self.resource]);
        for part in parts.filter(|part| !part.matches) {
            part.fmt(f)?;
        }
        let conditions = self.conditions.iter();
        conditions
            .filter(|part| !part.matches)
            .try_for_each(|part| part.fmt(f))
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "    {}: `{}` against {}",
            self.element,
            self.seen,
            List(&self.wanted)
        )
    }
}

impl Display for ConditionPart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "    Condition {} {}: ", self.operator, self.key)?;
        match &self.seen {
            Some(seen) => write!(f, "{}", List(seen))?,
            None => write!(f, "no value")?,
        }
        writeln!(f, " against {}", List(&self.wanted))
    }
}

/// Some values, the first of them.
struct List<'a>(&'a [String]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}`{value}`", if index > 0 { ", " } else { "" })?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
