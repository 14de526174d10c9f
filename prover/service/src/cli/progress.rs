//! Progress of work longer than a second: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::IsTerminal as _,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{farm::overall, store::Phase, work::Control};

const QUIET: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{prefix} {bar:30} {percent:>3}% {msg} {elapsed} eta {eta}";

/// Shows one piece of work.
#[derive(Debug)]
pub(crate) struct Bar {
    what: &'static str,
    begun: Instant,
    bar: Option<ProgressBar>,
    /// When the last line was written, where there is no terminal.
    line: Mutex<Option<Instant>>,
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
        Self {
            what,
            begun: Instant::now(),
            bar,
            line: Mutex::default(),
        }
    }

    /// `part` (0..1) of the work is done.
    pub(crate) fn show(&self, phase: &str, part: f64) {
        if self.begun.elapsed() < QUIET {
            return;
        }
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &self.bar {
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.set_message(phase.to_owned());
            bar.set_position((part.clamp(0.0, 1.0) * 1000.0) as u64);
        } else if line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            *line = Some(Instant::now());
            let elapsed = self.begun.elapsed().as_secs_f64();
            let eta = if part > 0.02 {
                format!(", about {:.0} s left", elapsed * (1.0 - part) / part)
            } else {
                String::new()
            };
            let phase = if phase.is_empty() {
                ""
            } else {
                &format!(" {phase}")
            };
            let percent = part * 100.0;
            eprintln!(
                "{}:{phase} {percent:.0}% after {elapsed:.0} s{eta}",
                self.what
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
        if self.what == "prove" {
            let name = phase.name().to_lowercase().replace('_', " ");
            self.show(&name, f64::from(overall(phase, done, total)));
        } else {
            let part = if total == 0 {
                0.0
            } else {
                done as f64 / total as f64
            };
            self.show("", part);
        }
        ControlFlow::Continue(())
    }
}
