//! Waiting longer each time, by chance, so that many nodes do not come back at once.

use std::time::Duration;

use rand::Rng as _;

/// Pauses that double up to a bound, each between half and all of its length.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::thread_rng().gen_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.most);
        pause
    }

    /// Waits for the next pause.
    pub(crate) async fn wait(&mut self) {
        let pause = self.pause();
        tokio::time::sleep(pause).await;
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_begin_anew() {
        let (first, most) = (Duration::from_millis(200), Duration::from_secs(10));
        let mut backoff = Backoff::new(first, most);
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        for (n, pause) in pauses.iter().enumerate() {
            let full = (first * (1 << n.min(8))).min(most);
            assert!(*pause <= full && *pause >= full / 2, "{n}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }
}
