//! What a statement names outside of its expressions: relations, where their names stand, and columns
//! of theirs.

use std::ops::Range;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::RangeVar;

use super::{Walk, Walked};
use crate::facts::{NotUnderstood, RelationUse};
use crate::lex::{self, token};

impl<'w> Walk<'w> {
    /// A relation that a command names.
    pub(super) fn named_relation(&mut self, node: Node<'w>) -> Walked<&mut RelationUse> {
        let Node::RangeVar(range) = node else {
            return Err(NotUnderstood::Construct("name of a relation"));
        };
        let number = self.relation_use(range)?;
        self.facts.relations.get_mut(number).ok_or(NotUnderstood::Unvisited)
    }

    /// Resolves a relation and notes its place; gives the number of the use.
    pub(super) fn relation_use(&mut self, range: &'w RangeVar) -> Walked<usize> {
        self.see(range);
        if let Some(alias) = range.alias() {
            self.see_all(alias)?;
        }
        self.own_database(range.catalogname())?;
        let name = range.relname().unwrap_or_default();
        if self.making.as_ref().is_some_and(|(_, made)| made.contains(&name)) {
            // What it means would not be there before the statement runs.
            return Err(NotUnderstood::Construct("CREATE SCHEMA with uses of what is in it"));
        }
        let resolved =
            self.catalog.find_relation(range.schemaname(), name, self.path).ok_or_else(|| {
                self.failed_at.set(usize::try_from(range.location).ok());
                NotUnderstood::NoSuchRelation(name.to_owned())
            })?;
        let mut relation = RelationUse::new(Some(resolved.relation), self.name_at(range)?);
        relation.only = !range.inh;
        relation.aliased = range.alias().is_some();
        relation.twice = resolved.twice;
        self.facts.relations.push(relation);
        Ok(self.facts.relations.len() - 1)
    }

    pub(super) fn own_database(&self, database: Option<&str>) -> Walked {
        match database {
            Some(other) if other != &*self.path.database => {
                Err(NotUnderstood::OtherDatabase(other.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// A name of one to three parts, without its database.
    pub(super) fn qualified<'n>(&self, names: &[&'n str]) -> Walked<(Option<&'n str>, &'n str)> {
        match names {
            [name] => Ok((None, name)),
            [schema, name] => Ok((Some(schema), name)),
            [database, schema, name] => {
                self.own_database(Some(database))?;
                Ok((Some(schema), name))
            }
            _ => Err(NotUnderstood::Construct("name")),
        }
    }

    pub(super) fn column_number(&self, number: usize, name: &str) -> Walked<u16> {
        self.facts
            .relations
            .get(number)
            .and_then(|used| self.catalog.relation(used.relation?)?.column(name))
            .map(|column| column.number)
            .ok_or_else(|| NotUnderstood::NoSuchColumn(name.to_owned()))
    }

    pub(super) fn stored_columns(&self, number: usize) -> Vec<u16> {
        let relation = self.facts.relations.get(number).and_then(|used| used.relation);
        let columns = relation.and_then(|id| self.catalog.relation(id)).map(|r| &r.columns);
        let columns = columns.into_iter().flatten();
        columns.filter(|column| !column.generated).map(|column| column.number).collect()
    }

    /// The place of `schema.name` in the text. The tree has only where it starts.
    pub(super) fn name_at(&self, range: &RangeVar) -> Walked<Range<usize>> {
        let lost = NotUnderstood::Construct("name of a relation");
        let start = usize::try_from(range.location).map_err(|_| lost.clone())?;
        let qualifiers = [range.catalogname(), range.schemaname()];
        let parts = 1 + qualifiers.into_iter().flatten().count();
        let (mut position, mut end, mut names) = (start, start, 0);
        while names < parts {
            let next = token(self.text, position).ok().flatten().ok_or_else(|| lost.clone())?;
            position = next.end;
            match next.kind {
                lex::Kind::Space | lex::Kind::Comment | lex::Kind::Mark(b'.') => {}
                lex::Kind::Word | lex::Kind::QuotedName { unicode: false } => {
                    names += 1;
                    end = next.end;
                }
                lex::Kind::QuotedName { unicode: true } => {
                    names += 1;
                    end = self.end_of_escape(next.end);
                    position = end;
                }
                _ => return Err(lost),
            }
        }
        Ok(start..end)
    }

    /// Behind `U&"…"` may come `UESCAPE '…'`, which belongs to it.
    fn end_of_escape(&self, end: usize) -> usize {
        let mut position = end;
        let mut escape = false;
        while let Ok(Some(next)) = token(self.text, position) {
            position = next.end;
            let word = self.text.get(next.start..next.end).unwrap_or_default();
            match next.kind {
                lex::Kind::Space | lex::Kind::Comment => {}
                lex::Kind::Word if !escape && word.eq_ignore_ascii_case("uescape") => escape = true,
                _ if escape => return next.end,
                _ => break,
            }
        }
        end
    }
}
