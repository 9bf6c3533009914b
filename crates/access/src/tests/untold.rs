//! What the journal has yet to hear of: each step that was taken, none that was not, in order, and
//! whenever the process ends that was to tell.

use std::collections::BTreeMap;

use super::room::{Room, anyone, asks, by, no, refused, somebody, statement, yes};
use crate::*;

/// Keeps a journal beside a store, as a gateway does, and forgets when it is killed what it has told.
#[derive(Default)]
pub(super) struct Journal {
    node: &'static str,
    heard: i64,
    records: Vec<Untold>,
}

impl Journal {
    pub(super) fn new(node: &'static str) -> Journal {
        Journal { node, ..Journal::default() }
    }

    /// A handle of the store whose steps this journal is to hear of.
    pub(super) fn of(&self, state: &State) -> State {
        state.telling(self.node, records)
    }

    pub(super) async fn hear(&mut self, state: &State) {
        loop {
            let untold = state.untold(self.node, self.heard).await.unwrap();
            let Some(last) = untold.last() else { return };
            self.heard = last.number;
            self.records.extend(untold);
        }
    }

    pub(super) async fn forget(&self, state: &State) {
        state.told(self.node, self.heard).await.unwrap();
    }

    pub(super) fn crash(&mut self) {
        self.heard = 0;
    }

    /// Each once: what was heard twice has the same number and says the same.
    pub(super) fn once(&self) -> Vec<String> {
        let mut once = BTreeMap::new();
        for Untold { number, record } in &self.records {
            let before = once.insert(*number, record.clone());
            assert!(before.is_none_or(|before| before == *record), "{number}");
        }
        once.into_values().collect()
    }
}

/// What the tests' journal says of a step.
fn records(step: &Step<'_>) -> Vec<String> {
    match step {
        Step::Admitted(Admission::Open { grant, new: true }) => vec![format!("opens {}", grant.id)],
        Step::Admitted(Admission::Wait { request, new: true }) => {
            vec![format!("asks {}", request.id)]
        }
        Step::Admitted(_) => Vec::new(),
        Step::Voted(RequestVoted { request, grant }) => {
            let opens = grant.iter().map(|grant| format!("opens {}", grant.id));
            std::iter::once(format!("votes {}", request.id)).chain(opens).collect()
        }
        Step::Withdrawn(request) => vec![format!("withdraws {}", request.id)],
        Step::Ended(ended) => vec![format!("ends {}", ended.grant.id)],
        Step::Due(Due { requests, grants, holds, .. }) => {
            let requests = requests.iter().map(|request| format!("expires {}", request.id));
            let grants = grants.iter().map(|ended| format!("expires {}", ended.grant.id));
            let holds = holds.iter().map(|hold| format!("expires {}", hold.id));
            requests.chain(grants).chain(holds).collect()
        }
        Step::Held(Held { hold, new: true, .. }) => vec![format!("holds {}", hold.id)],
        Step::Held(_) => Vec::new(),
        Step::HoldDecided(hold) => vec![format!("decides {}", hold.id)],
        Step::HoldWithdrawn(hold) => vec![format!("withdraws {}", hold.id)],
        Step::Claimed(hold) => vec![format!("claims {}", hold.id)],
        Step::ShapeUsed(used) => vec![format!("uses {}", used.hold.id)],
    }
}

/// Of any two processes of a node, each step has one record or two with one number; of a step that
/// was refused there is none, nor of what was done for another node.
pub(super) async fn what_was_done_is_kept_until_the_journal_has_it(room: Room) {
    let mut journal = Journal::new("gate-1");
    let state = journal.of(&room.state);
    let admitted = state.admit(asks("agent", 1)).await.unwrap().admission;
    let Admission::Wait { request, .. } = admitted else { panic!("{admitted:?}") };
    // Found again, refused, done by somebody without a journal, and by another node.
    state.admit(asks("agent", 1)).await.unwrap();
    refused(state.vote(&request.id, somebody("agent"), yes(), anyone()).await);
    room.open(asks("bert", 0)).await;
    let elsewhere = Journal::new("gate-2").of(&room.other);
    elsewhere.admit(asks("carl", 0)).await.unwrap();
    let mut expected = vec![format!("asks {}", request.id)];

    let voted = state.vote(&request.id, somebody("anna"), yes(), anyone()).await.unwrap();
    let grant = voted.grant.unwrap();
    expected.push(format!("votes {}", request.id));
    expected.push(format!("opens {}", grant.id));
    journal.hear(&room.state).await;
    assert_eq!(journal.once(), expected);
    // Heard and not forgotten: the next process hears of it again.
    let next = room.open_again();
    journal.crash();
    journal.hear(&next).await;
    assert_eq!(journal.records.len(), 2 * expected.len());
    assert_eq!(journal.once(), expected);
    journal.forget(&next).await;

    let state = journal.of(&next);
    let hold = state.hold(statement(&grant, 1)).await.unwrap().hold;
    state.hold(statement(&grant, 1)).await.unwrap();
    state.decide_hold(&hold.id, somebody("dba"), no("no"), anyone()).await.unwrap();
    refused(state.claim(&hold.id, &grant.id, &[1; 32], by("s1")).await);
    let how = GrantEnd::Revoked { by: somebody("anna").person, words: None };
    state.end_grant(&grant.id, how).await.unwrap();
    expected.push(format!("holds {}", hold.id));
    expected.push(format!("decides {}", hold.id));
    expected.push(format!("ends {}", grant.id));
    journal.crash();
    journal.hear(&room.open_again()).await;
    assert_eq!(journal.once(), expected);
    assert_eq!(room.state.untold("gate-2", 0).await.unwrap().len(), 1);
}
