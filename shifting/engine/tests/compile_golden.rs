//! The bytes of the example mesh's views, over releases.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the test reads fixtures; the engine does not"
)]

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use tidegate_engine::compile::{self, CanarySplit, ClientKind};
use tidegate_engine::mesh::{self, SourceFile};
use tidegate_engine::units::Ppm;

/// A change of these hashes is a change of what every sidecar holds: after the upgrade it is sent
/// to all of them. Let it happen only on purpose, and say in the release's notes what it touches.
const GOLDEN: [(&str, ClientKind, &str); 2] = [
    (
        "web",
        ClientKind::Envoy,
        "a84eda003bcf456f27f6e5d5e1fb4239339520e7d408f3f9cded3616b2dcaaae",
    ),
    (
        "web",
        ClientKind::Grpc,
        "b959e79a18cd71153307b1314492fb1cefe9630df6a646230452c2eb90758b86",
    ),
];

#[test]
fn the_example_meshs_views_are_the_same_bytes_as_in_the_last_release() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/meshes/shop");
    let files: Vec<SourceFile> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            SourceFile {
                path: path.display().to_string(),
                text: fs::read_to_string(path).unwrap(),
            }
        })
        .collect();
    let mesh = mesh::read(&files).unwrap();
    let mut splits = compile::initial_splits(&mesh);
    splits.get_mut("checkout").unwrap().canary = Some(CanarySplit {
        version: "v2".to_owned(),
        share: Ppm::new(50_000).unwrap(),
        hosts: Some(1),
        ttl_ms: 6_000,
    });
    for (fleet, kind, golden) in GOLDEN {
        let mut hash = Sha256::new();
        for resource in compile::view(&mesh, fleet, kind, &splits).unwrap() {
            hash.update(resource.type_url);
            hash.update(resource.name);
            hash.update(&resource.body);
        }
        let hash: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash, golden, "{fleet}, {kind:?}");
    }
}
