//! Random statements over a schema. They are built to be valid; those that aren't PostgreSQL sorts
//! out by itself, as the superuser can't run them either.

use crate::random::Random;
use crate::schema::{Call, Column, Kind, Schema, Type, literal, quoted};

pub(crate) struct Statement {
    pub(crate) text: String,
    /// What has to come after it in a script: the data of a COPY, the EXECUTE of a PREPARE.
    pub(crate) after: &'static str,
    pub(crate) prepares: bool,
    /// FOR UPDATE and its kin.
    pub(crate) locks_rows: bool,
}

/// What a column can be called by in an expression.
#[derive(Clone)]
struct Visible {
    alias: String,
    columns: Vec<Column>,
    /// The alias stands for rows of a relation with system columns.
    table: bool,
}

pub(crate) struct Writer<'w> {
    schema: &'w Schema,
    random: &'w mut Random,
    aliases: usize,
    locks_rows: bool,
}

/// Calls and queries inside each other.
const DEPTH_MAX: usize = 3;

pub(crate) fn statement(schema: &Schema, random: &mut Random) -> Statement {
    let mut writer = Writer { schema, random, aliases: 0, locks_rows: false };
    let (text, after) = writer.statement();
    Statement { prepares: text.starts_with("PREPARE "), text, after, locks_rows: writer.locks_rows }
}

impl Writer<'_> {
    fn statement(&mut self) -> (String, &'static str) {
        match self.random.below(20) {
            0..5 => (self.outer_select(), ""),
            5..11 => (self.write(), ""),
            11 => {
                let write = self.write();
                let select = self.select(1, 1);
                let name = self.alias();
                if write.contains(" RETURNING ") {
                    return (format!("WITH {name} AS ({write}) SELECT * FROM {name}"), "");
                }
                (format!("WITH {name} AS ({write}) {select}"), "")
            }
            12 => self.copy(),
            13 => (self.truncate(), ""),
            14 => {
                let only = self.only();
                let on = self.relation_name();
                (format!("LOCK TABLE {only}{on} IN ACCESS SHARE MODE"), "")
            }
            15 => {
                let analyze = if self.random.percent(30) { "ANALYZE " } else { "" };
                let inner =
                    if self.random.percent(50) { self.write() } else { self.outer_select() };
                (format!("EXPLAIN {analyze}{inner}"), "")
            }
            16 => {
                let inner =
                    if self.random.percent(50) { self.write() } else { self.outer_select() };
                (format!("PREPARE prepared AS {inner}"), "EXECUTE prepared;")
            }
            17 => (format!("DECLARE cursor_1 CURSOR FOR {}", self.outer_select()), ""),
            18 => (self.sequence(), ""),
            _ => (self.call_or_create(), ""),
        }
    }

    fn call_or_create(&mut self) -> String {
        if self.random.percent(50)
            && let Some(procedure) = self.schema.callable(self.random, Call::Procedure)
        {
            let arguments = self.arguments(procedure, &[], 2);
            return format!("CALL {}({arguments})", self.schema.function_on(procedure));
        }
        let schema = *self.random.pick(&self.schema.schemas);
        let on = format!("{}.made", quoted(schema));
        let select = self.select(1, 2);
        match self.random.below(3) {
            0 => format!("CREATE TABLE {on} (made_1, made_2) AS {}", self.select(2, 1)),
            1 => format!("CREATE TABLE {on} (made_1) AS {select} WITH NO DATA"),
            _ => {
                let (from, visible) = self.items(1);
                let value = self.any_value(&visible, 1);
                format!("SELECT {value} AS made_1 INTO {on} FROM {from}")
            }
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("q{}", self.aliases)
    }

    /// A name, with or without its schema, quoted or not.
    fn relation_name(&mut self) -> String {
        let relation = self.random.below(self.schema.relations.len());
        self.named(relation)
    }

    fn named(&mut self, relation: usize) -> String {
        let of = &self.schema.relations[relation];
        let name = self.spelled(of.name);
        // Unqualified it may be another one, which is as good.
        if self.random.percent(25) { name } else { format!("{}.{name}", self.spelled(of.schema)) }
    }

    fn spelled(&mut self, name: &str) -> String {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name != "select";
        match self.random.below(3) {
            0 if plain && name != "user" => name.to_uppercase(),
            1 if plain && name != "user" => name.to_owned(),
            _ => quoted(name),
        }
    }

    fn only(&mut self) -> &'static str {
        if self.random.percent(12) { "ONLY " } else { "" }
    }

    /// Something to stand in FROM, and what it shows.
    fn item(&mut self, depth: usize) -> (String, Visible) {
        let alias = self.alias();
        if depth < DEPTH_MAX && self.random.percent(15) {
            let wide = 1 + self.random.below(2);
            let of: Vec<Type> =
                (0..wide).map(|_| *self.random.pick(&[Type::Int, Type::Text])).collect();
            let select = self.select_of(&of, depth + 1);
            let names = ["s1", "s2"];
            let columns = of
                .iter()
                .zip(names)
                .map(|(of, name)| Column { name, of: *of, written: false })
                .collect();
            let list = names[..wide].join(", ");
            let text = format!("({select}) {alias} ({list})");
            return (text, Visible { alias, columns, table: false });
        }
        if self.random.percent(8)
            && let Some(function) = self.schema.callable(self.random, Call::Rows)
        {
            let arguments = self.arguments(function, &[], depth + 1);
            let of = self.schema.functions[function].returns;
            let text = format!("{}({arguments}) {alias} (r)", self.schema.function_on(function));
            let columns = vec![Column { name: "r", of, written: false }];
            return (text, Visible { alias, columns, table: false });
        }
        let relation = self.random.below(self.schema.relations.len());
        let only = self.only();
        let name = self.named(relation);
        let of = &self.schema.relations[relation];
        let table = of.kind == Kind::Table;
        let sample = if table && self.random.percent(4) { " TABLESAMPLE SYSTEM (50)" } else { "" };
        let text = format!("{only}{name} AS {alias}{sample}");
        (text, Visible { alias, columns: of.columns.clone(), table })
    }

    fn items(&mut self, depth: usize) -> (String, Vec<Visible>) {
        let (mut text, first) = self.item(depth);
        let mut visible = vec![first];
        if self.random.percent(if depth > 1 { 20 } else { 35 }) {
            let (other, shown) = self.item(depth);
            let shared: Vec<&'static str> = {
                let names = shown.columns.iter().map(|column| (column.name, column.of));
                let own = &visible[0].columns;
                names
                    .filter(|(name, of)| own.iter().any(|c| c.name == *name && c.of == *of))
                    .map(|(name, _)| name)
                    .collect()
            };
            visible.push(shown);
            let kind = *self.random.pick(&["JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN"]);
            text = match self.random.below(5) {
                0 => format!("{text}, {other}"),
                1 if !shared.is_empty() => {
                    format!("{text} {kind} {other} USING ({})", quoted(shared[0]))
                }
                2 => format!("{text} NATURAL JOIN {other}"),
                3 if !shared.is_empty() => {
                    let name = quoted(shared[0]);
                    let (a, b) = (&visible[0].alias, &visible[1].alias);
                    format!("{text} {kind} {other} ON {a}.{name} = {b}.{name}")
                }
                _ => {
                    let on = self.value(Type::Bool, &visible, depth + 1);
                    format!("{text} LEFT JOIN {other} ON {on}")
                }
            };
        }
        (text, visible)
    }

    /// With all that only the outermost can have.
    fn outer_select(&mut self) -> String {
        match self.random.below(12) {
            0 => {
                let name = self.alias();
                let inner = self.select_of(&[Type::Int, Type::Text], 1);
                let (from, visible) = self.items(1);
                let value = self.any_value(&visible, 1);
                format!(
                    "WITH {name} (c1, c2) AS ({inner}) SELECT {name}.c1, {name}.c2, {value} \
                     FROM {name}, {from}"
                )
            }
            1 => {
                let name = self.relation_name();
                format!("TABLE {name}")
            }
            2 => {
                let (a, b) = (self.select(1, 1), self.select(1, 1));
                let operator = *self.random.pick(&["UNION ALL", "UNION", "EXCEPT", "INTERSECT"]);
                format!("({a}) {operator} ({b})")
            }
            3 => {
                let (from, visible) = self.items(1);
                let alias = &visible[0].alias;
                let value = *self.random.pick(&["count(*)", "1", "count(1)", "*", "count(ROW)"]);
                let value = match value {
                    "*" => format!("{alias}.*"),
                    "count(ROW)" => format!("count({alias})"),
                    value => value.to_owned(),
                };
                format!("SELECT {value} FROM {from}")
            }
            4 => {
                let (from, visible) = self.items(1);
                let of = visible.iter().find(|it| it.table);
                let Some(of) = of else { return format!("SELECT FROM {from}") };
                let system = *self.random.pick(&["ctid", "xmin", "tableoid"]);
                format!("SELECT {}.{system} FROM {from}", of.alias)
            }
            5 => {
                let (from, visible) = self.item(3);
                let value = self.any_value(std::slice::from_ref(&visible), 2);
                self.locks_rows = true;
                let lock = *self.random.pick(&["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]);
                format!("SELECT {value} FROM {from} FOR {lock} OF {}", visible.alias)
            }
            _ => {
                let wide = 1 + self.random.below(3);
                self.select(wide, 0)
            }
        }
    }

    fn select(&mut self, wide: usize, depth: usize) -> String {
        let of: Vec<Type> =
            (0..wide).map(|_| *self.random.pick(&[Type::Int, Type::Text, Type::Int])).collect();
        if wide == 1 { self.select_of(&[Type::Int], depth) } else { self.select_of(&of, depth) }
    }

    fn select_of(&mut self, of: &[Type], depth: usize) -> String {
        let (from, visible) = self.items(depth + 1);
        let grouped = depth < 2 && self.random.percent(12);
        if grouped {
            // One aggregate for each, and a key that may not be shown.
            let key = self.any_value(&visible, DEPTH_MAX);
            let list: Vec<String> = of
                .iter()
                .map(|of| {
                    let value = self.value(*of, &visible, DEPTH_MAX);
                    let own = self.schema.callable(self.random, Call::Aggregate);
                    let own = own.filter(|it| self.schema.functions[*it].returns == *of);
                    match own {
                        Some(own) => format!("{}({value})", self.schema.function_on(own)),
                        None => format!("max({value})"),
                    }
                })
                .collect();
            return format!("SELECT {} FROM {from} GROUP BY {key}", list.join(", "));
        }
        let list: Vec<String> = of.iter().map(|of| self.value(*of, &visible, depth + 1)).collect();
        let mut text = format!("SELECT {} FROM {from}", list.join(", "));
        if self.random.percent(45) {
            text += &format!(" WHERE {}", self.value(Type::Bool, &visible, depth + 1));
        }
        if self.random.percent(12) {
            text += &format!(" ORDER BY {}", self.value(Type::Int, &visible, DEPTH_MAX));
        }
        if self.random.percent(8) {
            text += " LIMIT 3";
        }
        text
    }

    fn any_value(&mut self, visible: &[Visible], depth: usize) -> String {
        let of = *self.random.pick(&[Type::Int, Type::Text, Type::Bool]);
        self.value(of, visible, depth)
    }

    /// An expression. Nothing in it is constant enough for the planner to leave other parts out.
    fn value(&mut self, of: Type, visible: &[Visible], depth: usize) -> String {
        if depth < DEPTH_MAX && self.random.percent(12) {
            return self.inner_query(of, visible, depth + 1);
        }
        if depth <= DEPTH_MAX && self.random.percent(30) {
            return self.operation(of, visible, depth + 1);
        }
        let shown: Vec<(usize, &Column)> = visible
            .iter()
            .enumerate()
            .flat_map(|(at, it)| it.columns.iter().map(move |column| (at, column)))
            .filter(|(_, column)| column.of == of)
            .collect();
        if shown.is_empty() {
            return literal(of).to_owned();
        }
        let (at, column) = *self.random.pick(&shown);
        let (alias, name) = (&visible[at].alias, column.name);
        if visible.len() == 1 && self.random.percent(30) {
            return quoted(name);
        }
        format!("{alias}.{}", quoted(name))
    }

    fn inner_query(&mut self, of: Type, visible: &[Visible], depth: usize) -> String {
        match of {
            Type::Bool => {
                let (from, shown) = self.item(depth);
                let alias = &shown.alias;
                let inner = [visible, std::slice::from_ref(&shown)].concat();
                match self.random.below(2) {
                    0 => {
                        let on = self.value(Type::Bool, &inner, DEPTH_MAX);
                        format!("EXISTS (SELECT FROM {from} WHERE {on})")
                    }
                    _ => {
                        let left = self.value(Type::Int, visible, DEPTH_MAX);
                        let ints = shown.columns.iter().find(|column| column.of == Type::Int);
                        let right = ints.map_or("1".to_owned(), |column| {
                            format!("{alias}.{}", quoted(column.name))
                        });
                        format!("{left} IN (SELECT {right} FROM {from})")
                    }
                }
            }
            of => {
                let (from, shown) = self.item(depth);
                let inner = [visible, std::slice::from_ref(&shown)].concat();
                let value = self.value(of, &inner, DEPTH_MAX);
                format!("(SELECT {value} FROM {from} LIMIT 1)")
            }
        }
    }

    fn operation(&mut self, of: Type, visible: &[Visible], depth: usize) -> String {
        let call = if self.random.percent(50) { Call::Function } else { Call::Operator };
        if self.random.percent(35)
            && let Some(function) = self.schema.callable(self.random, call)
            && self.schema.functions[function].returns == of
        {
            let own = &self.schema.functions[function];
            if call == Call::Operator && self.random.percent(70) {
                let (a, b) =
                    (self.value(of, visible, depth + 1), self.value(of, visible, depth + 1));
                return format!("({a} OPERATOR({}.<+>) {b})", quoted(own.schema));
            }
            let arguments = self.arguments(function, visible, depth);
            return format!("{}({arguments})", self.schema.function_on(function));
        }
        let mut value = |of| self.value(of, visible, depth);
        match of {
            Type::Int => match value(Type::Bool) {
                // One that is always true would leave the other branch out.
                condition if condition.contains('"') && !condition.contains(" IS NOT NULL") => {
                    let (a, b) = (value(Type::Int), value(Type::Int));
                    format!("(CASE WHEN {condition} THEN {a} ELSE {b} END)")
                }
                _ => match value(Type::Text) {
                    text if text.len() % 2 == 0 => format!("length({text})"),
                    _ => format!("({} + {})", value(Type::Int), value(Type::Int)),
                },
            },
            Type::Text => match value(Type::Text) {
                text if text.len() % 2 == 0 => format!("upper({text})"),
                text => format!("({text} || {})", value(Type::Int)),
            },
            Type::Bool => match value(Type::Int) {
                number if number.len() % 3 == 0 => format!("({number} > {})", value(Type::Int)),
                number if number.len() % 3 == 1 => format!("({number} IS NOT NULL)"),
                _ => {
                    let rows: Vec<&Visible> = visible.iter().filter(|it| it.table).collect();
                    match rows.first() {
                        Some(row) if self.random.percent(15) => {
                            format!("({}.* IS NOT NULL)", row.alias)
                        }
                        _ => {
                            let text = self.value(Type::Text, visible, depth);
                            format!("({text} LIKE 'a%')")
                        }
                    }
                }
            },
        }
    }

    fn arguments(&mut self, function: usize, visible: &[Visible], depth: usize) -> String {
        let types = self.schema.functions[function].arguments.clone();
        let list: Vec<String> =
            types.iter().map(|of| self.value(*of, visible, depth + 1)).collect();
        list.join(", ")
    }

    fn write(&mut self) -> String {
        let relation = self.random.below(self.schema.relations.len());
        // A view that can't be written through says so before it asks for rights.
        let of = &self.schema.relations[relation];
        if of.kind != Kind::Table && of.writable.is_none() && self.random.percent(90) {
            return self.write();
        }
        match self.random.below(10) {
            0..3 => self.insert(relation),
            3..6 => self.update(relation),
            6..8 => self.delete(relation),
            _ => self.merge(relation),
        }
    }

    fn target(&mut self, relation: usize, alone: bool) -> (String, Visible) {
        let alias = self.alias();
        let name = self.named(relation);
        let only = if alone { "" } else { self.only() };
        let of = &self.schema.relations[relation];
        let visible = Visible {
            alias: alias.clone(),
            columns: of.columns.clone(),
            table: of.kind == Kind::Table,
        };
        (format!("{only}{name} AS {alias}"), visible)
    }

    fn returning(&mut self, target: &Visible) -> String {
        match self.random.below(8) {
            0 => format!(" RETURNING {}.*", target.alias),
            1 | 2 => {
                let value = self.any_value(std::slice::from_ref(target), 2);
                format!(" RETURNING {value} AS returned")
            }
            _ => String::new(),
        }
    }

    fn insert(&mut self, relation: usize) -> String {
        let (text, target) = self.target(relation, true);
        let writable: Vec<Column> =
            target.columns.iter().filter(|column| column.written).cloned().collect();
        if writable.is_empty() || self.random.percent(6) {
            return format!("INSERT INTO {text} DEFAULT VALUES{}", self.returning(&target));
        }
        let columns = self.random.at_least_one(&writable, 55);
        let names: Vec<String> = columns.iter().map(|column| quoted(column.name)).collect();
        let list = format!(" ({})", names.join(", "));
        let of: Vec<Type> = columns.iter().map(|column| column.of).collect();
        let source = if self.random.percent(40) {
            self.select_of(&of, 1)
        } else {
            let values: Vec<String> = of
                .iter()
                .map(|of| {
                    if self.random.percent(15) {
                        "DEFAULT".to_owned()
                    } else {
                        self.value(*of, &[], 1)
                    }
                })
                .collect();
            format!("VALUES ({})", values.join(", "))
        };
        let conflict = self.conflict(relation, &target);
        let returning = self.returning(&target);
        format!("INSERT INTO {text}{list} {source}{conflict}{returning}")
    }

    fn conflict(&mut self, relation: usize, target: &Visible) -> String {
        if !self.schema.relations[relation].key || self.random.percent(60) {
            return String::new();
        }
        let on = match self.random.below(3) {
            0 => String::new(),
            1 => "(id) ".to_owned(),
            _ => {
                let name = format!("{}_pkey", self.schema.relations[relation].name);
                format!("ON CONSTRAINT {} ", quoted(&name))
            }
        };
        if on.is_empty() || self.random.percent(40) {
            return format!(" ON CONFLICT {on}DO NOTHING");
        }
        let set = self.set(target, std::slice::from_ref(target));
        let with = Visible { alias: "excluded".to_owned(), ..target.clone() };
        let also = match self.random.percent(40) {
            true => {
                let both = [target.clone(), with];
                format!(" WHERE {}", self.value(Type::Bool, &both, 2))
            }
            false => String::new(),
        };
        format!(" ON CONFLICT {on}DO UPDATE SET {set}{also}")
    }

    /// `a = 1, b = c`.
    fn set(&mut self, target: &Visible, visible: &[Visible]) -> String {
        let writable: Vec<Column> =
            target.columns.iter().filter(|column| column.written).cloned().collect();
        if writable.is_empty() {
            return "id = DEFAULT".to_owned();
        }
        let columns = self.random.at_least_one(&writable, 30);
        if columns.len() > 1 && self.random.percent(20) {
            let names: Vec<String> = columns.iter().map(|column| quoted(column.name)).collect();
            let of: Vec<Type> = columns.iter().map(|column| column.of).collect();
            return format!("({}) = ({})", names.join(", "), self.select_of(&of, 2));
        }
        let each = columns.iter().map(|column| {
            let value = match self.random.below(4) {
                0 => "DEFAULT".to_owned(),
                1 => literal(column.of).to_owned(),
                _ => self.value(column.of, visible, 1),
            };
            format!("{} = {value}", quoted(column.name))
        });
        each.collect::<Vec<_>>().join(", ")
    }

    fn update(&mut self, relation: usize) -> String {
        let (text, target) = self.target(relation, false);
        let mut visible = vec![target.clone()];
        let mut from = String::new();
        if self.random.percent(25) {
            let (other, shown) = self.item(2);
            from = format!(" FROM {other}");
            visible.push(shown);
        }
        let set = self.set(&target, &visible);
        let condition = match self.random.percent(50) {
            true => format!(" WHERE {}", self.value(Type::Bool, &visible, 1)),
            false => String::new(),
        };
        let returning = self.returning(&target);
        format!("UPDATE {text} SET {set}{from}{condition}{returning}")
    }

    fn delete(&mut self, relation: usize) -> String {
        let (text, target) = self.target(relation, false);
        let mut visible = vec![target.clone()];
        let mut using = String::new();
        if self.random.percent(25) {
            let (other, shown) = self.item(2);
            using = format!(" USING {other}");
            visible.push(shown);
        }
        let condition = match self.random.percent(50) {
            true => format!(" WHERE {}", self.value(Type::Bool, &visible, 1)),
            false => String::new(),
        };
        let returning = self.returning(&target);
        format!("DELETE FROM {text}{using}{condition}{returning}")
    }

    fn merge(&mut self, relation: usize) -> String {
        let (text, target) = self.target(relation, false);
        let (source, shown) = self.item(2);
        let both = [target.clone(), shown.clone()];
        let on = self.value(Type::Bool, &both, 2);
        let mut text = format!("MERGE INTO {text} USING {source} ON {on}");
        let also = match self.random.percent(30) {
            true => format!(" AND {}", self.value(Type::Bool, &both, 2)),
            false => String::new(),
        };
        match self.random.below(4) {
            0 => text += &format!(" WHEN MATCHED{also} THEN DELETE"),
            1 => text += &format!(" WHEN MATCHED{also} THEN DO NOTHING"),
            _ => {
                let set = self.set(&target, &both);
                text += &format!(" WHEN MATCHED{also} THEN UPDATE SET {set}");
            }
        }
        let writable: Vec<Column> =
            target.columns.iter().filter(|column| column.written).cloned().collect();
        if !writable.is_empty() && self.random.percent(50) {
            let columns = self.random.at_least_one(&writable, 50);
            let names: Vec<String> = columns.iter().map(|column| quoted(column.name)).collect();
            let of: Vec<Type> = columns.iter().map(|column| column.of).collect();
            let values: Vec<String> =
                of.iter().map(|of| self.value(*of, std::slice::from_ref(&shown), 2)).collect();
            text += &format!(
                " WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
                names.join(", "),
                values.join(", ")
            );
        }
        text
    }

    fn copy(&mut self) -> (String, &'static str) {
        let relation = self.random.below(self.schema.relations.len());
        let on = self.named(relation);
        let columns: Vec<Column> = self.schema.relations[relation].columns.clone();
        let written: Vec<Column> = columns.into_iter().filter(|column| column.written).collect();
        let mut list = String::new();
        if !written.is_empty() && self.random.percent(60) {
            let some = self.random.at_least_one(&written, 50);
            let names: Vec<String> = some.iter().map(|column| quoted(column.name)).collect();
            list = format!(" ({})", names.join(", "));
        }
        match self.random.below(3) {
            0 => (format!("COPY {on}{list} FROM STDIN"), "\\."),
            1 => (format!("COPY {on}{list} TO STDOUT"), ""),
            _ => {
                let inner =
                    if self.random.percent(70) { self.outer_select() } else { self.write() };
                (format!("COPY ({inner}) TO STDOUT"), "")
            }
        }
    }

    fn truncate(&mut self) -> String {
        let only = self.only();
        let mut names = self.relation_name();
        if self.random.percent(30) {
            names = format!("{names}, {}", self.relation_name());
        }
        let cascade = if self.random.percent(50) { " CASCADE" } else { "" };
        format!("TRUNCATE {only}{names}{cascade}")
    }

    fn sequence(&mut self) -> String {
        if self.schema.sequences.is_empty() {
            return self.outer_select();
        }
        let sequence = self.random.pick(&self.schema.sequences);
        let on = format!("{}.{}", quoted(sequence.schema), quoted(&sequence.name));
        match self.random.below(5) {
            0 => format!("SELECT last_value, is_called FROM {on}"),
            1 => format!("SELECT setval('{on}', 5)"),
            2 => format!("SELECT currval('{on}')"),
            _ => format!("SELECT nextval('{on}')"),
        }
    }
}
