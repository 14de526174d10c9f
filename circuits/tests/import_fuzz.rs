//! Mutated ONNX files: byte flips, cuts, and changes that keep the protobuf whole. None may panic, none may allocate beyond the bound,
//! and each is a model that compiles or an error that names a node, a tensor, an input or what the file lacks.
//!
//! `ZKINFER_FUZZ_SECONDS` goes on for so long (default: the first files only), `ZKINFER_FUZZ_SEED` is where the mutations begin.

#![allow(clippy::unwrap_used)]

mod wire_format;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire_format::{Field, Kind, Value, each_list, parse, write};
use zkinfer_circuits::onnx::{self, ImportError};

/// Counts what is allocated; everything else is the system's.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// A single request beyond this fails, which ends the test.
const IMPOSSIBLE: usize = 8 << 30;

// SAFETY: every call goes to the system allocator with the arguments unchanged; a null pointer is a permitted answer.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's obligations are those of `System`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > IMPOSSIBLE {
            return std::ptr::null_mut();
        }
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the layout is the caller's.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: the caller's obligations are those of `System`.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `alloc` with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes that importing a file of so many bytes may hold at once.
fn bound(file_bytes: usize) -> usize {
    (256 << 20) + 1024 * file_bytes
}

fn env(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok().and_then(|v| v.parse().ok());
    value.unwrap_or(default)
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let mut all = vec![];
    for folder in ["ops", "bad", "tabular", "float", "."] {
        for entry in std::fs::read_dir(models.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            // the large models have the same operators, and take longer to read
            if path.extension().is_some_and(|e| e == "onnx") && bytes.len() < 20_000 {
                all.push((
                    path.file_name().unwrap().to_string_lossy().into_owned(),
                    bytes,
                ));
            }
        }
    }
    all.sort();
    assert!(all.len() > 40);
    all
}

/// Files that are always tried.
const FILES: u64 = 6000;

const NUMBERS: [i64; 16] = [
    0,
    1,
    2,
    3,
    7,
    -1,
    -2,
    255,
    65_536,
    1 << 20,
    1 << 28,
    1 << 31,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
];

fn mutate_bytes(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    for _ in 0..rng.gen_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.gen_range(0..bytes.len());
        match rng.gen_range(0..4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = rng.r#gen(),
            2 => bytes[at] ^= 1 << rng.gen_range(0..8),
            _ => {
                let end = (at + rng.gen_range(1..16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

fn mutate_value(value: &mut Value, names: &[Vec<u8>], rng: &mut StdRng) {
    match value {
        Value::Varint(x) => {
            *x = match rng.gen_range(0..3) {
                0 => x.wrapping_add(1),
                1 => x.wrapping_sub(1),
                _ => NUMBERS[rng.gen_range(0..NUMBERS.len())] as u64,
            }
        }
        Value::Fixed32(bytes) => {
            *bytes = [f32::NAN, f32::INFINITY, 0.0, -1.0, 1e38, 1e-38][rng.gen_range(0..6)]
                .to_le_bytes();
        }
        Value::Fixed64(bytes) => bytes[rng.gen_range(0..8)] ^= 0x81,
        Value::Bytes(bytes) => match rng.gen_range(0..5) {
            // another name of the file: cycles, duplicates, wrong operands
            0 | 1 => *bytes = names[rng.gen_range(0..names.len())].clone(),
            // a packed list of one large number
            2 => {
                let number = Field {
                    number: 1,
                    value: Value::Varint(NUMBERS[rng.gen_range(0..NUMBERS.len())] as u64),
                };
                *bytes = write(&[number])[1..].to_vec();
            }
            3 if !bytes.is_empty() => {
                let at = rng.gen_range(0..bytes.len());
                bytes[at] = rng.r#gen();
            }
            _ => mutate_bytes(bytes, rng),
        },
        Value::Message(_, fields) => {
            let at = rng.gen_range(0..fields.len().max(1));
            if let Some(field) = fields.get_mut(at) {
                mutate_value(&mut field.value, names, rng);
            }
        }
    }
}

/// Changes one to three fields somewhere in the tree: drops, repeats, exchanges, or gives another value.
fn mutate_tree(model: &mut Vec<Field>, rng: &mut StdRng) {
    let (mut lists, mut names) = (0usize, vec![b"".to_vec(), b"nowhere".to_vec()]);
    for op in onnx::operators::OPERATORS {
        names.push(op.name.as_bytes().to_vec());
    }
    each_list(Kind::Model, model, &mut |_, fields| {
        lists += 1;
        for field in fields.iter() {
            match &field.value {
                Value::Bytes(bytes) if bytes.len() < 64 => names.push(bytes.clone()),
                _ => {}
            }
        }
    });
    for _ in 0..rng.gen_range(1..4) {
        let (chosen, mut at) = (rng.gen_range(0..lists), 0);
        each_list(Kind::Model, model, &mut |_, fields| {
            at += 1;
            if at != chosen + 1 || fields.is_empty() {
                return;
            }
            let (a, b) = (
                rng.gen_range(0..fields.len()),
                rng.gen_range(0..fields.len()),
            );
            match rng.gen_range(0..6) {
                0 => _ = fields.remove(a),
                1 => fields.insert(b, fields[a].clone()),
                2 => fields.swap(a, b),
                _ => mutate_value(&mut fields[a].value, &names, rng),
            }
        });
    }
}

/// Names of the nodes, tensors and inputs of a file, if its fields can be read here.
fn names_of(bytes: &[u8]) -> Option<Vec<String>> {
    let mut names = vec![];
    let mut model = parse(Kind::Model, bytes)?;
    each_list(Kind::Model, &mut model, &mut |kind, fields| {
        for field in fields.iter() {
            let named = matches!(
                (kind, field.number),
                (Kind::Node, 1..=3) | (Kind::Tensor, 8) | (Kind::ValueInfo, 1)
            );
            if let (true, Value::Bytes(bytes)) = (named, &field.value) {
                names.push(String::from_utf8_lossy(bytes).into_owned());
            }
        }
    });
    Some(names)
}

/// Whether an error says where: a file-level error says what the file is or lacks, every other names something in it.
fn names_the_place(error: &ImportError, bytes: &[u8]) -> bool {
    match error {
        ImportError::Empty
        | ImportError::TooLarge { .. }
        | ImportError::NotOnnx(_)
        | ImportError::Missing(_)
        | ImportError::Unnamed { .. } => true,
        _ => {
            let message = error.to_string();
            let Some(names) = names_of(bytes) else {
                return true;
            };
            // messages have one line
            let plain = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
            let escaped = |name: &str| plain(&name.escape_debug().to_string());
            names.iter().filter(|name| !name.is_empty()).any(|name| {
                let ways = [name.clone(), escaped(name), plain(name)];
                ways.iter()
                    .any(|way| !way.is_empty() && message.contains(way))
            })
        }
    }
}

/// What is wrong with the import of these bytes.
fn complaint(bytes: &[u8]) -> Option<String> {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| onnx::import(bytes).err()));
    let peak = PEAK.load(Relaxed).saturating_sub(before);
    let slow = start.elapsed() > Duration::from_secs(5);
    match result {
        Err(_) => Some("panics".to_owned()),
        Ok(_) if peak > bound(bytes.len()) => {
            Some(format!("holds {peak} bytes for {}", bytes.len()))
        }
        Ok(_) if slow => Some(format!("takes {:.1} s", start.elapsed().as_secs_f64())),
        Ok(Some(error)) if !names_the_place(&error, bytes) => {
            Some(format!("names nothing: {error}"))
        }
        Ok(_) => None,
    }
}

/// Ends the test with the seed of a file that is still being read after a minute.
struct Watch {
    /// The seed, and when its file was begun.
    current: Arc<Mutex<(u64, Instant)>>,
}

impl Watch {
    fn start() -> Self {
        let current = Arc::new(Mutex::new((0, Instant::now())));
        let weak = Arc::downgrade(&current);
        std::thread::spawn(move || {
            while let Some(current) = weak.upgrade() {
                let (seed, since) = *current.lock().unwrap();
                if since.elapsed() > Duration::from_secs(60) {
                    eprintln!("seed {seed}: still read after a minute");
                    std::process::abort();
                }
                drop(current);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        Self { current }
    }

    fn begin(&self, seed: u64) {
        *self.current.lock().unwrap() = (seed, Instant::now());
    }
}

#[test]
fn mutated_files_never_panic_and_keep_to_the_bound() {
    let seeds = seeds();
    let until = Instant::now() + Duration::from_secs(env("ZKINFER_FUZZ_SECONDS", 0));
    let mut seed = env("ZKINFER_FUZZ_SEED", 0);
    let watch = Watch::start();
    // the parser's own panics are caught and become errors; their messages would fill the log
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut tried, mut complaints) = (0u64, vec![]);
    while (tried < FILES || Instant::now() < until) && complaints.len() < 20 {
        watch.begin(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        let (name, bytes) = &seeds[rng.gen_range(0..seeds.len())];
        let mut bytes = bytes.clone();
        match parse(Kind::Model, &bytes) {
            Some(mut model) if rng.gen_bool(0.85) => {
                mutate_tree(&mut model, &mut rng);
                bytes = write(&model);
            }
            _ => mutate_bytes(&mut bytes, &mut rng),
        }
        if let Some(complaint) = complaint(&bytes) {
            complaints.push(format!("seed {seed}, {name}: {complaint}"));
        }
        (seed, tried) = (seed + 1, tried + 1);
    }
    std::panic::set_hook(hook);
    println!("{tried} files");
    assert!(complaints.is_empty(), "{tried} files: {complaints:#?}");
}

#[test]
fn honest_files_keep_to_the_bound_and_the_tree_writes_what_it_read() {
    for (name, bytes) in seeds() {
        if let Some(model) = parse(Kind::Model, &bytes) {
            assert_eq!(write(&model), bytes, "{name}");
        }
        assert_eq!(complaint(&bytes), None, "{name}");
    }
}
