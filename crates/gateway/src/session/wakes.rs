//! Who is polled when a session wakes up: of its two loops and of what looks after it beside them only
//! those for whom something has happened. A session wakes up twice for each statement, and to look
//! at a socket that is silent costs as much as the gate's part of a message.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// One part of a session's task tells another that there is something to do. It stays set until
/// that one has seen it; one at a time waits for it.
#[derive(Default)]
pub(super) struct Signal {
    is_set: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Signal {
    pub(super) fn set(&self) {
        self.is_set.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Ready once for each time that it was set, if that was seen.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_set.take() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waiting = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Cancel-safe.
    pub(super) async fn seen(&self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

/// A future that is polled when it was woken itself, and not whenever its task was.
pub(super) struct WhenWoken<'f, F> {
    future: Pin<&'f mut F>,
    waker: Option<(Arc<Woken>, Waker)>,
}

struct Woken {
    is: AtomicBool,
    task: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<'f, F: Future> WhenWoken<'f, F> {
    pub(super) fn new(future: Pin<&'f mut F>) -> Self {
        WhenWoken { future, waker: None }
    }

    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<F::Output> {
        let task = context.waker();
        if !self.waker.as_ref().is_some_and(|(woken, _)| woken.task.will_wake(task)) {
            let woken = Arc::new(Woken { is: AtomicBool::new(true), task: task.clone() });
            self.waker = Some((woken.clone(), woken.into()));
        }
        match &self.waker {
            // What is woken from here on is polled again: the flag goes before the poll.
            Some((woken, waker))
                if woken.is.load(Ordering::Relaxed) && woken.is.swap(false, Ordering::Acquire) =>
            {
                self.future.as_mut().poll(&mut Context::from_waker(waker))
            }
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Counted>, Waker) {
        let counted = Arc::<Counted>::default();
        (counted.clone(), counted.into())
    }

    #[test]
    fn a_signal_wakes_who_waits_and_stays_for_who_comes_later() {
        let (woken, waker) = task();
        let context = Context::from_waker(&waker);
        let signal = Signal::default();
        assert!(signal.poll(&context).is_pending());
        assert!(signal.poll(&context).is_pending());
        signal.set();
        signal.set();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(signal.poll(&context).is_ready());
        assert!(signal.poll(&context).is_pending());
    }

    #[test]
    fn what_was_not_woken_is_not_polled() {
        let (woken, waker) = task();
        let context = Context::from_waker(&waker);
        let signal = Signal::default();
        let polled = Cell::new(0);
        let future = pin!(std::future::poll_fn(|context| {
            polled.set(polled.get() + 1);
            signal.poll(context)
        }));
        let mut seldom = WhenWoken::new(future);
        for _ in 0..3 {
            assert!(seldom.poll(&context).is_pending());
        }
        assert_eq!(polled.get(), 1);
        signal.set();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "its task is woken with it");
        assert!(seldom.poll(&context).is_ready());
        assert_eq!(polled.get(), 2);
    }

    #[test]
    fn another_task_takes_it_over() {
        let (_, before) = task();
        let (woken, waker) = task();
        let signal = Signal::default();
        let future = pin!(signal.seen());
        let mut seldom = WhenWoken::new(future);
        assert!(seldom.poll(&Context::from_waker(&before)).is_pending());
        assert!(seldom.poll(&Context::from_waker(&waker)).is_pending());
        signal.set();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(seldom.poll(&Context::from_waker(&waker)).is_ready());
    }
}
