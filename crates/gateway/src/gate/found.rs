//! The statements of a text with their facts; and, for a reader who is to see relations disguised, what
//! has to be put into the text of each. What the policies say to them is for `judging`.

use std::ops::Range;

use policy::Scope;
use sql::Script;
use sql::catalog::{Catalog, Names};
use sql::facts::{Facts, NotUnderstood};
use sql::parse::{Limits, NotParsed};
use sql::rewrite::{Disguised, Rewritten, Unrewritable};

pub(crate) struct Found {
    /// Where it stands in the text.
    pub(super) place: Range<usize>,
    pub(super) facts: Result<Facts, NotUnderstood>,
    pub(super) rewritten: Result<Rewritten, Unrewritable>,
    /// Where in the text the name stands that is not there, if that is why there are no facts.
    pub(super) failed_at: Option<usize>,
}

impl From<sql::Statement> for Found {
    fn from(statement: sql::Statement) -> Self {
        let sql::Statement { place, facts, failed_at } = statement;
        Found { place, facts, rewritten: Ok(Rewritten::default()), failed_at }
    }
}

impl From<Disguised> for Found {
    fn from(disguised: Disguised) -> Self {
        let Disguised { place, understood, failed_at } = disguised;
        let (facts, rewritten) = match understood {
            Ok((facts, rewritten)) => (Ok(facts), rewritten),
            Err(why) => (Err(why), Ok(Rewritten::default())),
        };
        Found { place, facts, rewritten, failed_at }
    }
}

/// All statements of a text, read by the names that there are before it runs.
pub(super) fn all(
    text: &str,
    catalog: &Catalog,
    names: &Names<'_>,
    scope: &Scope,
) -> Result<Vec<Found>, NotParsed> {
    let limits = Limits::default();
    let disguises = scope.disguises();
    if disguises.is_empty() {
        let found = sql::statements(text, catalog, names, &limits)?;
        return Ok(found.into_iter().map(Found::from).collect());
    }
    let found = sql::disguised(text, catalog, names, &limits, disguises)?;
    Ok(found.into_iter().map(Found::from).collect())
}

/// The statement at a place in the order of the text, by the names that those before it leave.
pub(super) fn one(
    script: &Script<'_>,
    at: usize,
    catalog: &Catalog,
    names: &Names<'_>,
    scope: &Scope,
) -> Option<Found> {
    let disguises = scope.disguises();
    if disguises.is_empty() {
        return script.statement(at, catalog, names).map(Found::from);
    }
    script.disguised(at, catalog, names, disguises).map(Found::from)
}
