//! Questions of the gate's own, asked in the client's session because nobody else can answer them:
//! what it is named there, what only its transaction can see. The client hears nothing of them.
//! When to ask is `session::asking`'s business.

use wire::backend::{self, ErrorFields};
use wire::frame::Frame;
use wire::frontend;

use super::{Cleared, Entry, Expecting, Gate};

/// An answer is kept up to here; a longer one is no answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A row of one number; the code of a notice.
const WORDS_BYTES_MAX: usize = 256;

/// A question that is on its way, and what has come of it.
#[derive(Default)]
pub(super) struct Asked {
    /// It ends with a Sync of ours.
    is_synced: bool,
    /// That it fails says something of the client's own statement.
    may_fail: bool,
    rows: Vec<Box<[u8]>>,
    bytes: usize,
    failure: Option<Failure>,
    is_over: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Somebody has cancelled it, or the client's own timeout has.
    #[error("it was cancelled: {message}")]
    Cancelled { message: String },
    #[error("the server said {sqlstate}: {message}")]
    Said { sqlstate: String, message: String },
    #[error("the answer is too long")]
    TooLong,
}

/// The bodies of the DataRows.
pub(crate) type Rows = Vec<Box<[u8]>>;

/// How much of an answer to a question of ours has to be here.
fn wanted_of_ours(tag: u8) -> usize {
    match tag {
        backend::DATA_ROW => ANSWER_BYTES_MAX,
        other => super::outcome::wanted_of_replies_alone(other),
    }
}

/// What makes the answers come to what was sent without a Sync.
pub(crate) fn flush() -> Cleared<'static> {
    let mut out = Vec::new();
    frontend::write_flush(&mut out);
    Cleared(out.into())
}

/// How much where a guard gives a number.
fn wanted_of_guards(tag: u8) -> usize {
    match tag {
        backend::DATA_ROW | backend::NOTICE => WORDS_BYTES_MAX,
        other => super::outcome::wanted_of_replies_alone(other),
    }
}

/// How much where values are withheld, whether a guard is among what is answered or not.
fn wanted_beside_masks(tag: u8) -> usize {
    super::withheld::wanted(tag, wanted_of_guards(tag))
}

impl Gate {
    pub(crate) fn wanted_of_replies(&self) -> fn(u8) -> usize {
        match (&self.asked, self.hides) {
            (Some(_), _) => wanted_of_ours,
            (None, true) => wanted_beside_masks,
            (None, false) if self.counts_changes() => wanted_of_guards,
            (None, false) => super::outcome::wanted_of_replies_alone,
        }
    }

    /// Asks `text`, a statement without parameters. Nothing may be outstanding. What is returned is
    /// to be sent, with the tags and entries of its messages for the account.
    ///
    /// It is never a simple query, which would end an implicit transaction. Between Syncs it ends
    /// with a Sync; in a series without one (`ready` is false) with Flush.
    pub(crate) fn ask(&mut self, text: &str, ready: bool) -> (Cleared<'static>, Vec<(u8, Entry)>) {
        let mut out = Vec::new();
        // The client can't know the nonce, so it has no statement of this name.
        frontend::write_question(&mut out, self.nonce.as_bytes(), text);
        self.asking(out, ready, false)
    }

    /// The same, never with a Sync: the transaction in which it is asked goes on.
    pub(crate) fn ask_openly(&mut self, text: &str) -> (Cleared<'static>, Vec<(u8, Entry)>) {
        let mut out = Vec::new();
        frontend::write_question(&mut out, self.nonce.as_bytes(), text);
        self.asking(out, false, false)
    }

    /// What ends a series that the client has not begun, and that has failed.
    pub(crate) fn end_series(&mut self) -> (Cleared<'static>, Vec<(u8, Entry)>) {
        let mut out = Vec::new();
        frontend::write_sync(&mut out);
        self.asked = Some(Asked { is_synced: true, ..Asked::default() });
        (Cleared(out.into()), vec![(frontend::SYNC, Entry::Ours { is_last: true })])
    }

    /// The same of a question whose Parse and Bind are written. Should it fail in a series, the
    /// client reads that.
    pub(crate) fn ask_expecting(
        &mut self,
        expecting: &Expecting,
        ready: bool,
    ) -> (Cleared<'static>, Vec<(u8, Entry)>) {
        let mut out = expecting.messages.clone();
        frontend::write_asked(&mut out, self.nonce.as_bytes());
        self.asking(out, ready, true)
    }

    fn asking(
        &mut self,
        mut out: Vec<u8>,
        ready: bool,
        may_fail: bool,
    ) -> (Cleared<'static>, Vec<(u8, Entry)>) {
        let mut tags = Vec::with_capacity(7);
        if std::mem::take(&mut self.question_left) {
            let mut closed = Vec::new();
            for what in [b'P', b'S'] {
                frontend::write_close(&mut closed, what, self.nonce.as_bytes());
                tags.push(frontend::CLOSE);
            }
            closed.append(&mut out);
            out = closed;
        }
        tags.extend([
            frontend::PARSE,
            frontend::BIND,
            frontend::EXECUTE,
            frontend::CLOSE,
            frontend::CLOSE,
        ]);
        match ready {
            true => {
                frontend::write_sync(&mut out);
                tags.push(frontend::SYNC);
            }
            false => frontend::write_flush(&mut out),
        }
        self.asked = Some(Asked { is_synced: ready, may_fail, ..Asked::default() });
        let last = tags.len() - 1;
        let entries = tags.into_iter().enumerate();
        let entries = entries.map(|(at, tag)| (tag, Entry::Ours { is_last: at == last }));
        (Cleared(out.into()), entries.collect())
    }

    /// What came of the question, once all of it has come.
    pub(crate) fn take_answer(&mut self) -> Option<Result<Rows, Failure>> {
        let asked = self.asked.take_if(|asked| asked.is_over)?;
        Some(match asked.failure {
            Some(failure) => Err(failure),
            None => Ok(asked.rows),
        })
    }

    pub(crate) fn has_answer(&self) -> bool {
        self.asked.as_ref().is_none_or(|asked| asked.is_over)
    }

    pub(super) fn part_of_ours(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if let (Some(asked), backend::DATA_ROW) = (&mut self.asked, frame.tag) {
            asked.bytes += frame.body_bytes;
            if frame.body.len() < frame.body_bytes || asked.bytes > ANSWER_BYTES_MAX {
                asked.failure = Some(Failure::TooLong);
                asked.rows = Vec::new();
            } else if asked.failure.is_none() {
                asked.rows.push(frame.body.into());
            }
        }
        Some(Vec::new())
    }

    pub(super) fn ours_answered(&mut self, is_last: bool) -> Option<Vec<u8>> {
        if let Some(asked) = &mut self.asked {
            asked.is_over |= is_last;
        }
        Some(Vec::new())
    }

    /// In a series without a Sync the client has to read a cancellation itself, for the server now
    /// skips what it says next.
    pub(super) fn ours_failed(&mut self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        // It may have left its names behind.
        self.question_left = true;
        let Some(asked) = &mut self.asked else { return Some(Vec::new()) };
        let fields = ErrorFields::read(frame.body);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (sqlstate, message) = (text(fields.code), text(fields.message));
        let is_cancelled = crate::refusal::is_cancelled(fields.code);
        asked.failure = Some(match is_cancelled {
            true => Failure::Cancelled { message },
            false => Failure::Said { sqlstate, message },
        });
        asked.is_over |= !asked.is_synced;
        if (is_cancelled || asked.may_fail) && !asked.is_synced { None } else { Some(Vec::new()) }
    }
}
