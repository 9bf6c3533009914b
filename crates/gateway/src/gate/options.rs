//! The settings of a session that a held statement's meaning hangs on. Those that PostgreSQL knows it
//! is asked for. Those with a dot in their name (`app.tenant`) it does not list: only a database's
//! own code gives them a meaning (row security, triggers, views), so which of them a session has is
//! kept here, by what it has sent. How statements are held is `held`'s business.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sql::facts::{Facts, SettingName};

/// A session with more of them can't have statements held.
const OPTIONS_MAX: usize = 256;

/// Settings that change how a text is read, what it means, or what a value looks like, whatever they
/// come from.
const SETTINGS: &str = "search_path,role,session_authorization,client_encoding,\
     standard_conforming_strings,backslash_quote,array_nulls,transform_null_equals,DateStyle,\
     IntervalStyle,TimeZone,timezone_abbreviations,lc_monetary,lc_numeric,lc_time,bytea_output,\
     xmlbinary,xmloption,extra_float_digits,row_security,session_replication_role,\
     default_text_search_config,default_tablespace,temp_tablespaces,default_table_access_method,\
     default_with_oids,check_function_bodies,default_transaction_isolation,\
     plpgsql.variable_conflict";

/// Of what else a session has set: what decides when and how fast something runs, what is said
/// beside it, and nothing else.
const APART: &str = "application\\_name,client\\_min\\_messages,%\\_timeout,enable\\_%,jit%,geqo%,tcp\\_%,\
     %\\_cost,%\\_collapse\\_limit,work\\_mem,maintenance\\_work\\_mem,hash\\_mem\\_multiplier,\
     max\\_parallel\\_%,plan\\_cache\\_mode,cursor\\_tuple\\_fraction";

/// What texts set of settings with a dot in their name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    names: BTreeSet<Box<str>>,
    /// A name that no constant says.
    computed: bool,
}

impl Sets {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.computed
    }

    pub(super) fn note(&mut self, facts: &Facts) {
        for setting in facts.settings.iter().filter(|setting| setting.change && !setting.stored) {
            match &setting.name {
                SettingName::One(name) => self.name(name),
                // What they are then the server says of those that are known.
                SettingName::All => {}
                SettingName::Computed => self.computed = true,
            }
        }
    }

    pub(super) fn name(&mut self, name: &str) {
        if !name.contains('.') {
            return;
        }
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
        match name.bytes().all(is_plain) {
            true => drop(self.names.insert(name.to_ascii_lowercase().into())),
            false => self.computed = true,
        }
    }

    pub(super) fn and(&mut self, other: &Sets) {
        self.names.extend(other.names.iter().cloned());
        self.computed |= other.computed;
    }

    pub(super) fn bytes(&self) -> usize {
        self.names.iter().map(|name| name.len() + size_of::<Box<str>>()).sum()
    }
}

/// What a session may have set of them so far.
#[derive(Debug, Default)]
pub(super) struct Options {
    names: BTreeSet<Box<str>>,
    /// How often nobody knew which. What is agreed to is this session's then, and holds until it
    /// happens again.
    unknown: u64,
}

impl Options {
    pub(super) fn set(&mut self, sets: &Sets) {
        if sets.is_empty() {
            return;
        }
        let room = OPTIONS_MAX.saturating_add(1).saturating_sub(self.names.len());
        let new = sets.names.iter().filter(|name| !self.names.contains(*name)).take(room);
        let new: Vec<Box<str>> = new.cloned().collect();
        self.names.extend(new);
        if sets.computed {
            self.are_unknown();
        }
    }

    pub(super) fn are_unknown(&mut self) {
        self.unknown += 1;
    }

    /// How often they became unknown, if they ever did.
    pub(super) fn unknown(&self) -> Option<u64> {
        Some(self.unknown).filter(|times| *times > 0)
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.names.len() > OPTIONS_MAX
    }

    /// An expression for those with a dot in their name, as people read them; NULL for none.
    pub(super) fn shown_sql(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
        format!(
            "(SELECT pg_catalog.string_agg(pg_catalog.concat(s.name, ' = ', \
             pg_catalog.current_setting(s.name, true)), ', ' ORDER BY s.name) \
             FROM pg_catalog.unnest('{{{}}}'::pg_catalog.text[]) s(name) \
             WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL)",
            names.join(",")
        )
    }

    /// An expression for all that is set. Every operator and function is named in full: the client's
    /// path must not decide what they are.
    pub(super) fn sql(&self) -> String {
        let mut names = SETTINGS.to_owned();
        for name in &self.names {
            // Writing to a String can't fail.
            let _ = write!(names, ",{name}");
        }
        format!(
            "(SELECT pg_catalog.string_agg(pg_catalog.concat(s.name, '=', \
             pg_catalog.current_setting(s.name, true)), ',' ORDER BY s.name) \
             FROM pg_catalog.unnest('{{{names}}}'::pg_catalog.text[]) s(name)), \
             (SELECT pg_catalog.string_agg(pg_catalog.concat(s.name, '=', s.setting), ',' \
             ORDER BY s.name) FROM pg_catalog.pg_settings s \
             WHERE s.source OPERATOR(pg_catalog.=) ANY ('{{client,session}}'::pg_catalog.text[]) \
             AND s.name OPERATOR(pg_catalog.!~~) ALL \
             (pg_catalog.string_to_array('{APART}', ',')))"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(names: &[&str]) -> Sets {
        let mut sets = Sets::default();
        names.iter().for_each(|name| sets.name(name));
        sets
    }

    #[test]
    fn which_names_are_kept() {
        assert!(sets(&["search_path", "application_name"]).is_empty());
        assert_eq!(sets(&["App.Tenant"]), sets(&["app.tenant"]));
        let mut options = Options::default();
        options.set(&sets(&["app.tenant"]));
        assert_eq!(options.unknown(), None);
        options.set(&sets(&["app.t', 'x"]));
        assert_eq!(options.unknown(), Some(1), "it can't be asked for");
    }

    #[test]
    fn as_many_as_can_be_asked_for_and_one_more() {
        let mut options = Options::default();
        for number in 0..OPTIONS_MAX {
            options.set(&sets(&[&format!("app.o{number}")]));
        }
        options.set(&sets(&["app.o1", "APP.O2"]));
        assert!(!options.are_too_many());
        options.set(&sets(&["app.more"]));
        assert!(options.are_too_many());
        let asked = options.sql();
        options.set(&sets(&["app.and_more"]));
        assert_eq!(options.sql(), asked);
        assert_eq!(options.unknown(), None);
    }
}
