//! Real text: the sources of the crates that the build has downloaded, again and again under
//! distinct keys until there is enough.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Files above this are data rather than text.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An endless series of texts, each with a key of its own.
#[derive(Debug)]
pub struct Text {
    files: Vec<PathBuf>,
    at: usize,
    pass: u32,
}

impl Text {
    /// Finds the files. None at all is an error of the set-up, so it panics.
    pub fn find() -> Text {
        let mut files = Vec::new();
        for folder in crate_folders() {
            collect(&folder, &mut files);
        }
        files.sort();
        assert!(
            !files.is_empty(),
            "no sources of downloaded crates: run a cargo build first"
        );
        Text {
            files,
            at: 0,
            pass: 0,
        }
    }

    /// Number of distinct files.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The next text and its key.
    pub fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            let path = &self.files[self.at];
            let mut names: Vec<_> = path
                .iter()
                .rev()
                .take(4)
                .map(|name| name.to_string_lossy())
                .collect();
            names.reverse();
            let key = format!("{:03}-{:05}/{}", self.pass, self.at, names.join("/"));
            let content = std::fs::read(path).unwrap_or_default();
            self.at += 1;
            if self.at == self.files.len() {
                (self.at, self.pass) = (0, self.pass + 1);
            }
            if !content.is_empty() {
                return (key, content);
            }
        }
    }
}

/// The folders of all packages that came from a registry, as cargo itself names them.
fn crate_folders() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let mut command = Command::new(cargo);
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--offline",
        "--manifest-path",
    ]);
    let output = command.arg(manifest).output().expect("cargo metadata");
    let parsed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let packages = parsed["packages"].as_array().cloned().unwrap_or_default();
    let downloaded = packages
        .iter()
        .filter(|package| package["source"].is_string());
    let manifests = downloaded.filter_map(|package| package["manifest_path"].as_str());
    manifests
        .filter_map(|path| Some(Path::new(path).parent()?.to_owned()))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let is_text = path.extension().is_some_and(|end| {
            ["rs", "md", "toml", "c", "h"]
                .iter()
                .any(|known| end == *known)
        });
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        if kind.is_dir() {
            collect(&path, files);
        } else if kind.is_file() && is_text && (1..=FILE_BYTES_MAX).contains(&size) {
            files.push(path);
        }
    }
}
