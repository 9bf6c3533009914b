//! The steps of the demo that need a person: a statement that waits for one and runs once she
//! agreed, and a door that she opens for a short time, which closes by itself.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::{AGENT, DemoError, Doing, Tour, indented, say, text};

/// Who is asked.
pub(super) const PERSON: &str = "anna";

/// The policy that she opens, for [`WINDOW`].
pub(super) const LOOK: &str = "a look at payments";

/// A minute, for who watches; with `--check` nobody does.
const WINDOW: Duration = Duration::from_secs(60);
const WINDOW_CHECKED: Duration = Duration::from_secs(3);

/// By then somebody who waits is seen to wait.
const SEEN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const HELD: &str = "ALTER TABLE notes ADD COLUMN answered boolean NOT NULL DEFAULT false";
const LOOKED: &str = "SELECT count(*), sum(amount) FROM payments";
const REASON: &str = "ticket 42: which payments are open";

impl Tour<'_> {
    /// An ALTER waits, is looked at, approved, and runs.
    pub(super) async fn held(&self) -> Result<(), DemoError> {
        let step = "What a rule holds waits for a person; psql is told so";
        let seen = self.cluster.log().len();
        let address = self.address(AGENT);
        let agent = Command::new(&self.client)
            .args(["-X", "-w", &address, "-c", HELD])
            .env("PGPASSWORD", &self.token)
            .output();
        let person = async {
            let id = self.seen(HELD, "hold_").await?;
            let ran_already = !self.ran_since(seen).is_empty();
            let approved = self.gatepost(PERSON, &["approve", &id, "--words", "go on"]).await?;
            Ok::<_, DemoError>((id, ran_already, approved))
        };
        let (shown, decided) = tokio::join!(agent, person);
        let shown = shown.doing("running psql")?;
        let (id, ran_already, approved) = decided?;
        let said = format!("{}{}", text(&shown.stdout), text(&shown.stderr));
        say(&format!("{step}:\n\n    $ psql \"{address}\" -c \"{HELD}\"\n{}", indented(&said)));
        say(&format!(
            "  Meanwhile she has looked at it with `gatepost pending`, and agreed:\n\n    \
             $ gatepost approve {id} --words 'go on' --as {PERSON}\n{}",
            indented(&text(&approved.stdout))
        ));
        let ran = self.ran_since(seen);
        let is_there = ran.iter().any(|it| it.starts_with(HELD));
        say(&format!(
            "  Only then PostgreSQL ran, by its own log:\n\n{}",
            indented(&ran.join("\n"))
        ));
        let right = shown.status.success() && approved.status.success() && is_there && !ran_already;
        if right && said.contains("NOTICE:") && said.contains(&id) && said.contains("ALTER TABLE") {
            Ok(())
        } else {
            Err(DemoError::Otherwise { step, what: format!("{said}{}", text(&approved.stderr)) })
        }
    }

    /// A grant for a short time: asked for, given, used, over; and not given a second time.
    pub(super) async fn window(&self, check: bool) -> Result<(), DemoError> {
        let step = "More than its policies give at once it asks for, with a reason and for a time";
        let window = if check { WINDOW_CHECKED } else { WINDOW };
        let lasts = format!("{}s", window.as_secs());
        let asking =
            ["request", "--on", "shop", "--policy", LOOK, "--for", &lasts, "--reason", REASON];
        let person = async {
            let id = self.seen(REASON, "req_").await?;
            self.gatepost(PERSON, &["approve", &id]).await
        };
        let (asked, approved) = tokio::join!(self.gatepost(AGENT, &asking), person);
        let (asked, approved) = (asked?, approved?);
        say(&format!(
            "{step}:\n\n    $ gatepost request --on shop --policy '{LOOK}' --for {lasts} --reason \
             '{REASON}' --as {AGENT}\n{}",
            indented(&format!("{}{}", text(&asked.stderr), text(&asked.stdout)))
        ));
        say(&format!("  {PERSON} has agreed:\n\n{}", indented(&text(&approved.stdout))));
        let password = text(&asked.stdout).trim().to_owned();
        if !asked.status.success() || password.is_empty() {
            return Err(DemoError::Otherwise { step, what: text(&asked.stderr) });
        }
        self.over(&password, window).await?;
        self.not_again().await
    }

    /// A session that stays open is over when the grant is.
    async fn over(&self, password: &str, window: Duration) -> Result<(), DemoError> {
        let step = "That password opens this one grant, and when it ends, so does the session";
        let address = self.address(AGENT);
        let mut session = Command::new(&self.client)
            .args(["-X", "-w", "-v", "VERBOSITY=verbose", &address])
            .env("PGPASSWORD", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing("running psql")?;
        if let Some(mut types) = session.stdin.take() {
            types.write_all(format!("{LOOKED};\n").as_bytes()).await.doing("typing")?;
            if window > WINDOW_CHECKED {
                say(&format!("  (The session stays open for its {} s …)\n", window.as_secs()));
            }
            // The grant has begun before this does.
            sleep(window).await;
            types.write_all(format!("{LOOKED};\n").as_bytes()).await.doing("typing")?;
        }
        let shown = session.wait_with_output().await.doing("running psql")?;
        let said = format!("{}{}", text(&shown.stdout), text(&shown.stderr));
        say(&format!(
            "{step}:\n\n    $ psql \"{address}\"\n    shop=> {LOOKED};   -- once, and once when the \
             window is over\n{}",
            indented(&said)
        ));
        if said.matches("(1 row)").count() == 1 && said.contains("FATAL:  57P01") {
            Ok(())
        } else {
            Err(DemoError::Otherwise { step, what: said })
        }
    }

    async fn not_again(&self) -> Result<(), DemoError> {
        let step = "It asks once more, and is told why not";
        let again = "the same once more";
        let asking = ["request", "--on", "shop", "--policy", LOOK, "--reason", again];
        let person = async {
            let id = self.seen(again, "req_").await?;
            let words = "you have seen them; ticket 42 is closed";
            self.gatepost(PERSON, &["deny", &id, "--words", words]).await
        };
        let (asked, denied) = tokio::join!(self.gatepost(AGENT, &asking), person);
        let (asked, denied) = (asked?, denied?);
        let said = text(&asked.stderr);
        say(&format!(
            "{step}:\n\n    $ gatepost request --on shop --policy '{LOOK}' --reason '{again}' --as \
             {AGENT}\n{}",
            indented(&said)
        ));
        let refused = !asked.status.success() && asked.stdout.is_empty();
        if refused && denied.status.success() && said.contains("ticket 42 is closed") {
            Ok(())
        } else {
            Err(DemoError::Otherwise { step, what: said })
        }
    }

    /// The name of what waits and has these words in it, once she sees it.
    async fn seen(&self, words: &str, prefix: &str) -> Result<String, DemoError> {
        let until = Instant::now() + SEEN;
        loop {
            let pending = self.gatepost(PERSON, &["pending"]).await?;
            let out = text(&pending.stdout);
            let id = out.split_whitespace().find(|word| word.starts_with(prefix));
            match id {
                Some(id) if out.contains(words) => return Ok(id.to_owned()),
                _ if Instant::now() < until => sleep(LOOK_EVERY).await,
                _ => {
                    let what = format!("{out}{}", text(&pending.stderr));
                    return Err(DemoError::Otherwise { step: "gatepost pending", what });
                }
            }
        }
    }

    /// This program again, as somebody would type it.
    async fn gatepost(&self, name: &str, arguments: &[&str]) -> Result<Output, DemoError> {
        let token = if name == PERSON { &self.persons } else { &self.token };
        Command::new(std::env::current_exe().doing("finding this program")?)
            .args(arguments)
            .env("GATEPOST_URL", format!("http://127.0.0.1:{}", self.port + 1))
            .env("GATEPOST_USER", name)
            .env("GATEPOST_TOKEN", token)
            .output()
            .await
            .doing("running gatepost")
    }
}
