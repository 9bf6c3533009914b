//! `gatepost login` and `logout`: how people get a token of their identity provider's, and give it
//! back.

#[cfg_attr(not(test), expect(dead_code, reason = "the command that waits for it comes next"))]
mod loopback;
