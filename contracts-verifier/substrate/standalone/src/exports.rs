//! # The exports: buffers in linear memory and the verdict on them
//! The host writes into buffers that `alloc` gave and the table below remembers, so that no pointer of the host's own is ever
//! read or freed. A module is one thread; the atomics are cells that a static may hold.
#![allow(unsafe_code)]

use core::{
    alloc::Layout,
    panic::PanicInfo,
    ptr::null_mut,
    slice,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
};

use crate::envelope::{Refusal, check};

extern crate alloc;

const MAX_BUFFER_BYTES: usize = 16 << 20;
const MAX_BUFFERS: usize = 16;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

static BUFFERS: [Buffer; MAX_BUFFERS] = [const { Buffer::NONE }; MAX_BUFFERS];

/// A live allocation of `len` bytes at `ptr`, or null.
struct Buffer {
    ptr: AtomicPtr<u8>,
    len: AtomicUsize,
}

impl Buffer {
    const NONE: Self = Self {
        ptr: AtomicPtr::new(null_mut()),
        len: AtomicUsize::new(0),
    };

    /// The live buffer that is exactly this one.
    fn find(ptr: *mut u8, len: usize) -> Option<&'static Self> {
        BUFFERS.iter().find(|buffer| {
            !ptr.is_null() && buffer.ptr.load(Relaxed) == ptr && buffer.len.load(Relaxed) == len
        })
    }

    /// A place in the table that holds no buffer.
    fn vacant() -> Option<&'static Self> {
        BUFFERS
            .iter()
            .find(|buffer| buffer.ptr.load(Relaxed).is_null())
    }
}

fn layout(len: usize) -> Option<Layout> {
    if (1..=MAX_BUFFER_BYTES).contains(&len) {
        Layout::array::<u8>(len).ok()
    } else {
        None
    }
}

// SAFETY: no other symbol of this module has the name.
#[unsafe(no_mangle)]
extern "C" fn alloc(len: usize) -> *mut u8 {
    let (Some(buffer), Some(layout)) = (Buffer::vacant(), layout(len)) else {
        return null_mut();
    };
    // SAFETY: `layout` gives no layout of size zero.
    let ptr = unsafe { alloc::alloc::alloc_zeroed(layout) };
    buffer.ptr.store(ptr, Relaxed);
    buffer.len.store(len, Relaxed);
    ptr
}

// SAFETY: no other symbol of this module has the name.
#[unsafe(no_mangle)]
extern "C" fn dealloc(ptr: *mut u8, len: usize) {
    let (Some(buffer), Some(layout)) = (Buffer::find(ptr, len), layout(len)) else {
        return;
    };
    let ptr = buffer.ptr.swap(null_mut(), Relaxed);
    // SAFETY: `ptr` came from `alloc_zeroed` with the same length, and left the table, so it is freed once.
    unsafe { alloc::alloc::dealloc(ptr, layout) };
}

// SAFETY: no other symbol of this module has the name.
#[unsafe(no_mangle)]
extern "C" fn verify(ptr: *const u8, len: usize) -> i32 {
    let Some(buffer) = Buffer::find(ptr.cast_mut(), len) else {
        return Refusal::Envelope.code();
    };
    // SAFETY: a live allocation of `len` initialized bytes; the host runs, and writes, only between calls.
    let envelope = unsafe { slice::from_raw_parts(buffer.ptr.load(Relaxed), len) };
    check(envelope).map_or_else(|refusal| refusal.code(), |()| 0)
}

/// A panic is a trap, and the instance is to be thrown away; no input is known to lead here.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
