//! The kinds of mistakes, and what they put in the place of what was right.

/// What kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KeyMisspelt,
    KeyOfAnother,
    BlockRemoved,
    BlockRepeated,
    ItemNearlyRepeated,
    BlockFromElsewhere,
    BlockMisplaced,
    BlockEmptied,
    ValueMisspelt,
    ValueOdd,
    ValueOfSameKey,
    ValueOfOtherKey,
    NumberChanged,
    DurationChanged,
    TypeChanged,
    FormatDamaged,
    CharactersInserted,
    IndentationShifted,
    SyntaxDamaged,
}

/// All of them, and how often each is made: those whose outcome only Envoy's own code decides
/// more often than those that any parser finds.
pub(crate) const KINDS: [(Kind, usize, &str); 19] = [
    (Kind::KeyMisspelt, 2, "key misspelt"),
    (Kind::KeyOfAnother, 3, "key of another field"),
    (Kind::BlockRemoved, 10, "field or item removed"),
    (Kind::BlockRepeated, 5, "field or item repeated"),
    (Kind::ItemNearlyRepeated, 10, "item repeated with a change"),
    (
        Kind::BlockFromElsewhere,
        14,
        "field from elsewhere, in its place",
    ),
    (Kind::BlockMisplaced, 3, "field from elsewhere, misplaced"),
    (Kind::BlockEmptied, 6, "content emptied"),
    (Kind::ValueMisspelt, 5, "value misspelt"),
    (Kind::ValueOdd, 14, "odd value"),
    (
        Kind::ValueOfSameKey,
        12,
        "value of the same field elsewhere",
    ),
    (Kind::ValueOfOtherKey, 8, "value of another field"),
    (Kind::NumberChanged, 7, "number changed"),
    (Kind::DurationChanged, 4, "duration changed"),
    (Kind::TypeChanged, 4, "type of an extension changed"),
    (Kind::FormatDamaged, 5, "format string damaged"),
    (Kind::CharactersInserted, 7, "characters inserted"),
    (Kind::IndentationShifted, 2, "indentation shifted"),
    (Kind::SyntaxDamaged, 2, "syntax damaged"),
];

/// What takes the place of a value.
pub(crate) const VALUES: [&str; 66] = [
    "''",
    "0",
    "-1",
    "1",
    "101",
    "65536",
    "4294967295",
    "4294967296",
    "99999999999999999999",
    "1.5",
    "1e3",
    "0x10",
    "NaN",
    "true",
    "no",
    "null",
    "~",
    "[]",
    "{}",
    "[a]",
    "[[a]]",
    "{a: b}",
    "text",
    "'5'",
    "0s",
    "-1s",
    "1ms",
    "1",
    "0.0000000001s",
    "0.0001s",
    "315576000001s",
    "9223372037s",
    "UNKNOWN",
    "localhost",
    "256.0.0.1",
    "127.0.0.1",
    "'::1'",
    "'::1%lo'",
    "10.0.0.0/8",
    "'*'",
    "'*.'",
    "'*.example'",
    "'a*'",
    "'*a*'",
    "'(unclosed'",
    "'[z-a]'",
    "'a{2,1}'",
    "'a{1001}'",
    "'(?=a)'",
    "'(a)\\1'",
    "'\\C'",
    "'(?P<a>.)(?P<a>.)'",
    "'.*'",
    "'%'",
    "'100%'",
    "'%%'",
    "'%UNKNOWN(x)%'",
    "'%REQ%'",
    "'%PROTOCOL(x)%'",
    "\"line\\nbreak\"",
    "\"nul\\0\"",
    "a b",
    "'é'",
    "':authority'",
    "Host",
    "'a:b'",
];

/// Commands of format strings, whole and broken.
pub(crate) const COMMANDS: [&str; 24] = [
    "%REQ(:PATH)%",
    "%REQ(A?B?C)%",
    "%REQ()%",
    "%REQ(a b)%",
    "%REQ(X):5%",
    "%REQ(X):%",
    "%RESP(X)",
    "%PROTOCOL%",
    "%PROTOCOL:3%",
    "%protocol%",
    "%START_TIME(%Y)%",
    "%START_TIME(%n)%",
    "%START_TIME:3%",
    "%GRPC_STATUS(LOUD)%",
    "%DYNAMIC_METADATA(a:b):3%",
    "%CLUSTER_METADATA(a):3%",
    "%FILTER_STATE(a:LOUD)%",
    "%FILTER_STATE(a:FIELD)%",
    "%METADATA(ROUTE:a)%",
    "%METADATA(MOON:a)%",
    "%COMMON_DURATION(DS_RX_BEG:US_TX_END:ms)%",
    "%COMMON_DURATION(DS_RX_BEG:US_TX_END:h)%",
    "%PATH(WQ)%",
    "%TIDES%",
];

/// Damages what is nowhere but in strings.
pub(crate) const CHARACTERS: [&str; 16] = [
    " ", "*", "%", ":", "/", "\\n", "\\0", "\\t", "é", "(", "[", "\\\\", "?", "#", "\"", "\u{1}",
];

pub(crate) const SYNTAX: [char; 14] = [
    ':', '-', '[', ']', '{', '}', '\'', '"', '#', '&', '*', '!', '|', '\t',
];

// === impl Kind ===

impl Kind {
    pub(crate) fn words(self) -> &'static str {
        let known = KINDS.iter().find(|(kind, _, _)| *kind == self);
        known.map_or("", |(_, _, words)| words)
    }
}
