//! Every bound of this crate, with its reason. A client that passes one is refused by name and
//! loses only its own stream.

use std::time::Duration;

/// Largest request that is decoded, bytes. The first delta request after a reconnect names every
/// resource that the client holds and passes gRPC's usual 4 MiB (xDS protocol rule C16); an
/// Envoy 1.40 node alone is 61 KB.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size from which a request is read beside the threads that serve all others, bytes. An Envoy that
/// comes back with 1,000 clusters and their assignments sends 150 KB, which is read in less than the
/// millisecond that its first answers take.
pub const LARGE_REQUEST_BYTES: usize = 256 * 1024;

/// What is kept of requests that didn't arrive whole yet, or that wait to be read, of all streams
/// together, bytes; half of it of large ones, so that 16 of the largest fit at a time. The other half
/// is for everyday ones: 2,000 Envoys that come at once ([`NEW_STREAMS_BURST`]) with 1,000 clusters and
/// their assignments each send 300 MB, of which at any time most didn't come or were read.
pub const UNFINISHED_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Cores for each large request that is read at the same time; one is read in any case. However many
/// come at once, half of the machine is left to everybody else.
pub const CORES_PER_LARGE_REQUEST: usize = 2;

/// Size that a response is filled up to, bytes. Many clients refuse messages above 4 MiB (rule
/// C17); a delta response is split here, a state-of-the-world one of clusters or listeners can't be.
pub const RESPONSE_BYTES_TARGET: usize = 3 * 1024 * 1024;

/// Largest response that every client takes, bytes: gRPC's usual limit. A state-of-the-world set that
/// is larger goes out all the same, as some clients have a higher one; it is counted and told.
pub const RESPONSE_BYTES_USUAL_MAX: usize = 4 * 1024 * 1024;

/// Largest single resource, bytes: it must fit into one 4 MiB message with its envelope.
pub const RESOURCE_BYTES_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;

/// Longest resource name, bytes; also of names that a client subscribes to.
pub const NAME_BYTES_MAX: usize = 512;

/// Longest version that an embedder gives to a resource or to a type, bytes: a SHA-256 with what
/// it is of. Clients send the versions of all they hold with their first request on a new stream,
/// so that shorter is better (rule C16); 16 hex digits are what resources have without it.
pub const VERSION_BYTES_MAX: usize = 128;

/// Most other names that a resource goes by: a virtual host's domains.
pub const ALIASES_MAX: usize = 1_024;

/// Most parts of an error's details that a client sends (`error_detail`): each takes two bytes on
/// the wire and fifty in memory. Envoy sends a code and a message.
pub const ERROR_PARTS_MAX: usize = 1_024;

/// Longest message of a resource error, bytes; it is sent for every name that it is the answer to.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1_024;

/// Most names that one stream may be subscribed to, over all types, and most versions that one
/// request may claim to hold.
pub const NAMES_MAX: usize = 200_000;

/// Most resource types on one stream. Envoy 1.40 knows fewer than 20.
pub const TYPES_MAX: usize = 64;

/// Longest type URL that is remembered, bytes.
pub const TYPE_URL_BYTES_MAX: usize = 256;

/// What is kept of a rejection's text, bytes. Envoy prints the whole resource into it.
pub const REJECTION_TEXT_BYTES_MAX: usize = 4 * 1024;

/// How many rejected contents are remembered for one resource, so that they aren't sent again on
/// that stream.
pub const REJECTED_VERSIONS_MAX: usize = 16;

/// How many contents a client may be running of one resource at once, as far as is remembered:
/// each is one that it rejected together with others.
pub const DOUBTFUL_VERSIONS_MAX: usize = 4;

/// Contents that are remembered as taken by some client, and as refused by some; 8 bytes each and
/// the tree around them.
pub const PROVEN_MAX: usize = 200_000;

/// The latest contents that clients took, as they are told to streams which hold them back: what a
/// stream may miss between two looks before it has to look at all that it holds back.
pub const PROVEN_NEWS_MAX: usize = 4_096;

/// What a client that comes back may have otherwise than the view for the rest to be taken for one:
/// one in this many.
pub(crate) const CLAIMS_APART_SHARE: usize = 2;

/// Sets of resources that are remembered to be proven as a whole: about as many as there are views
/// that clients start with at a time.
pub(crate) const PROVEN_WHOLES_MAX: usize = 64;

/// Contents that are remembered as refused by some client, for all streams together.
pub const CONTESTED_MAX: usize = 10_000;

/// Versions of the embedder's own of which the bytes are remembered; 17 bytes each and the tree
/// around them.
pub const KNOWN_VERSIONS_MAX: usize = 200_000;

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

/// Responses that a client may reject in a row and still get the next one at once: nearly twice as
/// many as a search by halves for one among 200,000 takes.
pub const REJECTED_IN_A_ROW_MAX: u32 = 32;

/// How long a client that rejected more than that waits for the next response. Twenty such clients,
/// tried twenty times a second each, take a few hundredths of a core; and as soon as one takes
/// something, it waits for nothing any more.
pub const REJECTION_PACE: Duration = Duration::from_millis(50);

/// Responses that were given up and whose late answers are still understood.
pub const OVERDUE_MAX: usize = 4;

/// Earlier views whose difference to a view is remembered, so that it is computed once and not by
/// each stream: streams are a few views apart at most, and for the others it is computed again.
pub const DIFFERENCES_KEPT: usize = 8;

/// Lists of subscribed names for which a view remembers the digest of what they cover. Sidecars of
/// one kind share a list.
pub const SUBSCRIBED_DIGESTS_KEPT: usize = 64;

/// Names that a stream may have subscribed to or dropped beside its shared list before a new list
/// is made of them: one in this many of the list. With more, lists would be made too often while a
/// client subscribes name by name; with fewer, a stream at rest would keep much for itself.
pub const NAMES_ASIDE_SHARE: usize = 64;

/// Whole sets that a state-of-the-world client rejected and that are remembered, so that none is
/// sent twice; 8 bytes each, and the client's words.
pub const REJECTED_SETS_MAX: usize = 4_096;

/// Resources of a type that a view may lose any number of (but not all) without being asked.
pub const SHRINK_FREE_MAX: usize = 10;

/// How long a stream of one type (not aggregated) keeps what the view no longer has (rule O5):
/// twice the time within which a client's other streams are served, gates included.
pub const REMOVAL_GRACE: Duration = Duration::from_secs(30);

/// Streams that are served at the same time, all nodes together. Measured with 5,000 idle ones: 29 KiB
/// of memory each with its connection for 1,000 clusters, 45 KiB with their assignments by name.
pub const STREAMS_MAX: usize = 20_000;

/// Aggregated streams of one node id at the same time. An Envoy has one; a gRPC process has one a
/// target.
pub const STREAMS_PER_NODE_MAX: usize = 32;

/// Streams of one type each, of one node id or identity, at the same time. An Envoy that doesn't
/// aggregate has one for each subscription: each cluster's endpoints, each listener's routes. So many
/// fit into three of its connections; who has more must aggregate.
pub const STREAMS_OF_ONE_TYPE_MAX: usize = 3 * STREAMS_PER_CONNECTION_MAX as usize;

/// How long a new stream may take to begin with the request that names its node.
pub const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take from its first byte to its last. The largest that gRPC usually takes,
/// 4 MiB, comes over 600 kbit/s, and the largest that is taken at all over 2.3 Mbit/s; and who sends
/// beginnings only, to use up [`UNFINISHED_BYTES_MAX`], has to send all of it again each minute.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may leave a response unread before its stream is closed.
pub const BLOCKED_MAX: Duration = Duration::from_secs(30);

/// Resources of a response that are copied into it, bytes. More are sent as they are, shared by all
/// streams, which costs a frame of its own and one more system call: worth it from here on.
pub const COPIED_BYTES_MAX: usize = 4 * 1024;

/// Concatenations of resources that are kept for streams to come, bytes; the oldest goes first. One
/// that some stream still sends is shared in any case. They keep the resources alive that they are
/// made of, which are as large again where no view has them any more. At 5,000 streams this is
/// 3.3 KiB a stream, and a first answer with 1,000 clusters fits in 40 times.
pub const BATCHES_KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Changes that a receiver of [`Server::watch_delivery`](crate::Server::watch_delivery) may be
/// behind before it misses some: several for each of a thousand clients.
pub const CHANGES_KEPT: usize = 4_096;

/// Clients that are remembered after they left; 1 to 2 KiB of memory each, unless they refused much.
pub const GONE_CLIENTS_MAX: usize = 10_000;

/// How long the whole sets of a state-of-the-world client are remembered after it left: an Envoy comes
/// back within 30 s, a host that starts again within minutes. They keep the view of then alive.
pub const EARLIER_SETS_KEPT: Duration = Duration::from_secs(600);

/// How long a client is remembered after it left.
pub const GONE_CLIENT_KEPT: Duration = Duration::from_secs(3_600);

/// Longest node id, cluster, locality part and version of a client, bytes.
pub const NODE_FIELD_BYTES_MAX: usize = 1024;

/// Largest node, bytes. An Envoy 1.40's is 61 KB, nearly all of it its list of extensions; the rest
/// is for metadata.
pub const NODE_BYTES_MAX: usize = 256 * 1024;

/// Longest SPIFFE ID, bytes; the standard's own limit.
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// Longest trust domain, bytes; the standard's own limit.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Secure connections at the same time. A connection with one stream takes 34 KiB.
pub const CONNECTIONS_MAX: usize = 20_000;

/// Connections of an identity that stands for one node. An Envoy has one for everything; another
/// two may be dead ones that the keepalive will find within 15 s.
pub const CONNECTIONS_PER_IDENTITY_MAX: usize = 4;

/// Connections of an identity that many nodes share, such as a fleet's.
pub const CONNECTIONS_PER_SHARED_IDENTITY_MAX: usize = 5_000;

/// Aggregated discovery streams of an identity that stands for one node: one, and a dead one before
/// it.
pub const ADS_STREAMS_PER_IDENTITY_MAX: usize = 2;

/// Report streams of an identity that stands for one node: metrics, load and access logs, and dead
/// ones before them.
pub const REPORT_STREAMS_PER_IDENTITY_MAX: usize = 6;

/// New discovery streams per second, on average. With its handshake one costs 0.54 ms of CPU, so
/// that half a core stays free of newcomers at any time; 5,000 are back within 3 s. (At 250, as
/// Consul has it on 2 cores, they would take 20 s.)
pub const NEW_STREAMS_PER_SECOND: u32 = 1_000;

/// New discovery streams at once: about one second of one core.
pub const NEW_STREAMS_BURST: u32 = 2_000;

/// How long a new stream waits for its turn, unread; who would have to wait longer is sent away.
pub const ADMISSION_PATIENCE: Duration = Duration::from_secs(10);

/// New streams whose first answers are worked on at the same time, per core: the first stream of a
/// push has little more than this before it, 1 ms each with 1,000 clusters, and the others nothing
/// ([`PUSH_PAUSE_MAX`]). Two, so that one is ready when another ends.
pub const COLD_STARTS_PER_CORE: usize = 2;

/// How long newcomers, and those that rejected something, wait for the next stream of a push after each
/// one: a hundred times what a stream takes, and twice what one of them takes that goes between.
pub const PUSH_PAUSE_MAX: Duration = Duration::from_millis(2);

/// For how long pushes go before newcomers at a time, beyond half of all time: 5,000 streams take
/// 100 ms.
pub const PRECEDENCE_BURST: Duration = Duration::from_millis(100);

/// How long a stream counts as new, unless it has caught up with its view before.
pub const COLD_START_MAX: Duration = Duration::from_secs(10);

/// Cores for each stream that is worked on after its client rejected something; one is in any case.
/// A rejection of 1,000 resources takes most of a millisecond, and clients that reject one content reject
/// it together: however many they are, the others have half of the machine.
pub const CORES_PER_REJECTION: usize = 2;

/// Resources of a response whose rejection is worked on by the threads that serve everybody: to take
/// it in takes 0.4 ms for 1,000, and to look for what comes of it as long again. Of more, it is worked
/// on beside them, as large requests are.
pub const REJECTED_AT_ONCE_MAX: usize = 4_096;

/// How long a TLS handshake may take: 540 µs of CPU and two round trips.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes under way at the same time. One more, and the oldest goes.
pub const HANDSHAKES_MAX: usize = 1_024;

/// How long a connection may take from its handshake to its first bytes of HTTP/2. The keepalive
/// begins only after them.
pub const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest certificate, key or CA file, bytes.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How long before its end a server's certificate is warned about: at most so long, and at most
/// that part of its life.
pub const CERTIFICATE_WARNINGS: [(Duration, u32); 3] = [
    (Duration::from_secs(30 * 86_400), 3),
    (Duration::from_secs(7 * 86_400), 6),
    (Duration::from_secs(86_400), 12),
];

/// Most CAs that clients may come from: a few trust domains, each while its CA is replaced.
pub const CLIENT_CAS_MAX: usize = 64;

/// Streams on one connection at the same time. An Envoy has four (discovery, metrics, load, logs), a
/// gRPC process two a target.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 64;

/// Largest list of request headers, bytes, also over CONTINUATION frames. An Envoy's has 300.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Streams that a client reset before they were served, as far as a connection takes it
/// (CVE-2023-44487, rapid reset).
pub const PENDING_RESETS_MAX: usize = 20;

/// Streams that this side reset for errors of the client, as far as a connection takes it
/// (RUSTSEC-2024-0003).
pub const LOCAL_RESETS_MAX: usize = 64;

/// Largest HTTP/2 frame that is taken, bytes: the protocol's own default. A larger one would only
/// be a larger buffer per connection.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// How often a silent connection is asked whether it lives.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long it may take to answer. With the interval, dead peers are found within 15 s (xDS
/// protocol rule C15).
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines per second that connections without a proven identity may write into the log, on average.
/// All of them are counted.
pub const STRANGERS_LINES_PER_SECOND: u32 = 5;

/// Such lines at once.
pub const STRANGERS_LINES_BURST: u32 = 50;
