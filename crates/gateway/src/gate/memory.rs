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

/// What is counted is held by `statements`, `preparing` and `portals`, and counted when it comes
/// and when it goes: counting it anew would cost each statement what all that are prepared cost.
#[derive(Default)]
pub(crate) struct Memory {
    statements: HashMap<Name, Rc<Prepared>>,
    /// Sent and not yet confirmed, oldest first: until the server has parsed it, a name keeps
    /// what it stood for. `None` is one that was forgotten already.
    preparing: VecDeque<(Name, Option<Rc<Prepared>>)>,
    portals: HashMap<Name, Rc<Bound>>,
    bytes_of_statements: usize,
    bytes_of_portals: usize,
}

impl Memory {
    /// A Parse goes to the server.
    pub(crate) fn prepare(&mut self, name: &[u8], prepared: Rc<Prepared>) {
        let bytes = prepared.bytes(name);
        self.make_room(bytes);
        self.bytes_of_statements += bytes;
        self.preparing.push_back((name.into(), Some(prepared)));
    }

    /// The oldest Parse that was on its way has been answered.
    pub(crate) fn prepared(&mut self, succeeded: bool) {
        let Some((name, prepared)) = self.preparing.pop_front() else {
            return;
        };
        match prepared {
            Some(prepared) if succeeded => {
                if let Some(before) = self.statements.get(&name) {
                    self.bytes_of_statements -= before.bytes(&name);
                }
                self.statements.insert(name, prepared);
            }
            Some(prepared) => self.bytes_of_statements -= prepared.bytes(&name),
            None if succeeded => self.close_statement(&name),
            None => {}
        }
    }

    /// The newest Parse does not go to the server after all.
    pub(crate) fn unprepare(&mut self) {
        if let Some((name, Some(prepared))) = self.preparing.pop_back() {
            self.bytes_of_statements -= prepared.bytes(&name);
        }
    }

    /// What `name` will stand for once everything that was sent has been answered well.
    pub(crate) fn statement(&self, name: &[u8]) -> Option<Rc<Prepared>> {
        match self.preparing.iter().rev().find(|(other, _)| **other == *name) {
            Some((_, prepared)) => prepared.clone(),
            None => self.statements.get(name).cloned(),
        }
    }

    pub(crate) fn bind(&mut self, portal: &[u8], bound: Rc<Bound>) {
        if let Some(before) = self.portals.remove(portal) {
            self.bytes_of_portals -= before.bytes(portal);
        }
        let bytes = bound.bytes(portal);
        self.make_room(bytes);
        self.bytes_of_portals += bytes;
        self.portals.insert(portal.into(), bound);
    }

    pub(crate) fn portal(&self, name: &[u8]) -> Option<Rc<Bound>> {
        self.portals.get(name).cloned()
    }

    pub(crate) fn close_statement(&mut self, name: &[u8]) {
        if let Some(prepared) = self.statements.remove(name) {
            self.bytes_of_statements -= prepared.bytes(name);
        }
    }

    /// SQL has prepared or deallocated something.
    pub(crate) fn forget_statements(&mut self) {
        for (name, prepared) in self.statements.drain() {
            self.bytes_of_statements -= prepared.bytes(&name);
        }
    }

    /// No transaction is open, and portals end with theirs.
    pub(crate) fn forget_portals(&mut self) {
        self.portals.clear();
        self.bytes_of_portals = 0;
    }

    fn make_room(&mut self, bytes: usize) {
        if self.bytes_of_statements + self.bytes_of_portals + bytes > REMEMBERED_BYTES_MAX {
            self.statements.clear();
            self.portals.clear();
            // These have to stay in line until they are answered; their texts need not.
            self.preparing.iter_mut().for_each(|(_, prepared)| *prepared = None);
            self.bytes_of_statements = 0;
            self.bytes_of_portals = 0;
        }
    }
}

impl Prepared {
    fn bytes(&self, name: &[u8]) -> usize {
        name.len() + self.text.bytes()
    }
}

impl Bound {
    fn bytes(&self, portal: &[u8]) -> usize {
        let values = self.values.iter().filter_map(|value| value.bytes.as_ref());
        portal.len() + values.map(|bytes| bytes.len()).sum::<usize>()
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
    fn bound(value: &str) -> Rc<Bound> {
        let kept = Kept {
            is_binary: false,
            bytes: Some(value.as_bytes().into()),
            bytes_sent: value.len(),
        };
        Rc::new(Bound {
            statement: Box::default(),
            prepared: None,
            values: vec![kept],
            is_cut: false,
        })
    }

    #[test]
    fn what_has_gone_is_not_counted() {
        let mut memory = Memory::default();
        let third = "x".repeat(REMEMBERED_BYTES_MAX / 3);
        memory.prepare(b"s", prepared("stays"));
        memory.prepared(true);
        for round in 0..10 {
            // One that fails, one that takes its name, one that is closed, one never sent, and
            // values of a portal that is bound again and again.
            memory.prepare(b"a", prepared(&third));
            memory.prepared(round % 2 == 0);
            memory.bind(b"", bound(&third));
            memory.close_statement(b"a");
            memory.prepare(b"b", prepared(&third));
            memory.unprepare();
        }
        assert_eq!(text(&memory, "s").as_deref(), Some("stays"));
        memory.forget_portals();
        assert_eq!(memory.bytes_of_statements, "sstays".len());
        assert_eq!(memory.bytes_of_portals, 0);
        memory.prepare(b"c", prepared("on its way"));
        memory.forget_statements();
        assert_eq!(memory.bytes_of_statements, "con its way".len());
        memory.prepared(true);
        memory.prepare(b"c", prepared("anew"));
        memory.prepared(true);
        memory.close_statement(b"c");
        assert_eq!(memory.bytes_of_statements, 0);
    }
}
