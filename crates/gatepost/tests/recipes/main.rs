//! The recipes of the policy guide: each file in `examples/policies`, read as `serve` reads it,
//! judges the statements beside it on the tables of `shop.sql`, as a real server describes them.
//! The verdicts are in the `.cases` files; `UPDATE_GOLDEN=1` writes them anew.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed; clippy only knows the functions marked as tests"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gatepost::config;
use gatepost::scratch::{Cluster, Options, SUPERUSER, ServerBinaries};
use gateway::catalogs::read_catalog;
use gateway::inquiry::Inquiry;
use gateway::settings::Settings;
use identity::Identity;
use policy::{
    Check, Condition, Context, Opened, Remark, RuleRef, Scope, Subject, Then, Verb, Verdict,
};
use sql::catalog::{Catalog, Names};
use sql::parse::Limits;

#[test]
fn each_recipe_judges_as_written_beside_it() {
    let catalog = Arc::new(shop());
    let (mut wrong, mut recipes) = (Vec::new(), 0);
    for file in files("yaml") {
        recipes += 1;
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let settings = config::load(&file).unwrap_or_else(|error| panic!("{error}")).settings;
        let cases = file.with_extension("cases");
        let expected = fs::read_to_string(&cases).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = judged(&expected, &settings, &catalog);
        for remark in reviewed(&settings, &catalog) {
            assert!(!matches!(remark, Remark::NoSuch { .. }), "{name}: {remark:?}");
        }
        // A recipe of which nothing passes, or nothing is refused, shows nothing.
        for verdict in ["allow", "refuse"] {
            assert!(found.contains(&format!("\n  {verdict}  ")), "{name}: nothing to {verdict}");
        }
        if found != expected {
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&cases, &found).unwrap();
            } else {
                wrong.push(format!("{}:\n{found}", cases.display()));
            }
        }
    }
    assert_eq!(recipes, 10);
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts this:\n{}", wrong.join("\n\n"));
    a_reviewer_is_told(&catalog);
}

/// Each name that isn't there has a near twin that is.
fn a_reviewer_is_told(catalog: &Arc<Catalog>) {
    let directory = Directory::new("review");
    let settings = directory.load(
        "\
connections: { shop: { address: db, user: gatepost } }
policies:
  - name: some
    who: \"*\"
    to: shop
    access: { approval: none }
    allow:
      - read: public.customers(id, nmae), public.custmers, pubic.orders, mart.*(region, emial)
        except: public.*(iban, iben)
      - read: mart.buyers, mart.revenue, mart.sales
      - read, use: public.jobs_id_seq
      - create: public.not_yet
      - use: public.open_tickets(integer), public.open_tickets(text), lower, lowr, extension:postgis
      - use: public.forget_customer, public.batch_numbers, scratch.*
",
    );
    let said: Vec<String> = reviewed(&settings, catalog)
        .into_iter()
        .map(|remark| match remark {
            Remark::NoSuch { rule, what } => format!("{}: no {what}", rule.line),
            Remark::View { rule, view, shows } => {
                format!("{}: {view} shows {}", rule.line, shows.join(" and "))
            }
            Remark::Definer { rule, function } => format!("{}: {function} as owner", rule.line),
            Remark::Closed { rule, relation, why } => format!("{}: {relation}: {why}", rule.line),
            Remark::Misfit { rule, column } => format!("{}: {column} redacted", rule.line),
            Remark::Personal { columns } => format!("no mask: {}", columns.join(", ")),
        })
        .collect();
    assert_eq!(
        said,
        [
            "8: no column mart.*(emial)",
            "8: no column public.*(iben)",
            "8: no column public.customers(nmae)",
            "8: no schema pubic",
            "8: no table public.custmers",
            "13: no extension postgis with functions",
            "13: no function lowr in pg_catalog or public",
            "13: no function public.open_tickets with these arguments",
            "10: mart.buyers shows public.customers(name, region) and public.orders(customer_id)",
            "14: public.forget_customer as owner",
        ]
    );
    let given = settings.policies.as_ref().unwrap().given("shop", catalog);
    let gives = |verb, schema: &str, table: &str| {
        let named = |it: &&sql::catalog::Relation| {
            &*it.name == table && catalog.schema_name(it.schema) == schema
        };
        given.relation(verb, catalog.relations().find(named).unwrap().oid)
    };
    assert!(
        gives(Verb::Read, "public", "customers") && !gives(Verb::Insert, "public", "customers")
    );
    assert!(gives(Verb::Read, "mart", "sales_2026") && !gives(Verb::Read, "public", "orders"));
    assert!(given.creates_in("public") && !given.creates_in("mart") && !given.everything());
    let windows = settings.policies.as_ref().unwrap().about("shop").len();
    assert_eq!((windows, settings.policies.as_ref().unwrap().about("other").len()), (1, 0));
}

fn reviewed(settings: &Settings, catalog: &Arc<Catalog>) -> Vec<Remark> {
    settings.policies.as_ref().expect("policies").review("shop", catalog)
}

/// Of one test, gone at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("gatepost-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn load(&self, text: &str) -> Settings {
        let file = self.0.join("gatepost.yaml");
        fs::write(&file, text).unwrap();
        config::load(&file).unwrap_or_else(|error| panic!("{error}")).settings
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The guide has each recipe, and says of it what the file says.
#[test]
fn the_guide_shows_the_recipes_as_they_are() {
    let guide = fs::read_to_string(root().join("docs/policies.md")).unwrap();
    for file in files("yaml") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(guide.contains(&format!("(../examples/policies/{name}.yaml)")), "{name}");
        assert!(guide.contains(&format!("(../examples/policies/{name}.cases)")), "{name}");
    }
    let whole = |file: &PathBuf| squeezed(&fs::read_to_string(file).unwrap());
    let written: Vec<String> = files("yaml").iter().map(whole).collect();
    let mut shown = 0;
    for block in guide.split("```yaml\n").skip(1) {
        let block = squeezed(block.split("```").next().unwrap());
        assert!(written.iter().any(|recipe| recipe.contains(&block)), "in no recipe:\n{block}");
        shown += 1;
    }
    assert!(shown >= 10, "{shown}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(extension: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(root().join("examples/policies")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
}

/// However far in it stands.
fn squeezed(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The catalog of a real server that holds the shop.
fn shop() -> Catalog {
    let binaries = ServerBinaries::find(None).unwrap();
    let psql = binaries.directory().join("psql");
    let psql = if psql.is_file() { psql } else { PathBuf::from("psql") };
    let cluster = Cluster::start(Options::new(binaries)).unwrap();
    let made = Command::new(psql)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", SUPERUSER])
        .args(["-p", &cluster.port().to_string(), "-d", "postgres", "-f"])
        .arg(root().join("examples/policies/shop.sql"))
        .env("PGPASSWORD", cluster.password())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let directory = Directory::new("recipes");
    fs::write(directory.0.join("password"), cluster.password()).unwrap();
    let settings = directory.load(&format!(
        "connections: {{ shop: {{ address: \"{}\", tls: disable, database: postgres, \
         user: {SUPERUSER}, password: {{ file: password }} }} }}\n",
        cluster.address()
    ));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut inquiry = Inquiry::open(settings.connections.get("shop").unwrap()).await.unwrap();
        read_catalog(&mut inquiry).await.unwrap()
    })
}

/// The cases with the verdicts that they get. A paragraph is `as WHO on CONNECTION`, or a text of
/// SQL with its verdict behind it, indented; lines with `# ` are comments.
fn judged(cases: &str, settings: &Settings, catalog: &Arc<Catalog>) -> String {
    let policies = settings.policies.as_ref().expect("policies");
    let mut scope: Option<Result<Scope, String>> = None;
    let mut found = String::new();
    for paragraph in cases.trim_end().split("\n\n") {
        if !found.is_empty() {
            found.push('\n');
        }
        let lines = || paragraph.lines().filter(|line| !line.starts_with("  "));
        lines().for_each(|line| writeln!(found, "{line}").unwrap());
        let said: Vec<&str> = lines().filter(|line| !line.starts_with("# ")).collect();
        let text = said.join("\n");
        if let Some(who) = text.strip_prefix("as ") {
            let (name, connection) = who.split_once(" on ").expect("as WHO on CONNECTION");
            let identity = Identity::local(name);
            let traits = settings.traits.get(name).cloned().unwrap_or_default();
            let subject = Subject {
                name: Some(name),
                issuer: &identity.issuer,
                subject: name,
                groups: &traits.groups,
                claims: &traits.claims,
            };
            scope = Some(match policies.open(&subject, connection) {
                Opened::Open(force) => Ok(force.scope(catalog)),
                Opened::Ask(names) => Err(format!("it has to ask for {}", names.join(", "))),
                Opened::Closed => Err("no policy lets it in".to_owned()),
            });
        } else if !text.is_empty() {
            let verdict = match scope.as_ref().expect("as WHO on CONNECTION") {
                Ok(scope) => verdict(&text, scope, catalog),
                Err(closed) => format!("refuse  {closed}"),
            };
            writeln!(found, "  {verdict}").unwrap();
        }
    }
    found
}

/// On a whole text: what is refused or held in it decides.
fn verdict(text: &str, scope: &Scope, catalog: &Catalog) -> String {
    let names =
        Names { search_path: &["public"], user: "gatepost", temporary: None, database: "shop" };
    let verdicts: Vec<Verdict> = match sql::statements(text, catalog, &names, &Limits::default()) {
        Err(_) => vec![scope.decide_unread("it can't be parsed")],
        Ok(statements) => {
            let context = Context { several_statements: statements.len() > 1 };
            let decide = |statement: &sql::Statement| match &statement.facts {
                Ok(facts) => scope.decide(facts, context),
                Err(why) => scope.decide_unread(&format!("{why:?}")),
            };
            statements.iter().map(decide).collect()
        }
    };
    let weight = |verdict: &&Verdict| match verdict {
        Verdict::Allow { by, .. } if by.line == 0 => 0,
        Verdict::Allow { .. } => 1,
        Verdict::Hold { .. } => 2,
        Verdict::Refuse(_) => 3,
    };
    // Of several that weigh the same the first.
    let decides = verdicts.iter().rev().max_by_key(weight).expect("a statement");
    let rule = |by: &RuleRef| match by.line {
        0 => "built in".to_owned(),
        _ => format!("{} ({})", by.rule, by.policy),
    };
    let unless = |checks: &[Check]| -> String {
        let words = checks.iter().map(|check| {
            let conditions: Vec<String> = check.conditions.iter().map(condition).collect();
            let then = if check.then == Then::Hold { "held" } else { "refused" };
            format!(", unless {}: then {then}", conditions.join(" and "))
        });
        words.collect()
    };
    match decides {
        Verdict::Allow { by, before, after } => {
            format!("allow  {}{}{}", rule(by), unless(before), unless(after))
        }
        Verdict::Hold { all, .. } => {
            let holds: Vec<String> = all.iter().map(|hold| rule(&hold.rule)).collect();
            format!("hold  {}", holds.join("; "))
        }
        Verdict::Refuse(refused) => match &refused.rule {
            Some(by) => format!("refuse  {}", rule(by)),
            None => {
                let missing: Vec<String> =
                    refused.missing.iter().map(|it| it.to_string()).collect();
                let words = [refused.code.as_str().to_owned(), missing.join(", ")].join(": ");
                format!("refuse  {}", words.trim_end_matches(": "))
            }
        },
    }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::EstimateOver(rows) => format!("estimate > {rows}"),
        Condition::CostOver(cost) => format!("cost > {cost}"),
        Condition::ChangedOver(rows) => format!("changed > {rows}"),
        Condition::EveryRow => "every row".to_owned(),
    }
}
