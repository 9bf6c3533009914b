//! What a session's names stand for: the texts of prepared statements and the values bound to
//! portals, so that an Execute, which says neither, can be judged and recorded with both.
//!
//! A name stands for what the server has confirmed. SQL can prepare and declare, too, under the same
//! names: PREPARE is undone by no ROLLBACK, and neither is DEALLOCATE. Where nothing is judged, such
//! a command makes this forget all statements, and a name that is not remembered is recorded as a
//! name: what was prepared under it stands in an earlier record.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::reading::{Recorded, Secrets};
use super::understanding::Understood;
use crate::limits::Given;

/// Bytes of texts and values that a session's names may stand for. A session that prepares more
/// has the oldest forgotten, all at once.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// A prepared statement.
pub(crate) struct Prepared {
    pub(crate) text: Recorded<'static>,
    pub(crate) secrets: Secrets,
    /// As the client declared them, or as the server described them.
    pub(crate) types: RefCell<Vec<u32>>,
    /// As the client declared them.
    pub(super) declared: Box<[u32]>,
    /// `None` where nothing is judged.
    pub(super) judged: Option<Judged>,
    /// The client's text, if rows of the gateway's own stand in it when it is sent.
    pub(super) shown: Option<Rc<[u8]>>,
}

/// A prepared statement as it was last judged.
pub(super) struct Judged {
    /// As the client sent it.
    pub(super) text: Rc<[u8]>,
    /// The text is a PREPARE, and what the name stands for is the statement in it.
    pub(super) is_sql: bool,
    pub(super) understood: RefCell<Rc<Understood>>,
    /// The server has been asked for its columns since then.
    pub(super) is_described: Cell<bool>,
}

impl Judged {
    pub(super) fn new(text: Rc<[u8]>, is_sql: bool, understood: Rc<Understood>) -> Self {
        let understood = RefCell::new(understood);
        Self { text, is_sql, understood, is_described: Cell::default() }
    }
}

/// A portal.
pub(crate) struct Bound {
    pub(crate) statement: Box<[u8]>,
    /// `None` for a statement that is not remembered.
    pub(crate) prepared: Option<Rc<Prepared>>,
    pub(crate) values: Vec<Kept>,
    /// There were more values than were shown.
    pub(crate) is_cut: bool,
    /// As it was judged when it was bound: an open portal keeps its plan.
    pub(super) understood: Option<Rc<Understood>>,
    /// SQL has declared it, perhaps to outlive its transaction.
    pub(super) is_cursor: bool,
    /// What it has given, in all its parts.
    pub(super) given: Rc<Cell<Given>>,
    /// It runs on when it is executed again.
    pub(super) has_begun: Cell<bool>,
    /// The hold under which it was bound.
    pub(super) hold: Option<Rc<str>>,
}

/// A value that was bound, as far as it is recorded.
pub(crate) struct Kept {
    pub(crate) is_binary: bool,
    pub(crate) bytes: Option<Box<[u8]>>,
    pub(crate) bytes_sent: usize,
}

/// Of a statement or a portal, in whatever encoding.
type Name = Box<[u8]>;

/// A name that was said and not yet confirmed.
struct Pending<T> {
    name: Name,
    /// Of the series of messages up to a Sync: should one of them fail, the rest is skipped.
    series: u64,
    /// `None` is one that was forgotten already.
    what: Option<Rc<T>>,
}

/// Whether a name will be what it seems depends on messages that are not answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uncertain;

/// What is counted is held by `statements`, `preparing`, `binding` and `portals`, and counted when
/// it comes and when it goes: counting it anew would cost each statement what all that are prepared
/// cost. A session has few names, and who finds one by order need not hash it.
#[derive(Default)]
pub(crate) struct Memory {
    statements: BTreeMap<Name, Rc<Prepared>>,
    /// Sent and not yet confirmed, oldest first: until the server has parsed it, a name keeps
    /// what it stood for.
    preparing: VecDeque<Pending<Prepared>>,
    portals: BTreeMap<Name, Rc<Bound>>,
    /// Nearly all are the one without a name.
    unnamed_portal: Option<Rc<Bound>>,
    binding: VecDeque<Pending<Bound>>,
    bytes_of_statements: usize,
    bytes_of_portals: usize,
    /// Statements on their way whose effect on names is known when they are complete.
    effects: usize,
}

impl Memory {
    /// A Parse goes to the server.
    pub(super) fn prepare(&mut self, name: &[u8], series: u64, prepared: Rc<Prepared>) {
        let bytes = prepared.bytes(name);
        self.make_room(bytes);
        self.bytes_of_statements += bytes;
        self.preparing.push_back(Pending { name: name.into(), series, what: Some(prepared) });
    }

    /// The oldest Parse that was on its way has been answered.
    pub(super) fn prepared(&mut self, succeeded: bool) {
        let Some(Pending { name, what, .. }) = self.preparing.pop_front() else {
            return;
        };
        match what {
            Some(prepared) if succeeded => {
                self.bytes_of_statements -= prepared.bytes(&name);
                self.sql_prepared(name, prepared);
            }
            Some(prepared) => self.bytes_of_statements -= prepared.bytes(&name),
            None if succeeded => self.close_statement(&name),
            None => {}
        }
    }

    /// The server has prepared it, whoever told it to.
    pub(super) fn sql_prepared(&mut self, name: Name, prepared: Rc<Prepared>) {
        self.close_statement(&name);
        let bytes = prepared.bytes(&name);
        self.make_room(bytes);
        self.bytes_of_statements += bytes;
        self.statements.insert(name, prepared);
    }

    /// The newest Parse does not go to the server after all.
    pub(super) fn unprepare(&mut self) {
        if let Some(Pending { name, what: Some(prepared), .. }) = self.preparing.pop_back() {
            self.bytes_of_statements -= prepared.bytes(&name);
        }
    }

    /// What `name` will stand for once everything that was sent has been answered well.
    pub(super) fn statement(&self, name: &[u8]) -> Option<Rc<Prepared>> {
        match self.preparing.iter().rev().find(|pending| *pending.name == *name) {
            Some(pending) => pending.what.clone(),
            None => self.statements.get(name).cloned(),
        }
    }

    /// What `name` stands for when a message of this series uses it, if it stands for anything.
    pub(super) fn certain_statement(
        &self,
        name: &[u8],
        series: u64,
    ) -> Result<Option<Rc<Prepared>>, Uncertain> {
        match certain(&self.preparing, name, series)? {
            // Should it fail, what uses it is skipped.
            Some(pending) => Ok(pending.what.clone()),
            None if self.effects > 0 => Err(Uncertain),
            None => Ok(self.statements.get(name).cloned()),
        }
    }

    /// A Bind goes to the server.
    pub(super) fn bind(&mut self, portal: &[u8], series: u64, bound: Rc<Bound>) {
        let bytes = bound.bytes(portal);
        self.make_room(bytes);
        self.bytes_of_portals += bytes;
        self.binding.push_back(Pending { name: portal.into(), series, what: Some(bound) });
    }

    /// The oldest Bind that was on its way has been answered.
    pub(super) fn bound(&mut self, succeeded: bool) {
        let Some(Pending { name, what, .. }) = self.binding.pop_front() else {
            return;
        };
        match what {
            Some(bound) => {
                self.bytes_of_portals -= bound.bytes(&name);
                if succeeded {
                    self.opened(name, bound);
                }
            }
            None if succeeded => self.close_portal(&name),
            None => {}
        }
    }

    /// The newest Bind does not go to the server after all.
    pub(super) fn unbind(&mut self) {
        if let Some(Pending { name, what: Some(bound), .. }) = self.binding.pop_back() {
            self.bytes_of_portals -= bound.bytes(&name);
        }
    }

    /// The server has opened a portal, or a cursor.
    pub(super) fn opened(&mut self, name: Name, bound: Rc<Bound>) {
        self.close_portal(&name);
        let bytes = bound.bytes(&name);
        self.make_room(bytes);
        self.bytes_of_portals += bytes;
        if name.is_empty() {
            self.unnamed_portal = Some(bound);
        } else {
            self.portals.insert(name, bound);
        }
    }

    pub(super) fn portal(&self, name: &[u8]) -> Option<Rc<Bound>> {
        match self.binding.iter().rev().find(|pending| *pending.name == *name) {
            Some(pending) => pending.what.clone(),
            None => self.open_portal(name),
        }
    }

    fn open_portal(&self, name: &[u8]) -> Option<Rc<Bound>> {
        match name {
            [] => self.unnamed_portal.clone(),
            [_, ..] => self.portals.get(name).cloned(),
        }
    }

    pub(super) fn certain_portal(
        &self,
        name: &[u8],
        series: u64,
    ) -> Result<Option<Rc<Bound>>, Uncertain> {
        match certain(&self.binding, name, series)? {
            Some(pending) => Ok(pending.what.clone()),
            None if self.effects > 0 => Err(Uncertain),
            None => Ok(self.open_portal(name)),
        }
    }

    pub(super) fn close_statement(&mut self, name: &[u8]) {
        if let Some(prepared) = self.statements.remove(name) {
            self.bytes_of_statements -= prepared.bytes(name);
        }
    }

    pub(super) fn close_portal(&mut self, name: &[u8]) {
        let closed = match name {
            [] => self.unnamed_portal.take(),
            [_, ..] => self.portals.remove(name),
        };
        if let Some(bound) = closed {
            self.bytes_of_portals -= bound.bytes(name);
        }
    }

    /// All statements are gone, or nobody knows which are not.
    pub(super) fn forget_statements(&mut self) {
        for (name, prepared) in std::mem::take(&mut self.statements) {
            self.bytes_of_statements -= prepared.bytes(&name);
        }
    }

    /// No transaction is open, and portals end with theirs. Of cursors the server knows.
    pub(super) fn forget_portals(&mut self) {
        self.forget_portals_but(|bound| bound.is_cursor);
    }

    pub(super) fn close_all_portals(&mut self) {
        self.forget_portals_but(|_| false);
    }

    fn forget_portals_but(&mut self, stays: impl Fn(&Bound) -> bool) {
        let bytes = &mut self.bytes_of_portals;
        if let Some(bound) = self.unnamed_portal.take_if(|bound| !stays(bound)) {
            *bytes -= bound.bytes(&[]);
        }
        if self.portals.is_empty() {
            return;
        }
        self.portals.retain(|name, bound| {
            let stays = stays(bound);
            if !stays {
                *bytes -= bound.bytes(name);
            }
            stays
        });
    }

    /// Something is sent, or has been answered, that may change what a name stands for when it is
    /// complete.
    pub(super) fn effect_sent(&mut self) {
        self.effects += 1;
    }

    pub(super) fn effect_answered(&mut self) {
        self.effects = self.effects.saturating_sub(1);
    }

    fn make_room(&mut self, bytes: usize) {
        if self.bytes_of_statements + self.bytes_of_portals + bytes > REMEMBERED_BYTES_MAX {
            self.statements.clear();
            self.portals.clear();
            self.unnamed_portal = None;
            // These have to stay in line until they are answered; their texts need not.
            self.preparing.iter_mut().for_each(|pending| pending.what = None);
            self.binding.iter_mut().for_each(|pending| pending.what = None);
            self.bytes_of_statements = 0;
            self.bytes_of_portals = 0;
        }
    }
}

/// The newest of that name, if it is of the same series. One of another series may fail, and what
/// comes behind its Sync would run all the same.
fn certain<'p, T>(
    pending: &'p VecDeque<Pending<T>>,
    name: &[u8],
    series: u64,
) -> Result<Option<&'p Pending<T>>, Uncertain> {
    match pending.iter().rev().find(|pending| *pending.name == *name) {
        Some(pending) if pending.series != series => Err(Uncertain),
        found => Ok(found),
    }
}

impl Prepared {
    fn bytes(&self, name: &[u8]) -> usize {
        let judged = self.judged.as_ref().map_or(0, |judged| judged.text.len());
        let shown = self.shown.as_ref().map_or(0, |text| text.len());
        name.len() + self.text.bytes() + judged + shown
    }
}

impl Bound {
    /// It runs what SQL has prepared.
    pub(super) fn is_of_sql(&self) -> bool {
        let judged = self.prepared.as_ref().and_then(|prepared| prepared.judged.as_ref());
        judged.is_some_and(|judged| judged.is_sql)
    }

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
            text: Recorded::Sql { text: text.to_owned().into(), redacted: 0 },
            secrets: Secrets::These(vec![]),
            types: RefCell::default(),
            declared: Box::default(),
            judged: None,
            shown: None,
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
        memory.prepare(b"s", 1, prepared("one"));
        memory.prepared(true);
        memory.prepare(b"s", 1, prepared("two"));
        assert_eq!(text(&memory, "s").as_deref(), Some("two"), "what follows in the pipeline");
        memory.prepared(false);
        assert_eq!(text(&memory, "s").as_deref(), Some("one"));
        memory.close_statement(b"s");
        assert_eq!(text(&memory, "s"), None);
    }

    #[test]
    fn sql_that_prepares_makes_names_unknown() {
        let mut memory = Memory::default();
        memory.prepare(b"s", 1, prepared("one"));
        memory.prepared(true);
        memory.forget_statements();
        assert_eq!(text(&memory, "s"), None);
    }

    #[test]
    fn memory_at_its_bound_and_past_it() {
        let mut memory = Memory::default();
        let half = "x".repeat(REMEMBERED_BYTES_MAX / 2 - 1);
        for name in ["a", "b"] {
            memory.prepare(name.as_bytes(), 1, prepared(&half));
            memory.prepared(true);
        }
        assert!(text(&memory, "a").is_some() && text(&memory, "b").is_some());
        memory.prepare(b"c", 1, prepared("x"));
        memory.prepared(true);
        assert!(text(&memory, "a").is_none() && text(&memory, "c").is_some());
    }

    #[test]
    fn what_waits_for_its_answer_is_forgotten_too() {
        let mut memory = Memory::default();
        let half = "x".repeat(REMEMBERED_BYTES_MAX / 2 - 1);
        let waits = prepared(&half);
        memory.prepare(b"a", 1, waits.clone());
        memory.prepare(b"b", 1, prepared(&half));
        assert_eq!(Rc::strong_count(&waits), 2);
        memory.prepare(b"c", 1, prepared("x"));
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
            understood: None,
            is_cursor: false,
            given: Rc::default(),
            has_begun: Cell::default(),
            hold: None,
        })
    }

    #[test]
    fn a_portal_with_a_name_and_the_one_without() {
        let mut memory = Memory::default();
        let of = |memory: &Memory, name: &[u8]| {
            let value = memory.portal(name)?.values.first()?.bytes.clone()?;
            String::from_utf8(value.into()).ok()
        };
        for (name, value) in [(&b""[..], "one"), (b"p", "two"), (b"", "three")] {
            memory.bind(name, 1, bound(value));
            memory.bound(true);
        }
        assert_eq!(of(&memory, b"").as_deref(), Some("three"));
        assert_eq!(of(&memory, b"p").as_deref(), Some("two"));
        memory.close_portal(b"");
        assert_eq!((of(&memory, b""), of(&memory, b"p").as_deref()), (None, Some("two")));
        assert_eq!(memory.bytes_of_portals, "ptwo".len());
        memory.bind(b"", 1, bound("four"));
        memory.bound(true);
        memory.forget_portals();
        assert_eq!((of(&memory, b""), of(&memory, b"p")), (None, None));
        assert_eq!(memory.bytes_of_portals, 0);
    }

    #[test]
    fn what_has_gone_is_not_counted() {
        let mut memory = Memory::default();
        let part = "x".repeat(REMEMBERED_BYTES_MAX / 4);
        memory.prepare(b"s", 1, prepared("stays"));
        memory.prepared(true);
        for round in 0..10 {
            // One that fails, one that takes its name, one that is closed, one never sent, and
            // values of a portal that is bound again and again.
            memory.prepare(b"a", 1, prepared(&part));
            memory.prepared(round % 2 == 0);
            memory.bind(b"", 1, bound(&part));
            memory.bound(round % 3 != 0);
            memory.close_statement(b"a");
            memory.prepare(b"b", 1, prepared(&part));
            memory.unprepare();
        }
        assert_eq!(text(&memory, "s").as_deref(), Some("stays"));
        memory.forget_portals();
        assert_eq!(memory.bytes_of_statements, "sstays".len());
        assert_eq!(memory.bytes_of_portals, 0);
        memory.prepare(b"c", 1, prepared("on its way"));
        memory.forget_statements();
        assert_eq!(memory.bytes_of_statements, "con its way".len());
        memory.prepared(true);
        memory.prepare(b"c", 1, prepared("anew"));
        memory.prepared(true);
        memory.close_statement(b"c");
        assert_eq!(memory.bytes_of_statements, 0);
    }
}
