//! Compiles every unit of device code, without a GPU, and looks at the machine code: no kernel may use more multiplications, or more memory for
//! what does not fit in registers, than is written down here.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;

use zkinfer_gpu::Lines;
use zkinfer_gpu::kernels::{self, Compiler};

/// The oldest architecture that is served, and that of the machines which it is tuned for.
const ARCHITECTURES: [u32; 2] = [80, 90];

/// Kernels that compute one product, or one square, and the multiplications of each width that they may have: those of the operation, and those
/// of the addresses of its operands.
const PRODUCTS: &[(&str, Multiplications)] = &[
    ("field_mul_fq", Multiplications::of(124, 12, 14)),
    ("field_mul_fr", Multiplications::of(124, 12, 14)),
    ("field_sqr_fq", Multiplications::of(94, 12, 14)),
    ("field_sqr_fr", Multiplications::of(94, 12, 14)),
];

/// Kernels that may keep something outside of registers, and what: bytes of stack, for what is handed to functions that are not inlined; bytes
/// written and read because there are not enough registers. A kernel that is not named here has neither.
const MEMORY: &[(&str, Memory)] = &[
    ("field_add_g1", Memory::of(256, 0)),
    ("field_add_g2", Memory::of(512, 0)),
    ("field_inverse_fq", Memory::of(64, 0)),
    ("field_inverse_fr", Memory::of(64, 0)),
    // Of a program with eighty values of 32 bytes to be kept at once.
    ("lines_generated", Memory::of(2400, 6800)),
    ("lines_run", Memory::of(64, 0)),
    ("msm_g1_double", Memory::of(192, 0)),
    ("msm_g1_fold", Memory::of(256, 0)),
    ("msm_g1_merge", Memory::of(256, 0)),
    ("msm_g1_normalize", Memory::of(64, 0)),
    ("msm_g1_weigh", Memory::of(512, 0)),
    ("msm_g2_accumulate", Memory::of(104, 370)),
    ("msm_g2_double", Memory::of(320, 0)),
    ("msm_g2_fold", Memory::of(512, 0)),
    ("msm_g2_merge", Memory::of(512, 0)),
    ("msm_g2_normalize", Memory::of(64, 0)),
    ("msm_g2_weigh", Memory::of(1024, 0)),
    ("vector_invert", Memory::of(64, 0)),
    ("vector_mix", Memory::of(512, 0)),
];

/// Memory of a thread that a function uses.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    stack: u32,
    spilled: u32,
}

impl Memory {
    const NONE: Self = Self::of(0, 0);

    const fn of(stack: u32, spilled: u32) -> Self {
        Self { stack, spilled }
    }

    fn within(self, limit: Self) -> bool {
        self.stack <= limit.stack && self.spilled <= limit.spilled
    }
}

/// Multiplications of 32-bit words in a kernel's machine code.
#[derive(Debug, Clone, Copy, Default)]
struct Multiplications {
    /// Whole products.
    wide: u32,
    /// High halves.
    high: u32,
    /// Low halves.
    low: u32,
}

impl Multiplications {
    const fn of(wide: u32, high: u32, low: u32) -> Self {
        Self { wide, high, low }
    }

    fn within(self, limit: Self) -> bool {
        self.wide <= limit.wide && self.high <= limit.high && self.low <= limit.low
    }
}

/// A unit compiled for an architecture.
struct Compiled {
    /// Name of the file, with unit and architecture.
    name: String,
    /// What the compiler said.
    log: String,
    /// What `cuobjdump` prints.
    instructions: String,
}

/// What is compiled.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A translation unit of the crate.
    Unit(&'static str),
    /// The kernel generated for a program.
    Lines(&'a Lines),
}

/// NVIDIA's compiler library and the program that prints machine code.
struct Tools {
    compiler: Compiler,
    cuobjdump: PathBuf,
}

#[test]
fn no_kernel_keeps_in_memory_what_belongs_in_registers() {
    let mut complaints = Vec::new();
    for unit in compiled() {
        let kernels = memory(&unit.log);
        assert!(!kernels.is_empty(), "{}: no kernels in it", unit.name);
        for (kernel, found) in kernels {
            let named = MEMORY.iter().find(|(name, _)| *name == kernel);
            let limit = named.map_or(Memory::NONE, |(_, limit)| *limit);
            if !found.within(limit) {
                let name = &unit.name;
                complaints.push(format!("{name}: {kernel}: {found:?}, allowed {limit:?}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_product_takes_no_more_multiplications_than_it_must() {
    let units = compiled().iter();
    for unit in units.filter(|unit| unit.name.starts_with("field.")) {
        let counts = multiplications(&unit.instructions);
        for (kernel, limit) in PRODUCTS {
            let found = counts[*kernel];
            println!("{}: {kernel}: {found:?}", unit.name);
            assert!(found.wide > 0, "{}: {kernel} multiplies", unit.name);
            assert!(
                found.within(*limit),
                "{}: {kernel} has {found:?}, allowed are {limit:?}",
                unit.name
            );
        }
    }
}

#[test]
fn memory_of_called_functions_is_counted() {
    let text = "
ptxas info    : 40 bytes gmem
ptxas info    : Compiling entry function 'a' for 'sm_90'
ptxas info    : Function properties for a
ptxas         .     64 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 108 registers, used 0 barriers, 64 bytes cumulative stack size
ptxas info    : Function properties for _Z1fv
ptxas         .     8 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'b' for 'sm_90'
ptxas info    : Function properties for b
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
    let kernels = memory(text);
    assert_eq!((kernels["a"].stack, kernels["a"].spilled), (72, 44));
    assert_eq!((kernels["b"].stack, kernels["b"].spilled), (0, 0));
}

#[test]
fn multiplications_are_told_from_moves_and_additions() {
    let text = "
		Function : a
        /*0010*/                   IMAD.MOV.U32 R1, RZ, RZ, R2 ;    /* 0x0 */
                                                                    /* 0x0 */
        /*0020*/              @!P0 IMAD.WIDE.U32 R2, R4, R6, RZ ;   /* 0x0 */
        /*0030*/                   IMAD.WIDE.U32.X R2, P1, R4, R6, R2, P2 ;
        /*0040*/                   IMAD.HI.U32 R9, P1, R8, -0x278302b9, R20 ;
        /*0050*/                   IMAD.X R5, RZ, RZ, R6, P1 ;
        /*0060*/                   IMAD.IADD R5, R1, 0x1, R6 ;
        /*0070*/                   IMAD R9, R12, -0x1b799c77, RZ ;
        /*0080*/                   IMAD.X R9, R12, 0x1, RZ, P0 ;
        /*0090*/                   IMAD.U32 R9, RZ, RZ, UR4 ;
		Function : b
        /*0010*/                   IADD3 R1, R2, R3, RZ ;";
    let counts = multiplications(text);
    let a = counts["a"];
    assert_eq!((a.wide, a.high, a.low), (2, 1, 1));
    let b = counts["b"];
    assert_eq!((b.wide, b.high, b.low), (0, 0, 0));
}

/// Every unit for every architecture, compiled once for all tests; none where the tools are missing.
fn compiled() -> &'static [Compiled] {
    static COMPILED: OnceLock<Vec<Compiled>> = OnceLock::new();
    COMPILED.get_or_init(|| tools().map_or_else(Vec::new, |tools| compile_all(&tools)))
}

fn compile_all(tools: &Tools) -> Vec<Compiled> {
    let programs: Vec<Lines> = kernels::sample_programs().collect();
    // The units that take longest come last in the crate's list.
    let sources = programs.iter().map(Source::Lines);
    let sources = sources.chain(kernels::units().map(Source::Unit));
    let jobs = sources.flat_map(|source| ARCHITECTURES.map(|sm| (source, sm)));
    let jobs: Mutex<Vec<(Source<'_>, u32)>> = Mutex::new(jobs.collect());
    let work = || {
        let next = || jobs.lock().unwrap().pop();
        std::iter::from_fn(next)
            .map(|(source, sm)| compile(tools, source, sm))
            .collect::<Vec<_>>()
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn compile(tools: &Tools, source: Source<'_>, sm: u32) -> Compiled {
    let cubin = match source {
        Source::Unit(unit) => tools.compiler.compile(unit, sm),
        Source::Lines(lines) => tools.compiler.compile_lines(lines, sm),
    };
    let cubin = cubin.unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(&cubin.file);
    fs::write(&path, &cubin.code).unwrap();
    Compiled {
        instructions: instructions(&tools.cuobjdump, &path),
        name: cubin.file,
        log: cubin.log,
    }
}

fn instructions(cuobjdump: &Path, cubin: &Path) -> String {
    let output = Command::new(cuobjdump)
        .arg("-sass")
        .arg(cubin)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cuobjdump: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `.ci/test` installs. Without it the tests pass without looking, unless the environment asks for them.
fn tools() -> Option<Tools> {
    let tools = find_tools();
    if tools.is_none() {
        let how = "python3 -m venv .ci/.venv && .ci/.venv/bin/pip install -r .ci/requirements.txt";
        assert!(
            env::var("ZKINFER_REQUIRE_NVRTC").as_deref() != Ok("1"),
            "NVRTC and cuobjdump are not in .ci/.venv; run .ci/test, or: {how}"
        );
        println!("skipped: the kernels are not compiled without NVRTC and cuobjdump: {how}");
    }
    tools
}

fn find_tools() -> Option<Tools> {
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/.venv/lib");
    let pythons = fs::read_dir(libraries).ok()?;
    let toolkits = pythons.map(|python| python.unwrap().path().join("site-packages/nvidia/cu13"));
    let usable = |toolkit: PathBuf| {
        let cuobjdump = toolkit.join("bin/cuobjdump");
        let compiler = Compiler::in_folder(&toolkit.join("lib")).ok()?;
        cuobjdump.exists().then_some(Tools {
            compiler,
            cuobjdump,
        })
    };
    toolkits.into_iter().find_map(usable)
}

/// The memory of each kernel with the functions that it calls, as the compiler reports it in two lines each.
fn memory(log: &str) -> BTreeMap<&str, Memory> {
    let mut kernels: BTreeMap<&str, Memory> = BTreeMap::new();
    let mut kernel = "";
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            kernel = rest.split('\'').next().unwrap();
            kernels.insert(kernel, Memory::NONE);
        } else if let Some((_, numbers)) = line.split_once("ptxas         . ") {
            let function = numbers_of(numbers);
            let all = kernels.get_mut(kernel).unwrap();
            all.stack += function.stack;
            all.spilled += function.spilled;
        }
    }
    kernels
}

/// `64 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads`.
fn numbers_of(line: &str) -> Memory {
    let mut memory = Memory::NONE;
    for part in line.split(',') {
        let (bytes, kind) = part.trim().split_once(" bytes ").unwrap();
        let bytes: u32 = bytes.parse().unwrap();
        match kind {
            "stack frame" => memory.stack += bytes,
            "spill stores" | "spill loads" => memory.spilled += bytes,
            _ => panic!("the compiler reports unknown {kind}"),
        }
    }
    memory
}

/// The multiplications of each function, as `cuobjdump -sass` prints them.
fn multiplications(instructions: &str) -> BTreeMap<&str, Multiplications> {
    let mut counts = BTreeMap::new();
    let mut current = "";
    for line in instructions.lines() {
        if let Some((_, name)) = line.split_once("Function : ") {
            current = name.trim();
            counts.insert(current, Multiplications::default());
        } else if let (Some(count), Some((operation, operands))) =
            (counts.get_mut(current), instruction(line))
        {
            let parts: Vec<&str> = operation.split('.').collect();
            match (parts[0], parts.get(1).copied()) {
                ("IMAD", Some("WIDE")) => count.wide += 1,
                ("IMAD", Some("HI")) => count.high += 1,
                ("IMAD", _) if multiplies(&operands) => count.low += 1,
                _ => {}
            }
        }
    }
    counts
}

/// Operation and operands of a line: `/*0020*/ @!P0 IMAD.WIDE.U32 R2, R4, R6, RZ ;`.
fn instruction(line: &str) -> Option<(&str, Vec<&str>)> {
    let (_, line) = line.trim_start().strip_prefix("/*")?.split_once("*/")?;
    let (text, _) = line.split_once(';')?;
    let text = text.trim();
    let text = match text.strip_prefix('@') {
        Some(guarded) => guarded.split_once(' ')?.1,
        None => text,
    };
    let (operation, operands) = text.trim().split_once(' ')?;
    Some((operation, operands.split(',').map(str::trim).collect()))
}

/// The two factors are neither zero nor one: other instructions move and add with the same unit.
fn multiplies(operands: &[&str]) -> bool {
    let is_predicate = |operand: &&str| {
        let name = operand.trim_start_matches(['!', 'U']);
        name.strip_prefix('P').is_some_and(|rest| rest.len() == 1)
    };
    let values = operands
        .iter()
        .copied()
        .filter(|operand| !is_predicate(operand));
    let trivial = |factor: &str| matches!(factor.split('.').next(), Some("RZ" | "URZ" | "0x1"));
    values
        .skip(1)
        .take(2)
        .filter(|factor| !trivial(factor))
        .count()
        == 2
}
