//! Relations that the gateway answers itself: who somebody is, what they were granted, what waits and
//! what is left (`gatepost.me`, `grants`, `pending`, `limits`). A SELECT that reads one is sent with the
//! rows as constants in its place, so that PostgreSQL does the rest; what is sent is judged as what is
//! sent. A prepared statement gets fresh rows each time that it is bound.

use std::fmt::Write as _;
use std::rc::Rc;

use access::{Filter, Grant, Hold, Person, Request, StateError};
use sql::parse::Limits;
use sql::rewrite::Edit;
use sql::stand_in::{self, Found, StandIn};
use wire::frontend;

use super::attempt::Guarded;
use super::judging::When;
use super::memory::Prepared;
use super::needs::{Need, Unmet};
use super::rules::Rules;
use super::splice::Splice;
use super::understanding::{StandsOn, Understood};
use super::{Around, Entry, Gate};
use crate::gateway::Gateway;
use crate::limits;
use crate::refusal::Denied;

pub(super) const SCHEMA: &str = "gatepost";
const NAMES: [&str; 4] = ["me", "grants", "pending", "limits"];

/// A longer text is not looked at for them.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Rows of one of them.
const ROWS_MAX: usize = 100;

/// Characters of a held statement that its row shows.
const WHAT_CHARS_MAX: usize = 1000;

/// What the store has of an identity.
#[derive(Debug)]
pub(crate) struct Shown {
    grants: Vec<Grant>,
    requests: Vec<Request>,
    holds: Vec<Hold>,
}

impl Shown {
    pub(crate) async fn read(gateway: &Gateway, person: Person) -> Result<Shown, StateError> {
        let state = &gateway.state;
        let rows = ROWS_MAX;
        let person = Some(person);
        let of = Filter { person: person.clone(), open: true, rows, ..Filter::default() };
        let grants = state.grants(of).await?;
        let of = Filter { person: person.clone(), open: true, rows, ..Filter::default() };
        let requests = state.requests(of).await?;
        let of = Filter { person, open: true, rows, ..Filter::default() };
        let holds = state.holds(of).await?;
        Ok(Shown { grants, requests, holds })
    }
}

/// Whether a text could name one of them.
pub(super) fn mentions(text: &[u8]) -> bool {
    let schema = SCHEMA.as_bytes();
    text.len() <= TEXT_BYTES_MAX
        && text.windows(schema.len()).any(|window| {
            matches!(window.first(), Some(b'g' | b'G')) && window.eq_ignore_ascii_case(schema)
        })
}

impl Gate {
    /// Whose rows they are.
    pub(crate) fn person(&self) -> Person {
        let identity = &self.person.identity;
        Person { issuer: identity.issuer.clone(), subject: identity.subject.clone() }
    }

    pub(crate) fn shows(&mut self, shown: Result<Shown, StateError>) {
        match shown {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => {
                tracing::error!(%error, "the store of grants can't be used");
                self.unmet = Some(Unmet::Unshown);
            }
        }
    }

    /// The text with rows in it, if it reads any of them.
    pub(super) fn shown(
        &mut self,
        text: &[u8],
    ) -> Result<Result<Option<Rc<Splice>>, Denied>, Need> {
        if self.tenure.is_none() || !mentions(text) {
            return Ok(Ok(None));
        }
        let Ok(text) = std::str::from_utf8(text) else { return Ok(Ok(None)) };
        let uses = match stand_in::find(text, SCHEMA, &NAMES, &Limits::default()) {
            Found::None => return Ok(Ok(None)),
            Found::Several => return Ok(Err(Denied::Alone)),
            Found::Of(uses) => uses,
        };
        if let Some(unmet) = self.unmet.take_if(|unmet| *unmet == Unmet::Unshown) {
            return Ok(Err(Denied::Unmet(unmet)));
        }
        let Some(shown) = &self.shown else { return Err(Need::Shown) };
        let edits = uses.into_iter().map(|StandIn { place, name, has_alias, is_query }| {
            let mut rows = self.rows(&name, shown);
            if is_query {
                rows.insert_str(0, "SELECT * FROM ");
            }
            if !has_alias {
                rows.push_str(" AS ");
                rows.push_str(&name);
            }
            Edit { place, text: rows }
        });
        Ok(Ok(Splice::edited(text, edits.collect()).map(Rc::new)))
    }

    /// What a text does that reads some of them: what its text with the rows does.
    pub(super) fn understand_shown(
        &mut self,
        rules: &Rules,
        text: &[u8],
        when: When,
    ) -> Result<Option<Rc<Understood>>, Need> {
        let policies = rules.in_force().id().clone();
        let refused = |denied: Denied| {
            let on = StandsOn { policies, sight: None };
            Ok(Some(Rc::new(Understood::refused(on, denied.into()))))
        };
        let splice = match self.shown(text)? {
            Ok(None) => return Ok(None),
            Ok(Some(splice)) => splice,
            Err(denied) => return refused(denied),
        };
        let understood = self.understand_once(rules, splice.text().as_bytes(), when)?;
        if understood.refusal.is_some() {
            return Ok(Some(understood));
        }
        // Both are put into the client's text, and one place would move the other.
        if understood.splice.is_some() {
            return refused(Denied::ShownBesideOthers);
        }
        let mut own = Understood::clone(&understood);
        own.splice = Some(splice);
        own.is_shown = true;
        Ok(Some(Rc::new(own)))
    }

    /// A Bind of a statement that reads some of them, with fresh rows before it.
    pub(super) fn renewed(
        &mut self,
        prepared: &Prepared,
        name: &[u8],
        bind: &[u8],
    ) -> Guarded<(Vec<u8>, Around)> {
        let Some(text) = prepared.shown.clone().filter(|_| !self.is_aborted()) else {
            return Ok(Ok(None));
        };
        let splice = match self.shown(&text)? {
            Ok(Some(splice)) => splice,
            Ok(None) => return Ok(Ok(None)),
            Err(denied) => return Ok(Err(denied.into())),
        };
        let mut instead = Vec::new();
        let mut before = Vec::new();
        // The unnamed one makes room by itself.
        if !name.is_empty() {
            frontend::write_close(&mut instead, b'S', name);
            before.push((frontend::CLOSE, Entry::Quiet));
        }
        frontend::write_parse_of(&mut instead, name, splice.text(), &prepared.types.borrow());
        before.push((frontend::PARSE, Entry::Quiet));
        frontend::write_bind_body(&mut instead, bind);
        Ok(Ok(Some((instead, Around { before, after: Vec::new() }))))
    }

    fn rows(&self, name: &str, shown: &Shown) -> String {
        match name {
            "me" => self.me().written(),
            "grants" => grants(shown, self.person.grant.as_deref()).written(),
            "pending" => pending(shown).written(),
            _ => self.limits().written(),
        }
    }

    fn me(&self) -> Table {
        let mut table = Table::new(&[
            ("identity", "text"),
            ("issuer", "text"),
            ("subject", "text"),
            ("groups", "text[]"),
            ("connection", "text"),
            ("role", "text"),
            ("session", "text"),
            ("grant_id", "text"),
            ("policies", "text[]"),
            ("scope", "text"),
            ("reason", "text"),
            ("approved_by", "text[]"),
            ("ends_at", "timestamptz"),
            ("seconds_left", "int4"),
        ]);
        let identity = &self.person.identity;
        let subject = self.installed.settings.subject(identity);
        let grant = self.tenure.as_ref().map(|tenure| &*tenure.served);
        let left = grant.map_or(0, |served| served.left().max(0) / 1000);
        let of = grant.map(|served| &served.grant);
        let policies = self.rules.as_ref().map(|rules| rules.in_force().policies());
        let policies: Vec<&str> = match (policies, of) {
            (Some(policies), _) => policies.iter().map(|name| &**name).collect(),
            (None, Some(grant)) => grant.policies.iter().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        };
        let approved: Vec<String> =
            of.map_or_else(Vec::new, |of| of.approved_by.iter().map(person).collect());
        table.row([
            text(&identity.to_string()),
            text(&identity.issuer),
            text(&identity.subject),
            list(subject.groups.iter().map(String::as_str)),
            text(&self.person.connection),
            text(&self.person.role),
            text(&self.person.session),
            optional(self.person.grant.as_deref()),
            list(policies.into_iter()),
            optional(of.and_then(|of| of.scope.as_deref())),
            optional(of.and_then(|of| of.reason.as_deref())),
            list(approved.iter().map(String::as_str)),
            of.map_or_else(null, |of| instant(of.ends_at)),
            left.to_string(),
        ]);
        table
    }

    fn limits(&self) -> Table {
        let mut table = Table::new(&[
            ("name", "text"),
            ("per", "text"),
            ("allowed", "int8"),
            ("used", "int8"),
            ("left", "int8"),
            ("unit", "text"),
            ("resets", "text"),
            ("policy", "text"),
            ("rule", "text"),
        ]);
        for line in self.meter().lines(limits::now_ms()) {
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX).to_string();
            let used = line.used.map_or_else(null, number);
            let left = line.used.map(|used| number(line.allowed.saturating_sub(used)));
            table.row([
                text(line.name),
                optional(line.per),
                number(line.allowed),
                used,
                left.unwrap_or_else(null),
                text(line.unit),
                text(&line.resets),
                text(&line.by.policy),
                text(&line.by.rule),
            ]);
        }
        table
    }
}

fn grants(shown: &Shown, own: Option<&str>) -> Table {
    let mut table = Table::new(&[
        ("grant_id", "text"),
        ("connection", "text"),
        ("policies", "text[]"),
        ("scope", "text"),
        ("reason", "text"),
        ("approved_by", "text[]"),
        ("opened_at", "timestamptz"),
        ("ends_at", "timestamptz"),
        ("this_session", "bool"),
    ]);
    for grant in &shown.grants {
        let approved: Vec<String> = grant.approved_by.iter().map(person).collect();
        table.row([
            text(grant.id.as_str()),
            text(&grant.connection),
            list(grant.policies.iter().map(String::as_str)),
            optional(grant.scope.as_deref()),
            optional(grant.reason.as_deref()),
            list(approved.iter().map(String::as_str)),
            instant(grant.opened_at),
            instant(grant.ends_at),
            (own == Some(grant.id.as_str())).to_string(),
        ]);
    }
    table
}

fn pending(shown: &Shown) -> Table {
    let mut table = Table::new(&[
        ("id", "text"),
        ("kind", "text"),
        ("connection", "text"),
        ("what", "text"),
        ("reason", "text"),
        ("needs", "text[]"),
        ("asked_at", "timestamptz"),
        ("expires_at", "timestamptz"),
        ("approve", "text"),
    ]);
    let needs = |missing: &mut dyn Iterator<Item = (&access::Needed, usize)>| {
        let each =
            missing.map(|(needed, still)| format!("{}: {still} of {}", needed.what, needed.by));
        each.collect::<Vec<_>>()
    };
    for request in &shown.requests {
        let needs = needs(&mut request.missing());
        table.row([
            text(request.id.as_str()),
            text("request"),
            text(&request.connection),
            text(&request.policies.join(", ")),
            optional(request.reason.as_deref()),
            list(needs.iter().map(String::as_str)),
            instant(request.created_at),
            instant(request.expires_at),
            text(&format!("gatepost approve {}", request.id)),
        ]);
    }
    for hold in &shown.holds {
        let needs = needs(&mut hold.missing());
        let what: String = hold.text.chars().take(WHAT_CHARS_MAX).collect();
        table.row([
            text(hold.id.as_str()),
            text("hold"),
            text(&hold.connection),
            text(&what),
            optional(hold.reason.as_deref()),
            list(needs.iter().map(String::as_str)),
            instant(hold.created_at),
            instant(hold.expires_at),
            text(&format!("gatepost approve {}", hold.id)),
        ]);
    }
    table
}

/// Columns with their types, and rows of constants.
struct Table {
    columns: &'static [(&'static str, &'static str)],
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(columns: &'static [(&'static str, &'static str)]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    fn row<const N: usize>(&mut self, values: [String; N]) {
        self.rows.push(values.to_vec());
    }

    /// As what stands in a FROM. Every type has its schema, and every value its type.
    fn written(&self) -> String {
        let mut out = String::from("(");
        let none = vec![null(); self.columns.len()];
        let rows = if self.rows.is_empty() { std::slice::from_ref(&none) } else { &self.rows };
        for (at, row) in rows.iter().enumerate() {
            out.push_str(if at == 0 { "SELECT " } else { " UNION ALL SELECT " });
            for (at, ((name, of), value)) in self.columns.iter().zip(row).enumerate() {
                let comma = if at == 0 { "" } else { ", " };
                let (of, array) = of.strip_suffix("[]").map_or((*of, ""), |of| (of, "[]"));
                // Writing to a String can't fail.
                let _ = write!(out, "{comma}{value}::pg_catalog.{of}{array} AS \"{name}\"");
            }
        }
        if self.rows.is_empty() {
            out.push_str(" WHERE false");
        }
        out.push(')');
        out
    }
}

/// A constant that is the same whatever the settings are: escapes are those of `E''`, and what is not
/// ASCII is written as such.
fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 3);
    out.push_str("E'");
    for letter in value.chars() {
        match letter {
            '\0' => {}
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            letter if letter.is_ascii() && !letter.is_ascii_control() => out.push(letter),
            other => {
                let _ = write!(out, "\\U{:08x}", u32::from(other));
            }
        }
    }
    out.push('\'');
    out
}

fn optional(value: Option<&str>) -> String {
    value.map_or_else(null, text)
}

fn list<'v>(values: impl Iterator<Item = &'v str>) -> String {
    let values: Vec<String> = values.map(text).collect();
    format!("ARRAY[{}]", values.join(", "))
}

fn null() -> String {
    "NULL".to_owned()
}

fn instant(millis: i64) -> String {
    text(&audit::time_of_millis(millis))
}

fn person(person: &Person) -> String {
    if person.issuer == identity::Identity::LOCAL_ISSUER {
        return person.subject.clone();
    }
    person.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_the_same_under_all_settings() {
        for (value, want) in [
            ("plain", "E'plain'"),
            ("it's", "E'it''s'"),
            ("\\", "E'\\\\'"),
            ("\\'; DROP TABLE t; --", "E'\\\\''; DROP TABLE t; --'"),
            ("é\n\0", "E'\\U000000e9\\U0000000a'"),
            ("🦀", "E'\\U0001f980'"),
        ] {
            assert_eq!(text(value), want, "{value:?}");
            let read = format!("SELECT {}", text(value));
            assert_eq!(sql::split::statements(&read).map(|pieces| pieces.len()), Ok(1), "{read}");
        }
    }

    #[test]
    fn an_empty_table_has_its_columns() {
        let mut table = Table::new(&[("a", "text"), ("b", "text[]")]);
        let none =
            "(SELECT NULL::pg_catalog.text AS \"a\", NULL::pg_catalog.text[] AS \"b\" WHERE false)";
        assert_eq!(table.written(), none);
        table.row([text("x"), list(std::iter::empty())]);
        let one = "(SELECT E'x'::pg_catalog.text AS \"a\", ARRAY[]::pg_catalog.text[] AS \"b\")";
        assert_eq!(table.written(), one);
    }

    #[test]
    fn what_could_be_meant() {
        assert!(mentions(b"select * from Gatepost.me") && mentions(b"gatepost"));
        assert!(!mentions(b"select * from gatepos") && !mentions(b""));
    }
}
