//! # A stand-in for NVIDIA's driver, for tests of what calls it
//!
//! Libraries that a process finds in place of `libcuda` and NVRTC: the kernels run on the CPU, and what is queued runs late (`cuda/mock_driver.cpp`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cuda::DriverError;
use crate::cuda::emulator::{compile_library, written};
use crate::cuda::source;

/// What the mock pretends.
#[derive(Debug, Clone, Copy)]
pub struct MockGpu {
    /// Bytes of memory.
    pub bytes: u64,
    /// After so many launches it breaks.
    pub launches: u64,
    /// Whether the driver keeps a pool of memory.
    pub has_pool: bool,
}

impl Default for MockGpu {
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            launches: u64::MAX,
            has_pool: true,
        }
    }
}

/// Makes the libraries in `folder`. The variables are what a process must be started with to use them, and `folder` must stay while it runs.
///
/// # Errors
/// There is no C++ compiler, or the folder cannot be written.
pub fn mock_driver(
    folder: &Path,
    gpu: MockGpu,
) -> Result<Vec<(&'static str, OsString)>, DriverError> {
    let failed = |error: std::io::Error| DriverError::Failed {
        call: "making the folders of a mock driver",
        reason: error.to_string(),
    };
    for new in ["sources", "caches"] {
        std::fs::create_dir_all(folder.join(new)).map_err(failed)?;
    }
    // The compiler works in another folder, and so may who uses the mock.
    let folder = &std::fs::canonicalize(folder).map_err(failed)?;
    let (sources, caches) = (folder.join("sources"), folder.join("caches"));
    written(&sources, source::all().chain(source::MOCK.iter().copied()))?;
    for (file, library) in [
        ("mock_driver.cpp", "libcuda.so"),
        ("mock_nvrtc.cpp", "libnvrtc.so.12"),
    ] {
        let options = [
            "-O2".to_owned(),
            format!("-DMOCK_BYTES={}ull", gpu.bytes),
            format!("-DMOCK_LAUNCHES={}ull", gpu.launches),
            format!("-DMOCK_POOL={}", u8::from(gpu.has_pool)),
            format!("-DMOCK_SOURCES=\"{}\"", sources.display()),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        compile_library(&sources, file, &options, &folder.join(library))?;
    }
    let libraries = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&libraries));
    let folders: Vec<PathBuf> = folders
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let path = std::env::join_paths(folders).map_err(|error| DriverError::Failed {
        call: "naming the folder of a mock driver",
        reason: error.to_string(),
    })?;
    Ok(vec![
        ("LD_LIBRARY_PATH", path),
        ("ZKINFER_NVRTC", folder.into()),
        // Nobody else shall find what the mock compiler made.
        ("XDG_CACHE_HOME", caches.into()),
    ])
}
