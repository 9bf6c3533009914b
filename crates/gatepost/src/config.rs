//! The configuration: one file, read as written and resolved to what the gateway runs by and
//! what the binary needs beyond that. Called at start and at each reload; runs nothing.

mod file;
mod issuers;
mod place;
mod policies;
mod problem;
mod reference;
mod resolve;
mod saml;
mod shape;
mod state;
mod values;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gateway::Address;
use gateway::settings::Settings;
use gateway::store::Store;
use identity::Identity;
use serde_saphyr::{MergeKeyPolicy, NonFiniteFloatPolicy};

pub use problem::ConfigError;
pub(crate) use problem::nearest;
pub use reference::{reference, schema};
pub(crate) use values::write_duration;
pub use values::{duration, name};

/// A configuration of thousands of connections stays well below this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What `gatepost serve` runs by.
pub struct Config {
    pub settings: Settings,
    /// At least one.
    pub listen: Vec<Address>,
    /// Where `/healthz`, `/metrics` and `/v1/status` are served.
    pub http: Option<SocketAddr>,
    pub state: Store,
    pub journal: Journal,
}

/// Where the journal is.
pub struct Journal {
    pub options: audit::Options,
    /// A second place for its newest head.
    pub anchor: Option<PathBuf>,
}

/// Reads the file and the certificates it names.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path).map_err(|message| ConfigError::of_file(path, message))?;
    let base = path.parent().unwrap_or(Path::new(""));
    parse(&text, base).map_err(|problems| ConfigError::new(path, problems))
}

/// As [`load`], with what a reviewer would ask: each remark as it is shown.
pub(crate) fn review(path: &Path) -> Result<(Config, Vec<String>), ConfigError> {
    let text = read(path).map_err(|message| ConfigError::of_file(path, message))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let config = parse(&text, base).map_err(|problems| ConfigError::new(path, problems))?;
    let names = config.settings.traits.keys().map(Identity::local).collect::<Vec<_>>();
    let known: Vec<_> = names.iter().map(|name| config.settings.subject(name)).collect();
    let issuers = config.settings.issuers.iter().map(|issuer| &issuer.oidc);
    let saml = config.settings.saml.iter().map(|saml| &saml.provider);
    let urls = issuers.clone().map(|it| &*it.url).chain(saml.clone().map(|it| &*it.entity));
    let claims =
        issuers.flat_map(|it| it.claims.keys()).chain(saml.flat_map(|it| it.claims.keys()));
    let known = policy::Known {
        subjects: &known,
        issuers: &urls.collect::<Vec<_>>(),
        claims: &claims.map(String::as_str).collect::<Vec<_>>(),
    };
    let lints = config.settings.policies.as_ref().map(|policies| policies.lints(&known));
    let place = problem::Text::new(&text);
    let shown = lints.into_iter().flatten().map(|lint| {
        let problem = place.problem(policies::position(lint.place), lint.message);
        let change = place.problem(None, lint.change);
        format!("{}\n  change: {}", problem.shown(path), change.message())
    });
    let shown = shown.collect();
    Ok((config, shown))
}

fn parse(text: &str, base: &Path) -> Result<Config, Vec<problem::Problem>> {
    // Doubled keys are refused by default. Merge keys (`<<`) are not YAML 1.2, and would let a
    // connection get a key that its own lines don't show.
    // Where a number is too large, the parser's error would quote it, password or not.
    let options = serde_saphyr::options! {
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    let place = problem::Text::new(text);
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(file) => resolve::resolve(file, &place, base),
        Err(error) => Err(vec![place.parse_problem(&error)]),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| format!("can't open it: {error}"))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("can't read it: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}
