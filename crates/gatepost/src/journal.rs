//! The journal as `serve` keeps it: opened against the heads that were anchored elsewhere, and
//! its new heads anchored there. What is recorded is the gateway's business.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use access::{HeadRow, State};
use audit::{Head, Journal, OpenError};

use crate::config;

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(
        "{0}\nGatepost does not start on a journal that is not whole. `gatepost audit verify` \
         names the place; `gatepost serve --accept-damage` starts all the same, and records that."
    )]
    Damaged(OpenError),
    #[error(transparent)]
    Open(OpenError),
    #[error(transparent)]
    State(#[from] access::StateError),
    #[error("the state file's head of the journal can't be read")]
    NotAHead,
    #[error("the anchor {path}: {source}")]
    Anchor { path: PathBuf, source: io::Error },
}

/// Opens the journal. Whichever of the two places holds the newer head decides what must be there.
pub(crate) async fn open(
    journal: &config::Journal,
    accept_damage: bool,
    state: &State,
) -> Result<Journal, JournalError> {
    let node = &journal.options.node;
    let of_state = match state.anchored_head(node).await? {
        Some(row) => Some(row.note.parse::<Head>().map_err(|_| JournalError::NotAHead)?),
        None => None,
    };
    let of_file = match &journal.anchor {
        Some(path) => read_anchor(path)?,
        None => None,
    };
    let anchored = [of_state, of_file].into_iter().flatten().max_by_key(|head| head.number);
    let mut options = journal.options.clone();
    options.accept_damage = accept_damage;
    let opened = Journal::open(options, anchored.as_ref());
    let (opened, report) = opened.map_err(|error| match error {
        error @ OpenError::Damaged { .. } => JournalError::Damaged(error),
        error => JournalError::Open(error),
    })?;
    if report.new {
        tracing::info!(key = report.public_key, "the journal begins");
    }
    if report.cut_bytes > 0 || !report.closed_sessions.is_empty() {
        tracing::warn!(
            cut_bytes = report.cut_bytes,
            closed_sessions = report.closed_sessions.len(),
            "the journal was not closed in order; what was torn is kept beside it"
        );
    }
    for damage in &report.accepted_damage {
        tracing::error!(damage, "damage of the journal is accepted");
    }
    if let Some(head) = opened.head()
        && !report.accepted_damage.is_empty()
    {
        // What was anchored may be what is missing.
        state.replace_head(row(&head, node)).await?;
    }
    tokio::spawn(anchor(opened.clone(), state.clone(), node.clone(), journal.anchor.clone()));
    Ok(opened)
}

/// Records that the journal stopped in order, and anchors its last head.
pub(crate) async fn close(journal: &Journal, state: &State, config: &config::Journal) {
    match journal.close().await {
        Ok(head) => keep(&head, state, &config.options.node, config.anchor.as_deref()).await,
        Err(error) => tracing::error!(%error, "the journal could not be closed in order"),
    }
}

/// Keeps each new head, as long as the journal is open.
async fn anchor(journal: Journal, state: State, node: String, file: Option<PathBuf>) {
    let mut heads = journal.heads_to_anchor();
    // The journal closes with its last clone, and this one only listens.
    drop(journal);
    while heads.changed().await.is_ok() {
        let head = heads.borrow_and_update().clone();
        if let Some(head) = head {
            keep(&head, &state, &node, file.as_deref()).await;
        }
    }
}

async fn keep(head: &Head, state: &State, node: &str, file: Option<&Path>) {
    if let Err(error) = state.anchor_head(row(head, node)).await {
        tracing::error!(%error, "the journal's head could not be kept in the state file");
    }
    if let Some(path) = file
        && let Err(error) = head.write_to(path)
    {
        tracing::error!(%error, path = %path.display(), "the journal's head could not be anchored");
    }
}

fn row(head: &Head, node: &str) -> HeadRow {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HeadRow {
        node: node.to_owned(),
        number: head.number,
        hash: head.hash,
        note: head.note.clone(),
        at: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
    }
}

/// None before the first time.
fn read_anchor(path: &Path) -> Result<Option<Head>, JournalError> {
    match Head::read_from(path) {
        Ok(head) => Ok(Some(head)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(JournalError::Anchor { path: path.to_owned(), source }),
    }
}
