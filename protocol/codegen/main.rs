//! Build script: `messages/*.txt` (the wire facts) become Rust types with `decode` and `encode`.
//!
//! [`table`] reads the facts, [`emit`] writes the code,
//! [`decode`] and [`encode`] the functions in it. What comes out is one module per API and
//! two enums over all of them, included by `src/messages.rs`.

mod decode;
mod emit;
mod emit_tests;
mod encode;
mod layout;
mod table;

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=messages");
    println!("cargo:rerun-if-changed=codegen");
    let mut files: Vec<_> = fs::read_dir("messages")
        .expect("the folder of message tables is part of the crate")
        .map(|entry| entry.expect("a readable folder entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    let apis: Vec<table::Api> = files
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).expect("a readable message table");
            let module = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a plain file name");
            table::parse(module, &text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect();
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let write = |name: &str, code: String| {
        fs::write(Path::new(&out).join(name), code).expect("a writable OUT_DIR");
    };
    write("messages.rs", emit::all(&apis));
    write("messages_tests.rs", emit_tests::all(&apis));
}
