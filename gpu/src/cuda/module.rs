//! # Module: a GPU of NVIDIA's, behind its driver
//!
//! The driver and the compiler of device code are libraries that are looked for at run time; a machine without them has no GPU, which is no
//! error of a program that can do without. Every thread may call; all work stands in one queue per GPU, and large uploads in another that it waits for.

// Calls into the driver.
#![allow(unsafe_code)]

mod cache;
mod context;
mod event;
mod image;
mod kernels;
mod memory;
mod nvrtc;
mod probe;
mod recipe;
mod staging;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use cudarc::driver::result;

use self::context::{Context, Queue, check};
use self::event::Event;
use self::kernels::Kernels;
use self::memory::Memory;
use self::staging::Staging;
use super::driver::{self, Address, Arg, Driver, DriverError, Facts, Generated, Kernel};

pub(crate) use self::image::key;
pub(crate) use self::nvrtc::Nvrtc;
pub(crate) use self::probe::{Found, gpus};
pub(crate) use self::recipe::{CUBIN, KEY, file_name};

/// From so many bytes on, new memory is filled while earlier work is done; below that the events cost more.
const AHEAD_BYTES: usize = 1 << 20;

/// What copies ahead of work need, one at a time.
#[derive(Debug)]
struct Ahead {
    staging: Staging,
    arrived: Event,
}

/// A GPU.
#[derive(Debug)]
pub(crate) struct Nvidia {
    facts: Facts,
    kernels: Kernels,
    memory: Memory,
    up: Mutex<Staging>,
    down: Mutex<Staging>,
    ahead: Mutex<Ahead>,
    /// Last: what stands above lives in it. Generated kernels hold it, too.
    context: Arc<Context>,
}

impl Nvidia {
    /// Opens the GPU with this number, as the driver counts.
    ///
    /// # Errors
    /// There is no such GPU, or it cannot be used.
    pub(crate) fn open(ordinal: usize) -> Result<Self, DriverError> {
        let version = probe::initialize()?;
        let (device, facts) = probe::look(ordinal)?;
        let context = Arc::new(Context::open(device)?);
        let (major, minor) = facts.architecture;
        Ok(Self {
            kernels: Kernels::new(10 * major + minor, version),
            memory: Memory::open(&context)?,
            up: Mutex::new(Staging::new(Queue::Work)?),
            down: Mutex::new(Staging::new(Queue::Work)?),
            ahead: Mutex::new(Ahead {
                staging: Staging::new(Queue::Copies)?,
                arrived: Event::new()?,
            }),
            facts,
            context,
        })
    }

    /// Overwrites what was staged for uploads that are done. While another thread uploads it is left to the next occasion.
    fn wipe_uploads(&self) {
        if let Some(mut up) = lock_now(&self.up) {
            up.wipe();
        }
        if let Some(mut ahead) = lock_now(&self.ahead) {
            ahead.staging.wipe();
        }
    }

    /// A launch, or a module, that finds no memory is tried again when the pool has given the driver what nobody uses.
    fn again_with_memory<T>(
        &self,
        call: impl Fn() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        match call() {
            Err(DriverError::OutOfMemory { .. }) => {
                self.context.synchronize()?;
                self.memory.trim()?;
                call()
            }
            answer => answer,
        }
    }

    /// New memory with these contents, which travel while what was queued before is done; none where there is no memory for that.
    fn copied_ahead(&self, contents: &[u8]) -> Result<Option<Address>, DriverError> {
        let mut ahead = lock(&self.ahead);
        let Some(at) = self.memory.alloc_ahead(&self.context, contents.len())? else {
            return Ok(None);
        };
        let Ahead { staging, arrived } = &mut *ahead;
        let copied = staging
            .upload(&self.context, at, contents)
            .and_then(|()| arrived.record(&self.context, Queue::Copies))
            .and_then(|()| arrived.hold(&self.context, Queue::Work));
        if let Err(error) = copied {
            // What may still be travelling, and what has arrived.
            let _ = self.context.synchronize();
            let _ = self.zero(at, contents.len());
            self.free(at);
            return Err(error);
        }
        Ok(Some(at))
    }
}

impl Driver for Nvidia {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn free_bytes(&self) -> Result<u64, DriverError> {
        self.context.bind()?;
        self.memory.free_bytes()
    }

    fn alloc(&self, bytes: usize) -> Result<Address, DriverError> {
        self.context.bind()?;
        self.memory.alloc(&self.context, bytes)
    }

    fn free(&self, at: Address) {
        // What a GPU that has failed does not take back is gone with it.
        let _ = self
            .context
            .bind()
            .and_then(|()| self.memory.free(&self.context, at));
    }

    fn alloc_with(&self, contents: &[u8]) -> Result<Address, DriverError> {
        if contents.len() >= AHEAD_BYTES {
            self.context.bind()?;
            if let Some(at) = self.copied_ahead(contents)? {
                return Ok(at);
            }
        }
        driver::alloc_with(self, contents)
    }

    fn zero(&self, at: Address, bytes: usize) -> Result<(), DriverError> {
        // The driver need not take nothing.
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind()?;
        let stream = self.context.stream(Queue::Work);
        // SAFETY: the stream is live; the range is the caller's.
        let answer = unsafe { result::memset_d8_async(at, 0, bytes, stream) };
        check("cuMemsetD8Async", answer)
    }

    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DriverError> {
        self.context.bind()?;
        lock(&self.up).upload(&self.context, to, from)
    }

    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DriverError> {
        self.context.bind()?;
        let downloaded = lock(&self.down).download(&self.context, from, to);
        self.wipe_uploads();
        downloaded
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind()?;
        let stream = self.context.stream(Queue::Work);
        // SAFETY: the stream is live; both ranges are the caller's.
        let answer = unsafe { result::memcpy_dtod_async(to, from, bytes, stream) };
        check("cuMemcpyDtoDAsync", answer)
    }

    fn launch(
        &self,
        kernel: Kernel,
        grid: u32,
        block: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<(), DriverError> {
        self.context.bind()?;
        self.again_with_memory(|| {
            self.kernels
                .launch(&self.context, kernel, [grid, block, shared], args)
        })
    }

    fn generate(
        &self,
        name: &'static str,
        source: &str,
    ) -> Result<Arc<dyn Generated>, DriverError> {
        self.context.bind()?;
        let made = self.again_with_memory(|| self.kernels.generate(&self.context, name, source))?;
        Ok(Arc::new(made))
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        self.context.bind()?;
        self.context.synchronize()?;
        self.wipe_uploads();
        Ok(())
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        // The thread stays bound while the parts are dropped, and nothing runs that uses them.
        let _ = self
            .context
            .bind()
            .and_then(|()| self.context.synchronize());
    }
}

/// A panic while staging leaves slots that are waited for and wiped like others.
fn lock<T>(staging: &Mutex<T>) -> MutexGuard<'_, T> {
    staging.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, if nobody has it.
fn lock_now<T>(staging: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match staging.try_lock() {
        Ok(locked) => Some(locked),
        Err(TryLockError::Poisoned(locked)) => Some(locked.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
