//! What the command line prints.

use std::{io::Write as _, path::Path};

use serde_json::{Value, json};

use crate::{bundle::BundleError, store::blobs, work::WorkError};

/// Why a verb did not do its work, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl CliError {
    /// The work failed: exit code 1.
    pub(crate) fn failed(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            code: 1,
        }
    }

    /// The command line is wrong: exit code 2.
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            code: 2,
        }
    }
}

/// A bundle that cannot be used is a wrong argument.
impl From<BundleError> for CliError {
    fn from(e: BundleError) -> Self {
        match e {
            BundleError::Write(_) => Self::failed(e),
            _ => Self::usage(e),
        }
    }
}

impl From<WorkError> for CliError {
    fn from(e: WorkError) -> Self {
        Self::failed(e)
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) json: bool,
}

impl Out {
    /// Prints the result: the JSON value, or the text.
    pub(crate) fn result(self, value: &Value, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that went away is no error of ours.
        let _ = if self.json {
            writeln!(out, "{value}")
        } else {
            writeln!(out, "{}", text.trim_end())
        };
        let _ = out.flush();
    }

    /// Prints a warning.
    pub(crate) fn warning(self, text: &str) {
        if !self.json {
            eprintln!("warning: {text}");
        }
    }

    /// Prints an error.
    pub(crate) fn error(self, error: &CliError) {
        if self.json {
            eprintln!(
                "{}",
                json!({ "error": error.message, "exit_code": error.code })
            );
        } else {
            eprintln!("error: {}", error.message);
        }
    }
}

/// Reads a file of the user.
pub(crate) fn read_file(path: &Path, max: u64, what: &str) -> Result<Vec<u8>, CliError> {
    blobs::read_bounded(path, max).map_err(|e| CliError::usage(format!("the {what}: {e}")))
}

/// Writes a file of the user, all or nothing.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    zkinfer_params::store::write_file(path, bytes).map_err(CliError::failed)
}

/// Rows of a table with a left column of names.
pub(crate) fn table(rows: &[(String, String)]) -> String {
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    rows.iter().fold(String::new(), |text, (name, value)| {
        let pad = width - name.chars().count();
        text + &format!("{name}{}  {value}\n", " ".repeat(pad))
    })
}

/// Rows of cells, the first row a heading; the first two columns to the left, numbers to the right.
pub(crate) fn grid(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        let cells = rows.iter().filter_map(|row| row.get(c));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (c, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            let gap = if c == 0 { "" } else { "  " };
            text += &match c {
                0 | 1 => format!("{gap}{cell}{pad}"),
                _ => format!("{gap}{pad}{cell}"),
            };
        }
        text = text.trim_end().to_owned() + "\n";
    }
    text
}

/// A row of a table.
pub(crate) fn row(name: impl Into<String>, value: impl ToString) -> (String, String) {
    (name.into(), value.to_string())
}

/// Bytes as people read them.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Seconds as people read them.
pub(crate) fn seconds(s: f64) -> String {
    if s < 1.0 {
        format!("{:.0} ms", s * 1000.0)
    } else {
        format!("{s:.2} s")
    }
}

/// A private folder that is gone when the verb is.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(std::path::PathBuf);

impl TemporaryFolder {
    pub(crate) fn new() -> Result<Self, CliError> {
        let path = std::env::temp_dir().join(format!("zkinfer-{}", uuid::Uuid::new_v4().simple()));
        blobs::private_folder(&path).map_err(CliError::failed)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
