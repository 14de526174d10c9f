//! Logs: to standard error, as text or JSON, by `ZKINFER_LOG`. No input, witness or key material is ever logged.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging; `json` for machines. The filter is `ZKINFER_LOG`, by default `default_level`.
pub fn start(json: bool, default_level: &str) {
    let filter =
        EnvFilter::try_from_env("ZKINFER_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start (tests) keeps the first.
    let _ = if json {
        log.json().try_init()
    } else {
        log.with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init()
    };
}

/// Makes a panic print where it happened but not its message, which might quote a value.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        eprintln!("zkinfer: internal error at {place}; please report it with this place");
    }));
}
