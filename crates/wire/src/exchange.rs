//! Which reply answers which message.
//!
//! PostgreSQL answers in order, but not one for one: an error in the extended protocol skips
//! everything up to the next Sync, COPY FROM STDIN swallows a Sync that comes before its data
//! ends, and some messages have no answer. An [`Exchange`] is told every tag in both directions
//! and keeps the account; it sees no bodies and moves no bytes. Whoever keeps it can attach
//! something to each message, and gets it back with the answer.
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

use std::collections::VecDeque;

use crate::{backend, frontend};

/// Messages that may wait for their answers. A client that pipelines more waits for the server
/// to answer some. It must be more than the server's output buffer (8 KiB) can hold answers to,
/// or both would wait for each other.
pub const OUTSTANDING_MAX: usize = 1 << 14;

/// A message that a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Query,
    Parse,
    Bind,
    Describe,
    Execute,
    Close,
    Sync,
    FunctionCall,
    /// CopyDone or CopyFail: no answer of its own, but it marks where a COPY stopped reading.
    CopyEnd,
    /// A tag that version 3.0 does not have. Servers end the session over it.
    Unknown,
}

impl Sent {
    /// Its error makes the server skip to the next Sync.
    fn is_extended(self) -> bool {
        match self {
            Sent::Parse | Sent::Bind | Sent::Describe | Sent::Execute | Sent::Close => true,
            Sent::Query | Sent::Sync | Sent::FunctionCall | Sent::CopyEnd | Sent::Unknown => false,
        }
    }
}

/// What a message from the server is to the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<T> {
    /// Part of the answer to this message; more will come.
    Part(Sent),
    /// The answer to this message ends here.
    End(Sent, T),
    /// This message failed, and the server skips what follows it up to a Sync. What was already
    /// sent of that is given back by [`Exchange::skipped`].
    Failed(Sent, T),
    /// Said at no message's asking: notices, notifications, parameters, an error that ends the
    /// session.
    Aside,
}

/// An answer that no outstanding message can have. The account is lost and the session with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent {tag:?} where the answer to {head:?} was due", tag = char::from(*.tag))]
pub struct Unexpected {
    pub tag: u8,
    pub head: Option<Sent>,
}

/// Where a conversation stands, for somebody who wants to say something of his own in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything that was sent has been answered, and what is sent next will be.
    Clear {
        /// A ReadyForQuery was the last of it. Else the series has not seen its Sync.
        ready: bool,
    },
    /// Answers are due, and nobody has to say more for them than Flush.
    Answering,
    /// The server skips to the next Sync or reads the data of a COPY, or it can't be known
    /// whether it does. It answers nothing before the client goes on.
    Deaf,
}

#[derive(Debug)]
pub struct Exchange<T> {
    /// What was sent and is not yet answered to its end, oldest first. Never begins with
    /// `CopyEnd`: a COPY that still reads has its Query or Execute before it.
    outstanding: VecDeque<(Sent, T)>,
    /// The head is a COPY FROM STDIN that reads.
    copying_in: bool,
    /// The head has said how it came out, so its ReadyForQuery may come.
    told: bool,
    /// An error in the extended protocol has been seen and the Sync that ends the skipping has
    /// not been sent.
    skipping: bool,
    /// Syncs of which it can't be known whether a failing COPY swallowed them: as many
    /// ReadyForQuery may come than are accounted for.
    perhaps_swallowed: usize,
    /// After such a COPY: what is outstanding is answered if one of those Syncs was not
    /// swallowed, and skipped up to the next Sync if they all were. The replies will show.
    in_doubt: bool,
    /// Nothing has been answered since the last ReadyForQuery.
    ready: bool,
    /// What an error has made the server skip, until somebody asks.
    skipped: Vec<T>,
}

impl<T> Default for Exchange<T> {
    fn default() -> Self {
        Exchange {
            outstanding: VecDeque::new(),
            copying_in: false,
            told: false,
            skipping: false,
            perhaps_swallowed: 0,
            in_doubt: false,
            ready: true,
            skipped: Vec::new(),
        }
    }
}

impl<T> Exchange<T> {
    pub fn new() -> Self {
        Exchange::default()
    }

    /// Every message sent has been answered to its end.
    pub fn is_quiet(&self) -> bool {
        self.outstanding.is_empty() && !self.skipping && !self.in_doubt
    }

    pub fn standing(&self) -> Standing {
        let reads = || !self.outstanding.iter().any(|&(sent, _)| sent == Sent::CopyEnd);
        match self.outstanding.is_empty() {
            _ if self.skipping || self.in_doubt => Standing::Deaf,
            true => Standing::Clear { ready: self.ready },
            false if self.copying_in && reads() => Standing::Deaf,
            false => Standing::Answering,
        }
    }

    /// How many more messages may be sent before some are answered.
    pub fn room(&self) -> usize {
        OUTSTANDING_MAX.saturating_sub(self.outstanding.len())
    }

    /// What is attached to the message that is being answered.
    pub fn head(&mut self) -> Option<&mut T> {
        self.outstanding.front_mut().map(|(_, attached)| attached)
    }

    /// What is attached to all that is outstanding, oldest first.
    pub fn attached(&mut self) -> impl Iterator<Item = &mut T> {
        self.outstanding.iter_mut().map(|(_, attached)| attached)
    }

    /// What was attached to messages that will never be answered, oldest first.
    pub fn skipped(&mut self) -> impl Iterator<Item = T> + '_ {
        self.skipped.drain(..)
    }

    /// A message goes to the server.
    pub fn sent(&mut self, tag: u8, attached: T) {
        let sent = match tag {
            // Neither is answered, and data comes by the million.
            frontend::COPY_DATA | frontend::FLUSH | frontend::TERMINATE => return,
            frontend::QUERY => Sent::Query,
            frontend::PARSE => Sent::Parse,
            frontend::BIND => Sent::Bind,
            frontend::DESCRIBE => Sent::Describe,
            frontend::EXECUTE => Sent::Execute,
            frontend::CLOSE => Sent::Close,
            frontend::SYNC => Sent::Sync,
            frontend::FUNCTION_CALL => Sent::FunctionCall,
            frontend::COPY_DONE | frontend::COPY_FAIL => Sent::CopyEnd,
            _ => Sent::Unknown,
        };
        if self.skipping {
            if sent != Sent::Sync {
                return self.skipped.push(attached);
            }
            self.skipping = false;
        }
        if sent == Sent::CopyEnd && self.outstanding.is_empty() {
            return;
        }
        self.outstanding.push_back((sent, attached));
    }

    /// A message comes from the server.
    pub fn received(&mut self, tag: u8) -> Result<Reply<T>, Unexpected> {
        if matches!(tag, backend::NOTICE | backend::NOTIFICATION | backend::PARAMETER_STATUS) {
            return Ok(Reply::Aside);
        }
        self.ready = tag == backend::READY_FOR_QUERY;
        let Some(&(head, _)) = self.outstanding.front() else {
            return self.unasked(tag, None);
        };
        if tag == backend::ERROR {
            return Ok(self.failed(head));
        }
        let ends = match (head, tag) {
            (Sent::Query, backend::ROW_DESCRIPTION | backend::DATA_ROW)
            | (Sent::Execute, backend::DATA_ROW)
            | (
                Sent::Query | Sent::Execute,
                backend::COPY_OUT_RESPONSE | backend::COPY_DATA | backend::COPY_DONE,
            )
            | (Sent::Describe, backend::PARAMETER_DESCRIPTION) => false,

            (Sent::Query | Sent::Execute, backend::COPY_IN_RESPONSE) => {
                self.copying_in = true;
                false
            }
            (Sent::Query, backend::EMPTY_QUERY)
            | (Sent::FunctionCall, backend::FUNCTION_CALL_RESPONSE) => {
                self.told = true;
                false
            }
            (Sent::Query, backend::COMMAND_COMPLETE) => {
                self.copy_completed();
                self.told = true;
                false
            }
            (Sent::Execute, backend::COMMAND_COMPLETE) => {
                self.copy_completed();
                true
            }
            (Sent::Execute, backend::EMPTY_QUERY | backend::PORTAL_SUSPENDED)
            | (Sent::Parse, backend::PARSE_COMPLETE)
            | (Sent::Bind, backend::BIND_COMPLETE)
            | (Sent::Describe, backend::ROW_DESCRIPTION | backend::NO_DATA)
            | (Sent::Close, backend::CLOSE_COMPLETE)
            | (Sent::Sync, backend::READY_FOR_QUERY) => true,
            (Sent::Query | Sent::FunctionCall, backend::READY_FOR_QUERY) if self.told => true,

            (_, tag) => return self.unasked(tag, Some(head)),
        };
        self.in_doubt = false;
        match self.outstanding.pop_front_if(|_| ends) {
            Some((_, attached)) => {
                self.next_head();
                Ok(Reply::End(head, attached))
            }
            None => Ok(Reply::Part(head)),
        }
    }

    /// A message that does not answer the head.
    fn unasked(&mut self, tag: u8, head: Option<Sent>) -> Result<Reply<T>, Unexpected> {
        match tag {
            backend::READY_FOR_QUERY if self.perhaps_swallowed > 0 => {
                // The failing COPY had not read this Sync after all; the skipping ended there.
                self.perhaps_swallowed -= 1;
                self.skipping = false;
                self.in_doubt &= head.is_some();
                Ok(Reply::Aside)
            }
            // Nobody asked, so it is the end of the session: a shutdown, a timeout, a kill.
            backend::ERROR => Ok(Reply::Aside),
            tag => match self.next_sync() {
                // It had read them all, and the ReadyForQuery was that of a later one.
                Some(sync) if self.in_doubt => {
                    self.in_doubt = false;
                    self.skip(sync + 1);
                    self.next_head();
                    self.received(tag)
                }
                _ => Err(Unexpected { tag, head }),
            },
        }
    }

    fn failed(&mut self, head: Sent) -> Reply<T> {
        let swallowed_before = self.perhaps_swallowed;
        if std::mem::take(&mut self.copying_in) {
            self.forget_syncs_of_the_copy();
        }
        self.told = true;
        if !head.is_extended() {
            return Reply::Part(head);
        }
        let Some((_, attached)) = self.outstanding.pop_front() else {
            return Reply::Aside;
        };
        self.next_head();
        let next = self.outstanding.front().map(|&(sent, _)| sent);
        if self.perhaps_swallowed > swallowed_before && next != Some(Sent::Sync) {
            self.in_doubt = true;
            return Reply::Failed(head, attached);
        }
        match self.next_sync() {
            Some(sync) => self.skip(sync),
            None => {
                self.skipping = true;
                self.skip(self.outstanding.len());
            }
        }
        Reply::Failed(head, attached)
    }

    fn next_sync(&self) -> Option<usize> {
        self.outstanding.iter().position(|&(sent, _)| sent == Sent::Sync)
    }

    /// The server skips the first `count` of what is outstanding.
    fn skip(&mut self, count: usize) {
        let skipped = self.outstanding.drain(..count).map(|(_, attached)| attached);
        self.skipped.extend(skipped);
    }

    /// COPY read up to its CopyDone, and swallowed every Sync before it.
    fn copy_completed(&mut self) {
        if !std::mem::take(&mut self.copying_in) {
            return;
        }
        if let Some(end) = self.outstanding.iter().position(|&(sent, _)| sent == Sent::CopyEnd) {
            self.outstanding.drain(1..=end);
        }
    }

    /// COPY failed, and who reads along can't know where: the Syncs behind it may have been
    /// swallowed as data or may end the skipping. A message that no COPY swallows ends those that
    /// are in question: had COPY read that far, it would have ended the session.
    fn forget_syncs_of_the_copy(&mut self) {
        let behind = self.outstanding.iter().skip(1);
        let syncs = behind.take_while(|&&(sent, _)| sent == Sent::Sync).count();
        self.skipped.extend(self.outstanding.drain(1..=syncs).map(|(_, attached)| attached));
        self.perhaps_swallowed += syncs;
    }

    /// A new head has told nothing. What marked the end of a COPY that is over says nothing any
    /// more.
    fn next_head(&mut self) {
        self.told = false;
        while self.outstanding.pop_front_if(|(sent, _)| *sent == Sent::CopyEnd).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays a conversation: `>PBES` is sent, `<12DCZ` is received. Fails at the first surprise.
    fn play(conversation: &str) -> Result<Exchange<usize>, Unexpected> {
        let mut exchange = Exchange::new();
        let mut number = 0;
        for part in conversation.split_whitespace() {
            let (direction, tags) = part.split_at(1);
            for tag in tags.bytes() {
                match direction {
                    ">" => {
                        exchange.sent(tag, number);
                        number += 1;
                    }
                    "<" => {
                        exchange.received(tag)?;
                    }
                    _ => panic!("{part}: not a direction"),
                }
            }
        }
        Ok(exchange)
    }

    #[test]
    fn conversations_that_end_in_quiet() {
        for conversation in [
            ">Q <TDDCZ",
            ">Q <IZ",
            ">Q <TDCTDCZ",
            ">Q <NESZ",
            ">PBDES <12TDCZ",
            ">PDS <1tTZ",
            ">PDS <1tnZ",
            ">PBEHES <12DsDCZ",
            ">PBE >C >S <12C3Z",
            // Without a Sync between, then with.
            ">PBEPBES <12C12CZ",
            ">PBESPBES <12CZ12CZ",
            // An error skips what was sent and what will be.
            ">PBES <EZ",
            ">PBEPBES >PBES <1EZ12CZ",
            ">PB <1E >E >Q >F >S <Z",
            // Query's and Sync's own errors skip nothing.
            ">Q >Q <EZTDCZ",
            ">S >Q <EZTCZ",
            ">F <VZ",
            ">F <EZ",
            // COPY out, both ways.
            ">Q <HdddcCZ",
            ">PBES <12HddcCZ",
            // COPY in: a simple one, two in a string, one that fails.
            ">Q <G >ddc <CZ",
            ">Q <G >ddc <C <G >dc <CZ",
            ">Q <G >dd <E >d >c <Z",
            ">Q <G >f <EZ",
            // libpq sends a Sync behind Execute; COPY swallows it.
            ">PBES <12G >dddcS <CZ",
            ">PBES >dcS <12G <CZ",
            ">PBES >HdHSdcS <12G <CZ >Q <TCZ",
            // Data after a COPY that never began is ignored.
            ">Q >dc <EZ >Q <CZ",
            ">PBES >dcS <1EZ <Z",
            // A failed COPY in the extended protocol.
            ">PBE <12G >d <E >dcS <Z",
            ">PBES <12G >d <E >dcS <Z >Q <CZ",
            ">PBES >ddcS <12G <EZ >Q <CZ",
            // The same, but it failed before it read the Sync: one ReadyForQuery more.
            ">PBES >ddcS <12G <EZ <Z >Q <CZ",
            ">PBES <12G <EZ >cS <Z >PBES <12CZ",
            // It failed on data before a Sync that came without the end of the data.
            ">PBE <12G >dSQ <EZCZ",
            ">PBES >dSQ <12G <EZZCZ",
            ">PBE <12G >dSPS <EZ1Z",
            // It failed behind that Sync, and skipped what followed up to the next.
            ">PBE <12G >dSdPSQ <EZCZ",
            ">Q <G >dScQ <EZZCZ",
            ">Q <G >dScQ <EZCZ",
            ">Q <G >dS <EZZ >Q <CZ",
            // A Sync that is answered late, when more has been sent.
            ">PBE <12G >dS <E >PS <Z1Z",
            // Asides anywhere.
            ">P <N1 >S <A <SZ <A",
        ] {
            let exchange = play(conversation).unwrap_or_else(|e| panic!("{conversation}: {e}"));
            assert!(exchange.is_quiet(), "{conversation}: {exchange:?}");
        }
    }

    #[test]
    fn conversations_that_are_not_over() {
        for conversation in
            [">Q <TDC", ">P", ">PS <1", ">PB <E", ">Q <G >d", ">PBES <12G >d", ">S <E", ">F <V"]
        {
            let exchange = play(conversation).unwrap_or_else(|e| panic!("{conversation}: {e}"));
            assert!(!exchange.is_quiet(), "{conversation}: {exchange:?}");
        }
    }

    #[test]
    fn where_a_conversation_stands() {
        let clear = |ready| Standing::Clear { ready };
        for (conversation, standing) in [
            ("", clear(true)),
            (">Q", Standing::Answering),
            (">Q <TDCZ", clear(true)),
            (">PB <12", clear(false)),
            (">PB <1", Standing::Answering),
            (">PBES <12CZ", clear(true)),
            (">PBES <12C", Standing::Answering),
            (">P <E", Standing::Deaf),
            (">P <E >S", Standing::Answering),
            (">P <E >S <Z", clear(true)),
            (">Q <G", Standing::Deaf),
            (">Q <G >dc", Standing::Answering),
            (">Q <G >dc <C <G", Standing::Deaf),
            // The Sync before the end of the data was swallowed: the series goes on.
            (">PBES <12G >dc <C", clear(false)),
            (">PBES >dS <12G <E", Standing::Deaf),
        ] {
            assert_eq!(play(conversation).unwrap().standing(), standing, "{conversation}");
        }
    }

    #[test]
    fn answers_that_nobody_can_have_asked_for() {
        for conversation in [
            "<Z",
            "<T",
            "<C",
            ">P <2",
            ">P <Z",
            ">Q <1",
            ">Q <s",
            ">S <C",
            ">B <1",
            ">PBES <12CZZ",
            ">D <D",
            ">F <T",
            ">Q <Q",
            ">Q <TDCZZ",
            ">C <1",
            ">E <T",
            ">Q <W",
        ] {
            assert!(play(conversation).is_err(), "{conversation}");
        }
    }

    #[test]
    fn an_error_that_nobody_asked_for_ends_the_session() {
        let mut exchange = play(">Q <CZ").unwrap();
        assert_eq!(exchange.received(backend::ERROR), Ok(Reply::Aside));
    }

    #[test]
    fn the_answered_message_comes_back_with_what_was_attached() {
        let mut exchange = play(">PDBEPCS").unwrap();
        assert_eq!(exchange.received(b'1'), Ok(Reply::End(Sent::Parse, 0)));
        assert_eq!(exchange.received(b't'), Ok(Reply::Part(Sent::Describe)));
        assert_eq!(exchange.head(), Some(&mut 1));
        assert_eq!(exchange.received(b'n'), Ok(Reply::End(Sent::Describe, 1)));
        assert_eq!(exchange.received(b'E'), Ok(Reply::Failed(Sent::Bind, 2)));
        assert_eq!(exchange.skipped().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(exchange.received(b'Z'), Ok(Reply::End(Sent::Sync, 6)));
        assert!(exchange.is_quiet());
    }

    #[test]
    fn what_is_sent_to_a_server_that_skips_is_given_back() {
        let mut exchange = play(">B <E >EQ").unwrap();
        assert!(!exchange.is_quiet(), "the server skips until a Sync");
        assert_eq!(exchange.skipped().collect::<Vec<_>>(), [1, 2]);
        exchange.sent(frontend::SYNC, 3);
        assert_eq!(exchange.received(b'Z'), Ok(Reply::End(Sent::Sync, 3)));
        assert!(exchange.is_quiet());
    }

    #[test]
    fn full_at_the_bound() {
        let mut exchange = Exchange::new();
        for number in 1..OUTSTANDING_MAX {
            exchange.sent(frontend::PARSE, number);
        }
        assert_eq!(exchange.room(), 1);
        exchange.sent(frontend::PARSE, 0);
        assert_eq!(exchange.room(), 0);
        exchange.received(backend::PARSE_COMPLETE).unwrap();
        assert_eq!(exchange.room(), 1);
    }

    proptest! {
        #[test]
        fn any_conversation_is_followed_without_panic(
            tags in prop::collection::vec((any::<bool>(), "[PBDECSHFQdcfXz1-3TtnGZsIVNAW]"), 0..80)
        ) {
            let mut exchange = Exchange::new();
            for (from_client, tag) in tags {
                let tag = tag.as_bytes()[0];
                if from_client {
                    exchange.sent(tag, ());
                } else {
                    let _ = exchange.received(tag);
                }
            }
        }
    }
}
