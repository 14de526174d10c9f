//! How often a node may ask.

use std::time::{Duration, Instant};

/// Calls that a node may make at once.
const BURST: f64 = 64.0;
/// Calls a second after that.
const RATE: f64 = 10.0;

/// A bucket of calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    left: f64,
    at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            left: BURST,
            at: Instant::now(),
        }
    }
}

impl Pace {
    /// Takes a call out; else how long to wait for one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * RATE).min(BURST);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) / RATE).max(Duration::from_millis(100)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_asks_too_often_waits() {
        let begun = Instant::now();
        let mut pace = Pace::default();
        let taken = (0..100).filter(|_| pace.take(begun).is_ok()).count();
        assert_eq!(taken, 64);
        assert!(pace.take(begun).is_err());
        assert!(pace.take(begun + Duration::from_millis(150)).is_ok());
    }
}
