//! Log lines: one event a line, on stderr, filtered by an environment variable.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The variable that holds the filter, for example `CORTEN_LOG=info,scheduler=debug`.
pub const FILTER_VARIABLE: &str = "CORTEN_LOG";

/// Starts logging for this process. `default` is the filter when the variable is unset or cannot be read.
///
/// A second call does nothing, so that several components in one process may each ask for it.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let _already_started =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).try_init();
}
