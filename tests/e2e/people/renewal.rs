//! What a login is good for once its token is old.

use super::{Person, assert_well, said};
use crate::setup;

#[test]
fn a_token_is_renewed_before_it_ends() {
    let mut person = Person::new("{ client_id: cli-short, scopes: [openid, offline_access] }");
    assert_well(&person.login());
    let (token, refresh) = (person.secret("token"), person.secret("refresh"));
    let counted = person.psql(&["--", "-XAtc", "SELECT count(*) FROM items"]);
    assert_eq!((counted.code, &*counted.out), (0, "5\n"), "{}", counted.err);
    assert_ne!(person.secret("token"), token);
    assert_ne!(person.secret("refresh"), refresh);
    // The provider takes all away from who uses a replaced one: so many at once have to take turns.
    let many: Vec<_> =
        (0..4).map(|_| super::started(person.command("agree", &["pending"]))).collect();
    for each in many {
        assert_well(&said(each.wait_with_output().expect("its end")));
    }
    // While the provider is away, what is left of the token has to do.
    person.idp.stop();
    assert_well(&person.run(&["pending"]));
    // And it can't be told of a logout; but here it is over.
    let logout = person.run(&["logout"]);
    assert_eq!((logout.code, &*logout.out), (1, ""), "{}", logout.err);
    assert!(logout.err.contains("the provider could not be told"), "{}", logout.err);
    assert!(person.kept().is_null());
}

#[test]
fn a_login_ends_with_words() {
    let mut person = Person::new("{ client_id: cli-brief, scopes: [openid, offline_access] }");
    assert_well(&person.login());
    person.idp.stop();
    let mut told = None;
    setup::eventually("the token to end", || {
        let pending = person.run(&["pending"]);
        told = Some(pending.err);
        pending.code == 1
    });
    let told = told.expect("words");
    for words in ["ended at 20", "could not be renewed", "log in again: gatepost login https://"] {
        assert!(told.contains(words), "{told}");
    }
    // Without what renews it there is nothing to ask.
    let person = Person::new("{ client_id: cli-brief }");
    assert_well(&person.login());
    assert!(person.kept()["refresh"].is_null());
    let ended = "SELECT 1";
    setup::eventually("the token to end", || person.psql(&["--", "-Xc", ended]).code == 1);
    let told = person.psql(&["--", "-Xc", ended]).err;
    assert!(told.contains("ended at 20") && !told.contains("renewed"), "{told}");
}
