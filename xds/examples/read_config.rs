//! Reads files of Envoy configuration: what is in them, or everything that is wrong with them.
//!
//! ```text
//! cargo run --release -p tidegate-xds --features config --example read_config -- envoy.yaml
//! ```

use std::process::ExitCode;
use std::time::Instant;

use tidegate_xds::config::{Reader, Source};

fn main() -> std::io::Result<ExitCode> {
    let mut texts = Vec::new();
    for file in std::env::args().skip(1) {
        texts.push((std::fs::read_to_string(&file)?, file));
    }
    let sources: Vec<Source<'_>> = texts
        .iter()
        .map(|(text, file)| Source { file, text })
        .collect();
    // The first reader decodes the descriptors of Envoy's API, once per process.
    let _ = Reader::new().read("", "");
    let started = Instant::now();
    let read = Reader::new().read_all(&sources);
    let took = started.elapsed();
    match read {
        Ok(resources) => {
            for resource in &resources {
                println!("{} {}", resource.type_url(), resource.name());
            }
            println!("{} resources in {took:?}", resources.len());
            Ok(ExitCode::SUCCESS)
        }
        Err(diagnostics) => {
            for diagnostic in &diagnostics {
                println!("{diagnostic}");
            }
            println!("{} mistakes in {took:?}", diagnostics.len());
            Ok(ExitCode::FAILURE)
        }
    }
}
