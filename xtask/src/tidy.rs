//! Rules about the source itself: arrows between crates, and what no file may say. A rule worth
//! keeping is a test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{cargo, root};

/// Every crate that `package` is built from, itself included.
fn built_from(package: &str) -> Vec<String> {
    let mut tree = cargo(&["tree", "--edges", "normal", "--prefix", "none", "--package"]);
    let output = tree.args([package, "--format", "{p}"]).output().expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names");
    let mut names: Vec<String> =
        text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
    names.sort();
    names.dedup();
    names
}

fn assert_free_of(package: &str, unwanted: &[&str]) {
    let names = built_from(package);
    assert!(names.iter().any(|name| name == package), "{package} is not in its own tree");
    for name in unwanted {
        assert!(!names.iter().any(|n| n == name), "{package} must not depend on {name}");
    }
}

fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target" && name != ".git") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.iter().any(|path| path.ends_with("xtask/src/tidy.rs")));
    found
}

/// A crate below knows bytes and rules; sockets, clocks and the loop are the gateway's.
#[test]
fn crates_below_have_no_event_loop() {
    for package in ["wire", "identity", "sql", "policy"] {
        assert_free_of(package, &["tokio", "mio", "socket2", "gateway", "api", "gatepost"]);
    }
    assert_free_of("sql", &["policy"]);
    assert_free_of("policy", &["wire", "identity", "audit", "access"]);
}

#[test]
fn arrows_point_down() {
    for package in ["access", "audit"] {
        assert_free_of(package, &["wire", "identity", "sql", "gateway", "api", "gatepost"]);
    }
    assert_free_of("gateway", &["api", "gatepost"]);
    assert_free_of("api", &["gatepost"]);
}

/// One provider of cryptography, and it is not a C library of the system.
#[test]
fn aws_lc_is_the_only_cryptography() {
    assert_free_of("gatepost", &["ring", "openssl-sys", "native-tls"]);
}

#[test]
fn every_file_says_what_it_answers_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a readable file");
        assert!(text.starts_with("//!"), "{} does not open with `//!`", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here so that this file does not name them.
    let unwanted = [concat!("to", "do!"), concat!("FIX", "ME"), concat!("unimplemented", "!")];
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a readable file");
        for word in unwanted {
            assert!(!text.contains(word), "{} says {word}", path.display());
        }
    }
}

/// A function without a home has not found its noun.
#[test]
fn no_module_is_a_drawer() {
    for path in sources() {
        for drawer in ["utils", "util", "helpers", "helper", "common", "misc"] {
            let named = path.components().any(|part| part.as_os_str() == drawer)
                || path.file_stem().is_some_and(|stem| stem == drawer);
            assert!(!named, "{} is named after a drawer", path.display());
        }
    }
}
