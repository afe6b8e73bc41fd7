//! Where each rule applies, and why not elsewhere.

/// Ways to run a rule over the wire.
pub(crate) type Modes = &'static [&'static str];

pub(crate) const ALL: Modes = &["delta_ads", "delta_per_type", "sotw_ads", "sotw_per_type"];
pub(crate) const DELTA: Modes = &["delta_ads", "delta_per_type"];
pub(crate) const SOTW: Modes = &["sotw_ads", "sotw_per_type"];
pub(crate) const AGGREGATED: Modes = &["delta_ads", "sotw_ads"];
pub(crate) const PER_TYPE: Modes = &["delta_per_type", "sotw_per_type"];
pub(crate) const DELTA_ADS: Modes = &["delta_ads"];

/// Where each rule applies, and why not elsewhere.
pub(crate) const RULES: [(&str, Modes, &str); 58] = [
    ("C1", ALL, ""),
    ("C2", ALL, ""),
    (
        "C3",
        AGGREGATED,
        "a stream of one type refuses all others (C2)",
    ),
    (
        "C4",
        AGGREGATED,
        "there each type has a connection of its own",
    ),
    ("C5", ALL, ""),
    ("C6", ALL, ""),
    ("C7", ALL, ""),
    ("C8", ALL, ""),
    ("C9", ALL, ""),
    ("C10", ALL, ""),
    ("C11", ALL, ""),
    ("C12", ALL, ""),
    ("C13", ALL, ""),
    ("C14", ALL, ""),
    ("C15", ALL, ""),
    ("C16", ALL, ""),
    ("C17", ALL, ""),
    ("S1", SOTW, "a delta response is a difference"),
    ("S2", SOTW, "a delta response names what it removes"),
    ("S3", SOTW, "delta edits its subscription (D1)"),
    ("S4", SOTW, "for delta it is D3a"),
    ("S5", SOTW, "for delta it is D7"),
    ("S6", SOTW, "for delta it is D2"),
    ("S7", SOTW, "for delta it is D4"),
    ("S8", SOTW, "for delta it is D8"),
    (
        "S9",
        AGGREGATED,
        "what clusters another stream sends is unknown (O5)",
    ),
    ("S10", SOTW, "for delta it is D3a"),
    ("S11", ALL, ""),
    ("S12", ALL, ""),
    (
        "S13",
        SOTW,
        "a delta resource has a time to live of its own (D12)",
    ),
    (
        "D1",
        DELTA,
        "state of the world states its names whole (S3)",
    ),
    ("D2", DELTA, "for state of the world it is S6"),
    ("D3", DELTA, "for state of the world it is S4"),
    ("D3a", DELTA, "for state of the world it is S4"),
    (
        "D3b",
        DELTA,
        "without a set, absence has no words there (S2)",
    ),
    (
        "D3c",
        DELTA,
        "without a set, absence has no words there (S2)",
    ),
    ("D4", DELTA, "for state of the world it is S7"),
    ("D5", DELTA, "for state of the world it is S7"),
    ("D6", DELTA, "for state of the world it is S6"),
    ("D7", DELTA, "for state of the world it is S5"),
    ("D8", DELTA, "for state of the world it is S8"),
    (
        "D8b",
        DELTA_ADS,
        "for state of the world it is S9; what clusters another stream sends is unknown (O5)",
    ),
    ("D9", DELTA, "for state of the world it is C12"),
    (
        "D10",
        DELTA_ADS,
        "state of the world removes no routes (S2); a stream of one type goes by its grace (O5)",
    ),
    (
        "D11",
        DELTA,
        "a nonce of state of the world is stale once there is a newer one (S7)",
    ),
    ("D12", DELTA, "for state of the world it is S13"),
    (
        "D13",
        DELTA,
        "state of the world has versions of whole types (C7)",
    ),
    (
        "O1",
        AGGREGATED,
        "no order can be kept between streams (O5)",
    ),
    (
        "O2",
        AGGREGATED,
        "no order can be kept between streams (O5)",
    ),
    (
        "O3",
        AGGREGATED,
        "no order can be kept between streams (O5)",
    ),
    (
        "O4",
        AGGREGATED,
        "no order can be kept between streams (O5)",
    ),
    ("O5", PER_TYPE, "there the order is kept (O1 to O4)"),
    (
        "O6",
        AGGREGATED,
        "no order can be kept between streams (O5)",
    ),
    ("X1", ALL, ""),
    ("X7", ALL, ""),
    ("X8", ALL, ""),
    ("X12", SOTW, "delta renews without a body (D12)"),
    (
        "S22",
        DELTA,
        "a whole set can't be divided; it proves all of its members",
    ),
];

/// Rules that the state machine has no part in, and why.
pub(crate) const WIRE_ONLY: [(&str, &str); 1] =
    [("C15", "it has no sides to close, and no connection")];
