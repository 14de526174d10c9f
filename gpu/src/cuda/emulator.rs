//! # The emulation of the kernels on the CPU, for tests
//!
//! The device code is compiled by the machine's C++ compiler and its blocks run one after another (`cuda/emulation.cpp`): the same kernels,
//! launched by the same code as on a GPU. Slow: for small sizes.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::Library;

use super::driver::{Address, Arg, Driver, DriverError, Facts, Generated, Kernel};
use super::source::{self, File};

/// Device memory that the emulation pretends to have.
const MEMORY_BYTES: u64 = 4 << 30;

/// What the library runs: one launch at a time, since the index of a thread is a global of it.
static RUNNING: Mutex<()> = Mutex::new(());

// SAFETY: of the three: what `emulation.cpp` says of its functions, kept where they are called.
type Alloc = unsafe extern "C" fn(usize) -> *mut c_void;
// SAFETY: as above.
type Free = unsafe extern "C" fn(*mut c_void, usize);
// SAFETY: as above.
type Launch = unsafe extern "C" fn(*const c_char, u32, u32, u32, *mut *mut c_void) -> c_int;

/// The kernels, compiled for the CPU.
struct Kernels {
    _library: Library,
    alloc: Alloc,
    free: Free,
    launch: Launch,
}

/// A driver that runs kernels on the CPU.
pub(crate) struct Emulator {
    kernels: &'static Kernels,
    facts: Facts,
    memory_bytes: u64,
    /// Address and length of everything that is taken.
    taken: Mutex<Vec<(Address, usize)>>,
}

impl Emulator {
    /// A device with `memory_bytes` of memory.
    ///
    /// # Errors
    /// There is no C++ compiler, or the device code does not compile.
    pub(crate) fn start(memory_bytes: Option<u64>) -> Result<Arc<dyn Driver>, DriverError> {
        static KERNELS: OnceLock<Result<Kernels, DriverError>> = OnceLock::new();
        let kernels = KERNELS
            .get_or_init(|| compile(None))
            .as_ref()
            .map_err(Clone::clone)?;
        Ok(Arc::new(Self {
            kernels,
            facts: Facts {
                name: "emulation".to_owned(),
                architecture: (0, 0),
                multiprocessors: 2,
                memory_bytes: memory_bytes.unwrap_or(MEMORY_BYTES),
                driver: String::new(),
                clock_khz: 0,
            },
            memory_bytes: memory_bytes.unwrap_or(MEMORY_BYTES),
            taken: Mutex::new(Vec::new()),
        }))
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<(Address, usize)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Panics unless the range lies in one allocation: a defect of the code above.
    fn check(&self, at: Address, bytes: usize) {
        let inside = self.taken().iter().any(|(start, len)| {
            at >= *start && at + bytes as u64 <= start + (*len as u64).next_multiple_of(16)
        });
        assert!(inside, "{bytes} bytes at {at:#x} are not device memory");
    }
}

/// Compiles every unit, or a source of its own.
fn compile(source: Option<&str>) -> Result<Kernels, DriverError> {
    let folder = tempfile::tempdir().map_err(failed)?;
    let made = folder.path().join("kernels.so");
    written(folder.path(), source::all())?;
    let options: &[&str] = match source {
        Some(text) => {
            let name = "source.cu";
            written(folder.path(), std::iter::once(File { name, text }))?;
            &["-O1", "-DEMULATED_SOURCE=\"source.cu\""]
        }
        None => &["-O2"],
    };
    compile_library(folder.path(), "emulation.cpp", options, &made)?;
    load(&made).map_err(failed)
}

fn failed(reason: impl ToString) -> DriverError {
    DriverError::Failed {
        call: "compiling the kernels for the CPU",
        reason: reason.to_string(),
    }
}

/// Writes files to a folder.
pub(crate) fn written<'a>(
    folder: &Path,
    mut files: impl Iterator<Item = File<'a>>,
) -> Result<(), DriverError> {
    files.try_for_each(|file| fs::write(folder.join(file.name), file.text).map_err(failed))
}

/// Makes a library of a file in a folder.
pub(crate) fn compile_library(
    folder: &Path,
    file: &str,
    options: &[&str],
    library: &Path,
) -> Result<(), DriverError> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-fPIC", "-shared"])
        .args(options)
        .arg("-o")
        .arg(library)
        .arg(file)
        .current_dir(folder)
        .output()
        .map_err(|error| failed(format!("{compiler}: {error}")))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return Err(failed(log.chars().take(4000).collect::<String>()));
    }
    Ok(())
}

fn load(path: &Path) -> Result<Kernels, libloading::Error> {
    // SAFETY: the library was just made from this crate's own sources; its initialisers only link a list of names. The symbols have the types
    // that `emulation.cpp` gives them, and stay valid with the library, which is kept as long as they are.
    unsafe {
        let library = Library::new(path)?;
        let alloc = *library.get::<Alloc>(b"emulation_alloc\0")?;
        let free = *library.get::<Free>(b"emulation_free\0")?;
        let launch = *library.get::<Launch>(b"emulation_launch\0")?;
        Ok(Kernels {
            _library: library,
            alloc,
            free,
            launch,
        })
    }
}

impl Driver for Emulator {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn free_bytes(&self) -> Result<u64, DriverError> {
        let used: u64 = self.taken().iter().map(|(_, bytes)| *bytes as u64).sum();
        Ok(self.memory_bytes.saturating_sub(used))
    }

    fn alloc(&self, bytes: usize) -> Result<Address, DriverError> {
        if bytes as u64 > self.free_bytes()? {
            return Err(DriverError::OutOfMemory { bytes });
        }
        // SAFETY: maps new memory, or gives null.
        let at = unsafe { (self.kernels.alloc)(bytes) } as Address;
        if at == 0 {
            return Err(DriverError::OutOfMemory { bytes });
        }
        self.taken().push((at, bytes));
        Ok(at)
    }

    fn free(&self, at: Address) {
        let mut taken = self.taken();
        let index = taken.iter().position(|(start, _)| *start == at);
        let (at, bytes) = taken.swap_remove(index.expect("freed memory was taken"));
        // SAFETY: `alloc` gave this address for as many bytes, and it was in the list, so it was not freed before.
        unsafe { (self.kernels.free)(at as *mut c_void, bytes) };
    }

    fn zero(&self, at: Address, bytes: usize) -> Result<(), DriverError> {
        self.check(at, bytes);
        // SAFETY: the range is memory that `alloc` gave (checked above) and that nobody borrows.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    fn upload(&self, to: Address, from: &[u8]) -> Result<(), DriverError> {
        self.check(to, from.len());
        // SAFETY: as in `zero`; a slice of the host's is not device memory, so they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    fn download(&self, from: Address, to: &mut [u8]) -> Result<(), DriverError> {
        self.check(from, to.len());
        // SAFETY: as in `upload`; every byte of device memory is initialised, `alloc` fills it.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), DriverError> {
        self.check(to, bytes);
        self.check(from, bytes);
        // SAFETY: both ranges are memory that `alloc` gave; `copy` allows them to overlap.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn launch(
        &self,
        kernel: Kernel,
        grid: u32,
        block: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<(), DriverError> {
        assert!(
            grid > 0 && (1..=1024).contains(&block),
            "{kernel:?}: {grid} blocks of {block}"
        );
        assert!(
            shared <= 227 << 10,
            "{kernel:?}: {shared} bytes of shared memory"
        );
        self.kernels
            .launch(kernel.name, [grid, block, shared], args)
    }

    fn generate(
        &self,
        name: &'static str,
        source: &str,
    ) -> Result<Arc<dyn Generated>, DriverError> {
        static MADE: Mutex<BTreeMap<String, Arc<Kernels>>> = Mutex::new(BTreeMap::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let kernels = match made.get(source) {
            Some(kernels) => Arc::clone(kernels),
            None => Arc::new(compile(Some(source))?),
        };
        made.insert(source.to_owned(), Arc::clone(&kernels));
        Ok(Arc::new(Made { name, kernels }))
    }

    fn synchronize(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

/// A kernel of a source of its own.
struct Made {
    name: &'static str,
    kernels: Arc<Kernels>,
}

impl Generated for Made {
    fn launch(&self, grid: u32, block: u32, args: &[Arg]) -> Result<(), DriverError> {
        self.kernels.launch(self.name, [grid, block, 0], args)
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Kernels {
    fn launch(
        &self,
        kernel: &str,
        [grid, block, shared]: [u32; 3],
        args: &[Arg],
    ) -> Result<(), DriverError> {
        let name = CString::new(kernel).expect("a name without zeros");
        let mut values = args.to_vec();
        let mut pointers: Vec<*mut c_void> = values
            .iter_mut()
            .map(|arg| match arg {
                Arg::At(at) => std::ptr::from_mut(at).cast(),
                Arg::U32(word) => std::ptr::from_mut(word).cast(),
                Arg::Element(words) => words.as_mut_ptr().cast(),
            })
            .collect();
        let _one = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let args = pointers.as_mut_ptr();
        // SAFETY: the name ends with a zero; the arguments are as the callers of `launch` promise, of the kernel's types in its order, and live
        // through the call. An access outside device memory ends the process at a guard page.
        let code = unsafe { (self.launch)(name.as_ptr(), grid, block, shared, args) };
        match code {
            0 => Ok(()),
            1 => panic!("there is no kernel {kernel}"),
            2 => panic!("{kernel}: a barrier that some threads do not reach"),
            _ => Err(DriverError::OutOfMemory {
                bytes: shared as usize,
            }),
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Emulator")
    }
}
