//! Where the log goes and how it looks: to stderr, for people or as JSON, from the level that
//! `GATEPOST_LOG` names. What is logged is up to whoever logs.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

const VARIABLE: &str = "GATEPOST_LOG";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A line of text for each event.
    #[default]
    Human,
    /// A JSON object for each event.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{VARIABLE} is not a level (error, warn, info, debug, trace) or a filter: {0}")]
    Filter(String),
    #[error("can't set up the log: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of this process, once.
pub(crate) fn init(format: Format) -> Result<(), LogError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter()?)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        Format::Human => log.finish().try_init()?,
        // The session's fields belong to each event; whoever reads JSON joins by them.
        Format::Json => log.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

fn filter() -> Result<EnvFilter, LogError> {
    let text = match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => text,
        Ok(_) | Err(std::env::VarError::NotPresent) => "info".to_owned(),
        Err(error) => return Err(LogError::Filter(error.to_string())),
    };
    // To the library a word that is no level is a target, so a typo would silence everything.
    let a_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let unknown = text.split(',').find(|part| !part.contains(['=', '[']) && !a_level(part));
    if let Some(unknown) = unknown {
        return Err(LogError::Filter(format!("`{unknown}`")));
    }
    EnvFilter::try_new(&text).map_err(|error| LogError::Filter(format!("`{text}`: {error}")))
}
