//! # Context: one GPU as the driver sees it, and the queues of this process on it

// Calls into the driver.
#![allow(unsafe_code)]

use cudarc::driver::result::{self, primary_ctx, stream};
use cudarc::driver::sys;

use crate::cuda::driver::DriverError;

/// Names a failed call, and says what the driver said.
pub(super) fn check<T>(
    call: &'static str,
    answer: Result<T, result::DriverError>,
) -> Result<T, DriverError> {
    answer.map_err(|error| match error.0 {
        // A launch takes memory, too, for what has no room in registers. How much it was, the driver does not say.
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => DriverError::OutOfMemory { bytes: 0 },
        _ => DriverError::Failed {
            call,
            reason: explain(error),
        },
    })
}

fn explain(error: result::DriverError) -> String {
    match (error.error_name(), error.error_string()) {
        (Ok(name), Ok(text)) => format!("{}: {}", name.to_string_lossy(), text.to_string_lossy()),
        _ => format!("error {}", error.0 as u32),
    }
}

/// A queue of this process on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Of everything, in order.
    Work,
    /// Of copies into memory that nothing else has used yet: they travel while what stands in the other queue runs.
    Copies,
}

/// The GPU's primary context, and the streams on which everything is queued.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
    /// Of each [`Queue`]; null until it is made.
    streams: [sys::CUstream; 2],
}

// SAFETY: the handles name objects of the driver, which any thread may use, several at once.
unsafe impl Send for Context {}
// SAFETY: see above.
unsafe impl Sync for Context {}

impl Context {
    /// The driver is initialized.
    pub(super) fn open(device: sys::CUdevice) -> Result<Self, DriverError> {
        // SAFETY: the device comes from the driver; `Drop` releases what is retained here, once.
        let context = unsafe { primary_ctx::retain(device) };
        let mut context = Self {
            device,
            context: check("cuDevicePrimaryCtxRetain", context)?,
            streams: [stream::null(); 2],
        };
        context.bind()?;
        for made in &mut context.streams {
            *made = check(
                "cuStreamCreate",
                stream::create(stream::StreamKind::NonBlocking),
            )?;
        }
        Ok(context)
    }

    /// Makes the calling thread's calls go to this GPU.
    pub(super) fn bind(&self) -> Result<(), DriverError> {
        // SAFETY: the context is retained as long as `self` lives.
        check("cuCtxSetCurrent", unsafe {
            result::ctx::set_current(self.context)
        })
    }

    pub(super) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// A queue; it lives as long as the context.
    pub(super) fn stream(&self, queue: Queue) -> sys::CUstream {
        self.streams[queue as usize]
    }

    /// Waits for everything that was queued. The thread is bound.
    pub(super) fn synchronize(&self) -> Result<(), DriverError> {
        self.streams.iter().try_for_each(|stream| {
            // SAFETY: the stream lives as long as `self`.
            check("cuStreamSynchronize", unsafe {
                stream::synchronize(*stream)
            })
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // A context that cannot be bound is beyond repair; what it holds goes with the process.
        if self.bind().is_ok() {
            for stream in self.streams.iter().filter(|stream| !stream.is_null()) {
                // SAFETY: the stream was created in `open`, and nobody uses it any longer.
                let _ = unsafe { stream::destroy(*stream) };
            }
        }
        // SAFETY: retained once in `open`, released once here.
        let _ = unsafe { primary_ctx::release(self.device) };
    }
}
