//! # Staging: memory of the host that a GPU reads and writes by itself
//!
//! Copies to and from ordinary memory go through it, piece by piece, the next piece being copied on the host while the last one travels. Large
//! copies are shared among several threads, for one cannot copy as fast as PCIe. What was staged may be secret: it is overwritten with zeros as
//! soon as its copy is known to be done.

// Calls into the driver, and memory that it gives.
#![allow(unsafe_code)]

use std::panic::resume_unwind;
use std::slice;
use std::thread;

use cudarc::driver::result;
use zeroize::optimization_barrier;

use super::context::{Context, Queue, check};
use super::event::Event;
use crate::cuda::driver::{Address, DriverError};

/// Bytes of a slot: what travels in one piece.
const SLOT_BYTES: usize = 4 << 20;

/// Threads that share a large copy.
const LANES: usize = 4;

/// Memory for copies in one direction. Its methods ask for a thread that is bound to the context.
#[derive(Debug)]
pub(super) struct Staging {
    lanes: Vec<Lane>,
    queue: Queue,
}

/// One piece of the copy.
type Piece<B> = (Address, B);

/// Copies what was dealt to a lane.
type Copy<B> = fn(&mut Lane, &Context, Queue, Vec<Piece<B>>) -> Result<(), DriverError>;

impl Staging {
    /// For copies in a queue.
    pub(super) fn new(queue: Queue) -> Result<Self, DriverError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let lanes = (0..LANES.min(threads)).map(|_| Lane::new());
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
            queue,
        })
    }

    /// Copies to the GPU; `from` may be reused when the call returns.
    pub(super) fn upload(
        &mut self,
        context: &Context,
        to: Address,
        from: &[u8],
    ) -> Result<(), DriverError> {
        let pieces = at_addresses(to, from.chunks(SLOT_BYTES));
        self.share(context, pieces, Lane::upload)
    }

    /// Copies from the GPU; the bytes are there when the call returns.
    pub(super) fn download(
        &mut self,
        context: &Context,
        from: Address,
        to: &mut [u8],
    ) -> Result<(), DriverError> {
        let pieces = at_addresses(from, to.chunks_mut(SLOT_BYTES));
        let copied = self.share(context, pieces, Lane::download);
        if copied.is_err() {
            for slot in self.lanes.iter_mut().flat_map(|lane| &mut lane.slots) {
                // A GPU that has failed copies nothing any longer.
                let _ = slot.copied.wait();
                slot.wipe();
            }
        }
        copied
    }

    /// Overwrites what has been copied.
    pub(super) fn wipe(&mut self) {
        for slot in self.lanes.iter_mut().flat_map(|lane| &mut lane.slots) {
            slot.wipe_when_done();
        }
    }

    /// Deals the pieces to the lanes.
    fn share<B: Send>(
        &mut self,
        context: &Context,
        pieces: Vec<Piece<B>>,
        copy: Copy<B>,
    ) -> Result<(), DriverError> {
        let queue = self.queue;
        let n_lanes = self.lanes.len().min(pieces.len());
        let mut hands: Vec<Vec<Piece<B>>> = (0..n_lanes).map(|_| Vec::new()).collect();
        for (index, piece) in pieces.into_iter().enumerate() {
            hands[index % n_lanes].push(piece);
        }
        let mut dealt = self.lanes.iter_mut().zip(hands);
        let Some((first, first_hand)) = dealt.next() else {
            return Ok(());
        };
        // Threads of their own: one that waits in a pool would take up other work, which may want to copy, too.
        thread::scope(|scope| {
            let others: Vec<_> = dealt
                .map(|(lane, hand)| {
                    scope.spawn(move || {
                        context
                            .bind()
                            .and_then(|()| copy(lane, context, queue, hand))
                    })
                })
                .collect();
            let mut done = copy(first, context, queue, first_hand);
            for other in others {
                done = done.and(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            done
        })
    }
}

fn at_addresses<B>(at: Address, pieces: impl Iterator<Item = B>) -> Vec<Piece<B>> {
    let starts = (0..).map(|index| at + index * SLOT_BYTES as u64);
    starts.zip(pieces).collect()
}

/// Two slots: one is filled or emptied by a thread while the other travels.
#[derive(Debug)]
struct Lane {
    slots: [Slot; 2],
    current: usize,
}

impl Lane {
    fn new() -> Result<Self, DriverError> {
        Ok(Self {
            slots: [Slot::new()?, Slot::new()?],
            current: 0,
        })
    }

    fn upload(
        &mut self,
        context: &Context,
        queue: Queue,
        pieces: Vec<Piece<&[u8]>>,
    ) -> Result<(), DriverError> {
        for (to, bytes) in pieces {
            let (slot, start) = self.room(bytes.len())?;
            let staged = slot.bytes(start, bytes.len());
            staged.copy_from_slice(bytes);
            // SAFETY: the slot keeps these bytes as they are until the event queued behind the copy has happened; the destination is the caller's.
            let answer = unsafe { result::memcpy_htod_async(to, staged, context.stream(queue)) };
            check("cuMemcpyHtoDAsync", answer)?;
            slot.copied.record(context, queue)?;
        }
        Ok(())
    }

    fn download(
        &mut self,
        context: &Context,
        queue: Queue,
        pieces: Vec<Piece<&mut [u8]>>,
    ) -> Result<(), DriverError> {
        let mut travelling: Option<(usize, usize, &mut [u8])> = None;
        for (from, bytes) in pieces {
            let (slot, start) = self.room(bytes.len())?;
            let staged = slot.bytes(start, bytes.len());
            // SAFETY: nobody else uses these bytes until the event queued behind the copy has happened; the source is the caller's.
            let answer = unsafe { result::memcpy_dtoh_async(staged, from, context.stream(queue)) };
            check("cuMemcpyDtoHAsync", answer)?;
            slot.copied.record(context, queue)?;
            if let Some(arriving) = travelling.replace((self.current, start, bytes)) {
                self.receive(arriving)?;
            }
        }
        travelling.map_or(Ok(()), |last| self.receive(last))?;
        for slot in &mut self.slots {
            slot.wipe_when_done();
        }
        Ok(())
    }

    fn receive(&mut self, (slot, start, to): (usize, usize, &mut [u8])) -> Result<(), DriverError> {
        self.slots[slot].copied.wait()?;
        to.copy_from_slice(self.slots[slot].bytes(start, to.len()));
        Ok(())
    }

    /// A slot with room for `len` bytes, at most those of a slot, and where the room begins.
    fn room(&mut self, len: usize) -> Result<(&mut Slot, usize), DriverError> {
        if self.slots[self.current].used + len > SLOT_BYTES {
            self.current ^= 1;
            self.slots[self.current].copied.wait()?;
            self.slots[self.current].used = 0;
        }
        let slot = &mut self.slots[self.current];
        let start = slot.used;
        slot.used += len;
        slot.dirty = slot.dirty.max(slot.used);
        Ok((slot, start))
    }
}

/// Memory of the host that the GPU copies from and to, and the event behind the last copy.
#[derive(Debug)]
struct Slot {
    memory: *mut u8,
    copied: Event,
    /// Bytes that the copies in flight occupy.
    used: usize,
    /// Bytes that have been occupied since the last wipe.
    dirty: usize,
}

// SAFETY: the memory belongs to the slot, and any thread may use it.
unsafe impl Send for Slot {}

impl Slot {
    fn new() -> Result<Self, DriverError> {
        let copied = Event::new()?;
        // SAFETY: what is in the memory is overwritten before it is looked at; `Drop` gives it back.
        let memory = unsafe { result::malloc_host(SLOT_BYTES, 0) };
        let slot = Self {
            memory: check("cuMemHostAlloc", memory)?.cast(),
            copied,
            used: 0,
            dirty: 0,
        };
        // SAFETY: the memory was just taken, with this many bytes.
        unsafe { slot.memory.write_bytes(0, SLOT_BYTES) };
        Ok(slot)
    }

    /// # Panics
    /// The range ends beyond the slot.
    fn bytes(&mut self, start: usize, len: usize) -> &mut [u8] {
        assert!(start <= SLOT_BYTES && len <= SLOT_BYTES - start);
        // SAFETY: inside the memory, which was written in full when it was taken; a range is handed to the GPU for one copy and taken back
        // after the event behind it.
        unsafe { slice::from_raw_parts_mut(self.memory.add(start), len) }
    }

    fn wipe_when_done(&mut self) {
        if self.dirty > 0 && self.copied.has_happened() {
            self.wipe();
        }
    }

    fn wipe(&mut self) {
        let dirty = self.dirty;
        let bytes = self.bytes(0, dirty);
        bytes.fill(0);
        optimization_barrier(bytes);
        self.dirty = 0;
        self.used = 0;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A GPU that has failed copies nothing any longer.
        let _ = self.copied.wait();
        self.wipe();
        // SAFETY: taken in `new`, given back once.
        let _ = unsafe { result::free_host(self.memory.cast()) };
    }
}
