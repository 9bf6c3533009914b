//! Faults between the writer and the disk: calls that fail, wait, or are counted, and a clock that
//! a test sets.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use crate::outside::Call;

#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Mutex<Plan>,
    changed: Condvar,
    clock: AtomicU64,
}

#[derive(Debug, Default)]
struct Plan {
    /// What fails, and how often still.
    failing: Vec<(Call, u64)>,
    held: Option<Call>,
    panics: bool,
    /// Somebody waits at `held`.
    waiting: u64,
    counts: [u64; 4],
}

impl Faults {
    pub(crate) fn before(&self, call: Call) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        plan.counts[call as usize] += 1;
        plan.waiting += 1;
        self.changed.notify_all();
        while plan.held == Some(call) {
            plan = self.changed.wait(plan).unwrap();
        }
        plan.waiting -= 1;
        assert!(!plan.panics, "the test says so");
        for (failing, times) in &mut plan.failing {
            if *failing == call && *times > 0 {
                *times -= 1;
                return Err(io::Error::other(format!("{call:?} fails, says the test")));
            }
        }
        Ok(())
    }

    pub(crate) fn fail(&self, call: Call, times: u64) {
        self.plan.lock().unwrap().failing.push((call, times));
    }

    pub(crate) fn mend(&self) {
        self.plan.lock().unwrap().failing.clear();
    }

    pub(crate) fn panic(&self) {
        self.plan.lock().unwrap().panics = true;
    }

    /// From now on `call` waits.
    pub(crate) fn hold(&self, call: Call) {
        self.plan.lock().unwrap().held = Some(call);
    }

    pub(crate) fn wait_until_held(&self) {
        let mut plan = self.plan.lock().unwrap();
        while plan.waiting == 0 {
            plan = self.changed.wait(plan).unwrap();
        }
    }

    pub(crate) fn let_go(&self) {
        self.plan.lock().unwrap().held = None;
        self.changed.notify_all();
    }

    pub(crate) fn count(&self, call: Call) -> u64 {
        self.plan.lock().unwrap().counts[call as usize]
    }

    pub(crate) fn now(&self) -> Option<u64> {
        Some(self.clock.load(Ordering::Relaxed)).filter(|clock| *clock > 0)
    }

    /// In microseconds; 0 is the real one.
    pub(crate) fn set_clock(&self, micros: u64) {
        self.clock.store(micros, Ordering::Relaxed);
    }
}
