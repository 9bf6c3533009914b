//! What a name stands for: the schemas that it is looked up in, in the server's order, and where new
//! things are made. <https://www.postgresql.org/docs/current/ddl-schemas.html>

use super::draft;
use super::{Catalog, FunctionId, RelationId, Schema, SchemaId, TypeKind};

/// What decides how a session's names are read.
#[derive(Clone, Copy, Debug)]
pub struct Names<'s> {
    /// The elements of search_path, without quotes; `$user` as it is.
    pub search_path: &'s [&'s str],
    pub user: &'s str,
    /// The session's own `pg_temp_N`, once it has temporary objects.
    pub temporary: Option<&'s str>,
    /// The database that the session is in: its name may stand before a schema's.
    pub database: &'s str,
}

/// The schemas that names are looked up in, first to last.
#[derive(Clone, Debug)]
pub struct Path {
    /// With the temporary schema, which holds relations and types that need no qualifier, but no
    /// functions and operators that do without.
    relations: Vec<SchemaId>,
    functions: Vec<SchemaId>,
    temporary: Option<SchemaId>,
    /// Where what has no schema before its name is made, and whether another one comes after it,
    /// which the server takes if the role may not use the first.
    creation: Option<Home>,
    creation_twice: bool,
    pub(crate) user: Box<str>,
    pub(crate) database: Box<str>,
}

/// A schema that things are made or found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// The session's own, whether it has one yet or not.
    Temporary,
    Schema(SchemaId),
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub relation: RelationId,
    /// Another schema in the path has the name too: should the server not look into the first
    /// one (because its role may not use it), it would take that.
    pub twice: bool,
}

impl Catalog {
    pub fn path(&self, names: &Names<'_>) -> Path {
        let temporary = names.temporary.and_then(|name| self.schema_by_name.get(name).copied());
        let system = self.schema_by_name.get("pg_catalog").copied();
        let mut relations = Vec::new();
        let mut homes = Vec::new();
        for &name in names.search_path {
            let name = if name == "$user" { names.user } else { name };
            let schema =
                if name == "pg_temp" { temporary } else { self.schema_by_name.get(name).copied() };
            if name == "pg_temp" || (schema.is_some() && schema == temporary) {
                homes.push(Home::Temporary);
            } else {
                homes.extend(schema.map(Home::Schema));
            }
            relations.extend(schema.filter(|schema| !relations.contains(schema)));
        }
        for first in [system, temporary].into_iter().flatten() {
            if !relations.contains(&first) {
                relations.insert(0, first);
            }
        }
        let functions = relations.iter().copied().filter(|s| Some(*s) != temporary).collect();
        Path {
            relations,
            functions,
            temporary,
            creation: homes.first().copied(),
            creation_twice: homes.iter().any(|home| Some(home) != homes.first()),
            user: names.user.into(),
            database: names.database.into(),
        }
    }

    /// The schema that a new thing comes into, and whether it could be another one.
    pub(crate) fn home_of_new(&self, path: &Path) -> Option<(String, bool)> {
        let name = match path.creation? {
            Home::Temporary => "pg_temp",
            Home::Schema(schema) => self.schema_name(schema),
        };
        Some((name.to_owned(), path.creation_twice))
    }

    /// The schema's name, as the session's own temporary one is called by everybody.
    pub(crate) fn home(&self, schema: SchemaId, path: &Path) -> String {
        if path.temporary == Some(schema) {
            return "pg_temp".to_owned();
        }
        self.schema_name(schema).to_owned()
    }

    pub(crate) fn home_named(&self, schema: &str, path: &Path) -> String {
        let own = path.temporary.is_some_and(|own| self.schema_name(own) == schema);
        (if own { "pg_temp" } else { schema }).to_owned()
    }

    /// The relation that extended statistics of that name are on, and their schema.
    pub(crate) fn find_statistics(
        &self,
        schema: Option<&str>,
        name: &str,
        path: &Path,
    ) -> Option<(SchemaId, RelationId)> {
        let schemas = match schema {
            Some(schema) => self.schema_by_name.get(schema).map_or(&[][..], std::slice::from_ref),
            None => &path.functions,
        };
        schemas.iter().find_map(|id| Some((*id, *self.schema(*id)?.statistics.get(name)?)))
    }

    /// The schema that has the type, the type, and whether another one of the path has it too.
    pub(crate) fn find_type(
        &self,
        schema: Option<&str>,
        name: &str,
        path: &Path,
    ) -> Option<(SchemaId, u32, bool)> {
        let named = schema.and_then(|schema| match schema {
            "pg_temp" => path.temporary,
            schema => self.schema_by_name.get(schema).copied(),
        });
        let schemas = match (schema, &named) {
            (Some(_), Some(named)) => std::slice::from_ref(named),
            (Some(_), None) => return None,
            (None, _) => &path.relations,
        };
        let mut found =
            schemas.iter().filter_map(|id| Some((*id, *self.schema(*id)?.types.get(name)?)));
        let (schema, oid) = found.next()?;
        Some((schema, oid, found.next().is_some()))
    }

    pub(crate) fn relation_in(&self, schema: &str, name: &str) -> Option<RelationId> {
        self.schema(*self.schema_by_name.get(schema)?)?.relations.get(name).copied()
    }

    /// Whether the server may have given the name, in any schema.
    pub(crate) fn may_have_chosen(&self, name: &str) -> bool {
        draft::may_be_chosen(name) && self.schemas.iter().any(|schema| schema.has_chosen_names)
    }

    /// Whether the schema has the name, of a relation. `None` if the server may have given it
    /// there.
    pub(crate) fn has_relation(&self, schema: &str, name: &str) -> Option<bool> {
        let Some(schema) = self.schema_by_name.get(schema).and_then(|id| self.schema(*id)) else {
            return Some(false);
        };
        match schema.relations.contains_key(name) {
            false if schema.has_chosen_names && draft::may_be_chosen(name) => None,
            is_there => Some(is_there),
        }
    }

    fn named_schema(&self, name: &str, path: &Path) -> Option<&Schema> {
        if name == "pg_temp" {
            return self.schema(path.temporary?);
        }
        self.schema(*self.schema_by_name.get(name)?)
    }

    pub(crate) fn find_relation(
        &self,
        schema: Option<&str>,
        name: &str,
        path: &Path,
    ) -> Option<Resolved> {
        if let Some(schema) = schema {
            let relation = *self.named_schema(schema, path)?.relations.get(name)?;
            return Some(Resolved { relation, twice: false });
        }
        let mut found: Option<Resolved> = None;
        for schema in path.relations.iter().filter_map(|schema| self.schema(*schema)) {
            let here = schema.relations.get(name).copied();
            let may_be_here = schema.has_chosen_names && draft::may_be_chosen(name);
            match (&mut found, here) {
                (None, Some(relation)) => found = Some(Resolved { relation, twice: false }),
                (None, None) if may_be_here => return None,
                (None, None) => {}
                (Some(found), here) => found.twice |= here.is_some() || may_be_here,
            }
        }
        found
    }

    /// Every function of that name that a call with so many arguments could mean, or with any.
    pub(crate) fn find_functions<'c>(
        &'c self,
        schema: Option<&str>,
        name: &'c str,
        arguments: impl Into<Option<usize>>,
        path: &Path,
    ) -> impl Iterator<Item = FunctionId> + 'c {
        let arguments = arguments.into();
        let schemas: Vec<&Schema> = match schema {
            Some(schema) => self.named_schema(schema, path).into_iter().collect(),
            None => path.functions.iter().filter_map(|schema| self.schema(*schema)).collect(),
        };
        schemas
            .into_iter()
            .filter_map(move |schema| schema.functions.get(name))
            .flatten()
            .copied()
            .filter(move |id| match (self.function(*id), arguments) {
                (Some(function), Some(arguments)) => function.takes(arguments),
                (found, _) => found.is_some(),
            })
    }

    /// Whether an operator of that name is the server's own, and the functions behind the others.
    pub(crate) fn find_operators(
        &self,
        schema: Option<&str>,
        name: &str,
        prefix: bool,
        path: &Path,
    ) -> (bool, Vec<FunctionId>) {
        let schemas = match schema {
            Some(name) => self.schema_by_name.get(name).map_or(&[][..], std::slice::from_ref),
            None => &path.functions,
        };
        let (mut system, mut others) = (false, Vec::new());
        for operators in schemas.iter().filter_map(|id| self.schema(*id)?.operators.get(name)) {
            system |= if prefix { operators.system_prefix } else { operators.system_infix };
            let fitting = operators.others.iter().filter(|(before, _)| *before == prefix);
            others.extend(fitting.map(|(_, function)| *function));
        }
        (system, others)
    }

    /// The types that a name could mean: more than one where several schemas of the path have it,
    /// for the server skips those that the role may not use.
    pub(crate) fn find_types(&self, schema: Option<&str>, name: &str, path: &Path) -> Vec<u32> {
        let schemas: Vec<&Schema> = match schema {
            Some(schema) => self.named_schema(schema, path).into_iter().collect(),
            None => path.relations.iter().filter_map(|schema| self.schema(*schema)).collect(),
        };
        schemas.into_iter().filter_map(|schema| schema.types.get(name).copied()).collect()
    }

    /// Whether nothing is known of the type, or it has no values of its own.
    pub(crate) fn is_pseudo(&self, oid: u32) -> bool {
        self.types.get(&oid).is_none_or(|found| found.kind == TypeKind::Pseudo)
    }
}

impl Path {
    /// A schema's own name, where it is called as everybody calls the session's temporary one.
    pub(crate) fn own_name<'c>(&self, catalog: &'c Catalog, schema: &'c str) -> &'c str {
        match self.temporary {
            Some(own) if schema == "pg_temp" => catalog.schema_name(own),
            _ => schema,
        }
    }
}
