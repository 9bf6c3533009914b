//! Identity providers of the tests: SimpleSAMLphp as it is, and one of pysaml2 that forges.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use e2e::Directory;
use serde_json::{Value, json};

use crate::setup;

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/saml").join(name)
}

/// A key and its certificate, in PEM, as files of this name.
pub fn certificate(directory: &Directory, name: &str) {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "10", "-subj", "/CN=idp"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")])
        .current_dir(&**directory)
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// SimpleSAMLphp, as Debian has it, with one person in it.
pub struct Simple {
    pub directory: Directory,
    port: u16,
    process: Child,
}

impl Simple {
    pub const ENTITY: &str = "https://idp.example/simple?a=b&c";

    pub fn start() -> Simple {
        let directory = Directory::new();
        certificate(&directory, "idp");
        for name in ["config", "metadata", "log", "data", "tmp"] {
            std::fs::create_dir(directory.join(name)).expect("a directory");
        }
        let port = setup::closed_port();
        let here = directory.display();
        directory.file(
            "config/config.php",
            &format!(
                "<?php $config = ['baseurlpath' => 'http://127.0.0.1:{port}/', 'certdir' => '{here}/',
                'loggingdir' => '{here}/log/', 'datadir' => '{here}/data/', 'tempdir' => '{here}/tmp',
                'secretsalt' => 'of-a-test', 'auth.adminpassword' => 'of-a-test-too', 'timezone' => 'UTC',
                'technicalcontact_email' => 'na@example.org', 'logging.handler' => 'file',
                'enable.saml20-idp' => true, 'store.type' => 'phpsession', 'language.default' => 'en',
                'session.phpsession.savepath' => '{here}/tmp', 'session.cookie.secure' => false,
                'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
                'metadata.sources' => [['type' => 'flatfile', 'directory' => '{here}/metadata']],
                'theme.use' => 'default', 'language.available' => ['en']];"
            ),
        );
        directory.file(
            "config/authsources.php",
            "<?php $config = ['people' => ['exampleauth:UserPass', 'anna:annas' => ['uid' => ['anna'],
            'groups' => ['data-agents', 'ops'], 'environment' => ['production']]]];",
        );
        directory.file(
            "metadata/saml20-idp-hosted.php",
            &format!(
                "<?php $metadata['{}'] = ['host' => '__DEFAULT__', 'privatekey' => 'idp.key',
                'certificate' => 'idp.crt', 'auth' => 'people', 'authproc' => [3 => ['class' =>
                'saml:AttributeNameID', 'attribute' => 'uid', 'Format' =>
                'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified']]];",
                Simple::ENTITY
            ),
        );
        let pages = e2e::simplesaml().join("www");
        let process = Command::new("php")
            // It would not look at files again that it has just read.
            .args(["-d", "opcache.enable=0", "-S", &format!("127.0.0.1:{port}"), "-t"])
            .arg(pages)
            .env("SIMPLESAMLPHP_CONFIG_DIR", directory.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("php starts");
        setup::eventually("SimpleSAMLphp to listen", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Simple { directory, port, process }
    }

    /// How it describes itself.
    pub fn metadata(&self) -> String {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        super::Web::new(address).get("/saml2/idp/metadata.php", None).body
    }

    /// Lets it know a gateway by what that says of itself; requests have to be signed by `certificate`.
    pub fn register(&self, audience: &str, consumer: &str, certificate: &str) {
        let der: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
        self.directory.file(
            "metadata/saml20-sp-remote.php",
            &format!(
                "<?php $metadata['{audience}'] = ['AssertionConsumerService' => '{consumer}',
                'NameIDFormat' => 'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified',
                'validate.authnrequest' => true, 'certData' => '{der}'];"
            ),
        );
    }
}

impl Drop for Simple {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A program that opens an address as [`browse`] does, as Anna.
pub fn browser(directory: &Directory) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let text = format!(
        "#!/bin/sh\nexec {} {} \"$1\" anna annas\n",
        e2e::python().display(),
        program("browser.py").display()
    );
    let path = directory.file("browser", &text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

/// What somebody who opens this address and logs in comes to.
pub fn browse(address: &str, user: &str, password: &str) -> String {
    let output = Command::new(e2e::python())
        .arg(program("browser.py"))
        .args([address, user, password])
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A provider that signs what it is told to.
pub struct Forger {
    pub directory: Directory,
    process: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

impl Forger {
    pub const ENTITY: &str = "https://idp.example/forger";

    pub fn new() -> Forger {
        let directory = Directory::new();
        certificate(&directory, "idp");
        certificate(&directory, "other");
        Forger { directory, process: None }
    }

    /// For a gateway of this name, at this address.
    pub fn start(&mut self, audience: &str, consumer: &str) {
        let mut child = Command::new(e2e::python())
            .args(["-W", "ignore"])
            .arg(program("forge.py"))
            .arg(&*self.directory)
            .args([Forger::ENTITY, audience, consumer])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        self.process = Some((child, input, output));
    }

    /// A response of this kind, in base64.
    pub fn forge(&mut self, kind: &str, request: &str) -> String {
        let (_, input, output) = self.process.as_mut().expect("it runs");
        writeln!(input, "{}", json!({"kind": kind, "request": request})).expect("it listens");
        let mut line = String::new();
        output.read_line(&mut line).expect("an answer");
        let answer: Value = serde_json::from_str(&line).expect("JSON");
        let response = answer["response"].as_str();
        response.unwrap_or_else(|| panic!("{kind}: {}", answer["error"])).to_owned()
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        if let Some((mut child, input, _)) = self.process.take() {
            drop(input);
            drop(child.wait());
        }
    }
}
