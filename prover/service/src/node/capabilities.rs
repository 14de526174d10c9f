//! What this machine has and what the prover uses of it.

use std::num::NonZeroUsize;

use super::memory;
use crate::{
    store::{self, Backend, Capabilities, Resources},
    work::slots::Share,
};

/// Longest text of a capability.
const MAX_TEXT_BYTES: usize = 128;

/// Threads that one slot uses well; `auto` makes a slot for each so many.
const THREADS_A_SLOT: usize = 8;
/// Part of the memory that is left to the system and the supervisor.
const RESERVED_PART: u64 = 16;

/// Threads that this process may use.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The slots of a machine that nobody configured.
pub fn automatic_slots() -> NonZeroUsize {
    NonZeroUsize::new(threads() / THREADS_A_SLOT).unwrap_or(NonZeroUsize::MIN)
}

/// Memory that provers may use on this machine, or in this control group.
pub fn ram_bytes() -> u64 {
    let total = memory::total();
    total - total / RESERVED_PART
}

/// What a node of this machine says of itself. `ram_bytes` and `disk_bytes` bound what the machine has.
pub fn detect(share: Share, ram_bytes: u64, disk_bytes: u64) -> Capabilities {
    let slots = u32::try_from(share.slots.get()).unwrap_or(u32::MAX);
    let threads = u32::try_from(share.threads.get()).unwrap_or(u32::MAX);
    Capabilities {
        backends: Backend::ALL.to_vec(),
        total: Resources {
            ram_bytes: ram_bytes.min(self::ram_bytes()),
            vram_bytes: 0,
            disk_bytes,
            cpu_threads: slots.saturating_mul(threads),
        },
        slots,
        gpus: Vec::new(),
        cpu_features: cpu_features(),
    }
}

/// The same of a node whose slots prove on `gpus`.
#[must_use]
pub fn with_gpus(capabilities: Capabilities, gpus: &[zkinfer_gpu::cuda::Gpu]) -> Capabilities {
    let text = |text: &str| store::cut(text.to_owned(), MAX_TEXT_BYTES);
    let said = gpus.iter().map(|gpu| store::Gpu {
        uuid: gpu.ordinal.to_string(),
        model: text(&gpu.facts.name),
        vram_bytes: gpu.facts.memory_bytes,
        driver: text(&gpu.facts.driver),
    });
    Capabilities {
        total: Resources {
            vram_bytes: gpus.iter().map(|gpu| gpu.facts.memory_bytes).sum(),
            ..capabilities.total
        },
        gpus: said.collect(),
        ..capabilities
    }
}

/// Instruction sets that change how fast this machine proves.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<String> {
    let known = [
        ("avx512ifma", is_x86_feature_detected!("avx512ifma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi2", is_x86_feature_detected!("bmi2")),
        ("adx", is_x86_feature_detected!("adx")),
        ("sha", is_x86_feature_detected!("sha")),
    ];
    let present = known.into_iter().filter(|(_, has)| *has);
    present.map(|(name, _)| name.to_owned()).collect()
}

/// Instruction sets that change how fast this machine proves.
#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_offers_what_it_has_within_the_bounds_it_was_given() {
        let two = NonZeroUsize::new(2).unwrap_or(NonZeroUsize::MIN);
        let share = Share::of(two, 6);
        let offered = detect(share, 1 << 20, 7);
        assert_eq!((offered.slots, offered.total.cpu_threads), (2, 6));
        assert_eq!(
            (offered.total.ram_bytes, offered.total.disk_bytes),
            (1 << 20, 7)
        );
        let all = detect(share, u64::MAX, 7).total.ram_bytes;
        assert!(all > 1 << 20 && all < memory::total());
        assert_eq!(offered.backends.len(), Backend::ALL.len());
        assert!(automatic_slots().get() <= threads());
    }

    #[test]
    fn a_node_tells_the_gpus_that_it_proves_on() {
        let gpu = |ordinal, name: &str, memory_bytes| zkinfer_gpu::cuda::Gpu {
            ordinal,
            facts: zkinfer_gpu::cuda::Facts {
                name: name.to_owned(),
                architecture: (9, 0),
                multiprocessors: 132,
                memory_bytes,
                driver: "550.1".to_owned(),
                clock_khz: 0,
            },
        };
        let plain = detect(Share::of(NonZeroUsize::MIN, 1), u64::MAX, 7);
        assert_eq!((plain.total.vram_bytes, plain.gpus.len()), (0, 0));
        let long = "x".repeat(300);
        let told = with_gpus(plain.clone(), &[gpu(0, "H", 10), gpu(3, &long, 5)]);
        assert_eq!(told.total.vram_bytes, 15);
        assert_eq!(told.total.ram_bytes, plain.total.ram_bytes);
        let told: Vec<_> = told
            .gpus
            .iter()
            .map(|g| (&*g.uuid, g.model.len()))
            .collect();
        assert_eq!(told, [("0", 1), ("3", MAX_TEXT_BYTES)]);
    }
}
