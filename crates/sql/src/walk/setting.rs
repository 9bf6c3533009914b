//! Settings: SET in all its forms, and the functions that do the same.

use pg_raw_parse::nodes::{A_Expr_Kind, DefElem, SelectStmt, VariableSetKind, VariableSetStmt};
use pg_raw_parse::{ConstValue, Node};

use super::expression::bare_name;
use super::{Walk, Walked};
use crate::facts::{ChannelUse, Given, NotUnderstood, RelationUse, SettingName, SettingUse};

/// Whether a change is for this session, or kept for others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Here,
    Stored,
}

impl<'w> Walk<'w> {
    pub(super) fn set(&mut self, set: &'w VariableSetStmt, stay: Stay) -> Walked {
        self.see(set);
        let name = set.name().unwrap_or_default();
        let mut change = SettingUse {
            name: SettingName::One(name.to_owned()),
            value: None,
            local: set.is_local,
            change: true,
            stored: stay == Stay::Stored,
        };
        match set.kind {
            VariableSetKind::VAR_SET_VALUE => {
                let mut values = Vec::new();
                for node in set.args().iter() {
                    self.see_all(node)?;
                    values.push(constant(node).ok_or(NotUnderstood::Construct("SET"))?);
                }
                change.value = Some(values);
            }
            VariableSetKind::VAR_SET_DEFAULT
            | VariableSetKind::VAR_RESET
            | VariableSetKind::VAR_SET_CURRENT => {}
            VariableSetKind::VAR_RESET_ALL => change.name = SettingName::All,
            VariableSetKind::VAR_SET_MULTI => return self.set_several(set, name),
            _ => return Err(NotUnderstood::Construct("SET")),
        }
        // Migration tools set the role that they have already, to be sure of it.
        let is_role = name.eq_ignore_ascii_case("role") && stay == Stay::Here;
        if is_role && matches!(change.value.as_deref(), Some([role]) if **role == *self.path.user) {
            change.change = false;
        }
        self.facts.settings.push(change);
        Ok(())
    }

    /// SET TRANSACTION and SET SESSION CHARACTERISTICS: each mode is a setting of its own.
    fn set_several(&mut self, set: &'w VariableSetStmt, name: &str) -> Walked {
        for node in set.args().iter() {
            self.see_all(node)?;
            let (name, value, local) = match (name, node) {
                ("TRANSACTION", Node::DefElem(mode)) => {
                    (mode.defname().unwrap_or_default().to_owned(), mode.arg(), true)
                }
                ("SESSION CHARACTERISTICS", Node::DefElem(mode)) => {
                    (format!("default_{}", mode.defname().unwrap_or_default()), mode.arg(), false)
                }
                // No setting by name, but it is set like one.
                ("TRANSACTION SNAPSHOT", node) => ("transaction_snapshot".to_owned(), node, true),
                _ => return Err(NotUnderstood::Construct("SET")),
            };
            let value = constant(value).ok_or(NotUnderstood::Construct("SET"))?;
            self.facts.settings.push(SettingUse {
                name: SettingName::One(name),
                value: Some(vec![value]),
                local,
                change: true,
                stored: false,
            });
        }
        Ok(())
    }

    pub(super) fn show(&mut self, name: &str) {
        let name = match name.eq_ignore_ascii_case("all") {
            true => SettingName::All,
            false => SettingName::One(name.to_owned()),
        };
        self.read_setting(name);
    }

    fn read_setting(&mut self, name: SettingName) {
        self.facts.settings.push(SettingUse {
            name,
            value: None,
            local: false,
            change: false,
            stored: false,
        });
    }

    pub(super) fn reset_all(&mut self) {
        self.facts.settings.push(SettingUse {
            name: SettingName::All,
            value: None,
            local: false,
            change: true,
            stored: false,
        });
    }

    /// `set_config('name', 'value', local)` and `current_setting('name')` of the server's own.
    pub(super) fn call_of_setting(
        &mut self,
        function: &str,
        arguments: impl Iterator<Item = Node<'w>>,
    ) {
        let arguments: Vec<Node<'w>> = arguments.collect();
        let text = |node: &Node<'w>| self.constant_text(*node);
        let name = match arguments.first().and_then(text) {
            Some(name) => SettingName::One(name.to_owned()),
            None => SettingName::Computed,
        };
        if function == "current_setting" {
            return self.read_setting(name);
        }
        let value = arguments.get(1).and_then(text);
        let local = arguments.get(2).copied().and_then(constant);
        self.facts.settings.push(SettingUse {
            name,
            value: value.map(|value| vec![value.to_owned()]),
            // The longer effect where it can't be told.
            local: local.is_some_and(|local| matches!(&*local, "true" | "t")),
            change: true,
            stored: false,
        });
    }

    /// `pg_notify('channel', …)` of the server's own.
    pub(super) fn call_of_notify(&mut self, channel: Option<Node<'w>>) {
        match channel.and_then(|channel| self.constant_text(channel)) {
            Some(channel) => self.facts.channels.push(ChannelUse::Notify(channel.to_owned())),
            None => self.facts.channel_computed = true,
        }
    }

    /// `SELECT set_config(name, 'value', false) FROM pg_settings WHERE name = 'one'`, the whole
    /// statement, as pg_dump sets what older servers lack: the name is a constant after all.
    pub(super) fn setting_of_settings(&mut self, select: &'w SelectStmt) {
        let is_settings = |used: &RelationUse| {
            let relation = used.relation.and_then(|id| self.catalog.relation(id));
            relation
                .is_some_and(|it| &*it.name == "pg_settings" && self.catalog.is_system(it.schema))
        };
        let ([used], [setting]) = (&self.facts.relations[..], &self.facts.settings[..]) else {
            return;
        };
        if !is_settings(used)
            || setting.name != SettingName::Computed
            || select.from_clause().len() != 1
            || !matches!(select.from_clause().get(0), Some(Node::RangeVar(_)))
        {
            return;
        }
        let (Some(target), 1) = (select.target_list().get(0), select.target_list().len()) else {
            return;
        };
        let (Node::FuncCall(call), Node::A_Expr(only)) = (target.val(), select.where_clause())
        else {
            return;
        };
        let given = call.args().get(0).and_then(bare_name);
        let operator: Option<Vec<&str>> = only.name().iter().map(Node::as_str).collect();
        // An `=` of somebody else's can mean anything.
        let (_, others) = self.catalog.find_operators(None, "=", false, self.path);
        let equal = only.kind == A_Expr_Kind::AEXPR_OP
            && match operator.as_deref() {
                Some(["="]) => others.is_empty(),
                Some(["pg_catalog", "="]) => true,
                _ => false,
            };
        if let Some(name) = self.constant_text(only.rexpr())
            && equal
            && given == Some("name")
            && bare_name(only.lexpr()) == Some("name")
            && let Some(setting) = self.facts.settings.first_mut()
        {
            setting.name = SettingName::One(name.to_owned());
        }
    }

    /// Whether a setting changes here that decides what names mean.
    pub(super) fn names_follow_a_setting(&self) -> bool {
        let changes =
            self.facts.settings.iter().filter(|setting| setting.change && !setting.stored);
        changes.into_iter().any(|setting| match &setting.name {
            SettingName::One(name) => {
                let follow = ["search_path", "role", "session_authorization"];
                follow.iter().any(|other| name.eq_ignore_ascii_case(other))
            }
            SettingName::All | SettingName::Computed => true,
        })
    }
}

/// What an EXECUTE gives to a parameter.
pub(super) fn given(node: Node<'_>) -> Given {
    match (constant(node), uncast(node)) {
        (Some(text), _) => Given::Text(text.into()),
        (None, Node::A_Const(constant)) if constant.val().is_none() => Given::Null,
        (None, _) => Given::Computed,
    }
}

fn uncast(node: Node<'_>) -> Node<'_> {
    match node {
        Node::TypeCast(cast) => cast.arg(),
        node => node,
    }
}

/// A constant, as SET takes them: text, numbers, words, and INTERVAL '…' for the time zone.
fn constant(node: Node<'_>) -> Option<String> {
    match uncast(node) {
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::String(text) => Some(text.to_owned()),
            value => Some(value.to_string()),
        },
        _ => None,
    }
}

/// Whether an option that is on when it stands alone is switched off.
pub(super) fn is_off(option: &DefElem) -> bool {
    match option.arg() {
        Node::String(text) => {
            let text = text.sval().unwrap_or_default();
            ["off", "false", "0"].iter().any(|off| text.eq_ignore_ascii_case(off))
        }
        Node::Integer(number) => number.ival == 0,
        Node::Boolean(flag) => !flag.boolval,
        _ => false,
    }
}
