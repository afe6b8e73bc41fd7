//! Bounds on what is read, so that no input costs more than it is worth.
//!
//! Each is far above what people write by hand and far below what would hurt.

/// Bytes of one file.
pub const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Files of one mesh.
pub const MAX_FILES: usize = 1_000;
/// Bytes of all files of one mesh together.
pub const MAX_TOTAL_BYTES: usize = 32 * 1024 * 1024;
/// Lists and mappings within each other, in one document.
pub const MAX_DEPTH: usize = 16;
/// Values, keys, lists and mappings in one file.
pub const MAX_NODES: usize = 400_000;
/// Diagnostics handed back; further ones are only counted.
pub const MAX_DIAGNOSTICS: usize = 1_000;
/// Characters of a name. Envoy's statistics, metrics and node ids repeat names a lot.
pub const MAX_NAME_CHARACTERS: usize = 63;
/// Bytes of a sidecar's node id: what the xDS server accepts of one.
pub const MAX_NODE_ID_BYTES: usize = 512;
/// Hosts of one version. A sidecar gets them in one message, which gRPC clients refuse above 4 MiB.
pub const MAX_HOSTS: usize = 10_000;
/// Versions of one service. Each is a cluster in every sidecar of its fleets.
pub const MAX_VERSIONS: usize = 100;
/// Rungs of one ladder.
pub const MAX_RUNGS: usize = 20;
/// Freeze windows of one service.
pub const MAX_FREEZES: usize = 50;
