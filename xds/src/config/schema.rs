//! The descriptors of Envoy's messages.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

/// Without source positions and comments; written by the build script.
static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy-descriptors.bin"));

/// The messages that this build knows, decoded at the first use (about 40 ms and 17 MB).
///
/// # Panics
/// Never, as long as the descriptors that were built in are whole: a test decodes them.
#[expect(
    clippy::expect_used,
    reason = "a constant of the build, decoded by every test"
)]
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(DESCRIPTORS).expect("the built-in descriptors are whole")
    })
}

/// The message of a type URL. Envoy goes by what follows the last `/`.
pub(super) fn message_of(type_url: &str) -> Option<MessageDescriptor> {
    let (_, name) = type_url.rsplit_once('/')?;
    pool().get_message_by_name(name)
}
