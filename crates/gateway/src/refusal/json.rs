//! What a program reads of a refusal, in its DETAIL.

use std::fmt::Write as _;
use std::time::Duration;

use policy::{Limit, RuleRef};

use super::seconds;

/// An object of JSON, written field by field.
pub(super) struct Json(String);

impl Json {
    pub(super) fn new() -> Json {
        Json("{".to_owned())
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.string(name);
        self.0.push(':');
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    pub(super) fn count(&mut self, name: &str, number: u64) {
        self.name(name);
        self.0.push_str(&number.to_string());
    }

    pub(super) fn rule(&mut self, rule: &RuleRef) {
        self.text("policy", &rule.policy);
        self.text("rule", &rule.rule);
        self.count("line", rule.line.into());
    }

    pub(super) fn time_limit(&mut self, name: &str, limit: &Limit<Duration>, resets: &str) {
        self.text("code", "limit");
        self.rule(&limit.by);
        self.text("limit", name);
        self.text("allowed", &seconds(limit.value));
        self.text("resets", resets);
        self.flag("ask", false);
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.0.push_str(if flag { "true" } else { "false" });
    }

    pub(super) fn object(&mut self, name: &str, fields: &[(&str, &str)]) {
        self.name(name);
        let mut inner = Json::new();
        for (name, text) in fields {
            inner.text(name, text);
        }
        self.0.push_str(&inner.done());
    }

    pub(super) fn list<'t>(&mut self, name: &str, texts: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.0.push('[');
        for (at, text) in texts.enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            self.string(text);
        }
        self.0.push(']');
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                control if control.is_control() => {
                    // Writing to a String can't fail.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }

    pub(super) fn done(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
