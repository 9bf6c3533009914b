//! Random sequences of everything that people, sessions, clocks and crashes do, two at a time now
//! and then, against what an onlooker can work out by counting: nothing lives without a live
//! grant, nobody's yes counts twice, nothing that was approved runs twice.

use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::cluster::Cluster;
use super::room::{MINUTE, Room, asks, by, needed, no, person, somebody, statement};
use super::untold::Journal;
use crate::*;

const PEOPLE: [&str; 4] = ["agent", "anna", "bert", "carl"];

/// What happens, not yet knowing to whom.
#[derive(Clone, Copy, Debug)]
struct Dice {
    what: u8,
    which: u8,
    who: u8,
    how: u8,
}

#[derive(Clone, Debug)]
enum Call {
    Admit(Box<Ask>),
    Vote { request: usize, voter: usize, approve: bool, may: bool },
    Withdraw { request: usize, by: usize },
    End { grant: usize },
    Hold { grant: usize, digest: u8, need: u32 },
    Decide { hold: usize, voter: usize, approve: bool, shape: Option<u32> },
    Claim { hold: usize, grant: usize, session: &'static str },
    UseShape { grant: usize, digest: u8 },
    Finish { hold: usize },
    Orphan { hold: usize },
    Token { grant: usize },
    Spend { token: usize },
}

#[derive(Debug)]
enum Heard {
    Admitted(Box<Admission>),
    Voted(Box<RequestVoted>),
    Held(Box<Held>),
    Yes,
    Shape(Box<Option<ShapeUsed>>),
    Token(TokenId),
    Spent(bool),
    No,
}

struct KnownGrant {
    id: GrantId,
    identity: Identity,
    /// By the clock that nobody sets.
    over_at: i64,
    ended: bool,
}

struct KnownRequest {
    id: RequestId,
    asker: Person,
    need: usize,
    agreed: BTreeSet<usize>,
    over: bool,
}

struct KnownHold {
    id: HoldId,
    grant: usize,
    digest: u8,
    need: usize,
    agreed: BTreeSet<usize>,
    offers: Vec<Option<u32>>,
    denied: bool,
    claims: usize,
    finished: usize,
    shape_uses: u32,
}

struct World {
    room: Room,
    /// The time that has passed.
    steady: i64,
    /// Time that a store may have missed: its clock was set back, and it stopped before it had
    /// written how late it was.
    missed: i64,
    written_at: i64,
    set_back: bool,
    grants: Vec<KnownGrant>,
    requests: Vec<KnownRequest>,
    holds: Vec<KnownHold>,
    tokens: Vec<(TokenId, usize)>,
    /// Of the two processes.
    journals: [Journal; 2],
    /// What the two together have to say in the end.
    done: Vec<String>,
}

impl World {
    fn new(room: Room) -> Self {
        Self {
            room,
            steady: 0,
            missed: 0,
            written_at: 0,
            set_back: false,
            grants: Vec::new(),
            requests: Vec::new(),
            holds: Vec::new(),
            tokens: Vec::new(),
            journals: [Journal::new("gate-1"), Journal::new("gate-2")],
            done: Vec::new(),
        }
    }

    async fn play(&mut self, dice: &[Dice]) {
        let mut dice = dice.iter().copied();
        while let Some(die) = dice.next() {
            match die.what % 20 {
                0 | 1 => {
                    let millis = i64::from(die.how) * 2_000;
                    self.room.clock.pass(millis);
                    self.steady += millis;
                }
                // PostgreSQL's clock is its own.
                2 if die.how < 40 && self.room.is_a_file() => {
                    self.room.clock.set_wall(super::NOW - i64::from(die.who) * MINUTE);
                    self.set_back = true;
                }
                3 => {
                    self.expire().await;
                }
                4 if die.how < 128 => self.crash(),
                7 => {
                    let journal = &mut self.journals[usize::from(die.which) % 2];
                    journal.hear(&self.room.state).await;
                    if die.who < 128 {
                        journal.forget(&self.room.state).await;
                    }
                }
                5 | 6 => {
                    // Two at once, each by a process of its own.
                    let (one, two) = (self.call(die), dice.next().and_then(|die| self.call(die)));
                    if let (Some(one), Some(two)) = (one, two) {
                        let first = self.journals[0].of(&self.room.state);
                        let second = self.journals[1].of(&self.room.other);
                        let heard = tokio::join!(self.run(&first, &one), self.run(&second, &two));
                        self.learn(vec![(one, heard.0), (two, heard.1)]);
                    }
                }
                _ => {
                    if let Some(call) = self.call(die) {
                        let state = self.journals[0].of(&self.room.state);
                        let heard = self.run(&state, &call).await;
                        self.learn(vec![(call, heard)]);
                    }
                }
            }
            self.look().await;
        }
        self.crash();
        let mut told = Vec::new();
        for journal in &mut self.journals {
            journal.hear(&self.room.state).await;
            told.extend(journal.once());
        }
        told.sort();
        self.done.sort();
        assert_eq!(told, self.done, "each step has its record");
    }

    /// Nothing is closed: threads, connections and files are left as they are.
    fn crash(&mut self) {
        if self.set_back {
            self.missed += self.steady - self.written_at;
        }
        let (one, two) = (self.room.open_again(), self.room.open_again());
        std::mem::forget(std::mem::replace(&mut self.room.state, one));
        std::mem::forget(std::mem::replace(&mut self.room.other, two));
        self.journals.iter_mut().for_each(Journal::crash);
    }

    async fn expire(&mut self) {
        let due = self.journals[0].of(&self.room.state).expire_due().await.unwrap();
        self.done.extend(due.holds.iter().map(|hold| format!("expires {}", hold.id)));
        self.done.extend(due.grants.iter().map(|ended| format!("expires {}", ended.grant.id)));
        self.done.extend(due.requests.iter().map(|request| format!("expires {}", request.id)));
        for ended in due.grants {
            let grant = self.grants.iter_mut().find(|grant| grant.id == ended.grant.id).unwrap();
            assert!(!grant.ended, "{} ended twice", grant.id);
            grant.ended = true;
        }
        for request in due.requests {
            let known = self.requests.iter_mut().find(|known| known.id == request.id).unwrap();
            assert!(!known.over, "{} was over", known.id);
            known.over = true;
        }
        self.written_at = self.steady;
    }

    /// What the die says, of what there is.
    fn call(&self, die: Dice) -> Option<Call> {
        let pick =
            |count: usize| (count > 0).then(|| count - 1 - usize::from(die.which) % count.min(6));
        let voter = usize::from(die.who) % PEOPLE.len();
        Some(match die.how % 27 {
            0..4 => {
                let mut ask = asks(PEOPLE[voter % 2], u32::from(die.which) % 3);
                ask.lasts_millis = i64::from(die.who % 5 + 1) * MINUTE;
                ask.waits_millis = 5 * MINUTE;
                ask.joins = match die.what / 20 {
                    0..4 => Joins::Same,
                    4..8 => Joins::Any,
                    _ => Joins::Nothing,
                };
                if die.which % 5 == 4 {
                    ask.policies.pop();
                }
                Call::Admit(Box::new(ask))
            }
            4..8 => Call::Vote {
                request: pick(self.requests.len())?,
                voter,
                approve: die.what < 230,
                may: die.what > 10,
            },
            8 => Call::Withdraw { request: pick(self.requests.len())?, by: voter },
            9 => Call::End { grant: pick(self.grants.len())? },
            10..13 => Call::Hold {
                grant: pick(self.grants.len())?,
                digest: die.who % 3,
                need: if !die.what.is_multiple_of(4) { 1 } else { 2 },
            },
            13..17 => Call::Decide {
                hold: pick(self.holds.len())?,
                voter,
                approve: die.what < 230,
                shape: (!die.what.is_multiple_of(3)).then_some(1),
            },
            17..20 => {
                let hold = pick(self.holds.len())?;
                let grant = if die.what < 240 { self.holds[hold].grant } else { 0 };
                Call::Claim { hold, grant, session: if die.who < 128 { "s1" } else { "s2" } }
            }
            20..24 => Call::UseShape { grant: pick(self.grants.len())?, digest: die.who % 3 },
            24 => Call::Finish { hold: pick(self.holds.len())? },
            25 => Call::Orphan { hold: pick(self.holds.len())? },
            _ if die.who < 128 => Call::Token { grant: pick(self.grants.len())? },
            _ => Call::Spend { token: pick(self.tokens.len())? },
        })
    }

    async fn run(&self, state: &State, call: &Call) -> Heard {
        let heard = match call {
            Call::Admit(ask) => state
                .admit((**ask).clone())
                .await
                .map(|admitted| Heard::Admitted(Box::new(admitted.admission))),
            Call::Vote { request, voter, approve, may } => {
                let (voter, may) = (somebody(PEOPLE[*voter]), *may);
                let id = &self.requests[*request].id;
                let saying = saying(*approve, None);
                let voted = state.vote(id, voter, saying, Box::new(move |_| may)).await;
                voted.map(|voted| Heard::Voted(Box::new(voted)))
            }
            Call::Withdraw { request, by } => state
                .withdraw(&self.requests[*request].id, person(PEOPLE[*by]))
                .await
                .map(|_| Heard::Yes),
            Call::End { grant } => {
                let how = GrantEnd::Revoked { by: person("anna"), words: None };
                let ended = state.end_grant(&self.grants[*grant].id, how).await;
                ended.map(|_| Heard::Yes)
            }
            Call::Hold { grant, digest, need } => {
                let mut new = self.statement(*grant, *digest);
                new.needed = vec![needed(*need)];
                state.hold(new).await.map(|held| Heard::Held(Box::new(held)))
            }
            Call::Decide { hold, voter, approve, shape } => {
                let id = &self.holds[*hold].id;
                let voter = somebody(PEOPLE[*voter]);
                let saying = saying(*approve, *shape);
                let decided = state.decide_hold(id, voter, saying, Box::new(|_| true)).await;
                decided.map(|_| Heard::Yes)
            }
            Call::Claim { hold, grant, session } => {
                let KnownHold { id, digest, .. } = &self.holds[*hold];
                let grant = &self.grants[*grant].id;
                let claimed = state.claim(id, grant, &[*digest; 32], by(session)).await;
                claimed.map(|_| Heard::Yes)
            }
            Call::UseShape { grant, digest } => {
                let used = state.use_shape(self.statement(*grant, *digest), by("s1")).await;
                used.map(|used| Heard::Shape(Box::new(used)))
            }
            Call::Finish { hold } => {
                let finished = state.finish(&self.holds[*hold].id, Outcome::Unknown).await;
                finished.map(|_| Heard::Yes)
            }
            Call::Orphan { hold } => {
                state.orphan(&self.holds[*hold].id, "s1").await.map(|_| Heard::Yes)
            }
            Call::Token { grant } => {
                let id = &self.grants[*grant].id;
                let name = format!("agent{grant}");
                let token = state.add_grant_token(id, &name, "v", MINUTE, true).await;
                match token {
                    Err(StateError::TooManyTokens { .. }) => return Heard::No,
                    token => token.map(Heard::Token),
                }
            }
            Call::Spend { token } => {
                state.spend_token(self.tokens[*token].0).await.map(Heard::Spent)
            }
        };
        match heard {
            Ok(heard) => heard,
            Err(StateError::Refused(_)) => Heard::No,
            Err(fault) => panic!("{call:?}: {fault}"),
        }
    }

    fn statement(&self, grant: usize, digest: u8) -> NewHold {
        let known = &self.grants[grant];
        let grant = Grant {
            id: known.id.clone(),
            identity: known.identity.clone(),
            connection: "orders".to_owned(),
            reason: None,
            policies: Vec::new(),
            scope: None,
            opened_at: 0,
            ends_at: 0,
            request: None,
            approved_by: Vec::new(),
            state: GrantState::Open,
        };
        NewHold { waits_millis: 3 * MINUTE, claim_millis: MINUTE, ..statement(&grant, digest) }
    }

    /// Checks what was heard against what was known before, and then against each other; of two
    /// that ran at once a decision comes before a claim.
    fn learn(&mut self, mut heard: Vec<(Call, Heard)>) {
        // What is refused, and a grant that is found again, leave nothing in the file.
        let writes = |heard: &Heard| match heard {
            Heard::No => false,
            Heard::Admitted(admission) => {
                !matches!(**admission, Admission::Open { new: false, .. })
            }
            _ => true,
        };
        if heard.iter().any(|(_, heard)| writes(heard)) {
            self.written_at = self.steady;
        }
        for (call, heard) in &heard {
            self.check(call, heard);
        }
        for (call, heard) in &heard {
            self.done.extend(self.records(call, heard));
        }
        heard.sort_by_key(|(call, heard)| order(call, heard));
        for (call, heard) in heard {
            self.apply(call, heard);
        }
    }

    /// What a journal has to say of it.
    fn records(&self, call: &Call, heard: &Heard) -> Vec<String> {
        let one = |verb: &str, id: &dyn std::fmt::Display| vec![format!("{verb} {id}")];
        match (call, heard) {
            (_, Heard::Admitted(admission)) => match &**admission {
                Admission::Open { grant, new: true } => one("opens", &grant.id),
                Admission::Wait { request, new: true } => one("asks", &request.id),
                _ => Vec::new(),
            },
            (_, Heard::Voted(voted)) => {
                let opens = voted.grant.iter().map(|grant| format!("opens {}", grant.id));
                [one("votes", &voted.request.id), opens.collect()].concat()
            }
            (_, Heard::Held(held)) if held.new => one("holds", &held.hold.id),
            (_, Heard::Shape(used)) => {
                used.as_ref().as_ref().map_or_else(Vec::new, |used| one("uses", &used.hold.id))
            }
            (Call::Withdraw { request, .. }, Heard::Yes) => {
                one("withdraws", &self.requests[*request].id)
            }
            (Call::End { grant }, Heard::Yes) => one("ends", &self.grants[*grant].id),
            (Call::Decide { hold, .. }, Heard::Yes) => one("decides", &self.holds[*hold].id),
            (Call::Claim { hold, .. }, Heard::Yes) => one("claims", &self.holds[*hold].id),
            _ => Vec::new(),
        }
    }

    fn is_over(&self, grant: usize) -> bool {
        let known = &self.grants[grant];
        known.ended || self.steady >= known.over_at + self.missed
    }

    /// Nothing happens under a grant that is over.
    fn check(&self, call: &Call, heard: &Heard) {
        let under = match (call, heard) {
            (_, Heard::No) => return,
            (_, Heard::Admitted(admission)) => match &**admission {
                Admission::Open { grant, new: false } => {
                    self.grants.iter().position(|known| known.id == grant.id)
                }
                _ => None,
            },
            (Call::Hold { grant, .. } | Call::End { grant } | Call::Token { grant }, _) => {
                Some(*grant)
            }
            (Call::Decide { hold, .. } | Call::Claim { hold, .. }, _) => {
                Some(self.holds[*hold].grant)
            }
            (Call::UseShape { grant, .. }, Heard::Shape(used)) if used.is_some() => Some(*grant),
            (Call::Spend { token }, Heard::Spent(true)) => Some(self.tokens[*token].1),
            _ => None,
        };
        if let Some(grant) = under {
            // A token may be spent when its grant was ended: it opens nothing then.
            let spends = matches!(call, Call::Spend { .. });
            assert!(spends || !self.is_over(grant), "{call:?} under a grant that is over");
        }
    }

    fn apply(&mut self, call: Call, heard: Heard) {
        match (call, heard) {
            (Call::Admit(ask), Heard::Admitted(admission)) => self.admitted(&ask, *admission),
            (Call::Vote { request, voter, approve, may }, Heard::Voted(voted)) => {
                assert!(may, "somebody decided what is not theirs");
                let known = &mut self.requests[request];
                assert!(!known.over, "a vote on what is over");
                assert_ne!(known.asker, person(PEOPLE[voter]), "their own");
                if approve {
                    assert!(known.agreed.insert(voter), "counted twice");
                }
                let met = approve && known.agreed.len() == known.need;
                assert_eq!(voted.grant.is_some(), met, "{:?}", voted.request);
                known.over = met || !approve;
                if let Some(grant) = voted.grant {
                    self.opened(grant);
                }
            }
            (Call::Withdraw { request, by }, Heard::Yes) => {
                let known = &mut self.requests[request];
                assert!(!known.over && known.asker == person(PEOPLE[by]));
                known.over = true;
            }
            (Call::End { grant }, Heard::Yes) => {
                assert!(!self.grants[grant].ended, "ended twice");
                self.grants[grant].ended = true;
            }
            (Call::Hold { grant, digest, need }, Heard::Held(held)) => {
                if !held.new {
                    return;
                }
                self.holds.push(KnownHold {
                    id: held.hold.id,
                    grant,
                    digest,
                    need: usize::try_from(need).unwrap(),
                    agreed: BTreeSet::new(),
                    offers: Vec::new(),
                    denied: false,
                    claims: 0,
                    finished: 0,
                    shape_uses: 0,
                });
            }
            (Call::Decide { hold, voter, approve, shape }, Heard::Yes) => {
                let asker = self.grants[self.holds[hold].grant].identity.person.clone();
                assert_ne!(asker, person(PEOPLE[voter]), "their own");
                let known = &mut self.holds[hold];
                assert!(!known.denied && !known.is_approved(), "a vote on what is over");
                if approve {
                    assert!(known.agreed.insert(voter), "counted twice");
                    known.offers.push(shape);
                } else {
                    known.denied = true;
                }
            }
            (Call::Claim { hold, grant, .. }, Heard::Yes) => {
                let known = &mut self.holds[hold];
                assert_eq!(known.grant, grant, "claimed under another grant");
                assert!(known.is_approved(), "claimed what nobody approved");
                known.claims += 1;
                assert_eq!(known.claims, 1, "claimed twice");
            }
            (Call::UseShape { grant, .. }, Heard::Shape(used)) => {
                let Some(used) = *used else { return };
                let known = self.holds.iter_mut().find(|known| known.id == used.approved.id);
                let known = known.unwrap();
                assert!(known.grant == grant && known.is_approved());
                known.shape_uses += 1;
                let offered = known.offers.iter().map(|offer| offer.unwrap_or(0)).min();
                assert!(known.shape_uses <= offered.unwrap(), "used more often than was offered");
            }
            (Call::Finish { hold }, Heard::Yes) => {
                let known = &mut self.holds[hold];
                known.finished += 1;
                assert!(known.finished <= known.claims, "came out twice");
            }
            (Call::Token { grant }, Heard::Token(token)) => self.tokens.push((token, grant)),
            (Call::Spend { token }, Heard::Spent(true)) => {
                self.tokens.remove(token);
            }
            _ => {}
        }
    }

    fn admitted(&mut self, ask: &Ask, admission: Admission) {
        match admission {
            Admission::Open { grant, new } => {
                assert_eq!(grant.identity.person, ask.identity.person, "somebody else's grant");
                if new {
                    assert!(ask.needed.is_empty(), "opened what needs a person");
                    self.opened(grant);
                }
            }
            Admission::Wait { request, new: true } => self.requests.push(KnownRequest {
                id: request.id,
                asker: ask.identity.person.clone(),
                need: usize::try_from(ask.needed[0].need).unwrap(),
                agreed: BTreeSet::new(),
                over: false,
            }),
            Admission::Wait { request, new: false } | Admission::Denied(request) => {
                assert_eq!(request.identity.person, ask.identity.person, "somebody else's request");
            }
        }
    }

    fn opened(&mut self, grant: Grant) {
        self.grants.push(KnownGrant {
            id: grant.id,
            identity: grant.identity,
            over_at: self.steady + grant.ends_at - grant.opened_at - self.missed,
            ended: false,
        });
    }

    /// What a node that serves everything is told, and what a reviewer sees.
    async fn look(&self) {
        let ids: Vec<GrantId> = self.grants.iter().map(|grant| grant.id.clone()).collect();
        let live = self.room.other.grants_served(ids).await.unwrap().live;
        for (index, grant) in self.grants.iter().enumerate() {
            let served = live.iter().any(|(id, _)| *id == grant.id);
            assert!(!(served && self.is_over(index)), "{} lives on", grant.id);
        }
        let open = Filter { open: true, ..Filter::default() };
        let pending = self.room.state.requests(open).await.unwrap();
        for (index, one) in pending.iter().enumerate() {
            for other in &pending[index + 1..] {
                let same =
                    one.identity.person == other.identity.person && one.policies == other.policies;
                assert!(!same, "{} and {} are one request", one.id, other.id);
            }
        }
    }
}

/// In which order two that ran at once can have come, where it matters: a yes that others had to
/// follow, one that was the last, a no, what only who asks can do, and what needs it all.
fn order(call: &Call, heard: &Heard) -> u8 {
    match (call, heard) {
        (Call::Vote { approve: true, .. }, Heard::Voted(voted)) => voted.grant.is_some().into(),
        (Call::Decide { approve: true, .. }, _) => 0,
        (Call::Vote { .. } | Call::Decide { .. }, _) => 2,
        (Call::Claim { .. } | Call::UseShape { .. }, _) => 4,
        _ => 3,
    }
}

impl KnownHold {
    fn is_approved(&self) -> bool {
        self.agreed.len() >= self.need
    }
}

fn saying(approve: bool, shape: Option<u32>) -> Saying {
    let offer = |uses| ShapeOffer { uses, lasts_millis: 2 * MINUTE };
    if approve { Saying::Approve { words: None, shape: shape.map(offer) } } else { no("no") }
}

fn dice() -> impl Strategy<Value = Vec<Dice>> {
    let die = any::<[u8; 4]>().prop_map(|[what, which, who, how]| Dice { what, which, who, how });
    prop::collection::vec(die, 1..100)
}

fn play(cases: u32, room: impl Fn() -> Room) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = TestRunner::new(config).run(&dice(), |dice| {
        let mut world = World::new(room());
        let played = std::panic::AssertUnwindSafe(|| runtime.block_on(world.play(&dice)));
        std::panic::catch_unwind(played).map_err(|_| TestCaseError::fail("see above"))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn cases(short: u32) -> u32 {
    if std::env::var_os("GATEPOST_LONG").is_some() { short * 20 } else { short }
}

#[test]
fn nothing_goes_wrong_in_a_file() {
    play(cases(40), Room::in_a_file);
}

#[test]
fn nothing_goes_wrong_in_postgresql() {
    let Some(cluster) = Cluster::start() else { return };
    let cluster = Rc::new(cluster);
    play(cases(10), || Room::in_postgresql(&cluster));
}
