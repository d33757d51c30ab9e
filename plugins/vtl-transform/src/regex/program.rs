//! Steps of a compiled expression, and their run: backtracking with a stack of its own, in the order that Java tries things.

use super::Slots;
use super::class::Class;
use super::parse::{Assertion, Piece};
use crate::fault::{Budget, Fault};

/// Most steps of a program.
const MAX_STEPS: usize = 8192;
/// Most entries of the stack.
const MAX_STACK: usize = 200_000;
/// Steps of a program that count as one of the script.
const PER_STEP: usize = 16;

#[derive(Debug)]
enum Op {
    Char(char, bool),
    Any(bool),
    Class(Class),
    Assert(Assertion),
    Back(usize, bool),
    /// Puts the place into a slot.
    Save(usize),
    /// Goes on with the first, and with the second when that fails.
    Split(usize, usize),
    Jump(usize),
    /// Goes to a step if nothing was read since the place in the slot.
    IfEmpty(usize, usize),
    /// A part of its own, from the next step to `Done`; what follows it.
    Look {
        negative: bool,
        after: usize,
    },
    Atomic(usize),
    Done,
    Match,
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Program {
    ops: Vec<Op>,
    groups: usize,
    slots: usize,
}

enum Entry {
    Branch { op: usize, at: usize },
    Restore { slot: usize, old: Option<usize> },
}

struct Run<'a> {
    text: &'a str,
    whole: bool,
    slots: Slots,
    taken: usize,
    budget: &'a mut Budget,
}

impl Program {
    pub(super) fn compile(piece: &Piece, groups: usize) -> Result<Self, String> {
        let mut program = Self {
            ops: Vec::new(),
            groups,
            slots: groups * 2,
        };
        program.push(Op::Save(0))?;
        program.piece(piece)?;
        program.push(Op::Save(1))?;
        program.push(Op::Match)?;
        Ok(program)
    }

    /// Groups, the whole included.
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    fn push(&mut self, op: Op) -> Result<usize, String> {
        if self.ops.len() >= MAX_STEPS {
            return Err("too large".to_owned());
        }
        self.ops.push(op);
        Ok(self.ops.len() - 1)
    }

    fn one(&mut self, op: Op) -> Result<(), String> {
        self.push(op).map(|_place| ())
    }

    fn set(&mut self, at: usize, op: Op) {
        if let Some(place) = self.ops.get_mut(at) {
            *place = op;
        }
    }

    fn piece(&mut self, piece: &Piece) -> Result<(), String> {
        match piece {
            Piece::Empty => {}
            Piece::Char(c, any_case) => self.one(Op::Char(*c, *any_case))?,
            Piece::Any(all) => self.one(Op::Any(*all))?,
            Piece::Class(class) => self.one(Op::Class(class.clone()))?,
            Piece::Assert(assertion) => self.one(Op::Assert(*assertion))?,
            Piece::Back(group, any_case) => self.one(Op::Back(*group, *any_case))?,
            Piece::Group(inner, number) => {
                self.push(Op::Save(number * 2))?;
                self.piece(inner)?;
                self.push(Op::Save(number * 2 + 1))?;
            }
            Piece::Sequence(pieces) => {
                for piece in pieces {
                    self.piece(piece)?;
                }
            }
            Piece::Choice(options) => self.options(options)?,
            Piece::Repeat {
                piece,
                min,
                max,
                lazy,
            } => {
                for _ in 0..*min {
                    self.piece(piece)?;
                }
                match max {
                    Some(max) => self.up_to(piece, max - min, *lazy)?,
                    None => self.many(piece, *lazy)?,
                }
            }
            Piece::Look { piece, negative } => {
                let start = self.push(Op::Done)?;
                self.piece(piece)?;
                let after = self.push(Op::Done)? + 1;
                let negative = *negative;
                self.set(start, Op::Look { negative, after });
            }
            Piece::Atomic(piece) => {
                let start = self.push(Op::Done)?;
                self.piece(piece)?;
                let after = self.push(Op::Done)? + 1;
                self.set(start, Op::Atomic(after));
            }
        }
        Ok(())
    }

    fn options(&mut self, options: &[Piece]) -> Result<(), String> {
        let mut ends = Vec::new();
        for (index, option) in options.iter().enumerate() {
            if index + 1 == options.len() {
                self.piece(option)?;
                break;
            }
            let split = self.push(Op::Done)?;
            self.piece(option)?;
            ends.push(self.push(Op::Done)?);
            self.set(split, Op::Split(split + 1, self.ops.len()));
        }
        for end in ends {
            self.set(end, Op::Jump(self.ops.len()));
        }
        Ok(())
    }

    fn split(&mut self, at: usize, exit: usize, lazy: bool) {
        let op = if lazy {
            Op::Split(exit, at + 1)
        } else {
            Op::Split(at + 1, exit)
        };
        self.set(at, op);
    }

    fn up_to(&mut self, piece: &Piece, times: u32, lazy: bool) -> Result<(), String> {
        let mut splits = Vec::new();
        for _ in 0..times {
            splits.push(self.push(Op::Done)?);
            self.piece(piece)?;
        }
        for split in splits {
            self.split(split, self.ops.len(), lazy);
        }
        Ok(())
    }

    fn many(&mut self, piece: &Piece, lazy: bool) -> Result<(), String> {
        let slot = self.slots;
        self.slots += 1;
        let split = self.push(Op::Done)?;
        self.push(Op::Save(slot))?;
        self.piece(piece)?;
        let check = self.push(Op::Done)?;
        let exit = self.push(Op::Jump(split))? + 1;
        self.set(check, Op::IfEmpty(slot, exit));
        self.split(split, exit, lazy);
        Ok(())
    }

    /// The first place from `at` on where a match could begin.
    pub(super) fn candidate(&self, text: &str, at: usize) -> Option<usize> {
        let rest = text.get(at..)?;
        match self.ops.get(1) {
            Some(Op::Char(c, false)) => rest.find(*c).map(|offset| at + offset),
            Some(Op::Assert(Assertion::TextStart)) if at > 0 => None,
            _ => Some(at),
        }
    }

    /// Tries the program at a place. `whole`: only a match up to the end of the text counts.
    pub(super) fn run(
        &self,
        text: &str,
        at: usize,
        whole: bool,
        budget: &mut Budget,
    ) -> Result<Option<Slots>, Fault> {
        let mut run = Run {
            text,
            whole,
            slots: vec![None; self.slots],
            taken: 0,
            budget,
        };
        run.budget.step(1 + self.slots / PER_STEP)?;
        Ok(run.from(&self.ops, 0, at)?.map(|_end| run.slots))
    }
}

impl Run<'_> {
    fn tick(&mut self) -> Result<(), Fault> {
        self.taken += 1;
        if self.taken.is_multiple_of(PER_STEP) {
            self.budget.step(1)?;
        }
        Ok(())
    }

    /// Runs from a step to `Match` or `Done`; the place there. When it fails the slots are as before.
    fn from(&mut self, ops: &[Op], start: usize, from: usize) -> Result<Option<usize>, Fault> {
        let mut stack: Vec<Entry> = Vec::new();
        let (mut op, mut at) = (start, from);
        loop {
            self.tick()?;
            if stack.len() > MAX_STACK {
                return Err(Fault::Memory(self.budget.limits.memory));
            }
            let mut next = Some(op + 1);
            match ops.get(op) {
                Some(Op::Match) if self.whole && at < self.text.len() => next = None,
                Some(Op::Match | Op::Done) | None => return Ok(Some(at)),
                Some(Op::Jump(to)) => next = Some(*to),
                Some(Op::Split(first, second)) => {
                    stack.push(Entry::Branch { op: *second, at });
                    next = Some(*first);
                }
                Some(Op::Save(slot)) => self.save(*slot, Some(at), &mut stack),
                Some(Op::IfEmpty(slot, exit)) if self.slots.get(*slot) == Some(&Some(at)) => {
                    next = Some(*exit)
                }
                Some(Op::IfEmpty(..)) => {}
                Some(Op::Assert(assertion)) => next = next.filter(|_| assertion.holds(self.text, at)),
                Some(Op::Look { negative, after }) => {
                    let before = self.slots.clone();
                    let found = self.from(ops, op + 1, at)?.is_some();
                    if *negative {
                        self.slots = before;
                    } else {
                        self.note(before, &mut stack);
                    }
                    next = (found != *negative).then_some(*after);
                }
                Some(Op::Atomic(after)) => {
                    let before = self.slots.clone();
                    let end = self.from(ops, op + 1, at)?;
                    self.note(before, &mut stack);
                    next = end.map(|_| *after);
                    at = end.unwrap_or(at);
                }
                Some(reads) => match self.read(reads, at) {
                    Some(end) => at = end,
                    None => next = None,
                },
            }
            op = match next {
                Some(next) => next,
                None => match self.back(&mut stack) {
                    Some((op, place)) => {
                        at = place;
                        op
                    }
                    None => return Ok(None),
                },
            };
        }
    }

    fn save(&mut self, slot: usize, value: Option<usize>, stack: &mut Vec<Entry>) {
        if let Some(place) = self.slots.get_mut(slot) {
            let old = std::mem::replace(place, value);
            stack.push(Entry::Restore { slot, old });
        }
    }

    /// Lets the stack know what a part of its own changed.
    fn note(&mut self, before: Slots, stack: &mut Vec<Entry>) {
        for (slot, old) in before.into_iter().enumerate() {
            if self.slots.get(slot) != Some(&old) {
                stack.push(Entry::Restore { slot, old });
            }
        }
    }

    /// The last place where something else can be tried.
    fn back(&mut self, stack: &mut Vec<Entry>) -> Option<(usize, usize)> {
        loop {
            match stack.pop()? {
                Entry::Branch { op, at } => return Some((op, at)),
                Entry::Restore { slot, old } => {
                    if let Some(place) = self.slots.get_mut(slot) {
                        *place = old;
                    }
                }
            }
        }
    }

    /// Reads characters; the place behind them.
    fn read(&self, op: &Op, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?;
        if let Op::Back(group, any_case) = op {
            let slot = |index: usize| self.slots.get(index).copied().flatten();
            let group = self.text.get(slot(group * 2)?..slot(group * 2 + 1)?)?;
            let same = if *any_case {
                rest.get(..group.len())?.eq_ignore_ascii_case(group)
            } else {
                rest.starts_with(group)
            };
            return same.then_some(at + group.len());
        }
        let c = rest.chars().next()?;
        let fits = match op {
            Op::Char(wanted, true) => c.eq_ignore_ascii_case(wanted),
            Op::Char(wanted, false) => c == *wanted,
            Op::Any(all) => *all || !ends_line(c),
            Op::Class(class) => class.contains(c),
            _ => false,
        };
        fits.then_some(at + c.len_utf8())
    }
}

fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

impl Assertion {
    fn holds(self, text: &str, at: usize) -> bool {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at..).unwrap_or_default();
        let next = after.chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        match self {
            Self::TextStart => at == 0,
            Self::LineStart => before.is_none_or(ends_line) && (at == 0 || next.is_some()),
            Self::TextEnd => next.is_none(),
            Self::LastLineEnd => {
                let last = after == "\r\n" || next.is_some_and(ends_line) && after.chars().nth(1).is_none();
                // not between the two characters of a line end
                next.is_none() || last && !(before == Some('\r') && next == Some('\n'))
            }
            Self::LineEnd => next.is_none_or(ends_line),
            Self::Word => word(before) != word(next),
            Self::NoWord => word(before) == word(next),
        }
    }
}
