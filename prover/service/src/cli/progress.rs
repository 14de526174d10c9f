//! Progress of work longer than a second: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::IsTerminal as _,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{store::Phase, work::Control};

const QUIET: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{prefix} {bar:30} {percent:>3}% {msg} {elapsed} eta {eta}";

/// Shows one piece of work.
#[derive(Debug)]
pub(crate) struct Bar {
    what: &'static str,
    begun: Instant,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: String,
    line: Instant,
}

impl Bar {
    /// Begins to show `what`.
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::hidden());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar.set_prefix(what);
            bar
        });
        let now = Instant::now();
        Self {
            what,
            begun: now,
            bar,
            state: Mutex::new(State {
                phase: String::new(),
                line: now,
            }),
        }
    }

    /// `part` (0..1) of the work is done.
    pub(crate) fn show(&self, phase: &str, part: f64) {
        if self.begun.elapsed() < QUIET {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.phase != phase;
        phase.clone_into(&mut state.phase);
        if let Some(bar) = &self.bar {
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.set_message(phase.to_owned());
            bar.set_position((part.clamp(0.0, 1.0) * 1000.0) as u64);
        } else if changed || state.line.elapsed() >= LINE_EVERY {
            state.line = Instant::now();
            let elapsed = self.begun.elapsed().as_secs_f64();
            let eta = if part > 0.02 {
                format!(", about {:.0} s left", elapsed * (1.0 - part) / part)
            } else {
                String::new()
            };
            eprintln!(
                "{}: {phase} {:.0}% after {elapsed:.0} s{eta}",
                self.what,
                part * 100.0
            );
        }
    }

    /// How long the work took so far.
    pub(crate) fn elapsed(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Control for Bar {
    fn report(&self, phase: Phase, done: u64, total: u64) -> ControlFlow<()> {
        let part = if total == 0 {
            0.0
        } else {
            done as f64 / total as f64
        };
        let name = phase.name().to_lowercase().replace('_', " ");
        self.show(&name, part);
        ControlFlow::Continue(())
    }
}
