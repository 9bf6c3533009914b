//! A limit that is reached, and what is said of it: in a sentence, with the next step, and for
//! programs. What counts as used is the ledgers' business.

use policy::{Per, RuleRef};

use super::Measure;

/// A limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) measure: Measure,
    pub(crate) allowed: u64,
    pub(crate) resets: Resets,
    pub(crate) by: RuleRef,
    /// The statement had come to its end when that was seen, and what it changed stands.
    pub(crate) stands: bool,
}

/// When there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resets {
    WithTheNextStatement,
    WithTheNextSession,
    WithTheNextGrant,
    /// As soon as one of those that are there now is over.
    WhenOneEnds,
    /// What was asked for is more than the limit by itself.
    Never,
    /// Of so much per `per`, at so many milliseconds since 1970.
    At {
        per: Per,
        at_ms: u64,
    },
}

impl Reached {
    /// What a client reads first.
    pub(crate) fn sentence(&self) -> String {
        let Reached { measure, allowed, .. } = self;
        let mut sentence = match (measure, self.per()) {
            (Measure::Sessions, _) => {
                format!("this identity may have {allowed} sessions at once, and has them")
            }
            (Measure::Running, _) => {
                format!("this identity may run {allowed} statements at once, and does")
            }
            (measure, Some(per)) => {
                format!("the limit of {allowed} {} per {} is reached", measure.name(), per.name())
            }
            (measure, None) => {
                format!("this is more at once than the limit of {allowed} {}", measure.name())
            }
        };
        if self.stands {
            sentence += "; the statement ran to its end, and what it changed stands";
        }
        sentence
    }

    /// When there is more, and what can be done.
    pub(crate) fn next_step(&self, now_ms: u64) -> String {
        match self.resets {
            Resets::WithTheNextStatement => format!(
                "Ask for less at once, with a narrower WHERE or a LIMIT: each statement may have {} \
                 {}.",
                self.allowed,
                self.measure.name()
            ),
            Resets::WithTheNextSession => "It begins anew with the next session.".to_owned(),
            Resets::WithTheNextGrant => {
                "It begins anew with the next grant; this one has had what it may.".to_owned()
            }
            Resets::WhenOneEnds => "Try again when one of them has ended.".to_owned(),
            Resets::Never => "Waiting does not help: ask for less at once.".to_owned(),
            Resets::At { at_ms, .. } => format!(
                "Try again at {}, in {} s: enough of what counts now is too long ago by then.",
                written_time(at_ms),
                at_ms.saturating_sub(now_ms).div_ceil(1000)
            ),
        }
    }

    /// For programs: when there is more.
    pub(crate) fn resets(&self) -> String {
        self.resets.said()
    }

    pub(crate) fn per(&self) -> Option<Per> {
        match self.resets {
            Resets::WithTheNextStatement => Some(Per::Statement),
            Resets::WithTheNextSession => Some(Per::Session),
            Resets::WithTheNextGrant => Some(Per::Grant),
            Resets::At { per, .. } => Some(per),
            Resets::WhenOneEnds | Resets::Never => None,
        }
    }
}

impl Resets {
    pub(super) fn said(self) -> String {
        match self {
            Resets::WithTheNextStatement => "next statement".to_owned(),
            Resets::WithTheNextSession => "next session".to_owned(),
            Resets::WithTheNextGrant => "next grant".to_owned(),
            Resets::WhenOneEnds => "when one ends".to_owned(),
            Resets::Never => "never".to_owned(),
            Resets::At { at_ms, .. } => written_time(at_ms),
        }
    }
}

/// As records have times, in whole seconds.
fn written_time(ms: u64) -> String {
    let text = audit::time(ms.saturating_mul(1000));
    text.get(..19).map_or(text.clone(), |seconds| format!("{seconds}Z"))
}
