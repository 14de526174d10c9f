//! # Kernels: loaded units, and the functions in them

// Calls into the driver.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::result::{self, function, module};
use cudarc::driver::sys::{self, CUfunction_attribute, CUresult};

use super::context::{Context, Queue, check};
use super::image;
use crate::cuda::driver::{Arg, DriverError, Generated, Kernel, Unit};
use crate::cuda::lines::generated;
use crate::cuda::source::{self, File};

/// Dynamic shared memory that a kernel may have without asking.
const SHARED_BYTES: u32 = 48 << 10;

/// The version of CUDA whose driver tells the sizes of a kernel's parameters: 12.4.
const TELLS_PARAMETERS: u32 = 12_040;

/// The kernels of one GPU, each unit loaded when it is first used. Methods ask for a thread that is bound to the context.
pub(super) struct Kernels {
    sm: u32,
    /// Version of CUDA that the driver is for: 12040 for 12.4.
    version: u32,
    /// Those that were loaded; a failure is not kept: there may be memory later.
    modules: [OnceLock<Module>; Unit::ALL.len()],
    functions: Mutex<HashMap<Kernel, Function>>,
}

#[derive(Clone, Copy)]
struct Module(sys::CUmodule);

// SAFETY: the handle names an object of the driver, which any thread may use, several at once.
unsafe impl Send for Module {}
// SAFETY: see above.
unsafe impl Sync for Module {}

#[derive(Clone)]
struct Function {
    handle: sys::CUfunction,
    /// Dynamic shared memory that it may have.
    shared: u32,
    /// Bytes of each parameter, where the driver tells.
    parameters: Option<Vec<usize>>,
}

// SAFETY: the handle names an object of the driver, which any thread may use, several at once.
unsafe impl Send for Function {}
// SAFETY: see above.
unsafe impl Sync for Function {}

impl Kernels {
    pub(super) fn new(sm: u32, version: u32) -> Self {
        Self {
            sm,
            version,
            modules: Default::default(),
            functions: Mutex::default(),
        }
    }

    /// Queues a launch.
    pub(super) fn launch(
        &self,
        context: &Context,
        kernel: Kernel,
        [grid, block, shared]: [u32; 3],
        args: &[Arg],
    ) -> Result<(), DriverError> {
        let handle = self.function(kernel, shared, args)?;
        launch(context, handle, [grid, block, shared], args)
            .map_err(|error| naming(kernel.name, error))
    }

    /// A kernel of a source of its own.
    pub(super) fn generate(
        &self,
        context: &Arc<Context>,
        name: &'static str,
        text: &str,
    ) -> Result<Made, DriverError> {
        let source = File {
            name: generated::FILE,
            text,
        };
        let image = image::compiled(source, self.sm, self.version / 1000)?;
        // What is made below unloads the module, come what may.
        let module = load(&image)?;
        let mut made = Made {
            context: Arc::clone(context),
            name,
            module,
            function: None,
        };
        made.function = Some(self.function_of(module, name)?);
        Ok(made)
    }

    /// The function, allowed to have `shared` bytes of shared memory, and found to take the arguments.
    fn function(
        &self,
        kernel: Kernel,
        shared: u32,
        args: &[Arg],
    ) -> Result<sys::CUfunction, DriverError> {
        let mut functions = self
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !functions.contains_key(&kernel) {
            drop(functions);
            let found = self
                .find(kernel)
                .map_err(|error| naming(kernel.name, error))?;
            functions = self
                .functions
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            functions.entry(kernel).or_insert(found);
        }
        let function = functions
            .get_mut(&kernel)
            .ok_or_else(|| failed(kernel.name, "lost"))?;
        if shared > function.shared {
            allow_shared(function.handle, shared).map_err(|error| naming(kernel.name, error))?;
            function.shared = shared;
        }
        function.check(kernel.name, args)?;
        Ok(function.handle)
    }

    fn find(&self, kernel: Kernel) -> Result<Function, DriverError> {
        let place = &self.modules[kernel.unit as usize];
        let module = match place.get() {
            Some(module) => *module,
            None => self.loaded(place, kernel.unit)?,
        };
        self.function_of(module, kernel.name)
    }

    /// A function of a module, which stays loaded as long as the function is used.
    fn function_of(&self, module: Module, name: &str) -> Result<Function, DriverError> {
        let name = CString::new(name).map_err(|error| failed(name, &error.to_string()))?;
        // SAFETY: the module is loaded.
        let handle = unsafe { module::get_function(module.0, name) };
        let handle = check("cuModuleGetFunction", handle)?;
        let parameters = (self.version >= TELLS_PARAMETERS).then(|| parameters_of(handle));
        Ok(Function {
            handle,
            shared: SHARED_BYTES,
            parameters: parameters.transpose()?,
        })
    }

    /// Loads a unit, unless another thread was faster.
    fn loaded(&self, place: &OnceLock<Module>, unit: Unit) -> Result<Module, DriverError> {
        let module = self.load(unit)?;
        if place.set(module).is_err() {
            // SAFETY: loaded just now, and no function of it is known to anybody.
            let _ = unsafe { module::unload(module.0) };
        }
        place.get().copied().ok_or(DriverError::Failed {
            call: "loading a unit",
            reason: "lost".to_owned(),
        })
    }

    /// Loads what was embedded for this architecture, or what is compiled for it, or else what was embedded for a sister of it.
    fn load(&self, unit: Unit) -> Result<Module, DriverError> {
        // A driver that is older than the compiler of an image may not load it.
        let refused = match image::embedded(unit, self.sm).map(load) {
            Some(Ok(module)) => return Ok(module),
            Some(Err(error @ DriverError::OutOfMemory { .. })) => return Err(error),
            Some(Err(error)) => Some(error),
            None => None,
        };
        match image::compiled(source::unit(unit), self.sm, self.version / 1000) {
            Ok(image) => load(&image),
            Err(error) => {
                // Why the image that is there was refused says more than that there is no compiler.
                let error = refused.unwrap_or(error);
                image::embedded_for_family(unit, self.sm).map_or(Err(error), load)
            }
        }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kernels for sm_{}", self.sm)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        for module in self.modules.iter_mut().filter_map(OnceLock::take) {
            // SAFETY: loaded once, and nothing that was queued still runs its kernels.
            let _ = unsafe { module::unload(module.0) };
        }
    }
}

impl Function {
    /// Whether it takes these arguments, where the driver tells.
    fn check(&self, name: &str, args: &[Arg]) -> Result<(), DriverError> {
        let sizes: Vec<usize> = args.iter().map(|arg| value_of(arg).1).collect();
        match &self.parameters {
            Some(parameters) if *parameters != sizes => {
                let reason = format!("it takes arguments of {parameters:?} bytes, not {sizes:?}");
                Err(failed(name, &reason))
            }
            _ => Ok(()),
        }
    }
}

/// A kernel of a source of its own, and the module that it is alone in.
pub(super) struct Made {
    context: Arc<Context>,
    name: &'static str,
    module: Module,
    /// None while it is looked for.
    function: Option<Function>,
}

impl Generated for Made {
    fn launch(&self, grid: u32, block: u32, args: &[Arg]) -> Result<(), DriverError> {
        self.context.bind()?;
        let Some(function) = &self.function else {
            return Err(failed(self.name, "lost"));
        };
        function.check(self.name, args)?;
        launch(&self.context, function.handle, [grid, block, 0], args)
            .map_err(|error| naming(self.name, error))
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What was queued may still run it. A context that cannot be bound is beyond repair.
        if self.context.bind().is_ok() {
            let _ = self.context.synchronize();
            // SAFETY: loaded once, and nothing that was queued still runs its kernel.
            let _ = unsafe { module::unload(self.module.0) };
        }
    }
}

/// Queues a launch of a function whose module stays loaded until it is done, and which takes the arguments.
fn launch(
    context: &Context,
    handle: sys::CUfunction,
    [grid, block, shared]: [u32; 3],
    args: &[Arg],
) -> Result<(), DriverError> {
    let mut values: Vec<*mut c_void> = args.iter().map(|arg| value_of(arg).0).collect();
    // SAFETY: there are as many values as the function has parameters, of their sizes, which the callers checked where the driver tells them; the
    // call copies them before it returns. Addresses are the callers'.
    let answer = unsafe {
        result::launch_kernel(
            handle,
            (grid, 1, 1),
            (block, 1, 1),
            shared,
            context.stream(Queue::Work),
            &mut values,
        )
    };
    check("cuLaunchKernel", answer)
}

fn load(image: &[u8]) -> Result<Module, DriverError> {
    // What was embedded begins at any byte; ELF files are read by words.
    let image = image.to_vec();
    // SAFETY: a cubin says itself where it ends; the driver copies it.
    let module = unsafe { module::load_data(image.as_ptr().cast()) };
    check("cuModuleLoadData", module).map(Module)
}

fn allow_shared(function: sys::CUfunction, bytes: u32) -> Result<(), DriverError> {
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    // SAFETY: the module of the function is loaded.
    let answer = unsafe { function::set_function_attribute(function, attribute, bytes) };
    check("cuFuncSetAttribute", answer)
}

/// Bytes of each parameter.
fn parameters_of(function: sys::CUfunction) -> Result<Vec<usize>, DriverError> {
    let mut sizes = Vec::new();
    loop {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the module of the function is loaded; both pointers are to live integers.
        let answer = unsafe {
            sys::cuFuncGetParamInfo(function, sizes.len(), &raw mut offset, &raw mut size)
        };
        if answer == CUresult::CUDA_ERROR_INVALID_VALUE {
            return Ok(sizes);
        }
        check("cuFuncGetParamInfo", answer.result())?;
        sizes.push(size);
    }
}

/// Where the value of an argument lies, and its bytes.
fn value_of(arg: &Arg) -> (*mut c_void, usize) {
    match arg {
        Arg::At(address) => erase(address),
        Arg::U32(number) => erase(number),
        Arg::Element(words) => erase(words),
    }
}

/// The driver takes pointers to what it does not write.
fn erase<T>(value: &T) -> (*mut c_void, usize) {
    (std::ptr::from_ref(value).cast_mut().cast(), size_of::<T>())
}

fn failed(kernel: &str, reason: &str) -> DriverError {
    DriverError::Failed {
        call: "a launch",
        reason: format!("{kernel}: {reason}"),
    }
}

/// Says which kernel a call was about.
fn naming(kernel: &str, error: DriverError) -> DriverError {
    match error {
        DriverError::Failed { call, reason } => DriverError::Failed {
            call,
            reason: format!("{kernel}: {reason}"),
        },
        other => other,
    }
}
