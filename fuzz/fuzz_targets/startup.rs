//! The first packet of a connection and the messages of a login, from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::frontend::SaslInitial;
use wire::startup::{self, FirstPacket};

const BYTES_MAX: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let _ = SaslInitial::read(bytes);
    let read = startup::read(bytes, BYTES_MAX);
    if let Ok(Some((packet, count))) = &read {
        assert!(*count <= bytes.len());
        // What is complete stays the same whatever follows it, and one byte less is not enough.
        assert_eq!(startup::read(&bytes[..*count], BYTES_MAX), read);
        assert_eq!(startup::read(&bytes[..*count - 1], BYTES_MAX), Ok(None));
        if let FirstPacket::Startup(startup) = packet
            && startup.version.major == 3
        {
            let mut written = Vec::new();
            startup.write(&mut written);
            assert_eq!(written, bytes[..*count]);
        }
    }
});
