//! Envoy configuration from strangers: protobuf messages, and text.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use std::sync::OnceLock;

use tidegate_xds::config::{Reader, encode, pool, validate};

use crate::message;

/// Checks a message of any type that Envoy has: either any bytes that are one, or one that is made
/// of what the input says, so that it gets deep.
pub fn config_validate(input: &[u8]) {
    let mut input = Unstructured::new(input);
    // The input's end is the message's end.
    let _ = check_one(&mut input);
}

fn check_one(input: &mut Unstructured<'_>) -> Result<()> {
    static ALL: OnceLock<Vec<MessageDescriptor>> = OnceLock::new();
    let all = ALL.get_or_init(|| pool().all_messages().collect());
    let descriptor = input.choose(all)?.clone();
    if input.ratio(3_u8, 4_u8)? {
        check(&message::any(&descriptor, input, 0)?);
        return Ok(());
    }
    let bytes = input.bytes(input.len())?;
    if let Ok(message) = DynamicMessage::decode(descriptor, bytes) {
        check(&message);
    }
    Ok(())
}

fn check(message: &DynamicMessage) {
    let violations = validate(message);
    for violation in &violations {
        assert!(!violation.rule.is_empty() && !violation.message.is_empty());
    }
    let bytes = encode(message);
    let again = DynamicMessage::decode(prost_reflect::ReflectMessage::descriptor(message), &*bytes);
    let again = again.expect("what was encoded can be decoded");
    assert_eq!(encode(&again), bytes, "equal content is equal bytes");
    assert_eq!(validate(&again), violations);
}

/// Reads text as a file of configuration.
pub fn config_read(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let reader = Reader::new().assume_cluster("elsewhere");
    let read = reader.read("fuzz.yaml", text);
    match &read {
        Ok(resources) => {
            for resource in resources {
                assert!(!resource.name().is_empty());
            }
        }
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "refused without a reason");
            for diagnostic in diagnostics {
                assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
                assert!(!diagnostic.to_string().is_empty());
            }
        }
    }
    assert_eq!(read, reader.read("fuzz.yaml", text), "the same every time");
}
