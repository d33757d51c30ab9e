//! Where in its life this instance is. The export glue sets it; whoever must not freeze something into a snapshot asks.

use std::cell::Cell;

/// Stage of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// `init` has not run. Native tests that call `Plugin::init` themselves stay here.
    Fresh,
    /// Inside `init`: the memory is going to be snapshotted.
    Init,
    /// `init` has ended; hooks may be called.
    Running,
}

thread_local! {
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Fresh) };
}

/// The stage of this instance (natively: of this thread).
pub(crate) fn current() -> Stage {
    STAGE.get()
}

/// Runs an `init` in its stage.
pub(crate) fn during_init<T>(init: impl FnOnce() -> T) -> T {
    STAGE.set(Stage::Init);
    let made = init();
    STAGE.set(Stage::Running);
    made
}
