//! Settings: which may be set by whoever may do anything, to which values, and which have one
//! value here. See "Settings" in `docs/reference.md`.

use std::time::Duration;

use crate::limits::Limits;

/// What is built in about setting one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Built {
    /// Anyone may.
    In,
    /// A rule has to name it, a wildcard will do.
    Asked,
    /// A rule has to name it by its whole name.
    Pinned(&'static str),
    /// It changes how text is read: only where everything is granted and text isn't read.
    Reading(&'static str),
    /// It would be looser than the limits in force.
    Looser(Duration),
    /// More than PostgreSQL comes with: others pay for it. A rule has to name it, a wildcard will do.
    More(&'static str),
}

/// What a setting is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'v> {
    /// What it had before the session changed it.
    Default,
    These(&'v [String]),
    /// Nobody knows before it runs.
    Computed,
}

/// Whatever their value is, nothing that matters follows from it.
const HARMLESS: &[&str] = &[
    "application_name",
    "bytea_output",
    "check_function_bodies",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "extra_float_digits",
    "geqo",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "jit_expressions",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "jit_tuple_deforming",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "restrict_nonsystem_relation_kind",
    "row_security",
    "search_path",
    "seq_page_cost",
    "synchronize_seqscans",
    "timezone",
    "timezone_abbreviations",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "xml option",
    "xmlbinary",
    "xmloption",
];

/// Families of such. Not `jit_`: `jit_dump_bitcode` writes files.
const HARMLESS_FAMILIES: [&str; 3] = ["enable_", "geqo_", "tcp_"];

/// One value, and what it is.
const PINNED: &[(&str, &str)] = &[
    ("array_nulls", "on"),
    ("createrole_self_grant", ""),
    ("debug_print_parse", "off"),
    ("debug_print_plan", "off"),
    ("debug_print_rewritten", "off"),
    ("default_table_access_method", "heap"),
    ("escape_string_warning", "on"),
    ("exit_on_error", "off"),
    ("ignore_system_indexes", "off"),
    ("local_preload_libraries", ""),
    ("role", "none"),
    ("session_authorization", "default"),
    ("session_preload_libraries", ""),
    ("session_replication_role", "origin"),
    ("synchronous_commit", "on"),
    ("transform_null_equals", "off"),
];

/// The same, and what is read would be something else.
const READING: &[(&str, &str)] =
    &[("backslash_quote", "safe_encoding"), ("standard_conforming_strings", "on")];

/// What costs memory, processes or planning, with the most that anyone may take: what PostgreSQL comes
/// with. Memory is in kB.
const BOUNDED: &[(&str, Unit, f64, &str)] = &[
    ("default_statistics_target", Unit::Number, 100.0, "100"),
    ("from_collapse_limit", Unit::Number, 8.0, "8"),
    ("geqo_threshold", Unit::Number, 12.0, "12"),
    ("hash_mem_multiplier", Unit::Number, 2.0, "2"),
    ("join_collapse_limit", Unit::Number, 8.0, "8"),
    ("logical_decoding_work_mem", Unit::Memory, 65_536.0, "64MB"),
    ("maintenance_work_mem", Unit::Memory, 65_536.0, "64MB"),
    ("max_parallel_maintenance_workers", Unit::Number, 2.0, "2"),
    ("max_parallel_workers", Unit::Number, 8.0, "8"),
    ("max_parallel_workers_per_gather", Unit::Number, 2.0, "2"),
    ("work_mem", Unit::Memory, 4_096.0, "4MB"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Number,
    Memory,
}

/// Encodings in which a byte of ASCII is that letter and never a part of another.
const ENCODINGS: &[&str] = &[
    "abc",
    "alt",
    "euccn",
    "eucjis2004",
    "eucjp",
    "euckr",
    "euctw",
    "iso88591",
    "iso885910",
    "iso885913",
    "iso885914",
    "iso885915",
    "iso885916",
    "iso88592",
    "iso88593",
    "iso88594",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "iso88599",
    "koi8",
    "koi8r",
    "koi8u",
    "latin1",
    "latin10",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "latin9",
    "muleinternal",
    "sqlascii",
    "tcvn",
    "tcvn5712",
    "unicode",
    "utf8",
    "vscii",
    "win",
    "win1250",
    "win1251",
    "win1252",
    "win1253",
    "win1254",
    "win1255",
    "win1256",
    "win1257",
    "win1258",
    "win866",
    "win874",
];

/// Whether a rule that names it lets it be set to anything: of what is pinned. What changes how text
/// is read no rule gives, and a limit is a policy's own.
pub(crate) fn can_be_named(name: &str) -> bool {
    name == "client_min_messages" || PINNED.iter().any(|(pinned, _)| *pinned == name)
}

/// What is built in about setting `name`, in lower case.
pub(crate) fn built(name: &str, value: Value<'_>, limits: &Limits) -> Built {
    let pinned = |list: &'static [(&str, &str)]| list.iter().find(|(own, _)| *own == name);
    if let Some((_, pinned)) = pinned(PINNED) {
        return if is_value(value, pinned) { Built::In } else { Built::Pinned(pinned) };
    }
    if let Some((_, pinned)) = pinned(READING) {
        return if is_value(value, pinned) { Built::In } else { Built::Reading(pinned) };
    }
    match name {
        "client_encoding" | "names" => match value {
            Value::Default => Built::In,
            Value::These([name]) if is_safe_encoding(name) => Built::In,
            _ => Built::Reading("an ASCII-safe encoding"),
        },
        "client_min_messages" => match value {
            Value::Default => Built::In,
            Value::These([level]) if is_loud(level) => Built::In,
            _ => Built::Pinned("notice"),
        },
        "statement_timeout" => capped(value, limits.statement_time.as_ref().map(|it| it.value)),
        "idle_in_transaction_session_timeout" => {
            capped(value, limits.idle_in_transaction.as_ref().map(|it| it.value))
        }
        // So pg_dump's texts begin.
        "default_tablespace" if is_value(value, "") => Built::In,
        name if HARMLESS.contains(&name) => Built::In,
        "parallel_leader_participation" => Built::In,
        name if let Some((_, unit, most, said)) = BOUNDED.iter().find(|it| it.0 == name) => {
            match value {
                Value::Default => Built::In,
                Value::These([value]) if amount(value, *unit).is_some_and(|it| it <= *most) => {
                    Built::In
                }
                Value::These(_) | Value::Computed => Built::More(said),
            }
        }
        name if HARMLESS_FAMILIES.iter().any(|family| name.starts_with(family)) => Built::In,
        _ => Built::Asked,
    }
}

fn is_value(value: Value<'_>, pinned: &str) -> bool {
    let value = match value {
        Value::Default => return true,
        Value::These([value]) => value.to_ascii_lowercase(),
        Value::These(_) | Value::Computed => return false,
    };
    // PostgreSQL takes any beginning of a boolean word that is not of two.
    match pinned {
        "on" => matches!(&*value, "on" | "t" | "tr" | "tru" | "true" | "y" | "ye" | "yes" | "1"),
        "off" => {
            let words = ["of", "off", "f", "fa", "fal", "fals", "false", "n", "no", "0"];
            words.contains(&&*value)
        }
        pinned => value == pinned,
    }
}

fn is_loud(level: &str) -> bool {
    let loud = ["notice", "warning", "error", "fatal", "panic"];
    loud.contains(&&*level.to_ascii_lowercase())
}

fn is_safe_encoding(name: &str) -> bool {
    let name: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ENCODINGS.contains(&&*name)
}

/// Zero is no timeout, which is the limit: whoever counts is not the server.
fn capped(value: Value<'_>, cap: Option<Duration>) -> Built {
    let Some(cap) = cap else { return Built::In };
    match value {
        Value::Default => Built::In,
        Value::These([value])
            if milliseconds(value).is_some_and(|millis| millis <= cap.as_millis() as f64) =>
        {
            Built::In
        }
        Value::These(_) | Value::Computed => Built::Looser(cap),
    }
}

/// As PostgreSQL reads a time: a number, and milliseconds where there is no unit.
fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim() {
        "us" => 0.001,
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some(number * factor).filter(|millis| millis.is_finite())
}

/// As PostgreSQL reads it. Negative numbers are none of these settings'.
fn amount(text: &str, unit: Unit) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let factor = match (unit, suffix.trim()) {
        (_, "") => 1.0,
        (Unit::Memory, "B") => 1.0 / 1_024.0,
        (Unit::Memory, "kB") => 1.0,
        (Unit::Memory, "MB") => 1_024.0,
        (Unit::Memory, "GB") => 1_048_576.0,
        (Unit::Memory, "TB") => 1_073_741_824.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limit;
    use crate::verdict::{Missing, RuleRef};

    fn set(name: &str, value: &str) -> Built {
        let limit = Limit { value: Duration::from_secs(30), by: RuleRef::built_in() };
        let limits = Limits { statement_time: Some(limit), ..Limits::default() };
        built(name, Value::These(&[value.to_owned()]), &limits)
    }

    #[test]
    fn the_line_that_a_hint_may_offer() {
        let set = |name: &str| Missing { verb: "set".to_owned(), object: name.to_owned() };
        for name in ["synchronous_commit", "session_replication_role", "client_min_messages"] {
            assert!(set(name).is_given_by_name(), "{name}");
        }
        for name in [
            "standard_conforming_strings",
            "client_encoding",
            "statement_timeout",
            "(a computed name)",
        ] {
            assert!(!set(name).is_given_by_name(), "{name}");
        }
    }

    #[test]
    fn values_and_their_near_twins() {
        for (name, good, bad) in [
            ("standard_conforming_strings", "on", "off"),
            ("standard_conforming_strings", "TRUE", "f"),
            ("backslash_quote", "safe_encoding", "on"),
            ("client_encoding", "utf-8", "SJIS"),
            ("client_encoding", "LATIN1", "gbk"),
            ("client_min_messages", "warning", "debug1"),
            ("client_min_messages", "NOTICE", "log"),
            ("role", "none", "postgres"),
            ("session_replication_role", "origin", "replica"),
            ("statement_timeout", "30s", "31s"),
            ("statement_timeout", "0", "30001"),
            ("statement_timeout", "30000", "0.6min"),
            ("statement_timeout", "-1", "soon"),
            ("default_statistics_target", "100", "101"),
            ("work_mem", "4MB", "4097kB"),
            ("work_mem", "4096", "4097"),
            ("work_mem", "64kB", "1GB"),
            ("work_mem", "2.5 MB", "0x7fffffff"),
            ("work_mem", "1024 kB", "soon"),
            ("hash_mem_multiplier", "1.5", "2.1"),
            ("max_parallel_workers_per_gather", "0", "3"),
            ("max_parallel_workers_per_gather", "2", "-1"),
        ] {
            assert_eq!(set(name, good), Built::In, "{name} = {good}");
            assert_ne!(set(name, bad), Built::In, "{name} = {bad}");
        }
    }
}
