//! The settings that a statement changes, and the channels that it uses. Which settings are pinned,
//! capped or harmless is in `setting`.

use sql::facts::{Kind, SettingName, SettingUse};

use super::{Answer, Judgement, Want};
use crate::object::{Prefix, quoted};
use crate::rule::Effect;
use crate::setting::{self, Built, Value};
use crate::verb::Verb;
use crate::verdict::{Code, Missing};

impl<'j> Judgement<'j> {
    pub(super) fn setting(&mut self, used: &SettingUse) {
        if !used.change {
            return;
        }
        let name = match &used.name {
            SettingName::All => return,
            SettingName::One(name) => name.to_lowercase(),
            SettingName::Computed => "(a computed name)".to_owned(),
        };
        // Only statements of their own have a default for a value; others compute it.
        let default = matches!(self.facts.kind, Kind::Set | Kind::Discard | Kind::Command(_));
        let value = match &used.value {
            Some(values) => Value::These(values),
            None if default => Value::Default,
            None => Value::Computed,
        };
        let limits = self.scope.in_force().limits();
        let built = match used.name {
            SettingName::Computed => Built::Reading("what it is"),
            _ => setting::built(&name, value, limits),
        };
        let by_name = matches!(built, Built::Pinned(_));
        // What is stored is for the command that stores it, but for a pin: it would be another one in
        // sessions to come.
        if used.stored && !by_name && !matches!(built, Built::Reading(_)) {
            return;
        }
        // Beside masks `everything` leaves pins alone: messages of the server's own making and its
        // trees tell what it read.
        let hides = self.scope.in_force().hides_something();
        let is_loose = !(by_name && (used.stored || hides));
        let mut answer = Answer { built_in: built == Built::In, ..Answer::default() };
        let mut held = false;
        for (at, rule) in self.scope.rules().iter().enumerate() {
            let everything = rule.everything && (is_loose || rule.effect == Effect::Refuse);
            if !everything {
                let of = rule.settings.of.iter().filter(|pattern| pattern.covers(&name));
                let named = of.map(|pattern| pattern.names(&name)).max();
                let left_out = rule.settings.except.iter().any(|pattern| pattern.covers(&name));
                let Some(named) = named.filter(|_| !left_out) else { continue };
                if by_name && !named && rule.effect != Effect::Refuse {
                    continue;
                }
            }
            if !rule.applies(self.facts, self.context) {
                continue;
            }
            answer.note(at, rule);
            // What changes how text is read can't be allowed where it is read.
            let grants = !matches!(built, Built::Reading(_) | Built::Looser(_));
            match rule.effect {
                Effect::Allow if grants => answer.granted = answer.granted.or(Some(at)),
                Effect::Hold => held |= grants,
                Effect::Allow | Effect::Refuse => {}
            }
        }
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        if answer.refused.is_none() && !answer.is_granted() {
            let code = match built {
                Built::More(_) => Code::NotAllowed,
                _ => Code::Pinned,
            };
            let sentence = match built {
                Built::In | Built::Asked => None,
                _ if used.name == SettingName::Computed => {
                    Some("Which setting changes here can't be told before it runs.".to_owned())
                }
                Built::Pinned("") | Built::Reading("") => {
                    Some(format!("The setting {name} stays empty here."))
                }
                Built::Pinned(value) | Built::Reading(value) => {
                    Some(format!("The setting {name} stays at {value} here."))
                }
                Built::More(most) => {
                    Some(format!("{name} can be set to {most} at most, unless a rule names it."))
                }
                Built::Looser(cap) => Some(format!(
                    "The limits in force let {name} be at most {} ms.",
                    cap.as_millis()
                )),
            };
            self.setting = sentence.map(|sentence| (code, sentence));
        }
        self.take(answer, &[], |_| {
            (Missing { verb: "set".to_owned(), object: name.clone() }, Want::Setting(name))
        });
    }

    pub(super) fn channel(&mut self, verb: Verb, name: &str) {
        let answer = self.answer_of_channel(verb, Some(name));
        self.take(answer, &[], |_| {
            let missing = Missing { verb: verb.name().to_owned(), object: quoted(name) };
            (missing, Want::Channel(name.to_owned()))
        });
    }

    /// A channel that a value names could be any of them. Where not all may be notified it is the
    /// function that has to be allowed.
    pub(super) fn any_channel(&mut self) {
        let answer = self.answer_of_channel(Verb::Notify, None);
        if grants_all(&answer) {
            self.take(answer, &[], |_| {
                let missing = Missing { verb: Verb::Notify.name().to_owned(), object: "*".into() };
                (missing, Want::Channel(String::new()))
            });
        }
    }

    pub(super) fn notifies_all(&self) -> bool {
        grants_all(&self.answer_of_channel(Verb::Notify, None))
    }

    /// What a value names that nobody knows is granted by what grants all, and refused by what
    /// refuses one.
    fn answer_of_channel(&self, verb: Verb, name: Option<&str>) -> Answer {
        let mut answer = Answer { built_in: verb == Verb::Listen, ..Answer::default() };
        let mut held = false;
        for (at, rule) in self.scope.rules().iter().enumerate() {
            let allows = rule.effect == Effect::Allow;
            let means = |pattern: &Prefix| match name {
                Some(name) => pattern.covers(name),
                None => !allows || pattern.covers_all(),
            };
            let excepts = |pattern: &Prefix| match name {
                Some(name) => pattern.covers(name),
                None => allows || pattern.covers_all(),
            };
            let about = rule.verbs.has(verb)
                && rule.channels.of.iter().any(means)
                && !rule.channels.except.iter().any(excepts);
            if !(rule.everything || about) || !rule.applies(self.facts, self.context) {
                continue;
            }
            answer.note(at, rule);
            match rule.effect {
                Effect::Allow => answer.granted = answer.granted.or(Some(at)),
                Effect::Hold => held = true,
                Effect::Refuse => {}
            }
        }
        if !answer.is_granted() && held {
            answer.grant_by_hold(self.scope.rules());
        }
        answer
    }
}

fn grants_all(answer: &Answer) -> bool {
    answer.refused.is_none() && answer.holds.is_empty() && answer.is_granted()
}
