//! Brings the descriptors of Envoy's messages along, for the feature `config`.
//!
//! The package `envoy-types` ships them (`src/generated/types.bin`) without exposing them. They are
//! taken from the very package that this build uses, so that nothing generated is committed.

#[cfg(feature = "config")]
#[path = "build/descriptors.rs"]
mod descriptors;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    #[cfg(feature = "config")]
    if let Err(cause) = descriptors::write() {
        println!("cargo::error=the descriptors of Envoy's messages: {cause}");
    }
}
