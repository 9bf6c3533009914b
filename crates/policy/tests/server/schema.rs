//! A random schema: what is in it, and the SQL that makes it. Names repeat across schemas, need
//! quotes or are folded; rows there are none, as rights are asked for before rows are.

use std::fmt::Write;

use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Text,
    Bool,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Text => "text",
            Self::Bool => "bool",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) of: Type,
    /// It can be given a value.
    pub(crate) written: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    View { invoker: bool },
    Materialized,
}

#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) columns: Vec<Column>,
    /// The first column is its primary key.
    pub(crate) key: bool,
    pub(crate) parents: Vec<usize>,
    /// What a view reads: relations, and columns of each.
    pub(crate) reads: Vec<(usize, Vec<&'static str>)>,
    pub(crate) calls: Vec<usize>,
    /// A view that can be written through, and its column names below.
    pub(crate) writable: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) schema: &'static str,
    pub(crate) name: String,
    pub(crate) owner: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Function,
    Aggregate,
    Procedure,
    /// In FROM.
    Rows,
    /// By its operator `<+>` alone, or by name.
    Operator,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<Type>,
    pub(crate) returns: Type,
    pub(crate) call: Call,
    pub(crate) definer: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) schemas: Vec<&'static str>,
    pub(crate) relations: Vec<Relation>,
    pub(crate) functions: Vec<Function>,
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) ddl: String,
}

const SCHEMAS: [&str; 4] = ["app", "Billing", "größe", "s 2"];
/// More than a single schema can get, so that a free one is found.
const RELATIONS: [&str; 12] = [
    "orders", "Items", "notes", "select", "a\"b", "überall", "t.u", "orders_2", "Table", "_", "x",
    "items",
];
const COLUMNS: [&str; 8] = ["a", "B", "secret", "user", "é", "x y", "b", "amount"];
const FUNCTIONS: [&str; 5] = ["f", "G", "calc", "upper", "run it"];

impl Schema {
    pub(crate) fn random(random: &mut Random, version: u32) -> Self {
        let schemas = random.at_least_one(&SCHEMAS, 60);
        let mut schema = Self { schemas, ..Self::default() };
        for name in &schema.schemas {
            writeln!(schema.ddl, "CREATE SCHEMA {};", quoted(name)).unwrap();
        }
        for _ in 0..2 + random.below(4) {
            schema.function(random);
        }
        for _ in 0..3 + random.below(3) {
            schema.table(random);
        }
        if random.percent(70) {
            schema.partitioned(random);
        }
        if random.percent(60) {
            schema.child(random);
        }
        for _ in 0..1 + random.below(4) {
            schema.view(random, version);
        }
        if random.percent(60) {
            schema.sequence(random);
        }
        schema
    }

    pub(crate) fn on(&self, relation: usize) -> String {
        let relation = &self.relations[relation];
        format!("{}.{}", quoted(relation.schema), quoted(relation.name))
    }

    /// Itself, and all that it inherits from.
    pub(crate) fn kin(&self, relation: usize) -> Vec<usize> {
        let mut kin = vec![relation];
        let mut at = 0;
        while let Some(one) = kin.get(at) {
            kin.extend(self.relations[*one].parents.clone());
            at += 1;
        }
        kin
    }

    pub(crate) fn descendants(&self, relation: usize) -> Vec<usize> {
        let all = 0..self.relations.len();
        all.filter(|other| *other != relation && self.kin(*other).contains(&relation)).collect()
    }

    fn place(&self, random: &mut Random, names: &[&'static str]) -> (&'static str, &'static str) {
        loop {
            let place = (*random.pick(&self.schemas), *random.pick(names));
            let sequence = |it: &Sequence| (it.schema, it.name.as_str()) == place;
            if !self.relations.iter().any(|it| (it.schema, it.name) == place)
                && !self.sequences.iter().any(sequence)
            {
                return place;
            }
        }
    }

    /// The key first, then others of any type.
    fn columns(random: &mut Random) -> Vec<Column> {
        let mut columns = vec![Column { name: "id", of: Type::Int, written: true }];
        for name in random.at_least_one(&COLUMNS, 35) {
            let of = *random.pick(&[Type::Int, Type::Int, Type::Text, Type::Text, Type::Bool]);
            columns.push(Column { name, of, written: true });
        }
        columns
    }

    fn table(&mut self, random: &mut Random) {
        let (schema, name) = self.place(random, &RELATIONS);
        let mut columns = Self::columns(random);
        let mut lines: Vec<String> = Vec::new();
        let mut sequence = false;
        let key = random.percent(85);
        let number = self.relations.len();
        let mut first = "id int".to_owned();
        if key {
            match random.below(4) {
                0 => {
                    first += " GENERATED BY DEFAULT AS IDENTITY";
                    sequence = true;
                }
                1 => {
                    first = "id serial".to_owned();
                    sequence = true;
                }
                2 => {
                    first += " GENERATED ALWAYS AS IDENTITY";
                    sequence = true;
                    columns[0].written = false;
                }
                _ => {}
            }
            first += " PRIMARY KEY";
        }
        lines.push(first);
        for column in columns.iter_mut().skip(1) {
            let mut line = format!("{} {}", quoted(column.name), column.of.name());
            if column.of == Type::Int && random.percent(12) {
                line += " GENERATED ALWAYS AS (id + 1) STORED";
                column.written = false;
            } else if random.percent(15) {
                line += match column.of {
                    Type::Int => " DEFAULT 7 CHECK (true)",
                    Type::Text => " DEFAULT 'x'",
                    Type::Bool => " NOT NULL DEFAULT true",
                };
            }
            let keyed: Vec<usize> = (0..number).filter(|it| self.relations[*it].key).collect();
            if column.of == Type::Int && column.written && !keyed.is_empty() && random.percent(25) {
                let target = *random.pick(&keyed);
                write!(line, " REFERENCES {} ON DELETE CASCADE", self.on(target)).unwrap();
            }
            lines.push(line);
        }
        let on = format!("{}.{}", quoted(schema), quoted(name));
        writeln!(self.ddl, "CREATE TABLE {on} ({});", lines.join(", ")).unwrap();
        if sequence {
            // As PostgreSQL names it.
            let name = format!("{name}_id_seq");
            self.sequences.push(Sequence { schema, name, owner: Some(number) });
        }
        self.relations.push(Relation {
            schema,
            name,
            kind: Kind::Table,
            columns,
            key,
            parents: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
            writable: None,
        });
    }

    fn partitioned(&mut self, random: &mut Random) {
        let columns = Self::columns(random);
        let lines: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {}", quoted(column.name), column.of.name()))
            .collect();
        let parent = self.plain(random, columns, Vec::new());
        let on = self.on(parent);
        writeln!(self.ddl, "CREATE TABLE {on} ({}) PARTITION BY RANGE (id);", lines.join(", "))
            .unwrap();
        let deep = random.percent(40);
        for (part, (bounds, by)) in [
            ("FOR VALUES FROM (MINVALUE) TO (1000000)", ""),
            ("DEFAULT", if deep { " PARTITION BY HASH (id)" } else { "" }),
        ]
        .into_iter()
        .enumerate()
        {
            let columns = self.relations[parent].columns.clone();
            let own = self.plain(random, columns, vec![parent]);
            let (of, part_on) = (self.on(parent), self.on(own));
            writeln!(self.ddl, "CREATE TABLE {part_on} PARTITION OF {of} {bounds}{by};").unwrap();
            if part == 1 && deep {
                let columns = self.relations[parent].columns.clone();
                let below = self.plain(random, columns, vec![own]);
                let below_on = self.on(below);
                writeln!(
                    self.ddl,
                    "CREATE TABLE {below_on} PARTITION OF {part_on} \
                     FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
                )
                .unwrap();
            }
        }
    }

    /// A table that inherits, with a column of its own.
    fn child(&mut self, random: &mut Random) {
        let tables: Vec<usize> =
            (0..self.relations.len()).filter(|it| self.relations[*it].parents.is_empty()).collect();
        let tables: Vec<usize> =
            tables.into_iter().filter(|it| self.descendants(*it).is_empty()).collect();
        let parent = *random.pick(&tables);
        let mut columns = self.relations[parent].columns.clone();
        // Identity isn't inherited, generated expressions are.
        columns[0].written = true;
        columns.push(Column { name: "own", of: Type::Text, written: true });
        let child = self.plain(random, columns, vec![parent]);
        let (on, of) = (self.on(child), self.on(parent));
        writeln!(self.ddl, "CREATE TABLE {on} (own text) INHERITS ({of});").unwrap();
    }

    fn plain(&mut self, random: &mut Random, columns: Vec<Column>, parents: Vec<usize>) -> usize {
        let (schema, name) = self.place(random, &RELATIONS);
        self.relations.push(Relation {
            schema,
            name,
            kind: Kind::Table,
            columns,
            key: false,
            parents,
            reads: Vec::new(),
            calls: Vec::new(),
            writable: None,
        });
        self.relations.len() - 1
    }

    fn view(&mut self, random: &mut Random, version: u32) {
        const VIEWS: [&str; 5] = ["v", "View 2", "report", "orders", "summary"];
        let (schema, name) = self.place(random, &VIEWS);
        let below = random.below(self.relations.len());
        let of = self.relations[below].clone();
        let shown = random.at_least_one(&of.columns, 60);
        let mut list: Vec<String> = shown.iter().map(|c| format!("x.{}", quoted(c.name))).collect();
        let mut names: Vec<String> = shown.iter().map(|c| quoted(c.name)).collect();
        let mut read: Vec<&'static str> = shown.iter().map(|c| c.name).collect();
        let mut columns = shown;
        let mut reads = Vec::new();
        let mut calls = Vec::new();
        let mut from = format!("{} x", self.on(below));
        let mut writable = matches!(of.kind, Kind::Table).then_some(below);
        if let Kind::View { .. } = of.kind {
            writable = of.writable.map(|_| below);
        }
        let has = |columns: &[Column], name: &str| columns.iter().any(|it| it.name == name);
        if !has(&columns, "joined") && random.percent(30) {
            // A join can't be written through.
            let other = random.below(self.relations.len());
            let column = random.pick(&self.relations[other].columns).clone();
            write!(from, " CROSS JOIN {} y", self.on(other)).unwrap();
            list.push(format!("y.{}", quoted(column.name)));
            names.push("joined".to_owned());
            reads.push((other, vec![column.name]));
            columns.push(Column { name: "joined", of: column.of, written: false });
            writable = None;
        }
        if !has(&columns, "called")
            && random.percent(25)
            && let Some(function) = self.callable(random, Call::Function)
        {
            let arguments = self.functions[function].arguments.iter();
            let literals: Vec<&str> = arguments.map(|of| literal(*of)).collect();
            list.push(format!("{}({})", self.function_on(function), literals.join(", ")));
            names.push("called".to_owned());
            let of = self.functions[function].returns;
            columns.push(Column { name: "called", of, written: false });
            calls.push(function);
        }
        if random.percent(40) {
            let column = random.pick(&of.columns);
            write!(from, " WHERE x.{} IS NOT NULL", quoted(column.name)).unwrap();
            read.push(column.name);
        }
        reads.insert(0, (below, read));
        let invoker = version >= 15 && random.percent(30);
        let kind = if random.percent(15) { Kind::Materialized } else { Kind::View { invoker } };
        if kind == Kind::Materialized {
            writable = None;
        }
        let what = match kind {
            Kind::Materialized => "MATERIALIZED VIEW",
            _ => "VIEW",
        };
        let options = match kind {
            Kind::View { invoker: true } => " WITH (security_invoker = true)",
            _ => "",
        };
        writeln!(
            self.ddl,
            "CREATE {what} {}.{} ({}){options} AS SELECT {} FROM {from};",
            quoted(schema),
            quoted(name),
            names.join(", "),
            list.join(", "),
        )
        .unwrap();
        if writable.is_none() {
            for column in &mut columns {
                column.written = false;
            }
        }
        self.relations.push(Relation {
            schema,
            name,
            kind,
            columns,
            key: false,
            parents: Vec::new(),
            reads,
            calls,
            writable,
        });
    }

    fn sequence(&mut self, random: &mut Random) {
        let (schema, name) = self.place(random, &["counter", "Next One"]);
        writeln!(self.ddl, "CREATE SEQUENCE {}.{};", quoted(schema), quoted(name)).unwrap();
        self.sequences.push(Sequence { schema, name: name.to_owned(), owner: None });
    }

    fn function(&mut self, random: &mut Random) {
        let schema = *random.pick(&self.schemas);
        let name = *random.pick(&FUNCTIONS);
        let kinds = [Call::Function, Call::Function, Call::Aggregate, Call::Procedure];
        let more = [Call::Rows, Call::Operator, Call::Function];
        let call = *random.pick(&[&kinds[..], &more[..]].concat());
        let of = *random.pick(&[Type::Int, Type::Text]);
        let arguments = match call {
            Call::Operator => vec![of, of],
            Call::Aggregate => vec![of],
            _ => random.some(&[of, Type::Int], 60),
        };
        let same = |it: &&Function| it.schema == schema && it.name == name;
        // One name is of one kind, and each overload of its own.
        if self.functions.iter().filter(same).any(|it| {
            it.arguments == arguments || it.call != call || it.arguments.len() != arguments.len()
        }) {
            return;
        }
        let operator = |it: &Function| {
            it.call == Call::Operator && it.schema == schema && it.arguments == arguments
        };
        if call == Call::Operator && self.functions.iter().any(operator) {
            return;
        }
        let definer = !matches!(call, Call::Aggregate) && random.percent(25);
        let function = Function { schema, name, arguments, returns: of, call, definer };
        self.functions.push(function);
        let number = self.functions.len() - 1;
        let on = self.function_on(number);
        let types = self.types(number);
        let definer = if definer { " SECURITY DEFINER" } else { "" };
        let of = of.name();
        let body = format!("AS $$ SELECT (SELECT ''||7 || pg_backend_pid())::{of} $$");
        // VOLATILE and not simple enough to be inlined or folded: PostgreSQL asks for the right
        // when it runs.
        let made = match call {
            Call::Function => {
                format!("CREATE FUNCTION {on}({types}) RETURNS {of} LANGUAGE sql{definer} {body};")
            }
            Call::Rows => format!(
                "CREATE FUNCTION {on}({types}) RETURNS SETOF {of} LANGUAGE sql{definer} {body};"
            ),
            Call::Procedure => {
                format!("CREATE PROCEDURE {on}({types}) LANGUAGE sql{definer} {body};")
            }
            Call::Aggregate => format!(
                "CREATE AGGREGATE {on}({types}) (SFUNC = {}, STYPE = {of});",
                if of == "int" { "int4larger" } else { "text_larger" },
            ),
            Call::Operator => format!(
                "CREATE FUNCTION {on}({types}) RETURNS {of} LANGUAGE sql{definer} {body}; \
                 CREATE OPERATOR {}.<+> (LEFTARG = {of}, RIGHTARG = {of}, FUNCTION = {on});",
                quoted(schema)
            ),
        };
        let kind = if call == Call::Procedure { "PROCEDURE" } else { "FUNCTION" };
        writeln!(self.ddl, "{made}\nREVOKE EXECUTE ON {kind} {on}({types}) FROM PUBLIC;").unwrap();
    }

    pub(crate) fn function_on(&self, function: usize) -> String {
        let function = &self.functions[function];
        format!("{}.{}", quoted(function.schema), quoted(function.name))
    }

    pub(crate) fn types(&self, function: usize) -> String {
        let types = self.functions[function].arguments.iter().map(|of| of.name());
        types.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn callable(&self, random: &mut Random, call: Call) -> Option<usize> {
        let all = 0..self.functions.len();
        let fit: Vec<usize> = all.filter(|it| self.functions[*it].call == call).collect();
        if fit.is_empty() { None } else { Some(*random.pick(&fit)) }
    }
}

pub(crate) fn literal(of: Type) -> &'static str {
    match of {
        Type::Int => "1",
        Type::Text => "'x'::text",
        Type::Bool => "true",
    }
}

/// Always in quotes: as names are written is the statements' business.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
