//! `gatepost check`: what is wrong with a file, and what a reviewer would ask about it. What the
//! databases say to it is asked by `live`, and nowhere else.

mod live;

use std::path::Path;

use crate::cli::{self, Failure};
use crate::config;

/// Prints what there is to say. Fails if there is anything to look at again.
pub(crate) fn run(path: &Path, is_live: bool) -> Result<(), Failure> {
    let (config, mut remarks) = config::review(path)?;
    let settings = &config.settings;
    if is_live {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Failed(format!("can't start: {error}")))?;
        let found = runtime.block_on(live::check(settings));
        remarks.extend(found.iter().map(ToString::to_string));
    }
    let connections = settings.connections.len() + usize::from(settings.any_database.is_some());
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let policies = match &settings.policies {
        None => "none, so whoever has an identity may do whatever the connection may".to_owned(),
        Some(policies) => policies.names().len().to_string(),
    };
    let mut text = String::new();
    for remark in &remarks {
        text.push_str(remark);
        text.push('\n');
    }
    text.push_str(&format!(
        "{}: right; connections: {connections}, identities with a secret here: {}, policies: \
         {policies}, listens on {}\n",
        path.display(),
        settings.accounts.len(),
        listen.join(", "),
    ));
    cli::print(&text)?;
    match remarks.len() {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 thing to look at again".to_owned())),
        count => Err(Failure::Failed(format!("{count} things to look at again"))),
    }
}
