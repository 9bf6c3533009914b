//! The comparison: each statement is judged under each policy, and run by the policy's role.
//!
//! PostgreSQL's answer is its SQLSTATE: 42501 or anything else. What the superuser can't run either,
//! for a reason other than rights, says nothing. Where the two differ on purpose, [`Difference`]
//! says why; every other difference fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use e2e::{Database, Login, Server};
use policy::{Context, Opened, Policies, Refused, Scope, Subject, Verdict};
use sql::catalog::{Catalog, Names, RelationId};
use sql::facts::Facts;
use sql::parse::Limits;

use crate::database::{catalog, must, psql};
use crate::random::Random;
use crate::rules::{Grants, Rules};
use crate::schema::{Call, Schema, quoted};
use crate::statements::{Statement, statement};

const INSUFFICIENT_PRIVILEGE: &str = "42501";
const SUCCESS: &str = "00000";

/// Where a policy and PostgreSQL's rights differ on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// Refused here alone: a rule that leaves a child out means it through its parent, too. A
    /// GRANT on the parent reaches every row of its children.
    ChildLeftOut,
    /// Refused here alone: PostgreSQL asks for EXECUTE when a function is about to run, and its
    /// planner leaves out what no result needs. Of overloads that could be meant we ask for each.
    NotRun,
    /// Refused here alone: nextval and currval take `use`. PostgreSQL is content with UPDATE for the
    /// one and SELECT for the other.
    SequenceUse,
    /// Refused there alone: locking rows is what a writer does, so `delete` is enough for it.
    /// PostgreSQL asks for UPDATE.
    RowLock,
    /// ACCESS SHARE is what every SELECT takes, so any column that may be read is enough here, and
    /// nothing else is. PostgreSQL wants SELECT on the table, or from 16 on any right to write.
    ShareLock,
    /// Refused there alone: a rule that refuses columns says nothing of those of the system.
    /// Beside rights on columns PostgreSQL has none for these.
    SystemColumn,
    /// Refused there alone: a view that is named in full is granted as it stands, for writing. Of
    /// one with its invoker's rights PostgreSQL asks for rights on what is beneath.
    InvokerWrite,
    /// Refused there alone: defaults, checks and what is inside a view that is named in full are
    /// their owner's. PostgreSQL asks whoever runs the statement for EXECUTE and USAGE.
    CarriedCode,
}

/// One statement under one policy.
struct Case<'c> {
    statement: &'c Statement,
    facts: Option<&'c Facts>,
    refused: Option<Refused>,
    state: &'c str,
    message: &'c str,
}

#[derive(Default)]
struct Tally {
    allowed: usize,
    refused: usize,
    /// Statements that nobody can run.
    unable: usize,
    known: BTreeMap<Difference, usize>,
    unknown: Vec<String>,
}

pub(crate) fn compare(server: &Server, seeds: std::ops::Range<u64>) {
    let mut tally = Tally::default();
    for seed in seeds {
        one_schema(server, seed, &mut tally);
    }
    let Tally { allowed, refused, unable, known, unknown } = &tally;
    println!("{allowed} allowed, {refused} refused, {unable} that nobody can run; {known:?}");
    let shown = unknown.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>();
    assert!(unknown.is_empty(), "{} differ:\n{}", unknown.len(), shown.join("\n\n"));
    // That it compares something at all.
    assert!(*allowed > 100 && *refused > 100, "{allowed} allowed, {refused} refused");
    assert!(*unable < (allowed + refused) / 5, "{unable} of the statements aren't valid");
}

const SHOWN_MAX: usize = 25;
const POLICIES: usize = 8;
const STATEMENTS: usize = 70;

/// Roles are the server's; they go after the database whose rights they have.
struct Roles {
    admin: Login,
    database: Option<Database>,
    names: Vec<String>,
}

impl Drop for Roles {
    fn drop(&mut self) {
        drop(self.database.take());
        for name in &self.names {
            drop(self.admin.try_psql(&format!("DROP ROLE IF EXISTS {name}")));
        }
    }
}

fn one_schema(server: &Server, seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let schema = Schema::random(&mut random, server.version);
    let all_rules: Vec<Rules> =
        (0..POLICIES).map(|_| Rules::random(&schema, &mut random)).collect();
    let statements: Vec<Statement> =
        (0..STATEMENTS).map(|_| statement(&schema, &mut random)).collect();

    let database = server.database();
    let login = database.login();
    let roles = Roles {
        admin: server.admin(),
        names: (0..POLICIES).map(|it| format!("policy_{}_{it}", database.name)).collect(),
        database: Some(database),
    };
    must(&login, &schema.ddl);
    let catalog = Arc::new(catalog(&login));
    let mut script = String::new();
    for (name, rules) in roles.names.iter().zip(&all_rules) {
        let grants: Grants = rules.grants(&schema);
        writeln!(script, "CREATE ROLE {name};\n{}", grants.sql(&schema, name)).unwrap();
    }
    must(&login, &script);

    let path: Vec<String> = schema.schemas.iter().map(|name| quoted(name)).collect();
    let mut script = format!("\\o /dev/null\nSET search_path = {};\n", path.join(", "));
    for (number, statement) in statements.iter().enumerate() {
        let roles = roles.names.iter().enumerate().map(|(at, name)| (at + 1, Some(name)));
        for (at, role) in std::iter::once((0, None)).chain(roles) {
            // What stands in one line is one round trip.
            let role = role.map_or(String::new(), |name| format!("\\; SET LOCAL ROLE {name}"));
            writeln!(
                script,
                "BEGIN{role};\n{};\n{}\n\\echo {number} {at} :SQLSTATE :LAST_ERROR_MESSAGE",
                statement.text, statement.after
            )
            .unwrap();
            // A PREPARE outlives its transaction.
            script +=
                if statement.prepares { "ROLLBACK\\; DEALLOCATE ALL;\n" } else { "ROLLBACK;\n" };
        }
    }
    let printed = psql(&login, &script);
    let mut states: BTreeMap<(usize, usize), (&str, &str)> = BTreeMap::new();
    for line in printed.lines() {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (number, at, state) = (word(), word(), word());
        if let (Ok(number), Ok(at)) = (number.parse(), at.parse()) {
            states.insert((number, at), (state, words.next().unwrap_or_default()));
        }
    }

    let names = Names {
        search_path: &schema.schemas,
        user: "somebody",
        temporary: None,
        database: "somewhere",
    };
    for (number, statement) in statements.iter().enumerate() {
        let text = &statement.text;
        let parsed = sql::statements(text, &catalog, &names, &Limits::default());
        let (usual, _) = states[&(number, 0)];
        let facts = match parsed.map(|mut all| all.remove(0).facts) {
            Ok(Ok(facts)) => Some(facts),
            other => {
                // What nobody can run needs no facts.
                if usual == SUCCESS {
                    tally.unknown.push(format!("seed {seed}: no facts, {other:?}:\n  {text}"));
                }
                None
            }
        };
        for (at, rules) in all_rules.iter().enumerate() {
            let scope = scope(rules, &catalog);
            let (state, message) = states[&(number, at + 1)];
            let refused = match &facts {
                None => continue,
                Some(facts) => match scope.decide(facts, Context::default()) {
                    Verdict::Allow { .. } => None,
                    Verdict::Refuse(refused) => Some(refused),
                    Verdict::Hold { .. } => panic!("no rule holds"),
                },
            };
            let case = Case { statement, facts: facts.as_ref(), refused, state, message };
            tally.case(&case, usual, &schema, &catalog, || {
                format!("seed {seed}, policy {at}:\n{}\n{}", schema.ddl, rules.spelled())
            });
        }
    }
}

impl Tally {
    fn case(
        &mut self,
        case: &Case<'_>,
        usual: &str,
        schema: &Schema,
        catalog: &Catalog,
        of: impl Fn() -> String,
    ) {
        let by_server = case.state == INSUFFICIENT_PRIVILEGE;
        if !by_server && usual != SUCCESS && case.refused.is_some() {
            self.unable += 1;
            return;
        }
        match (&case.refused, by_server) {
            (Some(_), true) => self.refused += 1,
            (None, false) if case.state == usual => self.allowed += 1,
            _ => match case.known(schema, catalog) {
                Some(difference) => *self.known.entry(difference).or_default() += 1,
                None => {
                    let here = match &case.refused {
                        Some(refused) => format!("refused: {}", refused.sentence),
                        None => "allowed".to_owned(),
                    };
                    self.unknown.push(format!(
                        "{}  {}\n  here {here}\n  there {} {} (superuser: {usual})",
                        of(),
                        case.statement.text,
                        case.state,
                        case.message,
                    ));
                }
            },
        }
    }
}

impl Case<'_> {
    fn known(&self, schema: &Schema, catalog: &Catalog) -> Option<Difference> {
        let text = &self.statement.text;
        match &self.refused {
            Some(_) if text.ends_with("WITH NO DATA") => Some(Difference::NotRun),
            Some(_) if text.starts_with("LOCK ") => Some(Difference::ShareLock),
            Some(refused) => {
                if text.starts_with("SELECT nextval(") || text.starts_with("SELECT currval(") {
                    return Some(Difference::SequenceUse);
                }
                let functions = |verb: &str| matches!(verb, "use" | "call");
                if refused.missing.iter().all(|missing| functions(&missing.verb)) {
                    return Some(Difference::NotRun);
                }
                let below = self.children(catalog);
                let child = |object: &str| {
                    below.iter().any(|name| {
                        object
                            .strip_prefix(name.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', ' ']))
                    })
                };
                let each =
                    |missing: &policy::Missing| functions(&missing.verb) || child(&missing.object);
                refused.missing.iter().all(each).then_some(Difference::ChildLeftOut)
            }
            None => {
                let code = ["permission denied for function ", "permission denied for sequence "];
                if let Some(name) = code.iter().find_map(|it| self.message.strip_prefix(it)) {
                    // An operator calls a function without its name.
                    let operator = text.contains("<+>")
                        && schema
                            .functions
                            .iter()
                            .any(|it| it.call == Call::Operator && it.name == name);
                    let called = operator || text.contains(&quoted(name));
                    return (!called).then_some(Difference::CarriedCode);
                }
                if self.writes_as_invoker(catalog) {
                    return Some(Difference::InvokerWrite);
                }
                if text.starts_with("LOCK ") {
                    return Some(Difference::ShareLock);
                }
                let relations = self.facts.iter().flat_map(|facts| &facts.relations);
                if relations.filter_map(|used| used.read.as_ref()).any(|read| read.system) {
                    return Some(Difference::SystemColumn);
                }
                (self.statement.locks_rows && self.state == INSUFFICIENT_PRIVILEGE)
                    .then_some(Difference::RowLock)
            }
        }
    }

    /// Whether it writes to a view that reads with the rights of who asks, or one that reads such.
    fn writes_as_invoker(&self, catalog: &Catalog) -> bool {
        let written = self.facts.iter().flat_map(|facts| &facts.relations);
        let written = written.filter(|it| it.insert.is_some() || it.update.is_some() || it.delete);
        let mut views = written.filter_map(|used| used.relation);
        views.any(|id| catalog.beneath(id).iter().any(|beneath| !beneath.as_owner))
    }

    /// Names of what is below the relations that the statement names or that views of it read.
    fn children(&self, catalog: &Catalog) -> BTreeSet<String> {
        let facts = self.facts.iter();
        let mut open: Vec<RelationId> =
            facts.flat_map(|facts| facts.relations.iter().filter_map(|it| it.relation)).collect();
        let mut names = BTreeSet::new();
        while let Some(id) = open.pop() {
            for child in catalog.relation(id).into_iter().flat_map(|it| it.children.clone()) {
                open.push(child);
                let child = catalog.relation(child).unwrap();
                let (schema, name) = (catalog.schema_name(child.schema), &child.name);
                names.insert(format!("{}.{}", spelled(schema), spelled(name)));
            }
        }
        names
    }
}

/// As the policy says names in a refusal: in quotes where they need them.
fn spelled(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || !c.is_ascii();
    if name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

fn scope(rules: &Rules, catalog: &Arc<Catalog>) -> Scope {
    let policies = Policies::new(rules.written())
        .unwrap_or_else(|problems| panic!("{problems:?}\n{}", rules.spelled()));
    let who = Subject {
        name: None,
        issuer: "issuer",
        subject: "subject",
        groups: &[],
        claims: &BTreeMap::new(),
    };
    match policies.open(&who, "database") {
        Opened::Open(force) => force.scope(catalog),
        other => panic!("{other:?}"),
    }
}
