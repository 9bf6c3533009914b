//! The journal's events about itself.

use super::*;

pub(crate) fn journal_begins(batch: &mut Batch, key: &str) {
    batch.begin("journal_begins");
    string_field(&mut batch.bytes, "key", key);
    batch.end();
}

/// `previous` is the first number of the segment before, and `end` its length in bytes: what
/// that file holds beyond was never acknowledged and is not believed.
pub(crate) fn segment_begins<'a>(
    batch: &mut Batch,
    key: &str,
    (previous, end): (u64, u64),
    open: impl IntoIterator<Item = &'a str>,
) {
    batch.begin("segment_begins");
    string_field(&mut batch.bytes, "key", key);
    number_field(&mut batch.bytes, "previous", previous);
    number_field(&mut batch.bytes, "previous_bytes", end);
    strings_field(&mut batch.bytes, "open", open);
    batch.end();
}

pub(crate) fn started(batch: &mut Batch, clean: bool) {
    batch.begin("started");
    string_field(&mut batch.bytes, "version", env!("CARGO_PKG_VERSION"));
    name(&mut batch.bytes, "clean");
    batch.bytes.extend_from_slice(if clean { b"true" } else { b"false" });
    batch.end();
}

pub(crate) fn stopped(batch: &mut Batch) {
    batch.begin("stopped");
    batch.end();
}

pub(crate) fn recovered(batch: &mut Batch, bytes: u64, kept: &str) {
    batch.begin("recovered");
    number_field(&mut batch.bytes, "cut_bytes", bytes);
    string_field(&mut batch.bytes, "kept", kept);
    batch.end();
}

pub(crate) fn damage_accepted(batch: &mut Batch, damage: &str) {
    batch.begin("damage_accepted");
    string_field(&mut batch.bytes, "damage", damage);
    batch.end();
}

pub(crate) fn key_changed(batch: &mut Batch, key: &str, certificate: &str) {
    batch.begin("key_changed");
    string_field(&mut batch.bytes, "key", key);
    string_field(&mut batch.bytes, "certificate", certificate);
    batch.end();
}

pub(crate) fn clock_set_back(batch: &mut Batch, clock: &str) {
    batch.begin("clock_set_back");
    string_field(&mut batch.bytes, "clock", clock);
    batch.end();
}

pub(crate) fn resumed(batch: &mut Batch, why: &str, since: &str, refused: u64) {
    batch.begin("resumed");
    string_field(&mut batch.bytes, "why", why);
    string_field(&mut batch.bytes, "since", since);
    number_field(&mut batch.bytes, "unrecorded", refused);
    batch.end();
}

pub(crate) fn head(batch: &mut Batch, note: &str) {
    batch.begin("head");
    string_field(&mut batch.bytes, "note", note);
    batch.end();
}

pub(crate) fn session_closed(batch: &mut Batch, session: &str) {
    batch.begin("session_ends");
    string_field(&mut batch.bytes, "session", session);
    string_field(&mut batch.bytes, "reason", "the gateway stopped while it was open");
    batch.marks.push(Mark::Ends(session.into()));
    batch.end();
}
