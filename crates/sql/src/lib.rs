//! What SQL text says: tokens, the secrets in it, and the facts of a statement.
//!
//! This crate knows PostgreSQL's language and nothing of rules, sockets or clocks: text goes in,
//! facts come out. All text is hostile: every pass is linear in it and has a bounded depth.
//!
//! What a statement does is what it names. These are not in its facts, and whoever judges them has to
//! know it:
//! - code that a relation carries, and what that does to others: triggers, rules, column defaults,
//!   constraints of domains and tables, row security, expressions of indexes, foreign keys that
//!   cascade ([`catalog::Catalog::carried`]), and what is beneath a view
//!   ([`catalog::Catalog::beneath`]);
//! - what functions do ([`functions::Class`] says it of the server's own), and operators of
//!   `pg_catalog`, which have no effect on any type of the server's own;
//! - what an EXECUTE runs, or a FETCH: the names are in [`facts::Facts::handle`];
//! - what a command sets off beyond its own words: code that a table carries, when its rows are
//!   written anew or checked; event triggers ([`catalog::Catalog::event_triggers`]); what CASCADE
//!   takes along; what the objects of a role, a schema or an extension are;
//! - the code in DO, CREATE FUNCTION … AS, CREATE EXTENSION and LOAD: [`facts::Facts::opaque`];
//! - the names in a GRANT on anything but tables and sequences, and those of large objects, casts
//!   and transforms: [`facts::CommandUse`] says the kind.
//!
//! CREATE FOREIGN TABLE, and CREATE SCHEMA with elements that use one another, are not understood.

pub mod catalog;
pub mod cut;
pub mod explain;
pub mod expression;
pub mod facts;
pub mod functions;
pub mod parse;
pub mod rewrite;
pub mod secrets;
pub mod shape;
pub mod split;
pub mod stand_in;

mod lex;
mod nodes;
mod walk;

pub use lex::Unlexed;

use std::cell::Cell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_raw_parse::nodes::RawStmt;

use crate::catalog::{Catalog, Names, Path};
use crate::facts::{Facts, NotUnderstood};
use crate::parse::{Limits, NotParsed};
use crate::rewrite::{Disguised, Disguises};

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where it stands in the text, without its semicolon.
    pub place: Range<usize>,
    pub facts: Result<Facts, NotUnderstood>,
    /// Where the text names a relation or a column that isn't there, if that is why it has none.
    pub failed_at: Option<usize>,
}

/// The statements of `text`, each with its facts under the names that the session sees now.
///
/// A statement that changes what names mean (DDL, SET search_path) is followed by others under the
/// old meaning: whoever runs several in one text has to judge the later ones again ([`Script`]), or
/// refuse.
pub fn statements(
    text: &str,
    catalog: &Catalog,
    names: &Names<'_>,
    limits: &Limits,
) -> Result<Vec<Statement>, NotParsed> {
    let script = Script::parse(text, limits)?;
    let path = catalog.path(names);
    let statements = script.parsed.statements(text).into_iter();
    Ok(statements.map(|(place, raw)| script.read(place, raw, catalog, &path)).collect())
}

/// A text that is parsed once, for statements to be read one after the other: each under the names
/// that those before it leave.
pub struct Script<'t> {
    text: &'t str,
    parsed: parse::Parsed,
    nodes_max: usize,
}

impl<'t> Script<'t> {
    pub fn parse(text: &'t str, limits: &Limits) -> Result<Self, NotParsed> {
        let parsed = parse::parse(text, limits)?;
        Ok(Self { text, parsed, nodes_max: limits.nodes_max })
    }

    /// The statement at a place in the order of the text. `None` behind the last.
    pub fn statement(&self, at: usize, catalog: &Catalog, names: &Names<'_>) -> Option<Statement> {
        let (place, raw) = self.parsed.statement(self.text, at)?;
        Some(self.read(place, raw, catalog, &catalog.path(names)))
    }

    fn read(
        &self,
        place: Range<usize>,
        raw: &RawStmt,
        catalog: &Catalog,
        path: &Path,
    ) -> Statement {
        // The bindings to the tree panic where a node is not of the kind that they expect. None is
        // known; should one be found, the statement is refused like any that is not understood.
        let failed_at = Cell::new(None);
        let facts = catch_unwind(AssertUnwindSafe(|| {
            walk::facts(raw.stmt(), self.text, catalog, path, self.nodes_max, &failed_at)
        }));
        let facts = facts.unwrap_or(Err(NotUnderstood::Unvisited));
        let failed_at = failed_at.get().filter(|_| facts.is_err());
        Statement { place, facts, failed_at }
    }

    /// Likewise, with what has to be done with its text for a reader who is to see relations
    /// disguised. Disguises are by the numbers of that catalog.
    pub fn disguised(
        &self,
        at: usize,
        catalog: &Catalog,
        names: &Names<'_>,
        disguises: &Disguises,
    ) -> Option<Disguised> {
        let (place, raw) = self.parsed.statement(self.text, at)?;
        Some(self.disguise(place, raw, catalog, &catalog.path(names), disguises))
    }

    fn disguise(
        &self,
        place: Range<usize>,
        raw: &RawStmt,
        catalog: &Catalog,
        path: &Path,
        disguises: &Disguises,
    ) -> Disguised {
        // As above.
        let failed_at = Cell::new(None);
        let understood = catch_unwind(AssertUnwindSafe(|| {
            let (text, node) = (self.text, raw.stmt());
            let disguises = Some(disguises);
            let (facts, notes) =
                walk::walked(node, text, catalog, path, self.nodes_max, disguises, &failed_at)?;
            let notes = notes.ok_or(NotUnderstood::Unvisited)?;
            let rewritten = rewrite::rewritten(node, text, place.clone(), catalog, &facts, &notes);
            Ok((facts, rewritten))
        }));
        let understood = understood.unwrap_or(Err(NotUnderstood::Unvisited));
        let failed_at = failed_at.get().filter(|_| understood.is_err());
        Disguised { place, understood, failed_at }
    }
}

/// Likewise, with what has to be done with the text of each for a reader who is to see relations
/// disguised.
pub fn disguised(
    text: &str,
    catalog: &Catalog,
    names: &Names<'_>,
    limits: &Limits,
    disguises: &Disguises,
) -> Result<Vec<Disguised>, NotParsed> {
    let script = Script::parse(text, limits)?;
    let path = catalog.path(names);
    let statements = script.parsed.statements(text).into_iter();
    let disguise = |(place, raw)| script.disguise(place, raw, catalog, &path, disguises);
    Ok(statements.map(disguise).collect())
}
