//! A store to test in, in a file or in PostgreSQL, and those who use it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::cluster::Cluster;
use super::{Directory, NOW};
use crate::*;

pub(super) const MINUTE: i64 = 60_000;

/// One store, opened twice, by a clock that the test moves.
pub(super) struct Room {
    pub(super) state: State,
    pub(super) other: State,
    pub(super) clock: ManualClock,
    place: Place,
}

enum Place {
    File(Directory),
    Database(Rc<Cluster>, String),
}

impl Room {
    pub(super) fn in_a_file() -> Self {
        Self::at(Place::File(Directory::new()))
    }

    pub(super) fn in_postgresql(cluster: &Rc<Cluster>) -> Self {
        Self::at(Place::Database(cluster.clone(), cluster.new_database()))
    }

    fn at(place: Place) -> Self {
        let clock = ManualClock::new(NOW);
        let (state, other) = (place.state(&clock), place.state(&clock));
        Self { state, other, clock, place }
    }

    /// As another process would.
    pub(super) fn open_again(&self) -> State {
        self.place.state(&self.clock)
    }

    pub(super) fn is_a_file(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    pub(super) async fn open(&self, ask: Ask) -> Grant {
        match self.state.admit(ask).await.unwrap().admission {
            Admission::Open { grant, .. } => grant,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn wait(&self, ask: Ask) -> Request {
        match self.state.admit(ask).await.unwrap().admission {
            Admission::Wait { request, .. } => request,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn agree(
        &self,
        id: &RequestId,
        who: &str,
    ) -> Result<RequestVoted, StateError> {
        self.state.vote(id, somebody(who), yes(), anyone()).await
    }

    pub(super) async fn approved_hold(&self, grant: &Grant, digest: u8) -> Hold {
        let held = self.state.hold(statement(grant, digest)).await.unwrap();
        let hold = &held.hold.id;
        let hold = self.state.decide_hold(hold, somebody("dba"), yes(), anyone()).await.unwrap();
        assert_eq!(hold.state.name(), "approved");
        hold
    }
}

impl Place {
    fn state(&self, clock: &ManualClock) -> State {
        let clock = Clock::Manual(clock.clone());
        match self {
            Self::File(directory) => State::open_at(&directory.file(), clock).unwrap(),
            Self::Database(cluster, database) => {
                State::open_postgres_at(cluster.store(database), clock).unwrap()
            }
        }
    }
}

pub(super) fn person(subject: &str) -> Person {
    Person { issuer: "https://idp".to_owned(), subject: subject.to_owned() }
}

pub(super) fn somebody(subject: &str) -> Identity {
    Identity {
        person: person(subject),
        name: Some(subject.to_owned()),
        groups: vec!["agents".to_owned()],
        claims: BTreeMap::from([("env".to_owned(), "test".to_owned())]),
        actors: Vec::new(),
    }
}

pub(super) fn needed(need: u32) -> Needed {
    Needed { what: "payments".to_owned(), by: "group:dba".to_owned(), need }
}

pub(super) fn asks(who: &str, need: u32) -> Ask {
    Ask {
        identity: somebody(who),
        connection: "orders".to_owned(),
        reason: Some("ticket 7".to_owned()),
        policies: vec!["reads".to_owned(), "payments".to_owned()],
        scope: None,
        lasts_millis: 15 * MINUTE,
        needed: if need == 0 { Vec::new() } else { vec![needed(need)] },
        waits_millis: 60 * MINUTE,
        joins: Joins::Same,
    }
}

pub(super) fn statement(grant: &Grant, digest: u8) -> NewHold {
    NewHold {
        grant: grant.id.clone(),
        session: "s1".to_owned(),
        digest: [digest; 32],
        shape_digest: Some([100; 32]),
        text: "UPDATE payments SET amount = $1".to_owned(),
        parameters: r#"["7"]"#.to_owned(),
        needed: vec![needed(1)],
        reason: None,
        estimate: None,
        waits_millis: 10 * MINUTE,
        claim_millis: 2 * MINUTE,
    }
}

pub(super) fn by(session: &str) -> Claimant {
    Claimant { node: "gate-1".to_owned(), session: session.to_owned() }
}

pub(super) fn yes() -> Saying {
    Saying::Approve { words: None, shape: None }
}

pub(super) fn no(words: &str) -> Saying {
    Saying::Deny { words: Some(words.to_owned()) }
}

pub(super) fn anyone() -> Box<May> {
    Box::new(|_| true)
}

pub(super) fn refused<T: std::fmt::Debug>(result: Result<T, StateError>) -> Refused {
    result.unwrap_err().refused().expect("an answer, not a fault").clone()
}
