//! Finds the descriptors in the source of `envoy-types`, and writes what reading and checking
//! configuration needs of them: all but the source positions and comments, which are four fifths.
//!
//! They are cut out on the wire. Decoding and encoding the descriptors again would lose the
//! extensions that hold the validation rules.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Takes the place of the search: a `FileDescriptorSet` with everything that Envoy's types import.
const VARIABLE: &str = "TIDEGATE_ENVOY_DESCRIPTORS";
/// `FileDescriptorSet.file`.
const FILE: u64 = 1;
/// `FileDescriptorProto.source_code_info`.
const SOURCE_CODE_INFO: u64 = 9;

/// Writes `envoy-descriptors.bin` to the build's output.
pub(crate) fn write() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let source = match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => find(&out.join("locate"))?,
    };
    println!("cargo::rerun-if-changed={}", source.display());
    let set = fs::read(&source).map_err(|cause| format!("{}: {cause}", source.display()))?;
    let mut stripped = Vec::with_capacity(set.len());
    for (number, field) in fields(&set)? {
        if number != FILE {
            return Err(format!("{} holds no descriptors", source.display()).into());
        }
        let file: Vec<u8> = fields(field.payload)?
            .into_iter()
            .filter(|(number, _)| *number != SOURCE_CODE_INFO)
            .flat_map(|(_, field)| field.whole.iter().copied())
            .collect();
        stripped.push(0x0a);
        put_varint(&mut stripped, file.len() as u64);
        stripped.extend(file);
    }
    fs::write(out.join("envoy-descriptors.bin"), stripped)?;
    Ok(())
}

/// Asks cargo where the source of `envoy-types` is, without network.
///
/// It is asked about a package that has nothing but that one dependency, with the versions that
/// the lock file above this package fixes: all of it was fetched for this build, while other
/// members of a workspace, or other systems, may need packages that were not.
fn find(probe: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    fs::create_dir_all(probe.join("src"))?;
    fs::write(probe.join("src/lib.rs"), "")?;
    fs::write(
        probe.join("Cargo.toml"),
        "[package]\nname = \"locate\"\nedition = \"2024\"\n\
         [dependencies]\nenvoy-types = \"0.7\"\n[workspace]\n",
    )?;
    let lock = package
        .ancestors()
        .map(|directory| directory.join("Cargo.lock"))
        .find(|path| path.is_file());
    if let Some(lock) = lock {
        println!("cargo::rerun-if-changed={}", lock.display());
        fs::write(probe.join("Cargo.lock"), fs::read(lock)?)?;
    }
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", &env::var("TARGET")?])
        .arg("--manifest-path")
        .arg(probe.join("Cargo.toml"))
        // Where the configuration of a vendored or mirrored registry is looked for.
        .current_dir(&package)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata failed: {said}; set {VARIABLE} instead").into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata
        .get("packages")
        .and_then(serde_json::Value::as_array)
        .into_iter()
        .flatten()
        .find(|package| {
            package
                .get("name")
                .is_some_and(|name| name == "envoy-types")
        })
        .and_then(|package| package.get("manifest_path")?.as_str())
        .ok_or("cargo metadata doesn't know envoy-types")?;
    Ok(Path::new(manifest).with_file_name("src/generated/types.bin"))
}

/// A length-delimited field: with and without its tag and length.
struct Field<'a> {
    whole: &'a [u8],
    payload: &'a [u8],
}

/// The fields of a message of which only length-delimited ones and varints are expected.
fn fields(message: &[u8]) -> Result<Vec<(u64, Field<'_>)>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let tag = take_varint(&mut rest)?;
        let payload = match tag & 7 {
            0 => {
                take_varint(&mut rest)?;
                &[]
            }
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?)?;
                let (payload, after) = rest.split_at_checked(length).ok_or("cut short")?;
                rest = after;
                payload
            }
            other => return Err(format!("wire type {other} in a descriptor").into()),
        };
        let (whole, _) = start.split_at(start.len() - rest.len());
        found.push((tag >> 3, Field { whole, payload }));
    }
    Ok(found)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Box<dyn Error>> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or("cut short")?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number of more than 64 bits".into())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
