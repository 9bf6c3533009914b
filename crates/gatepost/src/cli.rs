//! The command line: what can be asked of the binary, how it answers and with which exit code.
//! What a command does is its own module's business.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use access::TokenId;
use audit::read::Filter;
use clap::{Args, CommandFactory, Parser, Subcommand};
use gateway::store::Store;

use crate::config::{self, ConfigError};
use crate::log::{self, Format};
use crate::remote::{Caller, Gate, Who};
use crate::{check, demo, desk, explain, login, psql, records, serve, status, token};

/// The gate that every query of an AI agent passes on its way to PostgreSQL.
///
/// Clients speak plain PostgreSQL to Gatepost; it authenticates them and relays to the database.
#[derive(Parser)]
#[command(
    name = "gatepost",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Examples:
  gatepost demo                           a scratch database behind a gate, to look at
  gatepost serve -c gatepost.yaml         run the gate
  gatepost check gatepost.yaml            what is wrong with a file, and what is risky in it
  gatepost token create agent-7           a token for an agent

Exit codes: 0 it worked, 1 it failed, 2 the command line or the configuration is wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gate
    ///
    /// Listens as the configuration says until SIGTERM or SIGINT: then no new sessions, running
    /// statements end, and the rest is closed. SIGHUP reads the configuration and its
    /// certificates again; a broken one changes nothing.
    #[command(after_help = "\
Example:
  gatepost serve -c /etc/gatepost/gatepost.yaml --log json

Environment:
  GATEPOST_LOG   what to log: error, warn, info (default), debug or trace, or a filter
                 such as info,gateway=debug")]
    Serve {
        #[command(flatten)]
        config: ConfigFile,
        /// How the log on stderr looks
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        log: Format,
        /// Start on a journal that is damaged, and record that
        #[arg(long)]
        accept_damage: bool,
    },
    /// Say which protections are on, and what was recorded last
    ///
    /// Asks the running gateway, at the address that the file has for `http`. Without one it says
    /// what the file and the journal say.
    #[command(after_help = "\
Example:
  gatepost status orders -c gatepost.yaml

Exit codes: 0 it is well, 1 the gateway does not answer, or nothing can be recorded.")]
    Status {
        /// Only of this connection
        connection: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Say what is wrong with a configuration, and what a reviewer would ask about its policies
    ///
    /// Reads the file and the certificates it names, as `serve` would. Connects to nothing and
    /// fetches no secret, unless it is asked to.
    #[command(after_help = "\
Examples:
  gatepost check gatepost.yaml
  gatepost check gatepost.yaml --live

Exit codes: 0 it is right, 1 there is something to look at again, 2 it is wrong.")]
    Check {
        /// The configuration file
        #[arg(value_name = "FILE", default_value = "gatepost.yaml")]
        file: PathBuf,
        /// Ask each connection's database too, with Gatepost's own credential: what its role may do
        /// beyond the policies, names that are not there, views and functions that open a table by
        /// the back door, sessions that did not come through Gatepost. And each issuer for its keys
        #[arg(long)]
        live: bool,
    },
    /// Say what statements do, what the policies say to them, and why
    ///
    /// Looks at the connection's database, with Gatepost's own credential, and runs nothing of what
    /// it is given. Names are read as a new session would.
    #[command(after_help = "\
Examples:
  gatepost explain --as agent-7 --on orders \"SELECT iban FROM customers\"
  gatepost explain --as agent-7 --on orders --from history.sql")]
    Explain {
        /// The identity that asks: a local name, or `issuer|subject`
        #[arg(long = "as", value_name = "IDENTITY")]
        identity: String,
        /// A group that the token of `issuer|subject` names; may come several times
        #[arg(long = "group", value_name = "NAME")]
        groups: Vec<String>,
        /// A claim of that token, by the name that policies use; may come several times
        #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
        claims: Vec<(String, String)>,
        /// The connection
        #[arg(long = "on", value_name = "CONNECTION")]
        connection: String,
        /// A file of statements: a line of verdict for each
        #[arg(long = "from", value_name = "FILE", conflicts_with = "text")]
        history: Option<PathBuf>,
        /// The text, as a client would send it
        #[arg(value_name = "SQL", required_unless_present = "history")]
        text: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Log in at the company's identity provider, for `gatepost psql` and all that follows
    ///
    /// By the browser, or with a code that is typed in any browser elsewhere. What it gives is kept in
    /// a file that nobody else can read, in $XDG_STATE_HOME/gatepost or ~/.local/state/gatepost, and is
    /// renewed from there where the provider allows it.
    #[command(after_help = "\
Examples:
  gatepost login https://gate.internal:6480
  gatepost login --device
  gatepost login --saml")]
    Login {
        /// The gateway; without it GATEPOST_URL, or where the last login was
        #[arg(value_name = "URL")]
        gate: Option<String>,
        /// The provider, where the gateway has several
        #[arg(long, value_name = "URL")]
        issuer: Option<String>,
        /// Show a code for a browser elsewhere, and open none here
        #[arg(long)]
        device: bool,
        /// At a provider that speaks SAML; not needed where the gateway has no other
        #[arg(long, conflicts_with = "device")]
        saml: bool,
        /// The certificate that signs the gateway's, and the provider's, if the system trusts neither
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// Forget a login, and tell the identity provider
    #[command(after_help = "\
Example:
  gatepost logout

Exit codes: 0 it is over, 1 the provider could not be told, or there was no login.")]
    Logout {
        /// The gateway; without it GATEPOST_URL, or where the last login was
        #[arg(value_name = "URL")]
        gate: Option<String>,
    },
    /// Run psql on a connection, with everything filled in
    ///
    /// Where the gateway is, how far its certificate is believed, who comes and with which token: as
    /// `gatepost login` left it, or as it is said here. What stands behind `--` is psql's.
    #[command(after_help = "\
Examples:
  gatepost psql orders
  gatepost psql orders --for 20m --reason 'ticket 42' -- -c 'SELECT count(*) FROM orders'

Exit codes: psql's; 1 or 2 where it could not be started.")]
    Psql {
        /// The connection
        #[arg(value_name = "CONNECTION")]
        connection: String,
        /// Why; some policies want it
        #[arg(long)]
        reason: Option<String>,
        /// For how long, such as 20m; as long as the policies say, if it isn't said
        #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
        lasts: Option<Duration>,
        /// Only this policy; can be given several times
        #[arg(long = "policy", value_name = "NAME")]
        policies: Vec<String>,
        /// Narrower than the policies: rules as the file has them, with `;` between
        #[arg(long, value_name = "RULES")]
        scope: Option<String>,
        #[command(flatten)]
        who: Who,
        /// For psql
        #[arg(last = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Ask for a connection, and wait for people if they have to agree
    ///
    /// The password of the next session goes to stdout, alone; everything else to stderr.
    #[command(after_help = "\
Examples:
  gatepost request --on orders --reason 'ticket 42' --for 20m
  PGPASSWORD=$(gatepost request --on orders --scope 'read: public.orders') \\
    psql \"host=gate.internal port=6432 dbname=orders user=agent-7\"

Exit codes: 0 there is a grant, 1 not yet, or no.")]
    Request {
        /// The connection
        #[arg(long = "on", value_name = "CONNECTION")]
        connection: String,
        /// Why; some policies want it
        #[arg(long)]
        reason: Option<String>,
        /// For how long, such as 20m; as long as the policies say, if it isn't said
        #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
        lasts: Option<Duration>,
        /// Only this policy; can be given several times
        #[arg(long = "policy", value_name = "NAME")]
        policies: Vec<String>,
        /// Narrower than the policies: rules as the file has them, with `;` between
        #[arg(long, value_name = "RULES")]
        scope: Option<String>,
        /// The password opens one session
        #[arg(long)]
        single_use: bool,
        #[command(flatten)]
        caller: Caller,
    },
    /// List what waits for a person: requests and held statements
    #[command(after_help = "\
Example:
  gatepost pending --as anna")]
    Pending {
        #[command(flatten)]
        caller: Caller,
    },
    /// Show a request, a held statement or a grant
    #[command(after_help = "\
Example:
  gatepost show req_1f0c5a9be2d7c384 --as anna")]
    Show {
        /// Its name, as `gatepost pending` has it
        id: String,
        #[command(flatten)]
        caller: Caller,
    },
    /// Agree to a request, or let a held statement run
    ///
    /// Nobody agrees to what they asked for themselves. A statement runs once, as it was shown.
    #[command(after_help = "\
Examples:
  gatepost approve req_1f0c5a9be2d7c384 --as anna
  gatepost approve hold_92b1d0c4a77e6f15 --shape --uses 20 --until 1h --as anna")]
    Approve {
        /// Its name, as `gatepost pending` has it
        id: String,
        /// For whoever asked, and for the record
        #[arg(long)]
        words: Option<String>,
        /// The same text with other parameters, too, where policy lets that be approved
        #[arg(long, requires = "uses", requires = "until")]
        shape: bool,
        /// How often
        #[arg(long, value_name = "N", requires = "shape")]
        uses: Option<u32>,
        /// For how long
        #[arg(long, value_name = "DURATION", value_parser = lifetime, requires = "shape")]
        until: Option<Duration>,
        #[command(flatten)]
        caller: Caller,
    },
    /// Refuse a request or a held statement
    #[command(after_help = "\
Example:
  gatepost deny hold_92b1d0c4a77e6f15 --words 'not on a Friday' --as anna")]
    Deny {
        /// Its name, as `gatepost pending` has it
        id: String,
        /// What the agent reads, and the record keeps
        #[arg(long)]
        words: Option<String>,
        #[command(flatten)]
        caller: Caller,
    },
    /// End a grant, and every session under it
    ///
    /// Of one's own, or of anybody's for those whom the file names under `admins`.
    #[command(after_help = "\
Example:
  gatepost revoke grant_5d3a8e60b19cf742 --words 'the incident is over' --as anna")]
    Revoke {
        /// Its name, as `gatepost grants` has it
        id: String,
        /// What the agent reads, and the record keeps
        #[arg(long)]
        words: Option<String>,
        #[command(flatten)]
        caller: Caller,
    },
    /// List grants
    #[command(after_help = "\
Example:
  gatepost grants --all --as anna")]
    Grants {
        /// Those that have ended, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        caller: Caller,
    },
    /// List the sessions that are open
    #[command(after_help = "\
Example:
  gatepost sessions --as anna")]
    Sessions {
        #[command(flatten)]
        caller: Caller,
    },
    /// End a session at once; its grant lives on
    #[command(after_help = "\
Example:
  gatepost kill 3f9a1c77d2e04b58 --as anna")]
    Kill {
        /// Its name, as `gatepost sessions` has it
        session: String,
        #[command(flatten)]
        caller: Caller,
    },
    /// Make, list and revoke the tokens of local identities
    ///
    /// A token is what an agent gives as its PostgreSQL password. Only a verifier of it is kept,
    /// in the state file. A running gate sees every change at once.
    #[command(
        subcommand,
        after_help = "\
Example:
  gatepost token create agent-7 --for 30d"
    )]
    Token(TokenCommand),
    /// Prove, show and follow the journal
    ///
    /// Everything that happens is recorded there before it happens.
    #[command(
        subcommand,
        after_help = "\
Example:
  gatepost audit verify /var/lib/gatepost/journal"
    )]
    Audit(AuditCommand),
    /// Describe the configuration
    #[command(
        subcommand,
        after_help = "\
Example:
  gatepost config reference | less"
    )]
    Config(ConfigCommand),
    /// Show the gate at work on a scratch database
    ///
    /// Starts a PostgreSQL cluster with a small shop in it and a gate in front, shows each step
    /// with a real client, and stays up until Ctrl-C, which removes everything.
    #[command(after_help = "\
Example:
  gatepost demo --check")]
    Demo {
        /// Run the steps, check what they answer, and end
        #[arg(long)]
        check: bool,
    },
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once
    ///
    /// The token alone goes to stdout, so that it can be kept in a variable; a line about it goes
    /// to stderr. It can't be shown again.
    #[command(after_help = "\
Example:
  PGPASSWORD=$(gatepost token create agent-7 --for 30d) \\
    psql \"host=gate.internal port=6432 dbname=orders user=agent-7\"")]
    Create {
        /// The identity it proves: what the agent gives as its PostgreSQL user
        name: String,
        /// How long it is good, such as 12h or 30d; without it until it is revoked
        #[arg(long = "for", value_name = "DURATION", value_parser = lifetime)]
        lifetime: Option<Duration>,
        #[command(flatten)]
        state: StateFile,
    },
    /// List all tokens, the revoked and expired ones too
    #[command(after_help = "\
Example:
  gatepost token list --state /var/lib/gatepost/gatepost.db")]
    List {
        #[command(flatten)]
        state: StateFile,
    },
    /// Revoke a token: it opens nothing from now on
    #[command(after_help = "\
Example:
  gatepost token revoke 3")]
    Revoke {
        /// The token's number, as `gatepost token list` shows it
        id: TokenId,
        #[command(flatten)]
        state: StateFile,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Prove that a journal is whole and unchanged, or name the first record that does not fit
    ///
    /// Works without a configuration, on a copy as well as on a journal that is being written.
    #[command(after_help = "\
Example:
  gatepost audit verify journal --checkpoint /mnt/elsewhere/head

Exit codes: 0 it is whole, 1 it is not.")]
    Verify {
        /// The journal's directory, or segments that follow one another
        #[arg(value_name = "DIR|FILES", default_value = "journal")]
        paths: Vec<PathBuf>,
        /// A signed head that was kept elsewhere: shows whether the tail is missing
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The first public key, if it is known from elsewhere
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Print the records of a journal
    #[command(after_help = "\
Example:
  gatepost audit show journal --identity agent-7 --since 2026-11-21T09")]
    Show {
        #[command(flatten)]
        records: Records,
    },
    /// Print new records as they come
    #[command(after_help = "\
Example:
  gatepost audit tail journal --connection orders")]
    Tail {
        #[command(flatten)]
        records: Records,
    },
}

#[derive(Args)]
struct Records {
    /// The journal's directory
    #[arg(value_name = "DIR", default_value = "journal")]
    directory: PathBuf,
    /// Of this identity: a subject, or `issuer|subject`
    #[arg(long)]
    identity: Option<String>,
    /// Of this connection
    #[arg(long)]
    connection: Option<String>,
    /// Of this session
    #[arg(long)]
    session: Option<String>,
    /// With this verdict: allow, rewrite, hold or refuse
    #[arg(long)]
    verdict: Option<String>,
    /// From this time on, as records write it or the beginning of it
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The records as they stand, in JSON
    #[arg(long)]
    json: bool,
}

impl Records {
    fn filter(&self) -> Filter {
        Filter {
            identity: self.identity.clone(),
            connection: self.connection.clone(),
            session: self.session.clone(),
            verdict: self.verdict.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            heads: false,
        }
    }
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the JSON Schema of the configuration, for editors
    #[command(after_help = "\
Example:
  gatepost config schema > gatepost.schema.json
  # then, as the first line of gatepost.yaml:
  # yaml-language-server: $schema=gatepost.schema.json")]
    Schema,
    /// Print the reference of all keys, in Markdown
    #[command(after_help = "\
Example:
  gatepost config reference | less")]
    Reference,
}

#[derive(Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "gatepost.yaml")]
    path: PathBuf,
}

#[derive(Args)]
struct StateFile {
    /// The configuration file, which names the state file
    #[arg(short, long, value_name = "FILE", default_value = "gatepost.yaml")]
    config: PathBuf,
    /// The state file itself; no configuration is read then
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    state: Option<PathBuf>,
}

/// Why the binary ends with something else than 0.
pub(crate) enum Failure {
    /// The command line or the configuration is wrong.
    Usage(String),
    Failed(String),
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. If nobody reads them there is nobody to tell.
            let _unread = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let (code, message) = match run(cli.command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
    };
    let _unread = writeln!(io::stderr(), "{message}");
    ExitCode::from(code)
}

/// The definition of the command line, for those who document it.
pub fn definition() -> clap::Command {
    Cli::command()
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { config, log, accept_damage } => {
            log::init(log).map_err(|error| Failure::Usage(error.to_string()))?;
            let loaded = config::load(&config.path)?;
            serve::run(&config.path, loaded, accept_damage)
                .map_err(|error| Failure::Failed(error.to_string()))
        }
        Command::Check { file, live } => check::run(&file, live),
        Command::Explain { identity, groups, claims, connection, history, text, config } => {
            explain::run(
                &config.path,
                &explain::Question {
                    identity: &identity,
                    groups: &groups,
                    claims: &claims,
                    connection: &connection,
                    text: text.as_deref(),
                    history: history.as_deref(),
                },
            )
        }
        Command::Status { connection, config } => {
            status::run(&config::load(&config.path)?, connection.as_deref())
        }
        Command::Login { gate, issuer, device, saml, ca } => {
            let wanted = login::Wanted { issuer, device, saml, ca };
            login::log_in(&Gate::find(gate.as_deref(), None)?, wanted)
        }
        Command::Logout { gate } => login::log_out(&Gate::find(gate.as_deref(), None)?),
        Command::Psql { connection, reason, lasts, policies, scope, who, arguments } => {
            let wanted = psql::Wanted { connection, reason, lasts, policies, scope, arguments };
            psql::run(&who, wanted)
        }
        Command::Request { connection, reason, lasts, policies, scope, single_use, caller } => {
            let wanted = desk::Wanted { connection, reason, lasts, policies, scope, single_use };
            desk::request(&caller, wanted)
        }
        Command::Pending { caller } => desk::pending(&caller),
        Command::Show { id, caller } => desk::show(&caller, &id),
        Command::Approve { id, words, shape: _, uses, until, caller } => {
            desk::approve(&caller, &id, words, uses.zip(until))
        }
        Command::Deny { id, words, caller } => desk::deny(&caller, &id, words),
        Command::Revoke { id, words, caller } => desk::revoke(&caller, &id, words),
        Command::Grants { all, caller } => desk::grants(&caller, all),
        Command::Sessions { caller } => desk::sessions(&caller),
        Command::Kill { session, caller } => desk::kill(&caller, &session),
        Command::Token(TokenCommand::Create { name, lifetime, state }) => {
            config::name(&name).map_err(Failure::Usage)?;
            let path = state.for_name(&name)?;
            token::create(&path, &name, lifetime)
        }
        Command::Token(TokenCommand::List { state }) => token::list(&state.store()?),
        Command::Token(TokenCommand::Revoke { id, state }) => token::revoke(&state.store()?, id),
        Command::Audit(AuditCommand::Verify { paths, checkpoint, key }) => {
            records::verify(&paths, checkpoint.as_deref(), key.as_deref())
        }
        Command::Audit(AuditCommand::Show { records: it }) => {
            records::show(&it.directory, &it.filter(), it.json)
        }
        Command::Audit(AuditCommand::Tail { records: it }) => {
            records::tail(&it.directory, &it.filter(), it.json)
        }
        Command::Config(ConfigCommand::Schema) => print(&config::schema()),
        Command::Config(ConfigCommand::Reference) => print(&config::reference()),
        Command::Demo { check } => {
            demo::run(check).map_err(|error| Failure::Failed(error.to_string()))
        }
    }
}

fn claim(written: &str) -> Result<(String, String), String> {
    let split = written.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = split.ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Writes to stdout. `println!` would panic when the reader is gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::Failed(format!("can't write to stdout: {error}")))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match config::duration(text)? {
        Duration::ZERO => Err(format!("`{text}` would end before it begins")),
        it => Ok(it),
    }
}

impl StateFile {
    fn store(&self) -> Result<Store, Failure> {
        match &self.state {
            Some(path) => Ok(Store::File(path.clone())),
            None => Ok(self.load()?.state),
        }
    }

    /// As [`StateFile::store`], if a token of that name would be of any use.
    fn for_name(&self, name: &str) -> Result<Store, Failure> {
        if let Some(path) = &self.state {
            return Ok(Store::File(path.clone()));
        }
        let config = self.load()?;
        if config.settings.accounts.contains_key(name) {
            return Err(Failure::Failed(format!(
                "`{name}` has its secret from {}, so a token of that name would open nothing",
                self.config.display()
            )));
        }
        Ok(config.state)
    }

    fn load(&self) -> Result<config::Config, Failure> {
        config::load(&self.config).map_err(|error| {
            let missing = !self.config.exists();
            let hint =
                if missing { "; name it with -c, or the state file with --state" } else { "" };
            Failure::Usage(format!("{error}{hint}"))
        })
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn a_token_lives_for_a_while_or_not_at_all() {
        assert_eq!(lifetime("1ms"), Ok(Duration::from_millis(1)));
        assert!(lifetime("0d").is_err());
        assert!(lifetime("soon").is_err());
    }
}
