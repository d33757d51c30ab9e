//! Regular expressions of Java, as far as templates and selection patterns use them: `String.matches`, `replaceAll` and `split` of AWS
//! are those of Java, and so are lookahead, backreferences and possessive quantifiers. Every step is taken from the budget of the script,
//! so that no expression runs away.
//!
//! Not there, and refused with that word: lookbehind, classes within classes and their intersections, the flag `x`.

mod class;
mod parse;
mod program;
#[cfg(test)]
mod tests;

use crate::fault::{Budget, Fault};
use program::Program;

/// A compiled expression.
#[derive(Debug)]
pub struct Regex {
    program: Program,
    names: Vec<(String, usize)>,
    pattern: String,
}

/// Where an expression and its groups were found: starts and ends in bytes, two for each group, the whole first.
type Slots = Vec<Option<usize>>;

impl Regex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// It is none, uses what is not supported, or is too large.
    pub fn new(pattern: &str) -> Result<Self, Fault> {
        let wrong = |reason| Fault::Pattern {
            pattern: pattern.to_owned(),
            reason,
        };
        let parsed = parse::parse(pattern).map_err(wrong)?;
        let program = Program::compile(&parsed.piece, parsed.groups).map_err(wrong)?;
        Ok(Self {
            program,
            names: parsed.names,
            pattern: pattern.to_owned(),
        })
    }

    /// True when the expression matches all of the text.
    pub fn matches_whole(&self, text: &str, budget: &mut Budget) -> Result<bool, Fault> {
        self.program
            .run(text, 0, true, budget)
            .map(|slots| slots.is_some())
    }

    /// The leftmost match at or behind a byte.
    fn find(&self, text: &str, from: usize, budget: &mut Budget) -> Result<Option<Slots>, Fault> {
        let mut at = from;
        loop {
            let Some(next) = self.program.candidate(text, at) else {
                return Ok(None);
            };
            at = next;
            if let Some(slots) = self.program.run(text, at, false, budget)? {
                return Ok(Some(slots));
            }
            match text.get(at..).and_then(|rest| rest.chars().next()) {
                Some(c) => at += c.len_utf8(),
                None => return Ok(None),
            }
        }
    }

    /// Matches that do not overlap, in order.
    fn each(
        &self,
        text: &str,
        budget: &mut Budget,
        mut with: impl FnMut(&Slots, usize, usize, &mut Budget) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let mut from = 0;
        while let Some(slots) = self.find(text, from, budget)? {
            let (Some(start), Some(end)) = (slot(&slots, 0), slot(&slots, 1)) else {
                return Ok(());
            };
            if !with(&slots, start, end, budget)? {
                return Ok(());
            }
            from = end;
            if start == end {
                // an empty match is found once
                match text.get(end..).and_then(|rest| rest.chars().next()) {
                    Some(c) => from += c.len_utf8(),
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Puts `with` in place of up to `most` matches. In it `$1` and `${name}` stand for groups, and a backslash takes away the meaning of what
    /// follows it.
    pub fn replace(&self, text: &str, with: &str, most: usize, budget: &mut Budget) -> Result<String, Fault> {
        let mut out = String::new();
        let mut done = 0;
        let mut count = 0;
        self.each(text, budget, |slots, start, end, budget| {
            let before = out.len();
            out.push_str(text.get(done..start).unwrap_or_default());
            self.expand(text, with, slots, &mut out)?;
            budget.take(out.len() - before)?;
            done = end;
            count += 1;
            Ok(count < most)
        })?;
        let rest = text.get(done..).unwrap_or_default();
        budget.take(rest.len())?;
        out.push_str(rest);
        Ok(out)
    }

    fn expand(&self, text: &str, with: &str, slots: &Slots, out: &mut String) -> Result<(), Fault> {
        let wrong = |reason: &str| Fault::Pattern {
            pattern: self.pattern.clone(),
            reason: format!("the replacement {reason}"),
        };
        let mut rest = with;
        while let Some(at) = rest.find(['\\', '$']) {
            let (plain, tail) = rest.split_at(at);
            out.push_str(plain);
            let mut chars = tail.chars();
            if chars.next() == Some('\\') {
                out.push(chars.next().ok_or_else(|| wrong("ends with a backslash"))?);
                rest = chars.as_str();
                continue;
            }
            let behind = chars.as_str();
            let group = if let Some((name, after)) =
                behind.strip_prefix('{').and_then(|named| named.split_once('}'))
            {
                rest = after;
                self.names
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, group)| *group)
            } else {
                let (group, after) = self.numbered(behind);
                rest = after;
                group
            };
            let group = group.ok_or_else(|| wrong("names a group that is not there"))?;
            if let (Some(start), Some(end)) = (slot(slots, group * 2), slot(slots, group * 2 + 1)) {
                out.push_str(text.get(start..end).unwrap_or_default());
            }
        }
        out.push_str(rest);
        Ok(())
    }

    /// As many digits as make the number of a group that is there.
    fn numbered<'a>(&self, text: &'a str) -> (Option<usize>, &'a str) {
        let mut group = None;
        let mut rest = text;
        while let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(10)) {
            let next = group.unwrap_or(0) * 10 + digit as usize;
            if next >= self.program.groups() {
                break;
            }
            group = Some(next);
            rest = rest.get(1..).unwrap_or_default();
        }
        (group, rest)
    }

    /// Parts between matches, as `String.split`: no empty ones at the end unless `limit` is not 0, and at most `limit` if that is positive.
    pub fn split<'a>(&self, text: &'a str, limit: i64, budget: &mut Budget) -> Result<Vec<&'a str>, Fault> {
        let most = usize::try_from(limit).ok().filter(|most| *most > 0);
        let mut parts = Vec::new();
        let mut done = 0;
        if most == Some(1) {
            return Ok(vec![text]);
        }
        self.each(text, budget, |_, start, end, budget| {
            budget.step(1)?;
            // an empty match at the start makes no part
            if end > 0 {
                parts.push(text.get(done..start).unwrap_or_default());
                done = end;
            }
            Ok(most.is_none_or(|most| parts.len() + 1 < most))
        })?;
        if parts.is_empty() {
            return Ok(vec![text]);
        }
        parts.push(text.get(done..).unwrap_or_default());
        if limit == 0 {
            while parts.last().is_some_and(|part| part.is_empty()) {
                parts.pop();
            }
        }
        Ok(parts)
    }
}

fn slot(slots: &Slots, index: usize) -> Option<usize> {
    slots.get(index).copied().flatten()
}
