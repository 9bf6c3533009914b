//! Cases that a person can read: policies, who asks, statements, and what comes of each.
//! `UPDATE_GOLDEN=1` writes the verdicts into the files; the difference is to be reviewed.
//!
//! The catalog is `catalog.txt`. A paragraph of a case file is one of these:
//!
//! - `policy NAME`, and below it `who: …`, `to: …`, `access: none|asks [WINDOW]`, rules as `allow VERBS:
//!   OBJECTS [except OBJECTS] [if CONDITIONS]` (and `hold`, `refuse`), limits as `limit KEY: VALUE`.
//!   Without `who`, `to` and `access` it opens for all. Policies that follow one another are one
//!   file; the first after anything else begins a new one.
//! - `as NAME [group:… | claim.X:…]… [on CONNECTION]`: who asks from here on.
//! - `scope RULES`: what narrows the policies from here on, and below it what that comes to.
//! - Lines that start with `> `: a text. Behind it stand its verdicts.
//!
//! Lines with `# ` are comments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    dead_code,
    reason = "tests fail by panicking, and so does what they are built on"
)]

#[path = "../../../sql/tests/facts/snapshot.rs"]
mod snapshot;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use policy::written::{Access, Approval, Place, Policy, Rule, Text, Who};
use policy::{Check, Context, Narrow, Opened, Policies, RuleRef, Scope, Subject, Then, Verdict};
use sql::catalog::{Catalog, Names};
use sql::parse::Limits;
use sql::shape::Shape;

#[test]
fn cases() {
    let catalog = Arc::new(snapshot::read(include_str!("catalog.txt")));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/cases");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut wrong, mut count) = (Vec::new(), 0);
    let with_parameters = Rc::<Cell<usize>>::default();
    for path in files {
        let expected = std::fs::read_to_string(&path).unwrap();
        let file = File { with_parameters: with_parameters.clone(), ..File::default() };
        let found = file.judged(&expected, &catalog, &mut count);
        if found != expected {
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &found).unwrap();
            } else {
                wrong.push(format!("{}:\n{found}", path.display()));
            }
        }
    }
    assert!(count > 200, "{count}");
    assert!(with_parameters.get() > 10, "{with_parameters:?}");
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts this:\n{}", wrong.join("\n\n"));
}

/// A rule can name every command that facts can name.
#[test]
fn commands_have_their_names() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/tests/facts/cases");
    let mut count = 0;
    for file in std::fs::read_dir(cases).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().map(str::trim) {
            let does = ["create", "alter", "drop", "comment", "maintain", "other"];
            let Some((effect, rest)) = line.split_once(" \"") else { continue };
            if !does.contains(&effect) {
                continue;
            }
            let (name, _) = rest.split_once('"').unwrap();
            let policy = policy(&["policy p", &format!("allow {name}: *")]);
            assert_eq!(Policies::new(vec![policy]).err(), None, "{line}");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

/// A file as far as it was read.
struct File {
    written: Vec<Policy>,
    /// A statement came since the last policy.
    judged: bool,
    name: String,
    groups: Vec<String>,
    claims: BTreeMap<String, String>,
    connection: String,
    narrow: Option<Arc<Narrow>>,
    /// Texts that were judged with parameters, too.
    with_parameters: Rc<Cell<usize>>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            written: Vec::new(),
            judged: false,
            name: "agent".to_owned(),
            groups: Vec::new(),
            claims: BTreeMap::new(),
            connection: "shop".to_owned(),
            narrow: None,
            with_parameters: Rc::default(),
        }
    }
}

impl File {
    fn judged(mut self, cases: &str, catalog: &Arc<Catalog>, count: &mut usize) -> String {
        let mut found = String::new();
        for (at, paragraph) in cases.split("\n\n").enumerate() {
            if at > 0 {
                found.push('\n');
            }
            let mut sql = String::new();
            let mut said = Vec::new();
            for line in paragraph.lines().filter(|line| !line.starts_with("! ")) {
                // What is neither indented nor a verdict is kept.
                let is_verdict = line.starts_with("  ")
                    && !paragraph.contains("\npolicy ")
                    && !paragraph.starts_with("policy ");
                if is_verdict || line.starts_with("! ") {
                    continue;
                }
                writeln!(found, "{line}").unwrap();
                if let Some(text) = line.strip_prefix("> ") {
                    sql = if sql.is_empty() { text.to_owned() } else { format!("{sql}\n{text}") };
                } else if !line.starts_with("# ") && !line.is_empty() {
                    said.push(line);
                }
            }
            match said.first() {
                Some(first) if first.starts_with("policy ") => {
                    if self.judged {
                        let with_parameters = self.with_parameters;
                        self = Self { with_parameters, ..Self::default() };
                    }
                    self.written.push(policy(&said));
                    let read = Policies::new(self.written.clone());
                    for problem in read.err().unwrap_or_default() {
                        writeln!(found, "! {}", problem.message).unwrap();
                    }
                }
                Some(first) if first.starts_with("scope ") => {
                    let text = first.strip_prefix("scope ").unwrap();
                    match Narrow::read(text) {
                        Ok(narrow) => self.narrow = Some(Arc::new(narrow)),
                        Err(message) => writeln!(found, "! {message}").unwrap(),
                    }
                    let narrowed = self.scope(catalog).ok().and_then(|scope| scope.narrowed());
                    let narrowed = narrowed.unwrap_or_default();
                    for line in narrowed.given {
                        writeln!(found, "! has {line}").unwrap();
                    }
                    for line in narrowed.lacking {
                        writeln!(found, "! lacks {line}").unwrap();
                    }
                }
                Some(first) => self.person(first),
                None => {}
            }
            if !sql.is_empty() {
                *count += 1;
                self.judged = true;
                found.push_str(&self.verdicts(&sql, catalog));
            }
        }
        found
    }

    fn person(&mut self, line: &str) {
        let mut words = line.split(' ').skip(1);
        self.name = words.next().unwrap().to_owned();
        (self.groups, self.claims, self.connection) = Default::default();
        self.connection = "shop".to_owned();
        while let Some(word) = words.next() {
            match word.split_once(':') {
                Some(("group", group)) => self.groups.push(group.to_owned()),
                Some((claim, value)) => {
                    let claim = claim.strip_prefix("claim.").unwrap();
                    self.claims.insert(claim.to_owned(), value.to_owned());
                }
                None => self.connection = words.next().unwrap().to_owned(),
            }
        }
    }

    fn scope(&self, catalog: &Arc<Catalog>) -> Result<Scope, String> {
        let policies =
            Policies::new(self.written.clone()).map_err(|_| "  no policies\n".to_owned())?;
        let subject = Subject {
            name: Some(&self.name),
            issuer: "gatepost",
            subject: &self.name,
            groups: &self.groups,
            claims: &self.claims,
        };
        let in_force = match policies.open(&subject, &self.connection) {
            Opened::Open(in_force) => in_force,
            Opened::Ask(names) => return Err(format!("  asks for {}\n", names.join(", "))),
            Opened::Closed => return Err("  closed\n".to_owned()),
        };
        Ok(match &self.narrow {
            Some(narrow) => in_force.narrowed(narrow.clone()).scope(catalog),
            None => in_force.scope(catalog),
        })
    }

    fn verdicts(&self, text: &str, catalog: &Arc<Catalog>) -> String {
        let scope = match self.scope(catalog) {
            Ok(scope) => scope,
            Err(said) => return said,
        };
        let names = Names {
            search_path: &["public"],
            user: "agent",
            temporary: Some("pg_temp_3"),
            database: "shop",
        };
        let verdicts = |text: &str| match sql::statements(text, catalog, &names, &Limits::default())
        {
            Err(error) => said(&scope.decide_unread(&format!("{error:?}"))),
            Ok(statements) => {
                let context = Context { several_statements: statements.len() > 1 };
                let verdicts = statements.iter().map(|statement| match &statement.facts {
                    Ok(facts) => said(&scope.decide(facts, context)),
                    Err(error) => said(&scope.decide_unread(&format!("{error:?}"))),
                });
                verdicts.collect::<String>()
            }
        };
        let found = verdicts(text);
        // What may run with parameters may run with any values in their place.
        if let Some(shape) = Shape::of(text) {
            let general = verdicts(&shape.with_parameters().unwrap());
            if general.starts_with("  allow: ") && !general.contains("\n    ") {
                assert_eq!(general, found, "{text}");
                self.with_parameters.set(self.with_parameters.get() + 1);
            }
        }
        found
    }
}

fn policy(lines: &[&str]) -> Policy {
    let text =
        |text: &str| Text { text: text.trim().to_owned(), place: Place { line: 1, column: 1 } };
    let mut policy = Policy {
        name: text(lines[0].strip_prefix("policy ").unwrap()),
        who: vec![Who::One(text("*"))],
        to: vec![text("*")],
        access: Some(Access { approval: Some(Approval::Word(text("none"))), ..Access::default() }),
        ..Policy::default()
    };
    for line in &lines[1..] {
        let line = line.trim();
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "who:" => policy.who = vec![Who::One(text(rest))],
            "to:" => policy.to = vec![text(rest)],
            "binds" => policy.access = None,
            "asks" => {
                let by = vec![Who::One(text("group:dba"))];
                let approval = Approval::By { place: Place::default(), by, need: None };
                policy.access = Some(Access { approval: Some(approval), ..Access::default() });
            }
            "limit" => {
                let (key, value) = rest.split_once(": ").unwrap();
                policy.limits.push((text(key), vec![text(value)]));
            }
            "allow" | "hold" | "refuse" => {
                let (rest, conditions) = rest.split_once(" if ").unwrap_or((rest, ""));
                let (rest, except) = rest.split_once(" except ").unwrap_or((rest, ""));
                let (verbs, objects) = rest.split_once(": ").unwrap_or((rest, ""));
                let some = |it: &str| if it.is_empty() { Vec::new() } else { vec![text(it)] };
                let rule = Rule {
                    verbs: text(verbs),
                    objects: some(objects),
                    except: some(except),
                    conditions: some(conditions),
                    by: if key == "hold" { vec![Who::One(text("group:dba"))] } else { Vec::new() },
                    need: None,
                    shape: None,
                };
                match key {
                    "allow" => policy.allow.push(rule),
                    "hold" => policy.hold.push(rule),
                    _ => policy.refuse.push(rule),
                }
            }
            other => panic!("{other}"),
        }
    }
    policy
}

fn said(verdict: &Verdict) -> String {
    let rule = |by: &RuleRef| match by.line {
        0 => "built in".to_owned(),
        _ => format!("{} [{}]", by.rule, by.policy),
    };
    let checks = |checks: &[Check]| -> String {
        let words = checks.iter().map(|check| {
            let then = if check.then == Then::Hold { "held" } else { "refused" };
            let on: Vec<&str> = check.on.iter().map(|(_, verb)| verb.name()).collect();
            let on = on.join(", ");
            format!("\n    {then} where {:?} of {on}: {}", check.conditions, rule(&check.rule))
        });
        words.collect()
    };
    match verdict {
        Verdict::Allow { by, before, after } => {
            format!("  allow: {}{}{}\n", rule(by), checks(before), checks(after))
        }
        Verdict::Hold { all, before, after, .. } => {
            let holds: Vec<String> = all.iter().map(|hold| rule(&hold.rule)).collect();
            format!("  hold: {}{}{}\n", holds.join("; "), checks(before), checks(after))
        }
        Verdict::Refuse(refused) => {
            let ask = match &*refused.ask {
                [] => String::new(),
                names => format!(" (ask for {})", names.join(", ")),
            };
            format!("  refuse {}: {}{ask}\n", refused.code.as_str(), refused.sentence)
        }
    }
}
