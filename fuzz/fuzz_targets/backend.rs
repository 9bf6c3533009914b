//! A server's stream beside a client's, from any bytes: every reply finds its message or is
//! refused, and every body that is read is read without harm.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::backend::{Authentication, BackendKey, ErrorFields};
use wire::exchange::{Exchange, Reply};
use wire::frame::{self, Walker};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (sent, received) = input;
    let mut exchange = Exchange::new();
    for &tag in sent {
        exchange.sent(tag, ());
    }
    let mut walker = Walker::new(|_| 64);
    let mut at = 0;
    while let Ok(Some(message)) = walker.next(received, &mut at) {
        let _ = Authentication::read(message.body);
        let _ = BackendKey::read(message.body);
        let _ = ErrorFields::read(message.body);
        let was_quiet = exchange.is_quiet();
        let answered = exchange.received(message.tag);
        assert!(!(was_quiet && matches!(answered, Ok(Reply::End(..)))));
    }
    let _ = frame::whole(received, 1000);
});
