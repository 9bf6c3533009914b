//! `gatepost check --live`: asks each connection's database, with the gateway's own credential,
//! whether it is what the policies think it is, and each issuer for its keys. What it asks changes
//! nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gateway::catalogs::{CatalogError, read_catalog};
use gateway::inquiry::{Inquiry, InquiryError};
use gateway::issuers::fetch_keys;
use gateway::settings::{Connection, Login, Settings};
use policy::{Given, Policies, Remark, Verb};

/// Of names in one sentence.
const NAMED_MAX: usize = 5;

/// Something that deserves a second look.
#[derive(Debug)]
pub(crate) struct Finding {
    /// A connection or an issuer.
    of: String,
    says: String,
    /// What to do about it.
    change: String,
}

#[derive(Debug, thiserror::Error)]
enum LiveError {
    #[error(transparent)]
    Inquiry(#[from] InquiryError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the answer to {0} is not what it should be")]
    Answer(&'static str),
}

/// Everything that is found, one connection after another, in the order of their names. That a
/// database can't be asked is a finding, too.
pub(crate) async fn check(settings: &Settings) -> Vec<Finding> {
    let mut connections: Vec<&Arc<Connection>> =
        settings.connections.values().chain(&settings.any_database).collect();
    connections.sort_by_key(|connection| &connection.name);
    let mut findings = Findings::default();
    for connection in connections {
        findings.of = format!("connection {}", connection.name);
        if matches!(connection.login, Login::Database { .. }) {
            // Gatepost has no credential of it, and clients come with their own.
            continue;
        }
        let policies = settings.policies.as_deref();
        if let Err(error) = findings.of_connection(connection, policies).await {
            findings.add(
                format!("the database can't be asked: {error}"),
                "check `address`, `tls`, `user` and `password`",
            );
        }
    }
    for issuer in &settings.issuers {
        findings.of = format!("issuer {}", issuer.oidc.url);
        if let Err(error) = fetch_keys(issuer).await {
            findings.add(
                format!("its keys can't be fetched, so none of its tokens opens anything: {error}"),
                "check `url` and `ca`",
            );
        }
    }
    findings.found
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { of, says, change } = self;
        write!(f, "{of}: {says}\n  change: {change}")
    }
}

#[derive(Default)]
struct Findings {
    of: String,
    found: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, says: impl Into<String>, change: impl Into<String>) {
        let of = self.of.clone();
        self.found.push(Finding { of, says: says.into(), change: change.into() });
    }

    async fn of_connection(
        &mut self,
        connection: &Arc<Connection>,
        policies: Option<&Policies>,
    ) -> Result<(), LiveError> {
        let mut inquiry = Inquiry::open(connection).await?;
        let role = Role::ask(&mut inquiry).await?;
        self.role(&role);
        if let Some(policies) = policies {
            let catalog = Arc::new(read_catalog(&mut inquiry).await?);
            for remark in policies.review(&connection.name, &catalog) {
                self.remark(remark);
            }
            let given = policies.given(&connection.name, &catalog);
            if !role.superuser && !given.everything() {
                self.rights(&role, &given, &mut inquiry).await?;
            }
        }
        self.others(&role, &mut inquiry).await
    }

    /// What the role may beyond tables, whatever policies say.
    fn role(&mut self, role: &Role) {
        let name = &role.name;
        if role.superuser {
            self.add(
                format!(
                    "SHOW and pg_settings, which anyone may read, show the superuser {name} what \
                     they hide from others: primary_conninfo with its password, and commands with \
                     theirs"
                ),
                "log in as a role that is no superuser and not in pg_read_all_settings",
            );
            return self.add(
                format!("the role {name} is a superuser, so nothing stands behind the policies"),
                "log in as a role that has rights on what the policies name, and no others",
            );
        }
        for (has, what, why) in [
            (role.bypasses, "BYPASSRLS", "row security does not bind it"),
            (role.makes_roles, "CREATEROLE", "it could make a role that may do more"),
            (role.makes_databases, "CREATEDB", "no policy can be about a database that it makes"),
            (role.replicates, "REPLICATION", "it could read every table, past all rights"),
        ] {
            if has {
                self.add(
                    format!("the role {name} has {what}: {why}"),
                    format!("ALTER ROLE {name} NO{what}"),
                );
            }
        }
        if !role.climbs.is_empty() {
            let roles = role.climbs.join(", ");
            self.add(
                format!("the role {name} is a member of {roles}, and can do what they can"),
                format!("REVOKE {roles} FROM {name}"),
            );
        }
    }

    fn remark(&mut self, remark: Remark) {
        match remark {
            Remark::NoSuch { rule, what } => self.add(
                format!("{rule} names what is not there: {what}"),
                "correct the name, or take it out",
            ),
            Remark::View { rule, view, shows } => self.add(
                format!(
                    "{rule} names the view {view} in full, which shows {} with its owner's \
                     rights; nothing else in the policy lets anybody read that",
                    listed(&shows)
                ),
                "leave the view out, unless that is what is meant",
            ),
            Remark::Definer { rule, function } => self.add(
                format!(
                    "{rule} names {function}, which runs with its owner's rights (SECURITY DEFINER)"
                ),
                "leave it out, unless what it reads and writes is meant",
            ),
            Remark::Closed { rule, relation, why } => self.add(
                format!("nobody can use {relation} where {rule} is in force: {why}"),
                "say what of it may be seen, or take it out of what is allowed",
            ),
            Remark::Misfit { rule, column } => self.add(
                format!("{column} is of a type that {rule} can't be made of: it is redacted"),
                "`redact` says so; `{ sql: \"…\" }` makes a mask of your own",
            ),
            Remark::Personal { columns } => self.add(
                format!("what looks like personal data has no mask: {}", listed(&columns)),
                "mask it, or leave it out of what may be read",
            ),
        }
    }

    /// What the role may do with tables and schemas that no policy gives anybody.
    async fn rights(
        &mut self,
        role: &Role,
        given: &Given,
        inquiry: &mut Inquiry,
    ) -> Result<(), LiveError> {
        let (mut writes, mut reads, mut owns) = (BTreeMap::new(), Vec::new(), Vec::new());
        for row in inquiry.rows(RIGHTS).await? {
            let [oid, table, rights, owned] =
                text_values(row).ok_or(LiveError::Answer("rights"))?;
            let oid: u32 = oid.parse().map_err(|_| LiveError::Answer("rights"))?;
            for (right, verb) in VERBS {
                if rights.contains(right) && !given.relation(verb, oid) {
                    match verb {
                        Verb::Read => reads.push(table.clone()),
                        verb => writes.entry(table.clone()).or_insert_with(Vec::new).push(verb),
                    }
                }
            }
            let shapes = [Verb::Alter, Verb::Drop, Verb::Maintain];
            if owned == "t" && !shapes.iter().any(|verb| given.relation(*verb, oid)) {
                owns.push(table);
            }
        }
        let name = &role.name;
        if !owns.is_empty() {
            self.add(
                format!("the role {name} owns {}: it could alter and drop them", listed(&owns)),
                "give them another owner, unless a policy is to come that alters them",
            );
        }
        if !writes.is_empty() {
            let tables: Vec<String> = writes
                .iter()
                .map(|(table, verbs): (&String, &Vec<Verb>)| {
                    let verbs: Vec<&str> = verbs.iter().map(|verb| verb.name()).collect();
                    format!("{table} ({})", verbs.join(", "))
                })
                .collect();
            self.add(
                format!("the role {name} may write what no policy gives: {}", listed(&tables)),
                format!("REVOKE these rights FROM {name}, or PUBLIC if they come from there"),
            );
        }
        if !reads.is_empty() {
            self.add(
                format!("the role {name} may read what no policy gives: {}", listed(&reads)),
                format!("REVOKE SELECT on them FROM {name}, or PUBLIC if it comes from there"),
            );
        }
        let mut schemas = Vec::new();
        for row in inquiry.rows(SCHEMAS).await? {
            let [schema, spelled] = text_values(row).ok_or(LiveError::Answer("schemas"))?;
            if !given.creates_in(&schema) {
                schemas.push(spelled);
            }
        }
        if !schemas.is_empty() {
            let list = schemas.join(", ");
            self.add(
                format!("the role {name} may create in schemas where no policy lets it: {list}"),
                format!("REVOKE CREATE ON SCHEMA {list} FROM {name}, PUBLIC"),
            );
        }
        Ok(())
    }

    /// Who else is in the database.
    async fn others(&mut self, role: &Role, inquiry: &mut Inquiry) -> Result<(), LiveError> {
        let (mut others, mut own) = (Vec::new(), Vec::new());
        for row in inquiry.rows(SESSIONS).await? {
            let [user, address, count] = text_values(row).ok_or(LiveError::Answer("sessions"))?;
            if user == role.name {
                own.push(format!("{count} from {address}"));
            } else {
                others.push(format!("{count} as {user}"));
            }
        }
        if !others.is_empty() {
            self.add(
                format!("sessions did not come through Gatepost: {}", listed(&others)),
                "send them through Gatepost, or close the way around it in pg_hba.conf",
            );
        }
        if !own.is_empty() {
            self.add(
                format!(
                    "sessions use Gatepost's own role {} from elsewhere than this machine: {}",
                    role.name,
                    listed(&own)
                ),
                "if no Gatepost runs there, change the role's password",
            );
        }
        Ok(())
    }
}

/// The role that Gatepost logs in as.
struct Role {
    name: String,
    superuser: bool,
    bypasses: bool,
    makes_roles: bool,
    makes_databases: bool,
    replicates: bool,
    /// Roles with more rights than tables that it is a member of.
    climbs: Vec<String>,
}

impl Role {
    async fn ask(inquiry: &mut Inquiry) -> Result<Role, LiveError> {
        let rows = inquiry.rows(ROLE).await?;
        let row = rows.into_iter().next().and_then(text_values);
        let [name, superuser, bypasses, makes_roles, makes_databases, replicates, climbs] =
            row.ok_or(LiveError::Answer("the role"))?;
        let is = |text: String| text == "t";
        Ok(Role {
            name,
            superuser: is(superuser),
            bypasses: is(bypasses),
            makes_roles: is(makes_roles),
            makes_databases: is(makes_databases),
            replicates: is(replicates),
            climbs: climbs.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
        })
    }
}

/// Letters of the answer to [`RIGHTS`].
const VERBS: [(char, Verb); 5] = [
    ('r', Verb::Read),
    ('a', Verb::Insert),
    ('w', Verb::Update),
    ('d', Verb::Delete),
    ('D', Verb::Truncate),
];

/// The names as SQL spells them, as they stand in sentences that are to be copied.
const ROLE: &str = "SELECT quote_ident(r.rolname), r.rolsuper, r.rolbypassrls, r.rolcreaterole, \
     r.rolcreatedb, r.rolreplication, \
     COALESCE((SELECT string_agg(quote_ident(o.rolname), ',' ORDER BY o.rolname) FROM pg_roles o \
     WHERE o.oid <> r.oid AND pg_has_role(r.oid, o.oid, 'MEMBER') AND (o.rolsuper OR o.rolbypassrls \
     OR o.rolcreaterole OR o.rolreplication OR o.rolname IN ('pg_read_all_data', \
     'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files', \
     'pg_execute_server_program', 'pg_signal_backend', 'pg_maintain', 'pg_create_subscription', \
     'pg_read_all_settings', 'pg_monitor'))), '') \
     FROM pg_roles r WHERE r.rolname = current_user";

/// Partitions stand under the table that they are of.
const RIGHTS: &str = "SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
     concat(CASE WHEN has_any_column_privilege(c.oid, 'SELECT') THEN 'r' END, \
     CASE WHEN has_any_column_privilege(c.oid, 'INSERT') THEN 'a' END, \
     CASE WHEN has_any_column_privilege(c.oid, 'UPDATE') THEN 'w' END, \
     CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'd' END, \
     CASE WHEN has_table_privilege(c.oid, 'TRUNCATE') THEN 'D' END), \
     pg_has_role(c.relowner, 'USAGE') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
     AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
     AND has_schema_privilege(n.oid, 'USAGE') ORDER BY 2";

const SCHEMAS: &str = "SELECT nspname, quote_ident(nspname) FROM pg_namespace \
     WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' \
     AND has_schema_privilege(oid, 'CREATE') ORDER BY 1";

/// Sessions of others, and of our role from another address than ours. A role without
/// pg_read_all_stats sees of others' sessions only whose they are.
const SESSIONS: &str = "SELECT quote_ident(usename), CASE WHEN usename = current_user \
     THEN COALESCE(host(client_addr), 'a Unix socket') ELSE '' END, count(*) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL \
     AND COALESCE(backend_type, 'client backend') = 'client backend' \
     AND (usename <> current_user OR client_addr IS DISTINCT FROM inet_client_addr()) \
     GROUP BY 1, 2 ORDER BY 1, 2";

fn text_values<const N: usize>(row: Vec<Option<String>>) -> Option<[String; N]> {
    row.into_iter().collect::<Option<Vec<String>>>()?.try_into().ok()
}

/// A few, and how many more.
fn listed(names: &[String]) -> String {
    let (shown, more) = names.split_at(names.len().min(NAMED_MAX));
    let shown = shown.join(", ");
    if more.is_empty() { shown } else { format!("{shown} and {} more", more.len()) }
}
