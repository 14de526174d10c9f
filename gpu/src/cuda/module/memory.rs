//! # Memory: what is taken from a GPU
//!
//! From the driver's pool where the GPU has one: taking and giving back are queued like everything else, and what was given back is kept for
//! the next to come.

// Calls into the driver.
#![allow(unsafe_code)]

use std::ffi::c_void;

use cudarc::driver::result::{self, device, mem_pool};
use cudarc::driver::sys::{self, CUdevice_attribute, CUmemPool_attribute, CUresult};

use super::context::{Context, Queue, check};
use super::probe;
use crate::cuda::driver::{Address, DriverError};

/// Where memory of one GPU comes from. Its methods ask for a thread that is bound to the context.
#[derive(Debug)]
pub(super) struct Memory {
    pool: Option<sys::CUmemoryPool>,
}

// SAFETY: the handle names a pool of the driver's, which any thread may use, several at once.
unsafe impl Send for Memory {}
// SAFETY: see above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn open(context: &Context) -> Result<Self, DriverError> {
        let supported = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
        if probe::attribute(context.device(), supported).unwrap_or(0) == 0 {
            return Ok(Self { pool: None });
        }
        // SAFETY: the device comes from the driver.
        let pool = unsafe { device::get_default_mem_pool(context.device()) };
        let pool = check("cuDeviceGetDefaultMemPool", pool)?;
        let mut keep_all = u64::MAX;
        // SAFETY: the pool is the device's own, it is never destroyed; the attribute is a u64.
        let answer = unsafe {
            mem_pool::set_attribute(
                pool,
                CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                (&raw mut keep_all).cast::<c_void>(),
            )
        };
        check("cuMemPoolSetAttribute", answer)?;
        Ok(Self { pool: Some(pool) })
    }

    /// What the driver says is free, and what the pool keeps and nobody uses.
    pub(super) fn free_bytes(&self) -> Result<u64, DriverError> {
        let (free, _) = check("cuMemGetInfo", result::mem_get_info())?;
        let kept = match self.pool {
            Some(pool) => {
                let reserved = count(
                    pool,
                    CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
                )?;
                let used = count(pool, CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
                reserved.saturating_sub(used)
            }
            None => 0,
        };
        Ok(free as u64 + kept)
    }

    /// Takes memory; where it seems to be used up, after waiting for what is being given back.
    pub(super) fn alloc(&self, context: &Context, bytes: usize) -> Result<Address, DriverError> {
        let mut answer = self.take(context, Queue::Work, bytes);
        if is_out_of_memory(&answer) {
            context.synchronize()?;
            self.trim()?;
            answer = self.take(context, Queue::Work, bytes);
        }
        if is_out_of_memory(&answer) {
            return Err(DriverError::OutOfMemory { bytes });
        }
        check("cuMemAlloc", answer)
    }

    /// Takes memory for copies that do not wait for the queue of work; none where the pool has none now, or there is no pool. What is queued as
    /// work must wait for the copies.
    pub(super) fn alloc_ahead(
        &self,
        context: &Context,
        bytes: usize,
    ) -> Result<Option<Address>, DriverError> {
        if self.pool.is_none() {
            return Ok(None);
        }
        let answer = self.take(context, Queue::Copies, bytes);
        match is_out_of_memory(&answer) {
            true => Ok(None),
            false => check("cuMemAllocFromPoolAsync", answer).map(Some),
        }
    }

    /// Gives back, behind all work that was queued.
    pub(super) fn free(&self, context: &Context, at: Address) -> Result<(), DriverError> {
        if self.pool.is_some() {
            // SAFETY: the address came from `take`; everything that uses it was queued as work before, or work waits for it.
            return check("cuMemFreeAsync", unsafe {
                result::free_async(at, context.stream(Queue::Work))
            });
        }
        context.synchronize()?;
        // SAFETY: the address came from `take`, and nothing that was queued is still using it.
        check("cuMemFree", unsafe { result::free_sync(at) })
    }

    fn take(
        &self,
        context: &Context,
        queue: Queue,
        bytes: usize,
    ) -> Result<Address, result::DriverError> {
        match self.pool {
            // SAFETY: the pool is never destroyed, the stream lives as long as the context; memory is used on this stream, or on another that
            // waits for it.
            Some(pool) => unsafe { mem_pool::alloc_async(pool, bytes, context.stream(queue)) },
            // SAFETY: the contents are said to be arbitrary.
            None => unsafe { result::malloc_sync(bytes) },
        }
    }

    /// Gives the driver what the pool keeps: the pieces that it keeps may be too small each.
    pub(super) fn trim(&self) -> Result<(), DriverError> {
        let Some(pool) = self.pool else {
            return Ok(());
        };
        // SAFETY: the pool is never destroyed.
        check("cuMemPoolTrimTo", unsafe { mem_pool::trim_to(pool, 0) })
    }
}

fn is_out_of_memory<T>(answer: &Result<T, result::DriverError>) -> bool {
    matches!(answer, Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY)
}

/// An attribute of a pool that is a number of bytes.
fn count(pool: sys::CUmemoryPool, attribute: CUmemPool_attribute) -> Result<u64, DriverError> {
    let mut bytes = 0u64;
    let value = (&raw mut bytes).cast::<c_void>();
    // SAFETY: the pool is never destroyed; the attributes asked for are u64.
    let answer = unsafe { mem_pool::get_attribute(pool, attribute, value) };
    check("cuMemPoolGetAttribute", answer)?;
    Ok(bytes)
}
