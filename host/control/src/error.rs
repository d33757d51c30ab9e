//! Why a change was refused.

use std::collections::HashSet;

use edgeward_core::config::{Problem, Problems};

use crate::{file::FileError, store::StoreError};

/// A change was refused; what ran before still runs.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such plugin.
    #[error("{0}")]
    NotFound(String),
    /// The new state is not valid, or a plugin refuses it; all problems at once.
    #[error("{0}")]
    Invalid(Problems),
    /// It is not as the caller expected (`If-Match`, `If-None-Match`).
    #[error("{0}")]
    Precondition(String),
    /// It is not for the caller to do.
    #[error("{0}")]
    Forbidden(String),
    /// The state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data plane refused, e.g. because an address is taken.
    #[error("cannot put the change into effect: {0}")]
    Start(#[from] edgeward_proxy::StartError),
    /// The gateway starts or stops.
    #[error("the gateway is {0}: nothing can be changed now")]
    Unavailable(&'static str),
    /// A defect; the log has more.
    #[error("a defect in the gateway stopped the change, see its log")]
    Panicked,
}

impl ControlError {
    /// One problem at one place.
    pub(crate) fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(Problems(vec![Problem::new(path, message)]))
    }

    /// As a list, for status pages and error bodies.
    #[must_use]
    pub fn problems(&self) -> Problems {
        match self {
            Self::Invalid(problems) => problems.clone(),
            Self::NotFound(_)
            | Self::Precondition(_)
            | Self::Forbidden(_)
            | Self::Conflict(_)
            | Self::Store(_)
            | Self::Start(_)
            | Self::Unavailable(_)
            | Self::Panicked => Problems(vec![Problem::new("", self.to_string())]),
        }
    }
}

/// Problems of steps that do not need one another: all of them are told at once.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    problems: Vec<Problem>,
    /// Places and messages of these.
    known: HashSet<(String, String)>,
}

impl Faults {
    /// Notes the problems of a step, and goes on without its outcome. The same problem is told once.
    ///
    /// # Errors
    /// What is no list of problems: it is not there, not as expected, not theirs to change.
    pub(crate) fn take<T>(&mut self, outcome: Result<T, ControlError>) -> Result<Option<T>, ControlError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(ControlError::Invalid(Problems(problems))) => {
                self.extend(problems);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Notes problems.
    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            if self.known.insert((problem.path.clone(), problem.message.clone())) {
                self.problems.push(problem);
            }
        }
    }

    /// Notes one.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.extend([problem]);
    }

    /// # Errors
    /// Everything that was noted.
    pub(crate) fn end(self) -> Result<(), ControlError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(ControlError::Invalid(Problems(self.problems)))
        }
    }
}

/// Text of an error about a module that belongs to no plugin yet.
#[must_use]
pub fn module_error(error: &edgeward_runtime::LoadError) -> String {
    let text = error.to_string();
    text.strip_prefix("plugin ``: ")
        .map_or_else(|| text.clone(), str::to_owned)
}

impl From<FileError> for ControlError {
    fn from(error: FileError) -> Self {
        Self::Invalid(error.problems())
    }
}
