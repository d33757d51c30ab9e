//! A timer for waits that nearly always end in time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep};

/// One timer for many waits, one after the other. It is moved when it fires or has to fire earlier, not for each wait: a wait that ends in time costs no
/// operation on the runtime's timers.
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Ready when `deadline` has passed. The task is woken then, and now and then before.
    pub(crate) fn poll(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        // looked at first: a task that has used up its share of the runtime gets no answer from the timer, and a flood makes it do so every time
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn deadlines_may_move_both_ways() {
        let mut timer = Timer::new();
        let start = Instant::now();
        let hour = start + Duration::from_secs(3600);
        let soon = start + Duration::from_millis(20);
        let later = start + Duration::from_millis(40);
        assert!(
            poll_fn(|context| timer.poll(hour, context))
                .now_or_never()
                .is_none()
        );
        poll_fn(|context| timer.poll(soon, context)).await;
        assert!(Instant::now() >= soon);
        poll_fn(|context| timer.poll(later, context)).await;
        assert!(Instant::now() >= later);
        // what lies behind is over at once
        assert!(
            poll_fn(|context| timer.poll(soon, context))
                .now_or_never()
                .is_some()
        );
    }
}
