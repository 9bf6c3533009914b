//! Refusal by substitution: what PostgreSQL gets in place of a message that may not pass, so that it
//! fails there as any statement does, and whose error is ours to put into words.

use wire::backend::ErrorFields;
use wire::frontend;

use super::{Entry, Gate, Seen, Turned};
use crate::refusal::Refusal;

/// A portal or statement of this name is never made: messages that would use one are replaced by
/// a Parse under it, which fails and leaves the client's own names alone.
const REFUSED_NAME: &[u8] = b"gatepost refused";

/// An oid that no function has.
const NO_FUNCTION: u32 = u32::MAX;

/// What the server gets to see of a message: the tag of what is sent in its place.
pub(crate) fn tag_sent(tag: u8, entry: &Entry) -> u8 {
    match (entry, tag) {
        (Entry::Refused(_), frontend::BIND | frontend::EXECUTE) => frontend::PARSE,
        // One with a body is answered with an error, and what follows it skipped.
        (Entry::Unreadable { .. }, frontend::FLUSH) => frontend::PARSE,
        _ => tag,
    }
}

impl Gate {
    /// Our words instead of the server's, if the error is the one that we provoked. A cancel, a
    /// timeout or an aborted transaction comes as the server says it.
    pub(super) fn replaced(&self, entry: &mut Entry, body: &[u8]) -> Option<Vec<u8>> {
        let Entry::Refused(turned) = entry else {
            return None;
        };
        let fields = ErrorFields::read(body);
        let holds = |needle: &str| {
            fields.message.windows(needle.len()).any(|window| window == needle.as_bytes())
        };
        if !holds(&self.nonce) && !holds(&NO_FUNCTION.to_string()) {
            return None;
        }
        let severity = std::str::from_utf8(fields.severity).unwrap_or("ERROR");
        let mut out = Vec::new();
        turned.refusal.write_at(severity, turned.position, &mut out);
        Some(out)
    }

    /// Puts in the place of a message that may not pass one that fails, unless it runs nothing.
    pub(super) fn refuse(&mut self, seen: &mut Seen, bytes: &[u8], refusal: &Refusal) {
        if let Entry::Refused(_) = seen.entry {
            return;
        }
        let body = bytes.get(wire::frame::HEADER_BYTES..).unwrap_or_default();
        let mut instead = Vec::new();
        if !self.substitute(seen.tag, body, &mut instead) {
            return;
        }
        match &seen.entry {
            Entry::Preparing { .. } => self.memory.unprepare(),
            Entry::Binding { .. } => self.memory.unbind(),
            Entry::Running(running) if running.effects.is_some() => self.memory.effect_answered(),
            _ => {}
        }
        if let Entry::Running(running) = &seen.entry {
            self.is_certain(running);
            self.guards_are_kept(running, seen.around.as_deref());
        }
        // Nothing is recorded of it: that is why it is refused.
        seen.entry =
            Entry::Refused(Box::new(Turned { refusal: refusal.clone(), id: None, position: None }));
        seen.instead = Some(instead);
        seen.around = None;
    }

    /// Writes what PostgreSQL gets instead of a message that may not pass. Messages that run
    /// nothing pass as they are. `false` is such a message.
    pub(super) fn substitute(&self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> bool {
        let failing = self.failing();
        match tag {
            frontend::QUERY => frontend::write_query(out, &failing),
            // As PostgreSQL: an unnamed Parse that fails has destroyed the unnamed statement.
            frontend::PARSE => {
                frontend::write_parse(out, frontend::name(body).unwrap_or_default(), &failing);
            }
            frontend::BIND | frontend::EXECUTE => {
                frontend::write_parse(out, REFUSED_NAME, &failing);
            }
            frontend::FUNCTION_CALL => frontend::write_function_call(out, NO_FUNCTION),
            _ => return false,
        }
        true
    }

    /// In place of a string: where it would have left a transaction open at the statement that may
    /// not run, one is open, and has failed.
    pub(super) fn substitute_query(&self, begin: Option<&[u8]>, out: &mut Vec<u8>) {
        let failing = self.failing();
        match begin.and_then(|begin| std::str::from_utf8(begin).ok()) {
            Some(begin) => frontend::write_query(out, &format!("{begin}; {failing}")),
            None => frontend::write_query(out, &failing),
        }
    }

    pub(super) fn failing(&self) -> String {
        format!("SELECT \"{}\"", self.nonce)
    }
}
