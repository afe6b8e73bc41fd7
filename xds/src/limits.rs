//! Every bound of this crate, with its reason. A client that passes one is refused by name and
//! loses only its own stream.

use std::time::Duration;

/// Largest request that is decoded, bytes. The first delta request after a reconnect names every
/// resource that the client holds and passes gRPC's usual 4 MiB (xDS protocol rule C16); an
/// Envoy 1.40 node alone is 61 KB.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size that a response is filled up to, bytes. Many clients refuse messages above 4 MiB (rule
/// C17); a delta response is split here, a state-of-the-world one of clusters or listeners can't be.
pub const RESPONSE_BYTES_TARGET: usize = 3 * 1024 * 1024;

/// Largest single resource, bytes: it must fit into one 4 MiB message with its envelope.
pub const RESOURCE_BYTES_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Longest resource name, bytes; also of names that a client subscribes to.
pub const NAME_BYTES_MAX: usize = 512;

/// Most names that one stream may be subscribed to, over all types, and most versions that one
/// request may claim to hold.
pub const NAMES_MAX: usize = 200_000;

/// Most resource types on one stream. Envoy 1.40 knows fewer than 20.
pub const TYPES_MAX: usize = 64;

/// Longest type URL that is remembered, bytes.
pub const TYPE_URL_BYTES_MAX: usize = 256;

/// What is kept of a rejection's text, bytes. Envoy prints the whole resource into it.
pub const REJECTION_TEXT_BYTES_MAX: usize = 4 * 1024;

/// How many rejected contents are remembered for one resource (or for one type of a
/// state-of-the-world stream), so that they aren't sent again on that stream.
pub const REJECTED_VERSIONS_MAX: usize = 16;

/// How many contents a client may be running of one resource at once, as far as is remembered:
/// each is one that it rejected together with others.
pub const DOUBTFUL_VERSIONS_MAX: usize = 4;

/// Contents that are remembered as taken by some client, and as refused by some; 8 bytes each and
/// the tree around them.
pub const PROVEN_MAX: usize = 200_000;

/// Contents that are remembered as refused by some client, for all streams together.
pub const CONTESTED_MAX: usize = 10_000;

/// How long a gate waits for a silent client before the resource goes out anyway (rule O4). Envoy
/// holds the ACK of clusters back until they are warm or their fetch timed out, 15 s by default.
pub const GATE_DEADLINE: Duration = Duration::from_secs(15);

/// How long a client may leave a response unanswered, or come back without asking for what it
/// had, before it counts as suspect (design M12).
pub const SUSPECT_AFTER: Duration = Duration::from_secs(10);

/// How long clusters may stay unanswered before they are taken back: longer than Envoy's default
/// `initial_fetch_timeout` of 15 s, for which it rightly holds its answer while a cluster warms.
pub const CURE_AFTER: Duration = Duration::from_secs(16);

/// How long to wait before the next cure.
pub const CURE_AGAIN_AFTER: Duration = Duration::from_secs(8);

/// Cures on one stream for one state of the clusters. More would only be more noise: somebody has
/// to look.
pub const CURES_MAX: u32 = 3;

/// Responses that were given up and whose late answers are still understood.
pub const OVERDUE_MAX: usize = 4;

/// Resources of a type that a view may lose any number of (but not all) without being asked.
pub const SHRINK_FREE_MAX: usize = 10;

/// How long a stream of one type (not aggregated) keeps what the view no longer has (rule O5):
/// twice the time within which a client's other streams are served, gates included.
pub const REMOVAL_GRACE: Duration = Duration::from_secs(30);

/// Streams that are served at the same time, all nodes together. 23 to 31 KiB of memory each.
pub const STREAMS_MAX: usize = 20_000;

/// Streams of one node id at the same time. An Envoy has one; a gRPC process has one a target.
pub const STREAMS_PER_NODE_MAX: usize = 32;

/// How long a new stream may take to name its node.
pub const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may leave a response unread before its stream is closed.
pub const BLOCKED_MAX: Duration = Duration::from_secs(30);

/// Responses queued between a stream's task and its connection. More would only be staler.
pub const RESPONSES_QUEUED_MAX: usize = 2;

/// Changes that a receiver of [`Server::watch_delivery`](crate::Server::watch_delivery) may be
/// behind before it misses some: several for each of a thousand clients.
pub const CHANGES_KEPT: usize = 4_096;

/// Clients that are remembered after they left.
pub const GONE_CLIENTS_MAX: usize = 10_000;

/// How long a client is remembered after it left.
pub const GONE_CLIENT_KEPT: Duration = Duration::from_secs(3_600);

/// Longest node id, cluster, locality part and version of a client, bytes.
pub const NODE_FIELD_BYTES_MAX: usize = 1024;
