//! Bounds on what one file can make the reader do.

/// Bytes in one file. Envoy itself takes a response of at most 4 MiB unless told otherwise; a
/// bootstrap of 1,000 clusters is about 1 MB of YAML.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// Values in one file, with what aliases stand for counted every time. Ten aliases of ten aliases
/// of ten … turn a kilobyte into terabytes.
pub const VALUES_MAX: usize = 500_000;

/// Lists, mappings and messages within each other. Protobuf parsers stop at 100.
pub const DEPTH_MAX: usize = 100;

/// Diagnostics for one file; beyond, the last one says that there are more.
pub const DIAGNOSTICS_MAX: usize = 1_000;

/// Combinations of what the filter chains of a listener match (ranges times names times ports …),
/// each of which must be one chain's alone. Envoy holds them all in memory, and so does the check.
pub const CHAIN_MATCHES_MAX: usize = 100_000;

/// Instructions of RE2 that Envoy lets a regular expression compile to, unless its runtime says
/// otherwise by `re2.max_program_size.error_level`.
pub const REGEX_PROGRAM: u64 = 100;

/// Longest name that is compared with others to find what was meant, bytes: longer than any of
/// Envoy's API.
pub const COMPARED_BYTES_MAX: usize = 200;

/// Steps that may be taken to find what misspelt names were meant for, in all that is read at once:
/// one for each byte that is looked at, and for two names that are compared their lengths multiplied.
/// Looking for one name among a thousand takes 20,000, for a type among all of Envoy's 400,000; all of
/// this takes a tenth of a second.
pub const COMPARISON_STEPS_MAX: usize = 50_000_000;
