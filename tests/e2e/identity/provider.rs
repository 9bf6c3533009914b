//! An identity provider of a test: a process that other people's code runs in, and the words to ask
//! it for tokens.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use e2e::Server;

pub struct Provider {
    pub url: String,
    port: u16,
    tls: Option<(PathBuf, PathBuf, PathBuf)>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Provider {
    pub fn http() -> Provider {
        Provider::new(None)
    }

    /// With the certificate of the server's authority.
    pub fn https(server: &Server) -> Provider {
        let (certificate, key) = server.certificates.server();
        Provider::new(Some((certificate, key, server.certificates.ca())))
    }

    fn new(tls: Option<(PathBuf, PathBuf, PathBuf)>) -> Provider {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{port}");
        let mut provider = Provider { url, port, tls, process: None };
        provider.start();
        provider
    }

    /// The same one again, with another key.
    pub fn start(&mut self) {
        let (node, modules) = e2e::node();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/identity/provider.mjs");
        let mut command = Command::new(node);
        command.arg(script).arg(modules).arg(self.port.to_string());
        if let Some((certificate, key, ca)) = &self.tls {
            command.arg(certificate).arg(key).env("NODE_EXTRA_CA_CERTS", ca);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let input = child.stdin.take().expect("its input");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        self.process = Some(Process { child, input, output });
        assert_eq!(self.answer(), "listening");
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.child.kill().expect("a process to kill");
            process.child.wait().expect("its end");
        }
    }

    /// A token for the audience `gatepost`.
    pub fn token(&mut self, client: &str) -> String {
        self.ask(&format!("token {client}"))
    }

    /// A token for somebody else.
    pub fn token_for(&mut self, client: &str, audience: &str) -> String {
        self.ask(&format!("token {client} {audience}"))
    }

    /// What the provider says to a refresh token: `renewed`, or an error by its name.
    pub fn renew(&mut self, client: &str, token: &str) -> String {
        self.ask(&format!("renew {client} {token}"))
    }

    pub fn rotate(&mut self) {
        assert_eq!(self.ask("rotate"), "rotated");
    }

    fn ask(&mut self, words: &str) -> String {
        let process = self.process.as_mut().expect("it runs");
        writeln!(process.input, "{words}").expect("it listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        let output = &mut self.process.as_mut().expect("it runs").output;
        // It may say things of its own.
        loop {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("an answer"), 0, "it has ended");
            if !line.starts_with("oidc-provider ") {
                return line.trim_end().to_owned();
            }
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}
