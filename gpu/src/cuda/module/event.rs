//! # Event: a mark in a queue

// Calls into the driver.
#![allow(unsafe_code)]

use cudarc::driver::result::{self, event, stream};
use cudarc::driver::sys;

use super::context::{Context, Queue, check};
use crate::cuda::driver::DriverError;

/// A mark behind what was queued when it was recorded last; before that it has happened.
#[derive(Debug)]
pub(super) struct Event(sys::CUevent);

// SAFETY: the handle names an object of the driver, which any thread may use.
unsafe impl Send for Event {}

impl Event {
    /// The thread is bound, here and below.
    pub(super) fn new() -> Result<Self, DriverError> {
        let event = event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        check("cuEventCreate", event).map(Self)
    }

    /// Marks the queue behind what was queued last.
    pub(super) fn record(&self, context: &Context, queue: Queue) -> Result<(), DriverError> {
        // SAFETY: event and stream are live.
        let answer = unsafe { event::record(self.0, context.stream(queue)) };
        check("cuEventRecord", answer)
    }

    /// Lets a queue go on only when the event has happened.
    pub(super) fn hold(&self, context: &Context, queue: Queue) -> Result<(), DriverError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and stream are live.
        let answer = unsafe { stream::wait_event(context.stream(queue), self.0, flags) };
        check("cuStreamWaitEvent", answer)
    }

    /// Waits until it has happened.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the event is live.
        let answer: Result<(), result::DriverError> = unsafe { event::synchronize(self.0) };
        check("cuEventSynchronize", answer)
    }

    /// Whether it has happened.
    pub(super) fn has_happened(&self) -> bool {
        // SAFETY: the event is live.
        unsafe { event::query(self.0) }.is_ok()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        let _ = unsafe { event::destroy(self.0) };
    }
}
