//! What a session's names stand for: the texts of prepared statements and the values bound to
//! portals, so that an Execute, which says neither, can be recorded with both.
//!
//! SQL can prepare, too, under the same names, and only the server knows what became of that. So
//! a command that touches prepared statements makes this forget them all, and a name that is not
//! remembered is recorded as a name: what was prepared under it stands in an earlier record.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::reading::{Recorded, Secrets};

/// Bytes of texts and values that a session's names may stand for. A session that prepares more
/// has the oldest forgotten, all at once.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// A prepared statement.
pub(crate) struct Prepared {
    pub(crate) text: Recorded,
    pub(crate) secrets: Secrets,
    /// As the client declared them, or as the server described them.
    pub(crate) types: RefCell<Vec<u32>>,
}

/// A portal.
pub(crate) struct Bound {
    pub(crate) statement: Box<[u8]>,
    /// `None` for a statement that is not remembered.
    pub(crate) prepared: Option<Rc<Prepared>>,
    pub(crate) values: Vec<Kept>,
    /// There were more values than were shown.
    pub(crate) is_cut: bool,
}

/// A value that was bound, as far as it is recorded.
pub(crate) struct Kept {
    pub(crate) is_binary: bool,
    pub(crate) bytes: Option<Box<[u8]>>,
    pub(crate) bytes_sent: usize,
}

/// Of a statement or a portal, in whatever encoding.
type Name = Box<[u8]>;

#[derive(Default)]
pub(crate) struct Memory {
    statements: HashMap<Name, Rc<Prepared>>,
    /// Sent and not yet confirmed, oldest first: until the server has parsed it, a name keeps
    /// what it stood for. `None` is one that was forgotten already.
    preparing: VecDeque<(Name, Option<Rc<Prepared>>)>,
    portals: HashMap<Name, Rc<Bound>>,
    bytes: usize,
}

impl Memory {
    /// A Parse goes to the server.
    pub(crate) fn prepare(&mut self, name: &[u8], prepared: Rc<Prepared>) {
        self.account(name.len() + prepared.text.bytes());
        self.preparing.push_back((name.into(), Some(prepared)));
    }

    /// The oldest Parse that was on its way has been answered.
    pub(crate) fn prepared(&mut self, succeeded: bool) {
        let Some((name, prepared)) = self.preparing.pop_front() else {
            return;
        };
        match prepared {
            Some(prepared) if succeeded => drop(self.statements.insert(name, prepared)),
            None if succeeded => drop(self.statements.remove(&name)),
            _ => {}
        }
    }

    /// The newest Parse does not go to the server after all.
    pub(crate) fn unprepare(&mut self) {
        self.preparing.pop_back();
    }

    /// What `name` will stand for once everything that was sent has been answered well.
    pub(crate) fn statement(&self, name: &[u8]) -> Option<Rc<Prepared>> {
        match self.preparing.iter().rev().find(|(other, _)| **other == *name) {
            Some((_, prepared)) => prepared.clone(),
            None => self.statements.get(name).cloned(),
        }
    }

    pub(crate) fn bind(&mut self, portal: &[u8], bound: Rc<Bound>) {
        let values: usize =
            bound.values.iter().filter_map(|v| v.bytes.as_ref()).map(|b| b.len()).sum();
        self.account(portal.len() + values);
        self.portals.insert(portal.into(), bound);
    }

    pub(crate) fn portal(&self, name: &[u8]) -> Option<Rc<Bound>> {
        self.portals.get(name).cloned()
    }

    pub(crate) fn close_statement(&mut self, name: &[u8]) {
        self.statements.remove(name);
    }

    /// SQL has prepared or deallocated something.
    pub(crate) fn forget_statements(&mut self) {
        self.statements.clear();
    }

    /// No transaction is open, and portals end with theirs.
    pub(crate) fn forget_portals(&mut self) {
        self.portals.clear();
        let statements = self.statements.iter();
        let preparing = self.preparing.iter().filter_map(|(name, p)| p.as_ref().map(|p| (name, p)));
        self.bytes = statements.chain(preparing).map(|(name, p)| name.len() + p.text.bytes()).sum();
    }

    fn account(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > REMEMBERED_BYTES_MAX {
            self.statements.clear();
            self.portals.clear();
            // These have to stay in line until they are answered; their texts need not.
            self.preparing.iter_mut().for_each(|(_, prepared)| *prepared = None);
            self.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(text: &str) -> Rc<Prepared> {
        Rc::new(Prepared {
            text: Recorded::Sql { text: text.into(), redacted: 0 },
            secrets: Secrets::These(vec![]),
            types: RefCell::default(),
        })
    }

    fn text(memory: &Memory, name: &str) -> Option<String> {
        match &memory.statement(name.as_bytes())?.text {
            Recorded::Sql { text, .. } => Some(text.to_string()),
            Recorded::Withheld { .. } => None,
        }
    }

    #[test]
    fn a_failed_parse_leaves_what_was_there() {
        let mut memory = Memory::default();
        memory.prepare(b"s", prepared("one"));
        memory.prepared(true);
        memory.prepare(b"s", prepared("two"));
        assert_eq!(text(&memory, "s").as_deref(), Some("two"), "what follows in the pipeline");
        memory.prepared(false);
        assert_eq!(text(&memory, "s").as_deref(), Some("one"));
        memory.close_statement(b"s");
        assert_eq!(text(&memory, "s"), None);
    }

    #[test]
    fn sql_that_prepares_makes_names_unknown() {
        let mut memory = Memory::default();
        memory.prepare(b"s", prepared("one"));
        memory.prepared(true);
        memory.forget_statements();
        assert_eq!(text(&memory, "s"), None);
    }

    #[test]
    fn memory_at_its_bound_and_past_it() {
        let mut memory = Memory::default();
        let half = "x".repeat(REMEMBERED_BYTES_MAX / 2 - 1);
        for name in ["a", "b"] {
            memory.prepare(name.as_bytes(), prepared(&half));
            memory.prepared(true);
        }
        assert!(text(&memory, "a").is_some() && text(&memory, "b").is_some());
        memory.prepare(b"c", prepared("x"));
        memory.prepared(true);
        assert!(text(&memory, "a").is_none() && text(&memory, "c").is_some());
    }

    #[test]
    fn what_waits_for_its_answer_is_forgotten_too() {
        let mut memory = Memory::default();
        let half = "x".repeat(REMEMBERED_BYTES_MAX / 2 - 1);
        let waits = prepared(&half);
        memory.prepare(b"a", waits.clone());
        memory.prepare(b"b", prepared(&half));
        assert_eq!(Rc::strong_count(&waits), 2);
        memory.prepare(b"c", prepared("x"));
        assert_eq!(Rc::strong_count(&waits), 1, "nothing holds the text any more");
        for _ in 0..3 {
            memory.prepared(true);
        }
        assert!(text(&memory, "a").is_none() && text(&memory, "b").is_none());
        assert_eq!(text(&memory, "c").as_deref(), Some("x"));
    }
}
