//! Every way that we know to run a statement that may not run. Whatever is said, no byte of what is
//! hidden comes back and nothing of it changes.

mod calls;
mod forbidden;
mod sequences;

use e2e::on_each_version;

use self::forbidden::FORBIDDEN;
use self::sequences::sequences;
use super::stand::{POLICIES, Stand, assert_kept, error, extended};
use crate::raw::{self, Message, Raw};

/// One thing that an attacker says.
enum Say {
    Query(&'static str),
    Extended(&'static str),
    /// All at once; the number of ReadyForQuery to wait for.
    Bytes(Vec<u8>, usize),
}
use Say::{Bytes, Extended, Query};

fn say(agent: &mut Raw, say: &Say) -> Vec<Message> {
    match say {
        Query(sql) => agent.query(sql),
        Extended(sql) => {
            agent.send(&extended(sql));
            agent.until_ready()
        }
        Bytes(bytes, ready) => {
            agent.send(bytes);
            (0..*ready).flat_map(|_| agent.until_ready()).collect()
        }
    }
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    raw::bind(portal, statement, &[], &[], &[])
}

on_each_version! {
    fn what_may_not_run_does_not(server: Server) {
        let stand = Stand::new(&server);
        for sql in FORBIDDEN {
            let mut agent = stand.agent();
            for say_it in [Query(sql), Extended(sql)] {
                let replies = say(&mut agent, &say_it);
                let is_error = replies.iter().any(|message| message.tag == b'E');
                assert!(is_error, "{sql}: {}", raw::show(&replies));
                let has_rows = replies.iter().any(|message| matches!(message.tag, b'D' | b'd'));
                assert!(!has_rows, "{sql}: {}", raw::show(&replies));
                assert_kept(&stand.database, &replies, sql);
            }
        }
    }

    fn no_sequence_gets_there(server: Server) {
        let stand = Stand::new(&server);
        for (name, steps) in sequences() {
            let mut agent = stand.agent();
            let mut all = Vec::new();
            for step in &steps {
                all.extend(say(&mut agent, step));
            }
            assert_kept(&stand.database, &all, name);
        }
    }

    /// While a file lets everything pass nothing is looked at. What a session does meanwhile counts
    /// for nothing once its statements are judged again.
    fn what_passed_unjudged_is_not_believed(server: Server) {
        let stand = Stand::new(&server);
        let (head, _) = POLICIES.split_once("    allow:").unwrap();
        let everything = format!("{head}    allow: [{{ everything: \"*\" }}]\n");
        let steps: [(&[Say], &[Say]); 3] = [
            (
                &[Query("SET search_path = side")],
                &[Query("SELECT what FROM notes"), Extended("SELECT what FROM notes")],
            ),
            (
                &[Query("DEALLOCATE p"), Query("PREPARE p AS SELECT name FROM secrets")],
                &[Query("EXECUTE p"), Query("EXPLAIN ANALYZE EXECUTE p")],
            ),
            (
                &[Query("SET standard_conforming_strings = off")],
                &[Query("SELECT 'a\\'; SELECT name FROM secrets --'")],
            ),
        ];
        for (unjudged, judged) in steps {
            let mut agent = stand.agent();
            agent.query("SELECT count(*) FROM notes");
            agent.query("PREPARE p AS SELECT id FROM items");
            stand.reload(&everything);
            for step in unjudged {
                let replies = say(&mut agent, step);
                assert!(error(&replies).is_none(), "{}", raw::show(&replies));
            }
            stand.reload(POLICIES);
            let all: Vec<Message> = judged.iter().flat_map(|step| say(&mut agent, step)).collect();
            assert_kept(&stand.database, &all, "unjudged");
        }
    }

    /// Without the policies most of these bring what is hidden: the list can fail.
    fn most_sequences_get_there_without_policies(server: Server) {
        let stand = Stand::without(&server);
        let mut harmless = Vec::new();
        for (name, steps) in sequences() {
            let mut agent = stand.agent();
            let mut is_found = false;
            for step in &steps {
                // A server that is misled may answer less often.
                let replies = match step {
                    Bytes(bytes, _) => {
                        // It is answered even in a failed block.
                        let last = raw::query("SHOW \"so far\"");
                        agent.send(&[bytes.as_slice(), &raw::sync(), &last].concat());
                        until(&mut agent)
                    }
                    step => say(&mut agent, step),
                };
                is_found |= replies.iter().any(|m| String::from_utf8_lossy(&m.body).contains("hush"));
            }
            if !is_found {
                harmless.push(name);
            }
            drop(agent);
            stand.restore();
        }
        // These are about writing, or about what a client must not be believed.
        assert!(harmless.len() <= 8, "{harmless:?}");
    }
}

/// Replies up to the error about a setting that does not exist, or about a failed block.
fn until(agent: &mut Raw) -> Vec<Message> {
    let mut replies = Vec::new();
    while let Some(message) = agent.read() {
        let is_last = message.tag == b'E'
            && (message.text().contains("so far") || message.sqlstate() == "25P02");
        replies.push(message);
        if is_last {
            replies.extend(agent.until_ready());
            break;
        }
    }
    replies
}
