//! Several proofs of loaded circuits in flight, each on threads of its own.
//!
//! One proof cannot keep every core busy: solving, the transcript and the ends of its multiplications run on few of them.
//! Several proofs on fewer threads each fill these gaps with one another's work. Circuit, mapped key and the tables of its points
//! are shared; each proof in flight needs the memory of one prover.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Stack of a thread that proves.
const STACK_BYTES: usize = 64 << 20;

/// Memory for the tables of one loaded circuit, where many proofs are expected.
pub const MAX_TABLE_BYTES: u64 = 1 << 30;

/// Proofs from which on tables are worth their making.
const MIN_TABULATED: usize = 128;

/// Memory for the tables of a circuit that is loaded for `n_proofs`.
pub fn table_bytes(n_proofs: usize) -> u64 {
    if n_proofs < MIN_TABULATED {
        0
    } else {
        MAX_TABLE_BYTES
    }
}

/// How many proofs at once, and on how many threads each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Proofs in flight.
    pub slots: NonZeroUsize,
    /// Threads of each.
    pub threads: NonZeroUsize,
}

impl Share {
    /// `slots` proofs that divide `threads` among them; each has one at least.
    pub fn of(slots: NonZeroUsize, threads: usize) -> Self {
        let each = threads / slots.get();
        Self {
            slots,
            threads: NonZeroUsize::new(each).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// A pool of `threads` threads that a proof can run on.
///
/// # Errors
/// The threads cannot be started.
pub fn pool(threads: NonZeroUsize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(threads.get())
        .stack_size(STACK_BYTES)
        .thread_name(|i| format!("prover {i}"))
        .build()
}

/// Slots for proofs, each with its threads.
#[derive(Debug)]
pub struct Slots {
    pools: Vec<ThreadPool>,
}

impl Slots {
    /// Starts the threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(share: Share) -> Result<Self, ThreadPoolBuildError> {
        let pools = (0..share.slots.get()).map(|_| pool(share.threads));
        Ok(Self {
            pools: pools.collect::<Result<_, _>>()?,
        })
    }

    /// Runs `work` on every item, as many at a time as there are slots, and hands each result to `done` on this thread as it
    /// comes. The first error of either ends the run once the work in flight has ended.
    ///
    /// # Errors
    /// The first error.
    pub fn run<T: Send, R: Send, E: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(usize, T) -> Result<R, E> + Sync,
        mut done: impl FnMut(usize, R) -> Result<(), E>,
    ) -> Result<(), E> {
        let n_items = items.len();
        let next = AtomicUsize::new(0);
        let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|i| Mutex::new(Some(i))).collect();
        let (results, arrived) = mpsc::channel();
        std::thread::scope(|scope| {
            for pool in &self.pools {
                let (next, items, work, results) = (&next, &items, &work, results.clone());
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else { return };
                        let item = item.lock().unwrap_or_else(PoisonError::into_inner).take();
                        let Some(item) = item else { return };
                        let result = pool.install(|| work(index, item));
                        if result.is_err() {
                            next.store(n_items, Ordering::Relaxed);
                        }
                        if results.send((index, result)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            let mut first_error = None;
            for (index, result) in arrived {
                let handed = match (result, &first_error) {
                    (Ok(result), None) => done(index, result),
                    (Ok(_), Some(_)) => Ok(()),
                    (Err(error), _) => Err(error),
                };
                if let Err(error) = handed {
                    first_error.get_or_insert(error);
                    next.store(n_items, Ordering::Relaxed);
                }
            }
            first_error.map_or(Ok(()), Err)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn slots(slots: usize, threads: usize) -> Slots {
        let count = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Slots::start(Share {
            slots: count(slots),
            threads: count(threads),
        })
        .expect("threads start")
    }

    #[test]
    fn every_item_is_worked_on_once_and_slots_work_at_the_same_time() {
        let both = Barrier::new(2);
        let mut seen = [0; 6];
        let work = |index: usize, item: usize| {
            // returns only if two slots wait here together
            both.wait();
            assert_eq!(rayon::current_num_threads(), 3);
            Ok::<_, ()>(index + item)
        };
        let done = |index: usize, sum: usize| {
            assert_eq!(sum, 2 * index + 100);
            seen[index] += 1;
            Ok(())
        };
        let items = (100..106).collect();
        assert_eq!(slots(2, 3).run(items, work, done), Ok(()));
        assert_eq!(seen, [1; 6]);
    }

    #[test]
    fn nothing_begins_after_an_error() {
        let begun = AtomicUsize::new(0);
        let work = |index: usize, (): ()| {
            begun.fetch_add(1, Ordering::Relaxed);
            if index == 1 { Err("broken") } else { Ok(()) }
        };
        let told = slots(1, 1).run(vec![(); 1000], work, |_, ()| Ok(()));
        assert_eq!((told, begun.into_inner()), (Err("broken"), 2));
        let told = slots(2, 1).run(vec![1, 2, 3], |_, x| Ok(x), |_, _| Err("full"));
        assert_eq!(told, Err("full"));
    }

    #[test]
    fn a_share_divides_the_threads_and_leaves_none_without() {
        let share = |slots, threads| {
            let slots = NonZeroUsize::new(slots).unwrap_or(NonZeroUsize::MIN);
            Share::of(slots, threads).threads.get()
        };
        assert_eq!((share(1, 8), share(2, 8), share(3, 8)), (8, 4, 2));
        assert_eq!(share(16, 2), 1);
    }
}
