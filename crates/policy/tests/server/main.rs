//! Policies against a real PostgreSQL: what they refuse, a role with the equal GRANTs is refused,
//! and the reverse. Schemas, policies and statements are random, from seeds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and so does what they are built on"
)]

mod database;
mod masks;
mod oracle;
mod programs;
mod random;
mod rules;
mod schema;
mod statements;

/// So many schemas, with eight policies and seventy statements each.
fn schemas() -> u64 {
    if std::env::var_os("GATEPOST_LONG").is_some() { 300 } else { 5 }
}

e2e::on_each_version! {
    fn masks_close_over_what_carries_the_values_on(server: Server) {
        masks::what_masks_close_over(&server);
    }

    fn every_mask_has_its_columns_type_and_never_raises(server: Server) {
        masks::every_mask_on_every_type(&server);
    }

    fn a_read_only_policy_lets_programs_look_around(server: Server) {
        programs::judge(&server);
    }

    fn a_policy_refuses_what_a_role_with_equal_grants_is_refused(server: Server) {
        oracle::compare(&server, 0..schemas());
    }
}
