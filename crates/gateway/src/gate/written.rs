//! Writes under a row filter ask of each row that they leave behind (`sql::rewrite`). Where the
//! client's own statement returns nothing, what it gets is what PostgreSQL would have said of that:
//! the rows of the question stay here. And where a row is one that the filter hides, our words take
//! the place of the error which PostgreSQL raised over it.

use std::rc::{Rc, Weak};

use sql::rewrite::Asked;
use wire::backend::{self, ErrorFields};
use wire::frame::Frame;
use wire::frontend;

use super::outcome::Running;
use super::{Entry, Gate};
use crate::refusal::{self, Refusal};

impl Gate {
    /// A Describe. Parameter types that the answer tells are kept; rows that are not the client's
    /// are not described to it.
    pub(super) fn describing(&self, body: &[u8]) -> Entry {
        match body.split_first() {
            Some((b'S', name)) => {
                let found = frontend::name(name).and_then(|name| self.memory.statement(name));
                found.map_or(Entry::Plain, |prepared| {
                    let judged = prepared.judged.as_ref();
                    judged.inspect(|judged| judged.is_described.set(true));
                    Entry::Describing {
                        gives_rows: judged.is_some_and(|it| it.understood.borrow().gives_rows()),
                        prepared: Rc::downgrade(&prepared),
                    }
                })
            }
            Some((b'P', name)) => {
                let found = frontend::name(name).and_then(|name| self.memory.portal(name));
                let prepared = found.as_ref().and_then(|bound| bound.prepared.as_ref());
                let judged = prepared.and_then(|prepared| prepared.judged.as_ref());
                judged.inspect(|judged| judged.is_described.set(true));
                let understood = found.as_ref().and_then(|bound| bound.understood.as_ref());
                match understood.is_some_and(|understood| understood.gives_rows()) {
                    true => Entry::Describing { prepared: Weak::new(), gives_rows: true },
                    false => Entry::Plain,
                }
            }
            _ => Entry::Plain,
        }
    }

    /// What the client reads of an error of the server's about something that ran.
    pub(super) fn error_of(&self, running: &Running, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let said = ErrorFields::read(frame.body);
        let Some(refusal) = running.left_behind(&said) else {
            return self.theirs(running.splice.as_deref(), frame);
        };
        let mut out = Vec::new();
        refusal.write_as(std::str::from_utf8(said.severity).unwrap_or("ERROR"), &mut out);
        Some(out)
    }
}

impl Running {
    /// Whether this is of rows that nobody but the gate has asked for.
    pub(super) fn is_asked(&self, tag: u8) -> bool {
        let Some(asks) = &self.asks else { return false };
        let told = usize::try_from(self.told).ok().and_then(|at| asks.statements.get(at));
        matches!(tag, backend::ROW_DESCRIPTION | backend::DATA_ROW)
            && told.is_some_and(|told| told.gives_rows)
    }

    /// Why the statement may not leave what it would have left, if that is what the error says.
    pub(super) fn left_behind(&self, said: &ErrorFields<'_>) -> Option<&Refusal> {
        let asks = self.asks.as_ref()?;
        let mut asked = asks.asked.iter();
        let found = match Asked::of_error(said.message) {
            Some(raised) => asked.find(|(asked, _)| *asked == raised),
            // Of a row that the filter hides it would be said as well.
            None if asks.keys_tell && refusal::is_key_taken(said.code) => asked.next(),
            None => None,
        };
        found.map(|(_, refusal)| refusal)
    }
}

/// That a statement has no rows.
pub(super) fn no_data() -> Vec<u8> {
    let mut out = Vec::new();
    backend::write_message(&mut out, backend::NO_DATA, &[]);
    out
}

/// The body of an Execute without its limit of rows, if it has one: a statement that has no rows
/// knows no such limit.
pub(super) fn all_rows(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let whole = Some(frame.body).filter(|body| body.len() == frame.body_bytes)?;
    let (name, limit) = whole.split_last_chunk::<4>()?;
    (*limit != [0; 4]).then(|| [name, &[0; 4]].concat())
}
