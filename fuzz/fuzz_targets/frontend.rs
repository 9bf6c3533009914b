//! A client's stream, from any bytes: frames do not depend on where the stream is cut, and the
//! account of what is outstanding takes any order of messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::exchange::Exchange;
use wire::frame::Walker;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let piece = usize::from(piece).max(1);
    let whole = walk(bytes, bytes.len().max(1));
    assert_eq!(walk(bytes, piece), whole);

    let mut exchange = Exchange::new();
    for (tag, _) in whole {
        exchange.sent(tag, ());
    }
});

/// The frames of a stream that arrives `piece` bytes at a time.
fn walk(bytes: &[u8], piece: usize) -> Vec<(u8, usize)> {
    let mut walker = Walker::new(|tag| usize::from(tag % 4));
    let (mut kept, mut seen) = (Vec::new(), Vec::new());
    for part in bytes.chunks(piece) {
        kept.extend_from_slice(part);
        let mut at = 0;
        loop {
            match walker.next(&kept, &mut at) {
                Ok(Some(frame)) => seen.push((frame.tag, frame.body_bytes)),
                Ok(None) => break,
                Err(_) => return seen,
            }
        }
        kept.drain(..at);
    }
    seen
}
