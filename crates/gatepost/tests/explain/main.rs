//! `gatepost explain` on a real server: what it says is written down beside it. `UPDATE_GOLDEN=1`
//! writes it anew.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed; clippy only knows the functions marked as tests"
)]

#[path = "../surface/golden.rs"]
mod golden;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatepost::scratch::{Cluster, Options, SUPERUSER, ServerBinaries};

const POLICIES: &str = r#"
identities:
  agent-7: { groups: [agents], claims: { region: eu } }
  anna: { groups: [dba] }
policies:
  - name: agents read
    who: group:agents
    to: shop
    access: { window: 15m, approval: none }
    allow:
      - read: public.*
        except: public.customers(iban)
      - update: public.orders(status)
    refuse:
      - update: public.*
        if: no where
      - update: public.*
        if: changed > 10
  - name: by request
    who: group:agents
    to: shop
    access: { window: 15m, approval: { by: group:dba } }
    allow:
      - read: public.customers
    hold:
      - delete: public.orders
  - name: held
    who: "*"
    to: "*"
    hold:
      - insert: public.orders
        by: group:dba
  - name: anna asks
    who: identity:anna
    to: shop
    access: { window: 15m, approval: { by: group:dba } }
    allow:
      - everything
"#;

#[test]
fn what_is_said_is_written_down() {
    let binaries = ServerBinaries::find(None).unwrap();
    let psql = binaries.directory().join("psql");
    let psql = if psql.is_file() { psql } else { PathBuf::from("psql") };
    let cluster = Cluster::start(Options::new(binaries)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let made = Command::new(psql)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", SUPERUSER])
        .args(["-p", &cluster.port().to_string(), "-d", "postgres", "-f"])
        .arg(root.join("examples/policies/shop.sql"))
        .env("PGPASSWORD", cluster.password())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let directory = std::env::temp_dir().join(format!("gatepost-explain-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("password"), cluster.password()).unwrap();
    let connection = format!(
        "connections: {{ shop: {{ address: \"{}\", tls: disable, database: postgres, \
         user: {SUPERUSER}, password: {{ file: password }} }} }}\n",
        cluster.address()
    );
    fs::write(directory.join("gatepost.yaml"), connection + POLICIES).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    fs::copy(folder.join("history.sql"), directory.join("history.sql")).unwrap();

    let agent = ["--as", "agent-7", "--on", "shop"];
    let mut results = Vec::new();
    for (name, who, what) in [
        ("allowed", &agent, vec!["SELECT id, upper(name) FROM customers WHERE region = 'eu'"]),
        ("refused", &agent, vec!["SELECT iban FROM customers"]),
        ("by-rule", &agent, vec!["UPDATE orders SET status = 'paid'"]),
        ("checked", &agent, vec!["UPDATE orders SET status = 'paid' WHERE id = 1"]),
        ("held", &agent, vec!["INSERT INTO orders (id) VALUES (1)"]),
        ("whole", &agent, vec!["SELECT 1; DELETE FROM orders"]),
        ("unread", &agent, vec!["SELEKT 1"]),
        ("history", &agent, vec!["--from", "history.sql"]),
        ("asks", &["--as", "anna", "--on", "shop"], vec!["SELECT 1"]),
        ("closed", &["--as", "https://idp|bert", "--on", "shop"], vec!["SELECT 1"]),
        ("no-connection", &["--as", "anna", "--on", "shp"], vec!["SELECT 1"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .arg("explain")
            .args(who)
            .args(&what)
            .current_dir(&directory)
            .output()
            .unwrap();
        let said = format!(
            "$ gatepost explain {} {}\n{}{}exit {}\n",
            who.join(" "),
            what.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code().unwrap(),
        );
        results.push(golden::check(&folder.join(format!("{name}.txt")), &said));
    }
    fs::remove_dir_all(&directory).unwrap();
    golden::check_all(results);
}
