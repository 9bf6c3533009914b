//! What becomes of requests, grants and holds, step by step: the same in a file as in PostgreSQL.

use std::rc::Rc;

use super::NOW;
use super::cluster::Cluster;
use super::room::{
    MINUTE, Room, anyone, asks, by, needed, no, person, refused, somebody, statement, yes,
};
use super::untold::what_was_done_is_kept_until_the_journal_has_it;
use crate::*;

macro_rules! in_both_stores {
    ($($flow:ident,)*) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $flow() {
                super::$flow(super::Room::in_a_file()).await;
            })*
        }

        /// All of them in one cluster, each in a database of its own.
        #[test]
        fn in_postgresql() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let Some(cluster) = Cluster::start() else { return };
            let cluster = Rc::new(cluster);
            $(
                println!("{}", stringify!($flow));
                runtime.block_on($flow(Room::in_postgresql(&cluster)));
            )*
        }
    };
}

in_both_stores! {
    what_needs_nobody_opens_at_once_and_is_found_again_until_its_end,
    what_is_someone_elses_or_elsewhere_or_another_scope_is_another_grant,
    ten_that_connect_at_once_make_one_request_and_one_grant,
    two_who_agree_at_once_are_two,
    nobody_approves_their_own_nor_twice_nor_what_is_not_theirs,
    a_no_is_read_by_who_asks_the_same_again_until_it_would_have_ended,
    a_request_that_nobody_answers_expires_and_is_told_of_once,
    only_who_asked_withdraws,
    more_than_may_wait_is_refused,
    a_revoked_grant_takes_its_holds_with_it,
    a_grant_that_ends_is_told_of_once_with_its_holds,
    a_statement_that_was_approved_runs_once,
    what_nobody_knows_the_outcome_of_is_spent,
    an_orphan_waits_for_its_client_so_long_and_no_longer,
    an_approval_that_nobody_claims_expires,
    a_denied_statement_says_so_to_who_sends_it_again,
    a_shape_is_used_as_often_as_was_said_by_all_who_agreed,
    a_shape_ends_at_its_time_and_is_not_for_what_may_not_have_one,
    a_token_of_a_grant_opens_no_longer_than_it_and_once_if_so_asked,
    the_newest_token_of_a_grant_takes_the_place_of_the_oldest_and_of_no_other,
    an_answer_of_a_provider_counts_once_for_who_began_it,
    a_login_goes_on_to_the_program_that_answers_its_challenge,
    the_newest_token_of_a_login_takes_the_place_of_the_oldest,
    whoever_watches_hears_of_a_decision,
    another_process_is_heard_when_somebody_looks,
    a_list_comes_in_pages_newest_first,
    what_has_ended_is_forgotten_after_a_while_and_what_lives_is_not,
    a_clock_that_is_set_back_lengthens_nothing,
    the_last_who_takes_a_lease_has_it,
    what_was_done_is_kept_until_the_journal_has_it,
}

async fn what_needs_nobody_opens_at_once_and_is_found_again_until_its_end(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    assert_eq!(grant.policies, ["payments", "reads"]);
    assert_eq!(grant.ends_at, NOW + 15 * MINUTE);
    room.clock.pass(15 * MINUTE - 1);
    let again = room.state.admit(asks("agent", 0)).await.unwrap();
    assert_eq!(again.admission, Admission::Open { grant: grant.clone(), new: false });
    assert_eq!(again.now, grant.ends_at - 1);
    room.clock.pass(1);
    let next = room.open(asks("agent", 0)).await;
    assert_ne!(next.id, grant.id);
    assert_eq!(room.state.grant(&grant.id).await.unwrap().unwrap().state.name(), "expired");
}

async fn what_is_someone_elses_or_elsewhere_or_another_scope_is_another_grant(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let elsewhere = Ask { connection: "billing".to_owned(), ..asks("agent", 0) };
    let narrower = Ask { scope: Some("read: a.b".to_owned()), ..asks("agent", 0) };
    let fewer = Ask { policies: vec!["reads".to_owned()], ..asks("agent", 0) };
    for other in [asks("other", 0), elsewhere, narrower.clone(), fewer] {
        assert_ne!(room.open(other).await.id, grant.id);
    }
    let turned = Ask { policies: vec!["payments".into(), "reads".into()], ..asks("agent", 0) };
    assert_eq!(room.open(turned).await.id, grant.id);
    // Who asks for nothing in particular has what opens at once, whatever else there is; where people
    // must agree, what there is.
    let any = |need| {
        let policies = vec!["more".to_owned(), "reads".to_owned()];
        Ask { joins: Joins::Any, policies, ..asks("other", need) }
    };
    let grants = room.state.grants(Filter::default()).await.unwrap().len();
    let joined = room.open(any(1)).await;
    assert_eq!((&joined.identity, joined.policies.len()), (&somebody("other"), 2));
    assert_eq!(room.state.grants(Filter::default()).await.unwrap().len(), grants);
    assert_eq!(room.open(any(0)).await.policies, ["more", "reads"]);
    assert_eq!(room.open(any(0)).await.identity, somebody("other"));
    assert_eq!(room.state.grants(Filter::default()).await.unwrap().len(), grants + 1);
    // Through somebody else it is another grant, whatever else is the same; through the same, the same.
    let through = |actor: &str, joins, need| {
        let identity = Identity { actors: vec![person(actor)], ..somebody("agent") };
        Ask { identity, joins, ..asks("agent", need) }
    };
    let of_planner = room.open(through("planner", Joins::Same, 0)).await;
    assert_ne!(of_planner.id, grant.id);
    assert_eq!(room.open(through("planner", Joins::Any, 1)).await.id, of_planner.id);
    let waits = room.state.admit(through("other", Joins::Any, 1)).await.unwrap().admission;
    assert!(matches!(waits, Admission::Wait { .. }), "{waits:?}");
    let alone = room.open(Ask { joins: Joins::Any, ..asks("agent", 1) }).await;
    assert!(alone.identity.actors.is_empty());
    let anew = Ask { joins: Joins::Nothing, ..narrower };
    assert!(matches!(
        room.state.admit(anew).await.unwrap().admission,
        Admission::Open { new: true, .. }
    ));
}

async fn ten_that_connect_at_once_make_one_request_and_one_grant(room: Room) {
    for need in [1, 0] {
        let who = if need == 1 { "asker" } else { "opener" };
        let mut all = tokio::task::JoinSet::new();
        for n in 0..10 {
            let state = if n % 2 == 0 { room.state.clone() } else { room.other.clone() };
            all.spawn(async move { state.admit(asks(who, need)).await.unwrap().admission });
        }
        let admissions = all.join_all().await;
        let new = |a: &&Admission| {
            matches!(a, Admission::Open { new: true, .. } | Admission::Wait { new: true, .. })
        };
        assert_eq!(admissions.iter().filter(new).count(), 1);
    }
    assert_eq!(room.state.requests(Filter::default()).await.unwrap().len(), 1);
    assert_eq!(room.state.grants(Filter::default()).await.unwrap().len(), 1);
}

async fn two_who_agree_at_once_are_two(room: Room) {
    let request = room.wait(asks("agent", 2)).await;
    let (one, two) = tokio::join!(
        room.state.vote(&request.id, somebody("anna"), yes(), anyone()),
        room.other.vote(&request.id, somebody("bert"), yes(), anyone()),
    );
    let approved = [one.unwrap(), two.unwrap()]
        .into_iter()
        .filter_map(|voted| voted.grant)
        .collect::<Vec<_>>();
    let [grant] = &approved[..] else { panic!("{approved:?}") };
    assert_eq!(grant.approved_by.len(), 2);
    assert_eq!(room.open(asks("agent", 2)).await, *grant);
    assert!(matches!(refused(room.agree(&request.id, "carl").await), Refused::Over { .. }));
}

async fn nobody_approves_their_own_nor_twice_nor_what_is_not_theirs(room: Room) {
    let request = room.wait(asks("agent", 2)).await;
    assert_eq!(refused(room.agree(&request.id, "agent").await), Refused::OwnRequest);
    room.agree(&request.id, "anna").await.unwrap();
    assert_eq!(refused(room.agree(&request.id, "anna").await), Refused::AlreadyVoted);
    let nobody: Box<May> = Box::new(|needed| needed.by == "group:others");
    let voted = room.state.vote(&request.id, somebody("bert"), yes(), nobody).await;
    assert_eq!(refused(voted), Refused::NotAsked);
    let stored = room.state.request(&request.id).await.unwrap().unwrap();
    assert_eq!(stored.votes.len(), 1);
    assert_eq!(stored.missing().map(|(_, still)| still).collect::<Vec<_>>(), [1]);
}

async fn a_no_is_read_by_who_asks_the_same_again_until_it_would_have_ended(room: Room) {
    let request = room.wait(asks("agent", 1)).await;
    room.state.vote(&request.id, somebody("anna"), no("not today"), anyone()).await.unwrap();
    let Admission::Denied(denied) = room.state.admit(asks("agent", 1)).await.unwrap().admission
    else {
        panic!("asked again");
    };
    let RequestState::Denied { by, words, .. } = denied.state else { panic!() };
    assert_eq!((by, words.as_deref()), (person("anna"), Some("not today")));
    let better = Ask { reason: Some("ticket 8".to_owned()), ..asks("agent", 1) };
    assert_ne!(room.wait(better.clone()).await.id, request.id);
    room.state.withdraw(&room.wait(better).await.id, person("agent")).await.unwrap();
    room.clock.pass(60 * MINUTE);
    room.wait(asks("agent", 1)).await;
}

async fn a_request_that_nobody_answers_expires_and_is_told_of_once(room: Room) {
    let request = room.wait(asks("agent", 1)).await;
    room.clock.pass(60 * MINUTE);
    assert!(matches!(
        refused(room.agree(&request.id, "anna").await),
        Refused::Over { state: "has expired", .. }
    ));
    let due = room.state.expire_due().await.unwrap();
    assert_eq!(due.requests[0].state, RequestState::Expired { at: NOW + 60 * MINUTE });
    assert_eq!(room.state.expire_due().await.unwrap(), Due::default());
}

async fn only_who_asked_withdraws(room: Room) {
    let request = room.wait(asks("agent", 1)).await;
    let theirs = room.state.withdraw(&request.id, person("other")).await;
    assert_eq!(refused(theirs), Refused::NotYours);
    room.state.withdraw(&request.id, person("agent")).await.unwrap();
    assert!(matches!(refused(room.agree(&request.id, "anna").await), Refused::Over { .. }));
}

async fn more_than_may_wait_is_refused(room: Room) {
    for n in 0..bounds::REQUESTS_PENDING_MAX {
        room.wait(Ask { connection: format!("c{n}"), ..asks("agent", 1) }).await;
    }
    let over = room.state.admit(asks("agent", 1)).await;
    assert!(matches!(refused(over), Refused::TooManyRequests { .. }));
    room.wait(asks("other", 1)).await;
    let long = Ask { reason: Some("x".repeat(bounds::REASON_BYTES_MAX + 1)), ..asks("other", 1) };
    assert!(matches!(refused(room.state.admit(long).await), Refused::TooMuch { .. }));
    let nul = Ask { connection: "a\0b".to_owned(), ..asks("other", 1) };
    assert!(matches!(refused(room.state.admit(nul).await), Refused::Malformed { .. }));
    let fits = Ask { reason: Some("x".repeat(bounds::REASON_BYTES_MAX)), ..asks("third", 1) };
    room.wait(fits).await;
}

async fn a_revoked_grant_takes_its_holds_with_it(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let approved = room.approved_hold(&grant, 1).await;
    let pending = room.state.hold(statement(&grant, 2)).await.unwrap().hold;
    let running = room.approved_hold(&grant, 3).await;
    room.state.claim(&running.id, &grant.id, &[3; 32], by("s1")).await.unwrap();

    let how = GrantEnd::Revoked { by: person("anna"), words: Some("enough".to_owned()) };
    let ended = room.state.end_grant(&grant.id, how.clone()).await.unwrap();
    assert_eq!(ended.grant.state, GrantState::Ended { how: how.clone(), at: NOW });
    assert_eq!(ended.holds.len(), 2);
    for hold in [&approved, &pending] {
        let stored = room.state.held(&hold.id).await.unwrap().unwrap();
        assert_eq!(stored.state, HoldState::Withdrawn { why: Withdrawal::GrantEnded, at: NOW });
    }
    let claimed = room.state.claim(&approved.id, &grant.id, &[1; 32], by("s1")).await;
    assert!(matches!(refused(claimed), Refused::GrantEnded { .. }));
    let held = room.state.hold(statement(&grant, 4)).await;
    assert!(matches!(refused(held), Refused::GrantEnded { .. }));
    // What ran comes to its outcome all the same.
    room.state.finish(&running.id, Outcome::Done).await.unwrap();
    let again = room.state.end_grant(&grant.id, how).await;
    assert!(matches!(refused(again), Refused::GrantEnded { .. }));
    let served = room.state.grants_served(vec![grant.id]).await.unwrap();
    assert_eq!(served.live, []);
}

async fn a_grant_that_ends_is_told_of_once_with_its_holds(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let live = room.state.grants_served(vec![grant.id.clone()]).await.unwrap().live;
    assert_eq!(live, [(grant.id.clone(), grant.ends_at)]);
    room.clock.pass(10 * MINUTE);
    let hold = room.state.hold(statement(&grant, 1)).await.unwrap().hold;
    room.clock.pass(5 * MINUTE);
    let due = room.state.expire_due().await.unwrap();
    assert_eq!(due.grants.len(), 1);
    assert_eq!(due.grants[0].grant.id, grant.id);
    assert_eq!(due.grants[0].holds[0].id, hold.id);
    assert_eq!(room.state.expire_due().await.unwrap(), Due::default());
    assert_eq!(room.state.grants_served(vec![grant.id]).await.unwrap().live, []);
}

async fn a_statement_that_was_approved_runs_once(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let first = room.state.hold(statement(&grant, 1)).await.unwrap();
    assert!(first.new);
    let again = room.state.hold(statement(&grant, 1)).await.unwrap();
    assert_eq!((again.new, &again.hold.id), (false, &first.hold.id));

    let early = room.state.claim(&first.hold.id, &grant.id, &[1; 32], by("s1")).await;
    assert!(matches!(refused(early), Refused::Over { state: "waits for a person", .. }));
    let approved = room.approved_hold(&grant, 1).await;
    assert_eq!(approved.id, first.hold.id);
    let another = room.state.claim(&approved.id, &grant.id, &[2; 32], by("s1")).await;
    assert_eq!(refused(another), Refused::OtherStatement);

    let claim = async |state: &State, session| {
        state.claim(&approved.id, &grant.id, &[1; 32], by(session)).await
    };
    let (one, two) = tokio::join!(claim(&room.state, "s1"), claim(&room.other, "s2"));
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    let won = won.unwrap();
    assert!(matches!(refused(lost), Refused::Over { state: "runs already", .. }));

    let winner = won.run.unwrap().by;
    room.state.note_xid(&approved.id, winner.clone(), 4711).await.unwrap();
    let twice = room.state.note_xid(&approved.id, winner, 4712).await;
    assert_eq!(refused(twice), Refused::NotYours);
    room.state.finish(&approved.id, Outcome::Done).await.unwrap();
    let later = room.state.finish(&approved.id, Outcome::Unknown).await;
    assert!(matches!(refused(later), Refused::Over { .. }));
    assert!(matches!(refused(claim(&room.state, "s3").await), Refused::Over { .. }));
    assert!(room.state.hold(statement(&grant, 1)).await.unwrap().new);
}

async fn what_nobody_knows_the_outcome_of_is_spent(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let hold = room.approved_hold(&grant, 1).await;
    room.state.claim(&hold.id, &grant.id, &[1; 32], by("s1")).await.unwrap();
    let unfinished = room.state.unfinished("gate-1").await.unwrap();
    assert_eq!(unfinished.iter().map(|hold| &hold.id).collect::<Vec<_>>(), [&hold.id]);
    assert_eq!(room.state.unfinished("gate-2").await.unwrap(), []);
    room.state.finish(&hold.id, Outcome::Unknown).await.unwrap();
    assert_eq!(room.state.unfinished("gate-1").await.unwrap(), []);
    assert!(room.state.hold(statement(&grant, 1)).await.unwrap().new);
}

async fn an_orphan_waits_for_its_client_so_long_and_no_longer(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let hold = room.state.hold(statement(&grant, 1)).await.unwrap().hold;
    assert_eq!(refused(room.state.orphan(&hold.id, "s2").await), Refused::NotYours);
    room.state.orphan(&hold.id, "s1").await.unwrap();
    room.clock.pass(2 * MINUTE - 1);
    let back = NewHold { session: "s2".to_owned(), ..statement(&grant, 1) };
    let back = room.state.hold(back).await.unwrap();
    assert_eq!((back.new, back.hold.orphaned_until), (false, None));
    room.state.orphan(&hold.id, "s2").await.unwrap();
    room.clock.pass(2 * MINUTE);
    let due = room.state.expire_due().await.unwrap();
    assert_eq!(due.holds.len(), 1);
    assert!(room.state.hold(statement(&grant, 1)).await.unwrap().new);
}

async fn an_approval_that_nobody_claims_expires(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let hold = room.approved_hold(&grant, 1).await;
    room.clock.pass(2 * MINUTE);
    let late = room.state.claim(&hold.id, &grant.id, &[1; 32], by("s1")).await;
    assert!(matches!(refused(late), Refused::Over { state: "has expired", .. }));
}

async fn a_denied_statement_says_so_to_who_sends_it_again(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let hold = room.state.hold(statement(&grant, 1)).await.unwrap().hold;
    room.state
        .decide_hold(&hold.id, somebody("dba"), no("a WHERE is missing"), anyone())
        .await
        .unwrap();
    let again = room.state.hold(statement(&grant, 1)).await.unwrap();
    assert_eq!((again.new, again.hold.state.name()), (false, "denied"));
    let mine = room.state.withdraw_hold(&hold.id, person("agent")).await;
    assert!(matches!(refused(mine), Refused::Over { .. }));
    room.clock.pass(10 * MINUTE);
    assert!(room.state.hold(statement(&grant, 1)).await.unwrap().new);
}

async fn a_shape_is_used_as_often_as_was_said_by_all_who_agreed(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let two = NewHold { needed: vec![needed(2)], ..statement(&grant, 1) };
    let hold = room.state.hold(two).await.unwrap().hold;
    let offer = |uses| Saying::Approve {
        words: None,
        shape: Some(ShapeOffer { uses, lasts_millis: MINUTE }),
    };
    room.state.decide_hold(&hold.id, somebody("anna"), offer(5), anyone()).await.unwrap();
    let none = room.state.use_shape(statement(&grant, 2), by("s1")).await.unwrap();
    assert_eq!(none, None);
    room.state.decide_hold(&hold.id, somebody("bert"), offer(2), anyone()).await.unwrap();

    for (digest, left) in [(2, Some(1)), (3, None)] {
        let used = room.state.use_shape(statement(&grant, digest), by("s1")).await.unwrap();
        let used = used.unwrap();
        assert_eq!(used.hold.state, HoldState::Running);
        assert_eq!(used.hold.used_shape_of.as_ref(), Some(&hold.id));
        assert_eq!(used.approved.shape.map(|shape| shape.uses_left), left);
    }
    assert_eq!(room.state.use_shape(statement(&grant, 4), by("s1")).await.unwrap(), None);
    let other = NewHold { shape_digest: Some([8; 32]), ..statement(&grant, 5) };
    assert_eq!(room.state.use_shape(other, by("s1")).await.unwrap(), None);
}

async fn a_shape_ends_at_its_time_and_is_not_for_what_may_not_have_one(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let offer = || Saying::Approve {
        words: None,
        shape: Some(ShapeOffer { uses: 5, lasts_millis: MINUTE }),
    };
    let none = NewHold { shape_digest: None, ..statement(&grant, 9) };
    let none = room.state.hold(none).await.unwrap().hold;
    let decided = room.state.decide_hold(&none.id, somebody("anna"), offer(), anyone()).await;
    assert_eq!(refused(decided), Refused::NoShape);

    let hold = room.state.hold(statement(&grant, 1)).await.unwrap().hold;
    room.state.decide_hold(&hold.id, somebody("anna"), offer(), anyone()).await.unwrap();
    room.clock.pass(MINUTE - 1);
    assert!(room.state.use_shape(statement(&grant, 2), by("s1")).await.unwrap().is_some());
    room.clock.pass(1);
    assert_eq!(room.state.use_shape(statement(&grant, 3), by("s1")).await.unwrap(), None);
}

async fn a_token_of_a_grant_opens_no_longer_than_it_and_once_if_so_asked(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let once =
        room.state.add_grant_token(&grant.id, "agent", "v1", 5 * MINUTE, true).await.unwrap();
    let long =
        room.state.add_grant_token(&grant.id, "agent", "v2", 60 * MINUTE, false).await.unwrap();
    let live = room.state.live_tokens("agent", NOW).await.unwrap();
    assert_eq!(live.iter().map(|token| token.id).collect::<Vec<_>>(), [long, once]);
    assert!(live.iter().all(|token| token.grant.as_ref() == Some(&grant.id)));

    let (one, two) = tokio::join!(room.state.spend_token(once), room.other.spend_token(once));
    assert_eq!([one.unwrap(), two.unwrap()].iter().filter(|spent| **spent).count(), 1);
    assert!(!room.state.spend_token(long).await.unwrap());
    let rows = room.state.tokens().await.unwrap();
    assert_eq!(rows[1].expires_at, Some(grant.ends_at));

    room.state.end_grant(&grant.id, GrantEnd::Released).await.unwrap();
    assert_eq!(room.state.live_tokens("agent", NOW).await.unwrap(), []);
    let late = room.state.add_grant_token(&grant.id, "agent", "v3", MINUTE, false).await;
    assert!(matches!(refused(late), Refused::GrantEnded { .. }));
}

async fn the_newest_token_of_a_grant_takes_the_place_of_the_oldest_and_of_no_other(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    let own = room.state.add_token("agent", "own", NOW, None).await.unwrap();
    let add = || room.state.add_grant_token(&grant.id, "agent", "v", MINUTE, false);
    let mut added = Vec::new();
    for _ in 0..TOKENS_PER_NAME_MAX {
        added.push(add().await.unwrap());
    }
    let live = room.state.live_tokens("agent", NOW).await.unwrap();
    let live: Vec<TokenId> = live.iter().map(|token| token.id).collect();
    assert_eq!(live.len(), TOKENS_PER_NAME_MAX);
    assert!(live.contains(&own) && !live.contains(&added[0]) && live.contains(&added[1]));
    // What somebody made for themselves takes nobody's place.
    let more = room.state.add_token("agent", "own", NOW, None).await;
    assert!(matches!(more, Err(StateError::TooManyTokens { .. })));
}

fn answers(number: u8) -> NewLogin {
    NewLogin {
        answer: [number; 32],
        useless_at: NOW + 5 * MINUTE,
        request: format!("_{number}"),
        ends_at: None,
        identity: somebody("anna"),
        code: code(number),
        lasts_millis: MINUTE,
    }
}

fn code(number: u8) -> Hash {
    [number | 0x80; 32]
}

fn token(number: u8) -> Next {
    Next::Token { token: [number; 32], lasts_millis: 10 * MINUTE }
}

async fn an_answer_of_a_provider_counts_once_for_who_began_it(room: Room) {
    let state = &room.state;
    assert!(state.add_login(answers(1)).await.unwrap());
    // The same answer, though everything else is another: here, on another node, after a restart.
    let again = NewLogin { code: code(9), request: "_9".to_owned(), ..answers(1) };
    assert!(!state.add_login(again.clone()).await.unwrap());
    assert!(!room.other.add_login(again.clone()).await.unwrap());
    assert!(!room.open_again().add_login(again.clone()).await.unwrap());
    assert_eq!(state.take_login(code(9), "_9", token(9)).await.unwrap(), None);

    // Of two who bring the code at once, one gets on.
    let (one, two) = tokio::join!(
        state.take_login(code(1), "_1", token(1)),
        room.other.take_login(code(1), "_1", token(2))
    );
    let got = [one.unwrap(), two.unwrap()];
    let taken = Taken { identity: somebody("anna"), lasts_millis: 10 * MINUTE };
    assert_eq!(got.iter().flatten().collect::<Vec<_>>(), [&taken]);
    let opened = [[1; 32], [2; 32]].map(|it| state.login_of_token(it));
    let [one, two] = opened;
    let opened = [one.await.unwrap(), two.await.unwrap()];
    let opened: Vec<_> = opened.into_iter().flatten().collect();
    let until = NOW + 10 * MINUTE;
    assert_eq!(opened, [LoginToken { identity: somebody("anna"), until, ends_at: None }]);
    // Still the same answer, and still for as long as the token opens.
    assert!(!state.add_login(again).await.unwrap());
    room.clock.pass(10 * MINUTE);
    assert_eq!(state.login_of_token([1; 32]).await.unwrap(), None);
    assert_eq!(state.login_of_token([2; 32]).await.unwrap(), None);
    assert!(!state.add_login(answers(1)).await.unwrap());

    // In another browser, and too late.
    assert!(state.add_login(answers(3)).await.unwrap());
    assert_eq!(state.take_login(code(3), "_4", token(3)).await.unwrap(), None);
    assert_eq!(state.take_login(code(3), "_3", token(3)).await.unwrap(), None);
    assert!(state.add_login(answers(5)).await.unwrap());
    room.clock.pass(MINUTE);
    assert_eq!(state.take_login(code(5), "_5", token(5)).await.unwrap(), None);
    // The provider's own session ends sooner, and is over.
    let ends_at = Some(NOW + 13 * MINUTE);
    assert!(state.add_login(NewLogin { ends_at, ..answers(7) }).await.unwrap());
    let taken = state.take_login(code(7), "_7", token(7)).await.unwrap().unwrap();
    assert_eq!(taken.lasts_millis, 2 * MINUTE);
    assert_eq!(state.login_of_token([7; 32]).await.unwrap().unwrap().ends_at, ends_at);
    let ends_at = Some(NOW + 11 * MINUTE);
    assert!(state.add_login(NewLogin { ends_at, ..answers(8) }).await.unwrap());
    assert_eq!(state.take_login(code(8), "_8", token(8)).await.unwrap(), None);
    // A code is no token, and a token no code.
    assert!(state.add_login(answers(6)).await.unwrap());
    assert_eq!(state.login_of_token(code(6)).await.unwrap(), None);
    assert!(state.take_login(code(6), "_6", token(6)).await.unwrap().is_some());
    assert_eq!(state.take_login([6; 32], "_6", token(7)).await.unwrap(), None);
}

async fn a_login_goes_on_to_the_program_that_answers_its_challenge(room: Room) {
    let state = &room.state;
    let program = |number: u8| Next::Program {
        code: [number | 0x40; 32],
        challenge: format!("c{number}"),
        lasts_millis: MINUTE,
    };
    for number in 1..=3 {
        assert!(state.add_login(answers(number)).await.unwrap());
        let request = format!("_{number}");
        let taken = state.take_login(code(number), &request, program(number)).await.unwrap();
        let expected = Taken { identity: somebody("anna"), lasts_millis: MINUTE };
        assert_eq!(taken, Some(expected));
    }
    // With the code of the browser it's over, and a browser has no business with the next one.
    let by = |challenge: &'static str| move |it: &str| it == challenge;
    let lasts = 10 * MINUTE;
    assert_eq!(state.redeem_login(code(1), [1; 32], lasts, by("c1")).await.unwrap(), None);
    assert_eq!(state.take_login([0x41; 32], "_1", token(1)).await.unwrap(), None);
    assert!(state.redeem_login([0x41; 32], [1; 32], lasts, by("c1")).await.unwrap().is_some());
    assert!(state.login_of_token([1; 32]).await.unwrap().is_some());
    assert_eq!(state.redeem_login([0x41; 32], [9; 32], lasts, by("c1")).await.unwrap(), None);
    // One wrong answer spends it.
    assert_eq!(state.redeem_login([0x42; 32], [2; 32], lasts, by("c1")).await.unwrap(), None);
    assert_eq!(state.redeem_login([0x42; 32], [2; 32], lasts, by("c2")).await.unwrap(), None);
    room.clock.pass(MINUTE);
    assert_eq!(state.redeem_login([0x43; 32], [3; 32], lasts, by("c3")).await.unwrap(), None);
}

async fn the_newest_token_of_a_login_takes_the_place_of_the_oldest(room: Room) {
    let state = &room.state;
    let most = u8::try_from(bounds::LOGIN_TOKENS_MAX).unwrap();
    for number in 0..=most {
        room.clock.pass(1);
        assert!(state.add_login(answers(number)).await.unwrap());
        let taken = state.take_login(code(number), &format!("_{number}"), token(number)).await;
        assert!(taken.unwrap().is_some());
    }
    assert!(state.login_of_token([0; 32]).await.unwrap().is_none());
    for number in 1..=most {
        assert!(state.login_of_token([number; 32]).await.unwrap().is_some(), "{number}");
    }
    let hour = u8::try_from(bounds::LOGINS_PER_HOUR_MAX).unwrap();
    for number in most + 1..hour {
        assert!(state.add_login(answers(number)).await.unwrap());
    }
    let more = state.add_login(answers(hour)).await;
    assert!(matches!(refused(more), Refused::TooManyLogins { .. }));
    let other = NewLogin { identity: somebody("bert"), ..answers(hour) };
    assert!(state.add_login(other).await.unwrap());
}

async fn whoever_watches_hears_of_a_decision(room: Room) {
    let request = room.wait(asks("agent", 1)).await;
    let mut watch = room.state.watch(&request.id);
    let (waited, voted) = tokio::join!(watch.changed(), room.agree(&request.id, "anna"));
    let () = waited;
    voted.unwrap();
}

async fn another_process_is_heard_when_somebody_looks(room: Room) {
    let request = room.wait(asks("agent", 1)).await;
    let mut watch = room.state.watch(&request.id);
    room.other.vote(&request.id, somebody("anna"), yes(), anyone()).await.unwrap();
    room.state.look_outside().await.unwrap();
    watch.changed().await;
    assert_eq!(room.state.request(&request.id).await.unwrap().unwrap().state.name(), "approved");
}

async fn a_list_comes_in_pages_newest_first(room: Room) {
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(room.wait(Ask { connection: format!("c{n}"), ..asks("agent", 1) }).await.id);
        room.clock.pass(1);
    }
    room.state.withdraw(&made[4], person("agent")).await.unwrap();
    let open = |behind| Filter { open: true, rows: 2, behind, ..Filter::default() };
    let mut seen = Vec::new();
    let mut behind = None;
    loop {
        let page = room.state.requests(open(behind)).await.unwrap();
        let Some(last) = page.last() else { break };
        behind = Some(last.id.clone());
        seen.extend(page.into_iter().map(|request| request.id));
    }
    made.truncate(4);
    made.reverse();
    assert_eq!(seen, made);
    let of = Filter { person: Some(person("other")), ..Filter::default() };
    assert_eq!(room.state.requests(of).await.unwrap(), []);
}

async fn what_has_ended_is_forgotten_after_a_while_and_what_lives_is_not(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    room.approved_hold(&grant, 1).await;
    let request = room.wait(asks("other", 1)).await;
    let kept = room.wait(Ask { waits_millis: bounds::LASTS_MILLIS_MAX, ..asks("third", 1) }).await;
    room.clock.pass(60 * MINUTE);
    room.state.expire_due().await.unwrap();
    room.clock.pass(bounds::ENDED_KEPT_MILLIS - 60 * MINUTE);
    room.state.expire_due().await.unwrap();
    assert!(room.state.request(&request.id).await.unwrap().is_some());
    room.clock.pass(61 * MINUTE);
    room.state.expire_due().await.unwrap();
    assert_eq!(room.state.request(&request.id).await.unwrap(), None);
    assert_eq!(room.state.grant(&grant.id).await.unwrap(), None);
    assert!(room.state.request(&kept.id).await.unwrap().is_some());
}

async fn a_clock_that_is_set_back_lengthens_nothing(room: Room) {
    let grant = room.open(asks("agent", 0)).await;
    room.clock.pass(10 * MINUTE);
    room.state.hold(statement(&grant, 1)).await.unwrap();
    room.clock.set_wall(NOW - 100 * MINUTE);
    room.clock.pass(5 * MINUTE);
    assert_eq!(room.state.grants_served(vec![grant.id.clone()]).await.unwrap().live, []);

    // Nor does a new process begin before the last one ended. PostgreSQL's clock is PostgreSQL's.
    if !room.is_a_file() {
        return;
    }
    let state = room.open_again();
    state.take_lease("gate-1", "a").await.unwrap();
    assert!(state.now().await.unwrap() >= NOW + 10 * MINUTE);
}

async fn the_last_who_takes_a_lease_has_it(room: Room) {
    room.state.take_lease("gate-1", "one").await.unwrap();
    room.state.renew_lease("gate-1", "one").await.unwrap();
    room.state.take_lease("gate-1", "two").await.unwrap();
    let lost = room.state.renew_lease("gate-1", "one").await;
    assert!(matches!(refused(lost), Refused::LeaseTaken { .. }));
    room.state.renew_lease("gate-1", "two").await.unwrap();

    // One that is renewed is never too old, however seldom that is written.
    for _ in 0..20 {
        room.clock.pass(12 * 60 * MINUTE);
        room.state.expire_due().await.unwrap();
        room.state.renew_lease("gate-1", "two").await.unwrap();
    }
    room.clock.pass(bounds::ENDED_KEPT_MILLIS + MINUTE);
    room.state.expire_due().await.unwrap();
    let forgotten = room.state.renew_lease("gate-1", "two").await;
    assert!(matches!(refused(forgotten), Refused::LeaseTaken { .. }));
}

/// The bound here is for a busy machine; what it takes is printed.
#[tokio::test]
async fn a_decision_wakes_who_waits_for_it_and_none_of_a_thousand_others() {
    let room = Room::in_a_file();
    let request = room.wait(asks("agent", 1)).await;
    let mut others = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let mut watch = room.state.watch(HoldId::random().unwrap());
        others.spawn(async move { watch.changed().await });
    }
    let mut watch = room.state.watch(&request.id);
    let waiter = tokio::spawn(async move {
        watch.changed().await;
        std::time::Instant::now()
    });
    tokio::task::yield_now().await;
    let said = std::time::Instant::now();
    room.agree(&request.id, "anna").await.unwrap();
    let heard = waiter.await.unwrap();
    println!("from the vote to who waits: {:?}", heard.duration_since(said));
    assert!(heard.duration_since(said) < std::time::Duration::from_secs(1));
    assert!(others.try_join_next().is_none(), "somebody else was woken");

    let again = std::time::Instant::now();
    let found = room.state.admit(asks("agent", 1)).await.unwrap();
    println!("a grant that lives is found in: {:?}", again.elapsed());
    assert!(matches!(found.admission, Admission::Open { new: false, .. }));
}
