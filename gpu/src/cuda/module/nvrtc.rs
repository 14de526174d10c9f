//! # NVRTC: the compiler of device code, a library
//!
//! Found and loaded when it is needed; it needs no GPU and no driver. Sources and headers are passed in memory.

// Calls into a foreign library.
#![allow(unsafe_code)]

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::Library;

use super::recipe;
use crate::cuda::driver::DriverError;
use crate::cuda::source::{self, File};

/// Names a folder to take NVRTC from, before any other place.
const FOLDER_VARIABLE: &str = "ZKINFER_NVRTC";

/// Where a CUDA toolkit is installed when nobody says otherwise.
const TOOLKIT: &str = "/usr/local/cuda/lib64";

/// Major versions that this crate knows, best first.
const MAJORS: [u32; 2] = [13, 12];

type Program = *mut c_void;
type Status = c_int;

/// A function of the library.
macro_rules! foreign {
    ($($argument:ty),* => $result:ty) => {
        // SAFETY: this is the type only; each call says why it may be made.
        unsafe extern "C" fn($($argument),*) -> $result
    };
}

type Size = foreign!(Program, *mut usize => Status);
type Content = foreign!(Program, *mut c_char => Status);
type Texts = *const *const c_char;

/// What is called of the library; see `nvrtc.h`.
#[derive(Clone, Copy)]
struct Functions {
    version: foreign!(*mut c_int, *mut c_int => Status),
    error_string: foreign!(Status => *const c_char),
    create: foreign!(*mut Program, *const c_char, *const c_char, c_int, Texts, Texts => Status),
    destroy: foreign!(*mut Program => Status),
    compile: foreign!(Program, c_int, Texts => Status),
    log_size: Size,
    log: Content,
    cubin_size: Size,
    cubin: Content,
}

/// What the compiler made.
pub(crate) struct Compiled {
    /// Machine code, an ELF file.
    pub(crate) code: Vec<u8>,
    /// What the compiler said: registers, stack and spills of each function.
    pub(crate) log: String,
}

/// A loaded compiler. It stays loaded until the process ends.
#[derive(Clone, Copy)]
pub(crate) struct Nvrtc {
    functions: Functions,
    version: (u32, u32),
}

impl Nvrtc {
    /// The newest compiler of a major version up to `newest`: from the folder that `ZKINFER_NVRTC` names, or else from where the system looks
    /// for libraries (`LD_LIBRARY_PATH` among others), or else from a toolkit in its usual place.
    ///
    /// # Errors
    /// [`DriverError::Missing`]: there is none.
    pub(crate) fn find(newest: u32) -> Result<Self, DriverError> {
        let folders = match env::var_os(FOLDER_VARIABLE) {
            Some(folder) => vec![Some(PathBuf::from(folder))],
            None => vec![None, Some(PathBuf::from(TOOLKIT))],
        };
        folders
            .iter()
            .find_map(|folder| Self::newest(folder.as_deref(), newest))
            .ok_or(missing(newest))
    }

    /// The newest compiler in a folder.
    ///
    /// # Errors
    /// [`DriverError::Missing`]: there is none.
    pub(crate) fn in_folder(folder: &Path) -> Result<Self, DriverError> {
        Self::newest(Some(folder), u32::MAX).ok_or(missing(u32::MAX))
    }

    /// Major and minor number.
    pub(crate) fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The machine code of a source for the architecture `sm`.
    ///
    /// # Errors
    /// The source does not compile, or the compiler does not know the architecture.
    pub(crate) fn compile(&self, source: File<'_>, sm: u32) -> Result<Compiled, DriverError> {
        let program = Job::create(&self.functions, source)?;
        program.compile(sm).map_err(|log| DriverError::Compile {
            file: source.name,
            architecture: sm,
            log,
        })?;
        Ok(Compiled {
            code: program.cubin()?,
            log: program.log(),
        })
    }

    fn newest(folder: Option<&Path>, newest: u32) -> Option<Self> {
        MAJORS
            .into_iter()
            .filter(|major| *major <= newest)
            .find_map(|major| Self::load(folder, major))
    }

    /// The compiler of a major version in a folder, or where the system looks for libraries.
    fn load(folder: Option<&Path>, major: u32) -> Option<Self> {
        let name = PathBuf::from(format!("libnvrtc.so.{major}"));
        // The library looks for its other half beside itself, which is not beside a link to it.
        let path = match folder {
            Some(folder) => fs::canonicalize(folder.join(name)).ok()?,
            None => name,
        };
        // SAFETY: the initialization of NVIDIA's library has no precondition; a folder that holds another library of this name was named by the
        // user, as with LD_LIBRARY_PATH.
        let library = unsafe { Library::new(path) }.ok()?;
        let functions = Functions::of(&library)?;
        // Unloading would leave `functions` dangling.
        std::mem::forget(library);
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to live integers.
        let status = unsafe { (functions.version)(&raw mut major, &raw mut minor) };
        let version = (u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
        (status == 0).then_some(Self { functions, version })
    }
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version;
        write!(formatter, "NVRTC {major}.{minor}")
    }
}

const fn missing(newest: u32) -> DriverError {
    DriverError::Missing {
        library: match newest {
            ..=12 => "NVRTC (libnvrtc.so.12)",
            _ => "NVRTC (libnvrtc.so.13 or libnvrtc.so.12)",
        },
    }
}

impl Functions {
    fn of(library: &Library) -> Option<Self> {
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type is that of the function's declaration in nvrtc.h; the library stays loaded.
                *unsafe { library.get($name) }.ok()?
            };
        }
        Some(Self {
            version: function!(b"nvrtcVersion\0"),
            error_string: function!(b"nvrtcGetErrorString\0"),
            create: function!(b"nvrtcCreateProgram\0"),
            destroy: function!(b"nvrtcDestroyProgram\0"),
            compile: function!(b"nvrtcCompileProgram\0"),
            log_size: function!(b"nvrtcGetProgramLogSize\0"),
            log: function!(b"nvrtcGetProgramLog\0"),
            cubin_size: function!(b"nvrtcGetCUBINSize\0"),
            cubin: function!(b"nvrtcGetCUBIN\0"),
        })
    }

    fn explain(&self, status: Status) -> String {
        // SAFETY: any status may be asked for; the answer is a string that is never freed, or null.
        let text = unsafe { (self.error_string)(status) };
        if text.is_null() {
            return format!("status {status}");
        }
        // SAFETY: see above.
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned()
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), DriverError> {
        match status {
            0 => Ok(()),
            _ => Err(DriverError::Failed {
                call,
                reason: self.explain(status),
            }),
        }
    }
}

/// A program being compiled.
struct Job<'a> {
    functions: &'a Functions,
    program: Program,
    /// The program may refer to its source and names until it is destroyed.
    _texts: Vec<CString>,
}

impl<'a> Job<'a> {
    fn create(functions: &'a Functions, source: File<'_>) -> Result<Self, DriverError> {
        const CALL: &str = "nvrtcCreateProgram";
        let files = || std::iter::once(&source).chain(source::HEADERS);
        let texts = strings(files().flat_map(|file| [file.text, file.name]))
            .map_err(|reason| DriverError::Failed { call: CALL, reason })?;
        let bodies: Vec<*const c_char> = texts.iter().step_by(2).map(|s| s.as_ptr()).collect();
        let names: Vec<*const c_char> = texts
            .iter()
            .skip(1)
            .step_by(2)
            .map(|s| s.as_ptr())
            .collect();
        let mut program = ptr::null_mut();
        // SAFETY: `program` is live; every string ends with NUL and lives as long as the job; both arrays have one entry per header behind
        // the first, which is the source's.
        let status = unsafe {
            (functions.create)(
                &raw mut program,
                bodies[0],
                names[0],
                source::HEADERS.len() as c_int,
                bodies[1..].as_ptr(),
                names[1..].as_ptr(),
            )
        };
        functions.check(CALL, status)?;
        Ok(Self {
            functions,
            program,
            _texts: texts,
        })
    }

    /// Compiles, or says why not.
    fn compile(&self, sm: u32) -> Result<(), String> {
        let options = recipe::options(sm);
        let options = strings(options.iter().map(String::as_str))?;
        let pointers: Vec<*const c_char> = options.iter().map(|s| s.as_ptr()).collect();
        // SAFETY: the program is live; there are as many options as said, and they end with NUL.
        let status = unsafe {
            (self.functions.compile)(self.program, pointers.len() as c_int, pointers.as_ptr())
        };
        match status {
            0 => Ok(()),
            _ => Err(format!(
                "{}\n{}",
                self.functions.explain(status),
                self.log()
            )),
        }
    }

    fn log(&self) -> String {
        let log = self.read(
            "nvrtcGetProgramLog",
            self.functions.log_size,
            self.functions.log,
        );
        let text = String::from_utf8_lossy(log.as_deref().unwrap_or_default()).into_owned();
        text.trim_end_matches(['\0', '\n']).to_owned()
    }

    fn cubin(&self) -> Result<Vec<u8>, DriverError> {
        self.read(
            "nvrtcGetCUBIN",
            self.functions.cubin_size,
            self.functions.cubin,
        )
    }

    fn read(
        &self,
        call: &'static str,
        size: Size,
        content: Content,
    ) -> Result<Vec<u8>, DriverError> {
        let mut len = 0;
        // SAFETY: the program is live, `len` too.
        let status = unsafe { size(self.program, &raw mut len) };
        self.functions.check(call, status)?;
        let mut bytes = vec![0; len];
        // SAFETY: the program is live; `bytes` has the length that was asked for.
        let status = unsafe { content(self.program, bytes.as_mut_ptr().cast()) };
        self.functions.check(call, status)?;
        Ok(bytes)
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        // SAFETY: the program is live, and nobody uses it any longer. There is nothing to do when the call fails.
        unsafe { (self.functions.destroy)(&raw mut self.program) };
    }
}

fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, String> {
    texts
        .map(|text| CString::new(text).map_err(|error| error.to_string()))
        .collect()
}
