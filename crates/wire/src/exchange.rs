//! Which reply answers which message.
//!
//! PostgreSQL answers in order, but not one for one: an error in the extended protocol skips
//! everything up to the next Sync, COPY FROM STDIN swallows a Sync that comes before its data
//! ends, and some messages have no answer. An [`Exchange`] is told every tag in both directions
//! and keeps the account; it sees no bodies and moves no bytes.
//! <https://www.postgresql.org/docs/current/protocol-flow.html>

use std::collections::VecDeque;

use crate::{backend, frontend};

/// Messages that may wait for their answers. A client that pipelines more waits for the server
/// to answer some. It must be more than the server's output buffer (8 KiB) can hold answers to,
/// or both would wait for each other; one entry is one byte.
pub const OUTSTANDING_MAX: usize = 1 << 18;

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
pub enum Reply {
    /// Part of the answer to this message; more will come.
    Part(Sent),
    /// The answer to this message ends here.
    End(Sent),
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

#[derive(Debug, Default)]
pub struct Exchange {
    /// What was sent and is not yet answered to its end, oldest first. Never begins with
    /// `CopyEnd`: a COPY that still reads has its Query or Execute before it.
    outstanding: VecDeque<Sent>,
    /// The head is a COPY FROM STDIN that reads.
    copying_in: bool,
    /// An error in the extended protocol has been seen and the Sync that ends the skipping has
    /// not been sent.
    skipping: bool,
    /// Syncs of which it can't be known whether a failing COPY swallowed them: as many
    /// ReadyForQuery may come than are accounted for.
    perhaps_swallowed: usize,
}

impl Exchange {
    pub fn new() -> Self {
        Exchange::default()
    }

    /// Every message sent has been answered to its end.
    pub fn is_quiet(&self) -> bool {
        self.outstanding.is_empty() && !self.skipping
    }

    /// No further message may be sent before some are answered.
    pub fn is_full(&self) -> bool {
        self.outstanding.len() >= OUTSTANDING_MAX
    }

    /// A COPY FROM STDIN reads the client's data now.
    pub fn is_copying_in(&self) -> bool {
        self.copying_in
    }

    /// A message goes to the server.
    pub fn sent(&mut self, tag: u8) {
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
                return;
            }
            self.skipping = false;
        }
        if sent == Sent::CopyEnd && self.outstanding.is_empty() {
            return;
        }
        self.outstanding.push_back(sent);
    }

    /// A message comes from the server.
    pub fn received(&mut self, tag: u8) -> Result<Reply, Unexpected> {
        if matches!(tag, backend::NOTICE | backend::NOTIFICATION | backend::PARAMETER_STATUS) {
            return Ok(Reply::Aside);
        }
        let Some(&head) = self.outstanding.front() else {
            return self.unasked(tag, None);
        };
        if tag == backend::ERROR {
            return Ok(self.failed(head));
        }
        let ends = match (head, tag) {
            (Sent::Query, backend::ROW_DESCRIPTION | backend::DATA_ROW | backend::EMPTY_QUERY)
            | (Sent::Execute, backend::DATA_ROW)
            | (
                Sent::Query | Sent::Execute,
                backend::COPY_OUT_RESPONSE | backend::COPY_DATA | backend::COPY_DONE,
            )
            | (Sent::Describe, backend::PARAMETER_DESCRIPTION)
            | (Sent::FunctionCall, backend::FUNCTION_CALL_RESPONSE) => false,

            (Sent::Query | Sent::Execute, backend::COPY_IN_RESPONSE) => {
                self.copying_in = true;
                false
            }
            (Sent::Query, backend::COMMAND_COMPLETE) => {
                self.copy_completed();
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
            | (Sent::Query | Sent::Sync | Sent::FunctionCall, backend::READY_FOR_QUERY) => true,

            (_, tag) => return self.unasked(tag, Some(head)),
        };
        if ends {
            self.pop();
            Ok(Reply::End(head))
        } else {
            Ok(Reply::Part(head))
        }
    }

    /// A message that does not answer the head.
    fn unasked(&mut self, tag: u8, head: Option<Sent>) -> Result<Reply, Unexpected> {
        match tag {
            backend::READY_FOR_QUERY if self.perhaps_swallowed > 0 => {
                // The failing COPY had not read this Sync after all; the skipping ended there.
                self.perhaps_swallowed -= 1;
                self.skipping = false;
                Ok(Reply::Aside)
            }
            // Nobody asked, so it is the end of the session: a shutdown, a timeout, a kill.
            backend::ERROR => Ok(Reply::Aside),
            tag => Err(Unexpected { tag, head }),
        }
    }

    fn failed(&mut self, head: Sent) -> Reply {
        if std::mem::take(&mut self.copying_in) {
            self.forget_syncs_of_the_copy();
        }
        if !head.is_extended() {
            return Reply::Part(head);
        }
        while self.outstanding.pop_front().is_some() {
            if self.outstanding.front() == Some(&Sent::Sync) {
                return Reply::End(head);
            }
        }
        self.skipping = true;
        Reply::End(head)
    }

    /// COPY read up to its CopyDone, and swallowed every Sync before it.
    fn copy_completed(&mut self) {
        if !std::mem::take(&mut self.copying_in) {
            return;
        }
        if let Some(end) = self.outstanding.iter().position(|&sent| sent == Sent::CopyEnd) {
            self.outstanding.drain(1..=end);
        }
    }

    /// COPY failed, and who reads along can't know where: the Syncs before its end may have been
    /// swallowed as data or may end the skipping.
    fn forget_syncs_of_the_copy(&mut self) {
        let end = self.outstanding.iter().position(|&sent| sent == Sent::CopyEnd);
        let reach = end.unwrap_or(self.outstanding.len());
        let before = self.outstanding.len();
        let mut index = 0;
        self.outstanding.retain(|&sent| {
            let within = index < reach;
            index += 1;
            !(within && sent == Sent::Sync)
        });
        self.perhaps_swallowed += before - self.outstanding.len();
    }

    fn pop(&mut self) {
        self.outstanding.pop_front();
        while self.outstanding.front() == Some(&Sent::CopyEnd) {
            self.outstanding.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays a conversation: `>PBES` is sent, `<12DCZ` is received. Fails at the first surprise.
    fn play(conversation: &str) -> Result<Exchange, Unexpected> {
        let mut exchange = Exchange::new();
        for part in conversation.split_whitespace() {
            let (direction, tags) = part.split_at(1);
            for tag in tags.bytes() {
                match direction {
                    ">" => exchange.sent(tag),
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
    fn the_answered_message_is_named() {
        let mut exchange = play(">PDBE").unwrap();
        assert_eq!(exchange.received(b'1'), Ok(Reply::End(Sent::Parse)));
        assert_eq!(exchange.received(b't'), Ok(Reply::Part(Sent::Describe)));
        assert_eq!(exchange.received(b'n'), Ok(Reply::End(Sent::Describe)));
        assert_eq!(exchange.received(b'E'), Ok(Reply::End(Sent::Bind)));
        assert!(!exchange.is_quiet(), "the server skips until a Sync");
    }

    #[test]
    fn full_at_the_bound() {
        let mut exchange = Exchange::new();
        for _ in 1..OUTSTANDING_MAX {
            exchange.sent(frontend::PARSE);
        }
        assert!(!exchange.is_full());
        exchange.sent(frontend::PARSE);
        assert!(exchange.is_full());
        exchange.received(backend::PARSE_COMPLETE).unwrap();
        assert!(!exchange.is_full());
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
                    exchange.sent(tag);
                } else {
                    let _ = exchange.received(tag);
                }
            }
        }
    }
}
