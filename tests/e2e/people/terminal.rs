//! Who has no login and no token at hand is asked for one, where there is a terminal.

use std::process::Command;

use super::{CLIENT, Person, said};
use crate::setup::AGENT;

/// Types a line at the first question, and prints what the terminal showed.
const TYPE: &str = "
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b''
try:
    while b'token' not in shown:
        shown += os.read(terminal, 4096)
    os.write(terminal, sys.argv[1].encode() + b'\\n')
    while True:
        shown += os.read(terminal, 4096)
except OSError:
    pass
print(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

#[test]
fn a_terminal_is_asked_for_the_token() {
    let person = Person::new(CLIENT);
    let url = person.url();
    let ca = person.ca.display().to_string();
    let asked = |typed: &str, more: &[&str]| {
        let like = person.command("agree", &[]);
        let mut command = Command::new(e2e::python());
        command.args(["-c", TYPE, typed]).arg(like.get_program());
        command.args(["pending", "--at", &url, "--ca", &ca]).args(more);
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        said(command.output().expect("python runs"))
    };
    let told = asked(&person.gate.token, &["--as", AGENT]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert!(told.out.contains(&format!("token of {AGENT} for {url}: ")), "{}", told.out);
    assert!(told.out.contains("nothing waits") && !told.out.contains(&person.gate.token));
    // The near twins: a wrong one, one of nobody, and none.
    assert_eq!(asked("gp_wrong", &["--as", AGENT]).code, 1);
    assert_eq!(asked(&person.gate.token, &[]).code, 2);
    assert_eq!(asked("", &["--as", AGENT]).code, 1);
    // A long one of a provider's comes through whole: it is refused by the gateway and not cut.
    let long = format!("{}.{}.{}", "x".repeat(3000), "y".repeat(3000), "z".repeat(100));
    let told = asked(&long, &[]);
    assert_eq!(told.code, 1, "{}", told.out);
}
