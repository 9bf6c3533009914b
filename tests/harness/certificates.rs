//! Certificates for tests, made by the `openssl` program: one authority that signed the
//! database's and the gateway's, and one that signed nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

/// PEM files in one directory.
#[derive(Clone, Debug)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Those that were made there before.
    pub fn in_directory(directory: &Path) -> Certificates {
        Certificates { directory: directory.to_owned() }
    }

    /// Server certificates are for localhost, 127.0.0.1 and ::1.
    pub fn make(directory: &Path) -> Certificates {
        for authority in ["ca", "other-ca"] {
            let subject = format!("/CN=Gatepost test {authority}");
            openssl(
                directory,
                &format!("req -x509 {NEW_KEY} -keyout {authority}.key -out {authority}.crt"),
                &["-days", "30", "-subj", &subject],
            );
        }
        for name in ["server", "gate"] {
            openssl(
                directory,
                &format!("req -new {NEW_KEY} -keyout {name}.key -out {name}.csr"),
                &[
                    "-subj",
                    &format!("/CN={name}"),
                    "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1",
                ],
            );
            openssl(
                directory,
                &format!("x509 -req -in {name}.csr -out {name}.crt -CA ca.crt -CAkey ca.key"),
                &["-CAcreateserial", "-days", "30", "-copy_extensions", "copy"],
            );
        }
        Certificates::in_directory(directory)
    }

    /// What a client trusts in order to reach the database or the gateway.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// An authority that signed neither.
    pub fn other_ca(&self) -> PathBuf {
        self.directory.join("other-ca.crt")
    }

    /// The database's certificate and key.
    pub fn server(&self) -> (PathBuf, PathBuf) {
        self.pair("server")
    }

    /// A certificate and key for the gateway: same authority, another key.
    pub fn gate(&self) -> (PathBuf, PathBuf) {
        self.pair("gate")
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{name}.crt")), self.directory.join(format!("{name}.key")))
    }
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256";

fn openssl(directory: &Path, words: &str, more: &[&str]) {
    let output = Command::new("openssl")
        .args(words.split(' '))
        .args(more)
        .current_dir(directory)
        .output()
        .expect("the openssl program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {words}: {errors}");
}
