//! What a session's names mean to the server: its search_path, its user, its temporary schema. They
//! are asked for, not computed; here stands how, and which statements may have moved them.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use sql::catalog::{self, Catalog, Event, Extent, FunctionId, RelationKind, ViewRead};
use sql::facts::{Facts, Kind, RelationUse, SettingName, SettingUse, Transaction};
use sql::functions::Class;
use wire::backend;

use super::sight::Within;

/// The path is set to what it is: one that nobody has set follows the server's configuration, which may
/// be read anew between any two statements. For the transaction alone where there is one, as what
/// is set there for the session would outlive a SET LOCAL. Operators are named in full: the client's
/// own path must not decide what they are.
pub(super) fn names_sql(within: Within, with_settings: bool) -> String {
    let is_local = within != Within::Session;
    let settings = if with_settings { SETTINGS_SQL } else { "NULL" };
    format!(
        "SELECT pg_catalog.set_config('search_path', \
         pg_catalog.current_setting('search_path'), {is_local}), CURRENT_USER, \
         (SELECT n.nspname FROM pg_catalog.pg_namespace n \
         WHERE n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), \
         pg_catalog.current_database(), {settings}"
    )
}

/// What the session has set, each as its name and, in hexadecimal digits, its value. Timeouts are left
/// out: whoever counts is the gateway. Who the session is the server doesn't count as a setting.
const SETTINGS_SQL: &str = "(SELECT pg_catalog.string_agg(pg_catalog.concat(s.name, '=', \
     pg_catalog.encode(pg_catalog.convert_to(s.setting, 'UTF8'), 'hex')), ',') FROM (\
     SELECT p.name, p.setting FROM pg_catalog.pg_settings p \
     WHERE p.source OPERATOR(pg_catalog.=) 'session' \
     AND p.name OPERATOR(pg_catalog.!~~) '%\\_timeout' \
     UNION ALL SELECT 'role', pg_catalog.current_setting('role') \
     UNION ALL SELECT 'session_authorization', SESSION_USER::pg_catalog.text \
     FROM pg_catalog.pg_stat_activity a \
     WHERE a.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
     AND a.usename OPERATOR(pg_catalog.<>) SESSION_USER::pg_catalog.name) s)";

/// What a session has set, from the answer to a question that asked for it. `None` if that can't be
/// read.
pub(super) fn settings(rows: &[Box<[u8]>]) -> Option<Vec<(String, String)>> {
    let [row] = rows else { return None };
    let row = backend::data_row(row)?;
    let [_, _, _, _, Some(settings)] = row.as_slice() else { return None };
    let settings = std::str::from_utf8(settings).ok()?;
    let one = |setting: &str| {
        let (name, value) = setting.split_once('=')?;
        let digits = value
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let value = String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()?;
        Some((name.to_owned(), value))
    };
    settings.split(',').map(one).collect()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Of all the rest: names are part of what every text is looked up by, and seldom others.
    hash: u64,
    search_path: Vec<String>,
    user: String,
    temporary: Option<String>,
    database: String,
}

impl Names {
    /// From the answer to `names_sql`. `is_utf8` says whether that is how the server writes names.
    pub(super) fn read(rows: &[Box<[u8]>], is_utf8: bool) -> Option<Names> {
        let [row] = rows else { return None };
        let row = backend::data_row(row)?;
        let [path, user, temporary, database, _] = row.as_slice() else { return None };
        let text = |value: &[u8]| {
            let text = std::str::from_utf8(value).ok()?;
            (is_utf8 || text.is_ascii()).then(|| text.to_owned())
        };
        let search_path = elements(&text((*path)?)?)?;
        let temporary = match temporary {
            Some(name) => Some(text(name)?),
            None => None,
        };
        Some(Names::new(search_path, text((*user)?)?, temporary, text((*database)?)?))
    }

    fn new(
        search_path: Vec<String>,
        user: String,
        temporary: Option<String>,
        database: String,
    ) -> Names {
        static HASHING: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = HASHING.hash_one((&search_path, &user, &temporary, &database));
        Names { hash, search_path, user, temporary, database }
    }

    /// The same with another search_path.
    pub(super) fn with_path(&self, search_path: Vec<String>) -> Names {
        let Names { user, temporary, database, .. } = self.clone();
        Names::new(search_path, user, temporary, database)
    }

    /// The same once the session has a temporary schema, by the name that it is known by here.
    pub(super) fn with_temporary(&self, name: &str) -> Names {
        Names { temporary: Some(name.to_owned()), ..self.clone() }
    }

    /// How much of a catalog can stand behind these names.
    pub(super) fn needs(&self) -> Extent {
        match self.temporary {
            Some(_) => Extent::Whole,
            None => Extent::Permanent,
        }
    }

    pub(super) fn with<R>(&self, see: impl FnOnce(&catalog::Names<'_>) -> R) -> R {
        let path: Vec<&str> = self.search_path.iter().map(String::as_str).collect();
        see(&catalog::Names {
            search_path: &path,
            user: &self.user,
            temporary: self.temporary.as_deref(),
            database: &self.database,
        })
    }

    /// Operators and functions of the server's own are found before all others.
    pub(super) fn system_first(&self) -> bool {
        let mut schemas = self.search_path.iter().filter(|name| *name != "pg_temp");
        match schemas.next() {
            Some(first) if first == "pg_catalog" => true,
            _ => !self.search_path.iter().any(|name| name == "pg_catalog"),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.search_path.iter().map(String::len).sum::<usize>() + self.user.len() + 128
    }
}

impl Hash for Names {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The elements of a search_path as the setting shows it: names, quoted where they need it.
fn elements(text: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut name = String::new();
        match rest.strip_prefix('"') {
            Some(mut quoted) => loop {
                let (before, after) = quoted.split_once('"')?;
                name.push_str(before);
                match after.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            },
            None => {
                let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace());
                let (bare, after) = rest.split_at(end.unwrap_or(rest.len()));
                name = bare.to_ascii_lowercase();
                rest = after;
            }
        }
        found.push(name);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) if !after.trim_start().is_empty() => rest = after.trim_start(),
            None if rest.is_empty() => {}
            _ => return None,
        }
    }
    Some(found)
}

/// What may be another after a statement has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// What the session's names mean: its path, its user, its temporary schema, its encoding.
    pub(super) names: bool,
    /// What the database holds.
    pub(super) catalog: bool,
}

impl Moves {
    pub(super) const ALL: Moves = Moves { names: true, catalog: true };

    pub(super) fn any(self) -> bool {
        self.names || self.catalog
    }

    pub(super) fn or(self, other: Moves) -> Moves {
        Moves { names: self.names || other.names, catalog: self.catalog || other.catalog }
    }

    /// All that moves is what the facts say of the change: no code runs on the way.
    pub(super) fn known_by(facts: &Facts, catalog: &Catalog) -> bool {
        let carries_code = |id| {
            let of = |event| catalog.carried(id, event).calls;
            let calls = [Event::Insert, Event::Update, Event::Maintain].into_iter().flat_map(of);
            calls.into_iter().any(|call| is_code(call.function, catalog, false))
        };
        let objects = facts.commands.iter().filter_map(|used| used.object.as_ref());
        facts.opaque.is_none()
            && facts.settings.is_empty()
            && !catalog.has_event_triggers()
            && !facts.functions.iter().any(|id| is_code(*id, catalog, false))
            && !facts.relations.iter().any(|used| runs_code(used, catalog))
            && !objects.filter_map(|object| object.relation).any(carries_code)
    }

    pub(super) fn of(facts: &Facts, catalog: &Catalog) -> Moves {
        let mut set = facts.settings.iter().filter(|setting| setting.change && !setting.stored);
        let says_what_it_sets = set.clone().next().is_some();
        let set = set.any(|setting| !is_harmless(setting));
        let code = facts.opaque.is_some()
            || facts.functions.iter().any(|id| is_code(*id, catalog, says_what_it_sets))
            || facts.relations.iter().any(|used| runs_code(used, catalog))
            || facts.kind == Kind::Discard;
        Moves {
            names: set || facts.changes_names || code,
            catalog: (facts.changes_names && !is_session(facts)) || code,
        }
    }
}

/// A command about the session alone: SET and its kin.
fn is_session(facts: &Facts) -> bool {
    matches!(facts.kind, Kind::Set | Kind::Show | Kind::Transaction(_))
}

/// Whether what is on the way to the end of a transaction can take back what moved in it.
pub(super) fn takes_back(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Transaction(
            Transaction::Commit
                | Transaction::Rollback
                | Transaction::RollbackTo
                | Transaction::Release
                | Transaction::TwoPhase
        )
    )
}

/// What is understood without the catalog and without knowing what names mean.
pub(super) fn is_nameless(facts: &Facts) -> bool {
    matches!(
        facts.kind,
        Kind::Empty
            | Kind::Transaction(_)
            | Kind::Set
            | Kind::Show
            | Kind::Discard
            | Kind::Deallocate
            | Kind::CloseCursor
            | Kind::Fetch
            | Kind::Listen
            | Kind::Unlisten
            | Kind::Notify
    ) && facts.relations.is_empty()
        && facts.functions.is_empty()
        && !facts.settings.iter().any(is_a_role)
}

/// Whose name it is decides what it does.
fn is_a_role(setting: &SettingUse) -> bool {
    matches!(&setting.name, SettingName::One(name) if name.eq_ignore_ascii_case("role"))
        && setting.value.is_some()
}

/// Settings that have no say in what a name means or how a text is read. One that is not here
/// costs a question.
fn is_harmless(setting: &SettingUse) -> bool {
    let SettingName::One(name) = &setting.name else { return false };
    const HARMLESS: [&str; 24] = [
        "application_name",
        "bytea_output",
        "client_min_messages",
        "constraints",
        "cursor_tuple_fraction",
        "datestyle",
        "default_transaction_deferrable",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "extra_float_digits",
        "geqo",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "lock_timeout",
        "plan_cache_mode",
        "row_security",
        "statement_timeout",
        "timezone",
        "transaction_deferrable",
        "transaction_isolation",
        "transaction_read_only",
        "work_mem",
    ];
    HARMLESS.iter().any(|harmless| harmless.eq_ignore_ascii_case(name))
}

/// A function that may do anything, or what its arguments say.
/// `says_what_it_sets`: calls of set_config stand among the settings.
fn is_code(id: FunctionId, catalog: &Catalog, says_what_it_sets: bool) -> bool {
    /// Of the server's own: they touch sequences, time, locks and messages, and no name.
    const KNOWN: [&str; 22] = [
        "currval",
        "lastval",
        "nextval",
        "pg_advisory_lock",
        "pg_advisory_lock_shared",
        "pg_advisory_unlock",
        "pg_advisory_unlock_all",
        "pg_advisory_unlock_shared",
        "pg_advisory_xact_lock",
        "pg_advisory_xact_lock_shared",
        "pg_cancel_backend",
        "pg_notify",
        "pg_sleep",
        "pg_sleep_for",
        "pg_sleep_until",
        "pg_terminate_backend",
        "pg_try_advisory_lock",
        "pg_try_advisory_lock_shared",
        "pg_try_advisory_xact_lock",
        "pg_try_advisory_xact_lock_shared",
        "setseed",
        "setval",
    ];
    let Some(function) = catalog.function(id) else { return true };
    match function.class {
        Some(Class::Pure | Class::Describes | Class::State) => false,
        Some(Class::Uncallable) | None => true,
        Some(Class::Session) if &*function.name == "set_config" => !says_what_it_sets,
        Some(Class::Session | Class::Named | Class::Outside) => {
            !catalog.is_system(function.schema) || !KNOWN.contains(&&*function.name)
        }
    }
}

/// What is done to a relation may run code that its owner, or that of another which is reached from
/// it, has put there.
fn runs_code(used: &RelationUse, catalog: &Catalog) -> bool {
    let events = [
        (used.read.is_some(), Event::Read),
        (used.insert.is_some(), Event::Insert),
        (used.update.is_some(), Event::Update),
        (used.delete, Event::Delete),
        (used.truncate, Event::Truncate),
    ];
    let mut events = events.into_iter().filter(|(is_done, _)| *is_done);
    let Some(id) = used.relation else { return false };
    let reached = |(_, event)| {
        let carried = catalog.carried(id, event);
        let is_foreign =
            |id| catalog.relation(id).is_none_or(|relation| relation.kind == RelationKind::Foreign);
        carried.calls.iter().any(|call| is_code(call.function, catalog, false))
            || carried.done.iter().any(|(id, _)| is_foreign(*id))
    };
    let beneath = |read| matches!(read, ViewRead::Function(id) if is_code(id, catalog, false));
    events.any(reached) || catalog.beneath(id).iter().any(|beneath_it| beneath(beneath_it.read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_a_path() {
        for (text, want) in [
            ("", Some(vec![])),
            ("\"$user\", public", Some(vec!["$user", "public"])),
            ("Mixed,\"Mixed\" , \"a\"\"b,c\"", Some(vec!["mixed", "Mixed", "a\"b,c"])),
            ("\"\"", Some(vec![""])),
            ("a,", None),
            ("a b", None),
            ("\"a", None),
        ] {
            let want = want.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(elements(text), want, "{text}");
        }
    }

    #[test]
    fn what_a_session_has_set() {
        let row = |settings: Option<&str>| {
            let mut body = 5_u16.to_be_bytes().to_vec();
            for value in [Some("p"), Some("u"), None, Some("d"), settings] {
                let bytes = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
                body.extend_from_slice(&bytes.to_be_bytes());
                body.extend_from_slice(value.unwrap_or_default().as_bytes());
            }
            [body.into_boxed_slice()]
        };
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let found = settings(&row(Some("role=6e6f6e65,a.b=,datestyle=49534f2c20c3a4")));
        let want = vec![of("role", "none"), of("a.b", ""), of("datestyle", "ISO, ä")];
        assert_eq!(found, Some(want));
        for unread in [None, Some(""), Some("role"), Some("role=6"), Some("role=zz")] {
            let found = settings(&row(unread));
            let is_half = unread == Some("role=6") && found == Some(vec![of("role", "\u{6}")]);
            assert!(found.is_none() || is_half, "{unread:?} {found:?}");
        }
    }

    #[test]
    fn equal_names_hash_alike() {
        let of = |path: &[&str]| {
            let path = path.iter().map(|&name| name.to_owned()).collect();
            Names::new(path, "u".to_owned(), None, "d".to_owned())
        };
        assert_eq!(of(&["a", "b"]), of(&["a"]).with_path(of(&["a", "b"]).search_path));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_ne!(of(&["a", "b"]).hash, of(&["b", "a"]).hash);
    }

    #[test]
    fn where_the_servers_own_names_come_first() {
        for (path, first) in [
            ("public", true),
            ("pg_catalog, public", true),
            ("pg_temp, pg_catalog", true),
            ("public, pg_catalog", false),
        ] {
            let path_elements = elements(path).unwrap();
            let names = Names::new(path_elements, String::new(), None, String::new());
            assert_eq!(names.system_first(), first, "{path}");
        }
    }
}
