//! `gatepost explain`: what statements do, what the policies say to them, and what PostgreSQL would
//! get. Asks the connection's database for its catalog, with the gateway's own credential, and
//! runs nothing that it is given.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use gateway::catalogs::read_catalog;
use gateway::inquiry::Inquiry;
use gateway::settings::{Connection, Settings};
use identity::Identity;
use policy::{Check, Condition, Context, InForce, Opened, RuleRef, Scope, Then, Verdict};
use sql::catalog::{Catalog, Names, Relation};
use sql::facts::{ChannelUse, Columns, Facts, Kind, SettingName};
use sql::parse::Limits;
use sql::rewrite::Edit;

use crate::cli::{self, Failure};
use crate::config::{self, Config};

/// What somebody recorded in a day stays below this.
const HISTORY_BYTES_MAX: u64 = 64 << 20;

/// So much of a statement fits into the line of a table.
const SHOWN_CHARS_MAX: usize = 72;

/// What the session would begin with: the schemas of its path that are there.
const NAMES_SQL: &str = "SELECT CURRENT_USER, pg_catalog.current_database(), s.name \
     FROM (SELECT 1) AS one LEFT JOIN LATERAL \
     pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s(name, at) ON true \
     ORDER BY s.at";

/// Who asks for what.
pub(crate) struct Question<'q> {
    pub(crate) identity: &'q str,
    /// Of a token's subject; of a local identity the file says them.
    pub(crate) groups: &'q [String],
    pub(crate) claims: &'q [(String, String)],
    pub(crate) connection: &'q str,
    /// One text, or a file of many.
    pub(crate) text: Option<&'q str>,
    pub(crate) history: Option<&'q Path>,
}

pub(crate) fn run(path: &Path, question: &Question<'_>) -> Result<(), Failure> {
    let config = config::load(path)?;
    let history = question.history.map(read).transpose()?;
    let settings = &config.settings;
    let connection = connection(settings, question.connection)?;
    let identity = identity(question)?;
    let in_force = match in_force(settings, &identity, question.connection) {
        Ok(in_force) => in_force,
        Err(answer) => return cli::print(&answer),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let (catalog, session) = runtime.block_on(look(&connection)).map_err(|error| {
        Failure::Failed(format!("the catalog of `{}`: {error}", question.connection))
    })?;
    let looked = Looked { scope: in_force.scope(&catalog), catalog, session };
    match (question.text, history) {
        (Some(text), _) => cli::print(&looked.explained(text, &config, &identity, question)),
        (None, Some(history)) => cli::print(&looked.table(&history)?),
        (None, None) => Err(Failure::Usage("name a statement, or a file with --from".to_owned())),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display()));
    let mut text = String::new();
    File::open(path)
        .map_err(failed)?
        .take(HISTORY_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > HISTORY_BYTES_MAX {
        let message = format!("{} has more than {HISTORY_BYTES_MAX} bytes", path.display());
        return Err(Failure::Failed(message));
    }
    Ok(text)
}

fn connection(settings: &Settings, name: &str) -> Result<Arc<Connection>, Failure> {
    settings.connections.get(name).or(settings.any_database.as_ref()).cloned().ok_or_else(|| {
        let names: Vec<&str> = settings.connections.keys().map(String::as_str).collect();
        let meant = config::nearest(name, &names);
        let meant = meant.map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
        Failure::Usage(format!("there is no connection `{name}`{meant}"))
    })
}

/// As policies spell it: a local name, or `issuer|subject`.
fn identity(question: &Question<'_>) -> Result<Identity, Failure> {
    let (groups, claims) = (question.groups.to_vec(), question.claims.iter().cloned().collect());
    match question.identity.split_once('|') {
        Some((issuer, subject)) => {
            Ok(Identity { groups, claims, ..Identity::new(issuer, subject) })
        }
        None if question.groups.is_empty() && question.claims.is_empty() => {
            Ok(Identity::local(question.identity))
        }
        None => Err(Failure::Usage(
            "the groups and claims of a local identity stand in the file; --group and --claim are \
             for `issuer|subject`"
                .to_owned(),
        )),
    }
}

/// The policies in force, or why there is nothing to judge by.
fn in_force(settings: &Settings, identity: &Identity, connection: &str) -> Result<InForce, String> {
    let Some(policies) = &settings.policies else {
        return Err("There are no policies: whoever has an identity may do whatever the \
                    connection may.\n"
            .to_owned());
    };
    match policies.open(&settings.subject(identity), connection) {
        Opened::Open(in_force) => Ok(in_force),
        Opened::Ask(names) => Err(format!(
            "Nothing opens by itself for {identity} on {connection}; these can be asked for: {}.\n",
            names.join(", ")
        )),
        Opened::Closed => Err(format!("No policy lets {identity} in on {connection}.\n")),
    }
}

/// What a session of the connection would see.
struct Session {
    user: String,
    database: String,
    path: Vec<String>,
}

async fn look(
    connection: &Arc<Connection>,
) -> Result<(Arc<Catalog>, Session), Box<dyn std::error::Error>> {
    let rows = Inquiry::open_as_session(connection).await?.rows(NAMES_SQL).await?;
    let mut session = Session { user: String::new(), database: String::new(), path: Vec::new() };
    for row in rows {
        if let [Some(user), Some(database), schema] = row.as_slice() {
            session.user.clone_from(user);
            session.database.clone_from(database);
            session.path.extend(schema.clone());
        }
    }
    let catalog = read_catalog(&mut Inquiry::open(connection).await?).await?;
    Ok((Arc::new(catalog), session))
}

struct Looked {
    scope: Scope,
    catalog: Arc<Catalog>,
    session: Session,
}

/// One statement, what it does as far as that can be told, and the verdict.
struct Judged {
    text: String,
    /// Where it stands in the text that it came in.
    start: usize,
    facts: Result<Facts, String>,
    verdict: Verdict,
    /// What is put into its text, by places in the whole text.
    edits: Vec<Edit>,
}

impl Looked {
    fn judge(&self, text: &str) -> Vec<Judged> {
        let path: Vec<&str> = self.session.path.iter().map(String::as_str).collect();
        let names = Names {
            search_path: &path,
            user: &self.session.user,
            temporary: None,
            database: &self.session.database,
        };
        let unread = |text: &str, why: String| {
            let verdict = self.scope.decide_unread(&why);
            Judged { text: text.to_owned(), start: 0, facts: Err(why), verdict, edits: Vec::new() }
        };
        let disguises = self.scope.disguises();
        match sql::disguised(text, &self.catalog, &names, &Limits::default(), disguises) {
            Err(error) => vec![unread(text, error.to_string())],
            Ok(statements) => {
                let context = Context { several_statements: statements.len() > 1 };
                let judged = statements.into_iter().map(|statement| {
                    let (whole, place) = (text, statement.place);
                    let text = whole.get(place.clone()).unwrap_or_default();
                    match statement.understood {
                        Ok((facts, rewritten)) => {
                            let mut verdict = self.scope.decide(&facts, context);
                            let mut edits = Vec::new();
                            match rewritten {
                                Ok(rewritten) => edits = rewritten.edits,
                                Err(_) if matches!(verdict, Verdict::Refuse(_)) => {}
                                Err(why) => {
                                    verdict = Verdict::Refuse(self.scope.unrewritable(&why));
                                }
                            }
                            if let Kind::Explain { .. } = facts.kind
                                && self.reads_disguised(&facts)
                            {
                                edits.extend(sql::explain::without_costs(whole, place.clone()));
                            }
                            let (text, facts) = (text.to_owned(), Ok(facts));
                            Judged { text, start: place.start, facts, verdict, edits }
                        }
                        Err(error) => unread(text, error.to_string()),
                    }
                });
                judged.collect()
            }
        }
    }

    /// One text, in full.
    fn explained(
        &self,
        text: &str,
        config: &Config,
        identity: &Identity,
        question: &Question<'_>,
    ) -> String {
        let subject = config.settings.subject(identity);
        let mut said = format!("identity    {identity}");
        for group in subject.groups {
            let _infallible = write!(said, ", group:{group}");
        }
        for (claim, value) in subject.claims {
            let _infallible = write!(said, ", claim.{claim}:{value}");
        }
        let policies = self.scope.in_force().policies().join(", ");
        let path = self.session.path.join(", ");
        let _infallible = writeln!(
            said,
            "\nconnection  {}, as {} with search_path {path}\nin force    {policies}",
            question.connection, self.session.user
        );
        let judged = self.judge(text);
        let passes = judged.iter().all(|it| matches!(it.verdict, Verdict::Allow { .. }));
        for it in &judged {
            let _infallible = writeln!(said, "\nstatement   {}", one_line(&it.text));
            match &it.facts {
                Ok(facts) => {
                    for line in self.does(facts) {
                        let _infallible = writeln!(said, "does        {line}");
                    }
                }
                Err(why) => {
                    let _infallible = writeln!(said, "does        what can't be told: {why}");
                }
            }
            self.verdict(&mut said, it, passes);
        }
        if judged.len() > 1 && !passes {
            said.push_str("\nThe text is judged whole: nothing of it runs.\n");
        }
        said
    }

    fn verdict(&self, said: &mut String, it: &Judged, passes: bool) {
        let checks = |said: &mut String, checks: &[Check]| {
            for check in checks {
                let words: Vec<String> = check.conditions.iter().map(condition).collect();
                let then = if check.then == Then::Hold { "held" } else { "refused" };
                let _infallible = writeln!(
                    said,
                    "            {then} if {}: by {}",
                    words.join(" and "),
                    check.rule
                );
            }
        };
        match &it.verdict {
            Verdict::Allow { by, before, after } => {
                let _infallible = writeln!(said, "verdict     allow\nrule        {by}");
                checks(said, before);
                checks(said, after);
                if passes {
                    let sent = match &it.facts {
                        Ok(facts) => self.sent(it, facts),
                        Err(_) => None,
                    };
                    let sent = sent.as_deref().map_or("as it is written".into(), one_line);
                    let _infallible = writeln!(said, "sent        {sent}");
                }
            }
            Verdict::Hold { all, before, after, .. } => {
                let rules: Vec<String> = all.iter().map(|hold| hold.rule.to_string()).collect();
                let _infallible =
                    writeln!(said, "verdict     hold\nrule        {}", rules.join("; "));
                checks(said, before);
                checks(said, after);
            }
            Verdict::Refuse(refused) => {
                let _infallible = writeln!(
                    said,
                    "verdict     refuse ({}): {}",
                    refused.code.as_str(),
                    refused.sentence
                );
                if let Some(rule) = &refused.rule {
                    let _infallible = writeln!(said, "rule        {rule}");
                }
                if !refused.ask.is_empty() {
                    let names = refused.ask.join(", ");
                    let _infallible = writeln!(said, "ask for     {names}");
                }
            }
        }
    }

    /// What a statement does, a line for each thing.
    fn does(&self, facts: &Facts) -> Vec<String> {
        let mut lines = Vec::new();
        for used in &facts.relations {
            let Some(relation) = used.relation.and_then(|id| self.catalog.relation(id)) else {
                continue;
            };
            let name = self.name(relation);
            for (verb, columns) in
                [("read", &used.read), ("insert", &used.insert), ("update", &used.update)]
            {
                if let Some(columns) = columns {
                    lines.push(format!("{verb} {name}{}", spelled(columns, relation)));
                }
            }
            for (said, words) in [
                (used.delete, "delete"),
                (used.truncate, "truncate"),
                (used.lock_rows, "lock rows of"),
                (used.lock.is_some(), "lock"),
            ] {
                if said {
                    lines.push(format!("{words} {name}"));
                }
            }
        }
        for id in &facts.functions {
            if let Some(function) = self.catalog.function(*id) {
                let schema = self.catalog.schema_name(function.schema);
                lines.push(format!("use {schema}.{}", function.name));
            }
        }
        for used in &facts.commands {
            let object = used.object.as_ref().map(|object| match &object.schema {
                Some(schema) => format!(" {schema}.{}", object.name),
                None => format!(" {}", object.name),
            });
            lines.push(format!("{}{}", used.name, object.unwrap_or_default()));
        }
        for used in facts.settings.iter().filter(|used| used.change) {
            lines.push(match &used.name {
                SettingName::One(name) => format!("set {name}"),
                SettingName::All => "reset all settings".to_owned(),
                SettingName::Computed => "set what can't be told".to_owned(),
            });
        }
        for used in &facts.channels {
            lines.push(match used {
                ChannelUse::Listen(name) => format!("listen {name}"),
                ChannelUse::Notify(name) => format!("notify {name}"),
                ChannelUse::Unlisten(_) => "unlisten".to_owned(),
            });
        }
        lines.dedup();
        if lines.is_empty() {
            lines.push(format!("{:?}", facts.kind).to_lowercase());
        }
        lines
    }

    fn name(&self, relation: &Relation) -> String {
        format!("{}.{}", self.catalog.schema_name(relation.schema), relation.name)
    }

    fn reads_disguised(&self, facts: &Facts) -> bool {
        let mut relations = facts.relations.iter().filter_map(|used| used.relation);
        relations.any(|id| self.scope.is_disguised(id))
    }

    /// The text with the schema before each name that could mean two things, and with what stands
    /// in the place of relations with masks; `None` if it goes as it is.
    fn sent(&self, it: &Judged, facts: &Facts) -> Option<String> {
        let mut edits = it.edits.clone();
        for used in facts.relations.iter().filter(|used| used.twice) {
            let relation = self.catalog.relation(used.relation?)?;
            let place = used.place.start;
            let within = |edit: &Edit| edit.place.start == place || edit.place.contains(&place);
            if !edits.iter().any(within) {
                let schema = sql::expression::quoted(self.catalog.schema_name(relation.schema));
                edits.push(Edit { place: place..place, text: format!("{schema}.") });
            }
        }
        edits.sort_by_key(|edit| (edit.place.start, edit.place.end));
        for edit in &mut edits {
            let own = |place: usize| place.checked_sub(it.start);
            edit.place = own(edit.place.start)?..own(edit.place.end)?;
        }
        (!edits.is_empty()).then(|| sql::rewrite::edited(&it.text, &edits))
    }

    /// A line for each statement of a history, and what it comes to.
    fn table(&self, history: &str) -> Result<String, Failure> {
        let places = sql::split::statements(history)
            .map_err(|_| Failure::Failed("a quote or a comment is not ended".to_owned()))?;
        let (mut said, mut counts) = (String::new(), [0usize; 3]);
        for place in places {
            for it in self.judge(history.get(place).unwrap_or_default()) {
                let by = |rule: &RuleRef| match rule.line {
                    0 => "built in".to_owned(),
                    line => format!("{} (line {line})", rule.policy),
                };
                let (word, why, count) = match &it.verdict {
                    Verdict::Allow { by: rule, .. } => ("allow", by(rule), 0),
                    Verdict::Hold { by: rule, .. } => ("hold", by(rule), 1),
                    Verdict::Refuse(refused) => {
                        let why = match (&refused.rule, refused.missing.first()) {
                            (Some(rule), _) => by(rule),
                            (None, Some(missing)) => format!("no rule for {missing}"),
                            (None, None) => refused.code.as_str().to_owned(),
                        };
                        ("refuse", why, 2)
                    }
                };
                if let Some(count) = counts.get_mut(count) {
                    *count += 1;
                }
                let _infallible =
                    writeln!(said, "{word:6}  {:SHOWN_CHARS_MAX$}  {why}", cut(&it.text));
            }
        }
        let [allow, hold, refuse] = counts;
        let _infallible = writeln!(said, "{allow} allowed, {hold} held, {refuse} refused");
        Ok(said)
    }
}

fn spelled(columns: &Columns, relation: &Relation) -> String {
    if columns.whole_row {
        return " (whole rows)".to_owned();
    }
    let mut names: Vec<&str> = relation
        .columns
        .iter()
        .filter(|column| columns.numbers.contains(&column.number))
        .map(|column| &*column.name)
        .collect();
    if columns.system {
        names.push("system columns");
    }
    if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::EstimateOver(rows) => format!("estimate > {rows}"),
        Condition::CostOver(cost) => format!("cost > {cost}"),
        Condition::ChangedOver(rows) => format!("changed > {rows}"),
        Condition::EveryRow => "every row".to_owned(),
    }
}

/// The text in one line, and nothing in it that could steer a terminal.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut(text: &str) -> String {
    let line = one_line(text);
    if line.chars().count() <= SHOWN_CHARS_MAX {
        return line;
    }
    let mut cut: String = line.chars().take(SHOWN_CHARS_MAX - 1).collect();
    cut.push('…');
    cut
}
