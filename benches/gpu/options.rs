//! What the command line asks for.

use std::path::PathBuf;

/// Parts of the bench.
const PARTS: [&str; 4] = ["rates", "msm", "ntt", "groth16"];

/// The help.
pub(crate) const USAGE: &str = "\
gpu [rates] [msm] [ntt] [groth16] [--quick] [--max-log-n N] [--gpu N | --cpu] [--json PATH]
gpu --check [--quick] [--max-log-n N] [--gpu N | --cpu]

  --quick        sizes to 2^22, in G2 to 2^20; with --check without the suite
  --max-log-n N  sizes to 2^N: 24, with --check 18
  --check        results only: beside the CPU's and by known logarithms, then the suite that every device passes; nothing is timed
  --gpu N        the GPU with this number
  --cpu          the CPU, without rates and limits: for comparison, and where there is no GPU
  --json PATH    the file for results; or the environment variable ZKINFER_GPU_JSON";

/// The device to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first GPU that can be used.
    First,
    /// The GPU with this number.
    Gpu(usize),
    Cpu,
}

#[derive(Debug)]
pub(crate) struct Options {
    parts: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) check: bool,
    pub(crate) choice: Choice,
    pub(crate) json: Option<PathBuf>,
    max_log_n: Option<u32>,
}

impl Options {
    /// # Errors
    /// What is wrong, as a sentence.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            parts: Vec::new(),
            quick: false,
            check: false,
            choice: Choice::First,
            json: std::env::var_os("ZKINFER_GPU_JSON").map(PathBuf::from),
            max_log_n: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text}: not a number"));
            match word.as_str() {
                // What cargo says to every bench.
                "--bench" | "--test" => {}
                "--quick" => options.quick = true,
                "--check" => options.check = true,
                "--cpu" => options.choice = Choice::Cpu,
                "--gpu" => options.choice = Choice::Gpu(number(value()?)? as usize),
                "--max-log-n" => options.max_log_n = Some(number(value()?)?),
                "--json" => options.json = Some(value()?.into()),
                part if PARTS.contains(&part) => options.parts.push(word),
                flag if flag.starts_with('-') => return Err(format!("{word} is not known")),
                // A name of another bench's, which cargo hands to all of them.
                _ => options.parts.push(word),
            }
        }
        if options
            .max_log_n
            .is_some_and(|max| !(1..=26).contains(&max))
        {
            return Err("--max-log-n is from 1 to 26".to_owned());
        }
        Ok(options)
    }

    /// Whether a part runs: all do where none is named.
    pub(crate) fn asks_for(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|asked| asked == part)
    }

    /// The largest size.
    pub(crate) fn max_log_n(&self) -> u32 {
        let default = match (self.check, self.quick || self.choice == Choice::Cpu) {
            (true, _) => 18,
            (false, true) => 22,
            (false, false) => 24,
        };
        self.max_log_n.unwrap_or(default)
    }

    /// Every second size from `first` to `last`, as far as the options allow; the largest of them where they allow none of these.
    pub(crate) fn log_sizes(&self, first: u32, last: u32) -> impl Iterator<Item = u32> + use<> {
        let last = last.min(self.max_log_n());
        (first.min(last)..=last).step_by(2)
    }
}
