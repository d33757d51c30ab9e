//! Why a script ends early, and what it may use until then.

use thiserror::Error;

/// Deepest nesting of a template, of values that are printed, and of paths and documents.
pub const MAX_DEPTH: usize = 96;
/// Most turns of one `#foreach`, as at AWS.
pub const MAX_TURNS: usize = 1000;

/// Why rendering ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Too many steps.
    #[error("the script takes more than {0} steps")]
    Steps(u64),
    /// Too many bytes for texts, lists and maps.
    #[error("the script needs more than {0} bytes of memory")]
    Memory(usize),
    /// The output is too long.
    #[error("the output is longer than {0} bytes")]
    Output(usize),
    /// Too deep.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// A loop is too long.
    #[error("`#foreach` over {0} elements; the limit is {MAX_TURNS}")]
    Turns(usize),
    /// Java's `IndexOutOfBoundsException`.
    #[error("the index {0} is out of range")]
    Index(i64),
    /// Java's `NumberFormatException`.
    #[error("`{0:.40}` is not a number")]
    NumberFormat(String),
    /// A path does not parse.
    #[error("JSONPath `{path:.100}`: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// An expression does not parse.
    #[error("regular expression `{pattern:.100}`: {reason}")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// `$util.parseJson` was given something else.
    #[error("`$util.parseJson`: {0}")]
    Json(String),
}

/// What a script may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps: nodes, expressions, elements that are looked at.
    pub steps: u64,
    /// Bytes of all texts and elements that the script makes, in sum.
    pub memory: usize,
    /// Bytes of the output.
    pub output: usize,
}

impl Limits {
    /// For bodies up to that many bytes.
    #[must_use]
    pub fn for_bodies(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            steps: 1_000_000,
            memory: limit.saturating_mul(16).saturating_add(8 << 20),
            output: limit,
        }
    }
}

/// What is left of the limits.
#[derive(Debug, Clone)]
pub struct Budget {
    /// As it was.
    pub limits: Limits,
    steps: u64,
    memory: usize,
}

impl Budget {
    /// All of it.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            steps: limits.steps,
            memory: limits.memory,
        }
    }

    /// Takes steps.
    pub fn step(&mut self, steps: usize) -> Result<(), Fault> {
        self.steps = self
            .steps
            .checked_sub(steps as u64)
            .ok_or(Fault::Steps(self.limits.steps))?;
        Ok(())
    }

    /// Takes bytes.
    pub fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        self.memory = self
            .memory
            .checked_sub(bytes)
            .ok_or(Fault::Memory(self.limits.memory))?;
        Ok(())
    }
}
