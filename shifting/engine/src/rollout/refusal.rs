//! Why a command was refused.

/// Why a command was refused. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such service in the mesh.
    #[error("no service `{service}` in the mesh; it declares: {known}")]
    UnknownService {
        /// What was asked for.
        service: String,
        /// What there is.
        known: String,
    },
    /// No such fleet in the mesh.
    #[error("no fleet `{fleet}` in the mesh; it declares: {known}")]
    UnknownFleet {
        /// What was asked for.
        fleet: String,
        /// What there is.
        known: String,
    },
    /// No such version of the service.
    #[error("service `{service}` has no version `{version}`; it declares: {known}")]
    UnknownVersion {
        /// The service.
        service: String,
        /// What was asked for.
        version: String,
        /// What there is.
        known: String,
    },
    /// The version has all the traffic already.
    #[error("`{service}` is already at `{version}`; nothing to do")]
    AlreadyThere {
        /// The service.
        service: String,
        /// The version.
        version: String,
    },
    /// One rollout of a service at a time.
    #[error(
        "a rollout of `{service}` is running: {from} → {to}, at {phase}; \
         wait for it, or end it with `tidegate rollout abort {service}`"
    )]
    Running {
        /// The service.
        service: String,
        /// From which version.
        from: String,
        /// To which version.
        to: String,
        /// Where it stands.
        phase: String,
    },
    /// There is nothing to act on.
    #[error("no rollout of `{service}` is running")]
    NotRunning {
        /// The service.
        service: String,
    },
    /// The command makes no sense in this state.
    #[error("`{service}`: {why}")]
    NotNow {
        /// The service.
        service: String,
        /// Why, and what to do.
        why: String,
    },
    /// The version was reverted for a fault, and nobody has lifted its quarantine.
    #[error(
        "version `{version}` of `{service}` is quarantined: {evidence}; \
         to allow it all the same: tidegate quarantine lift {service} {version} --reason \"…\""
    )]
    Quarantined {
        /// The service.
        service: String,
        /// The version.
        version: String,
        /// What it did, where, and until when it is refused.
        evidence: String,
    },
    /// A freeze window holds.
    #[error(
        "`{service}` is {reason}; nothing of it starts or advances until then. To start when it is \
         over: --queue; the way back is open: tidegate rollout abort, tidegate rollout back"
    )]
    Frozen {
        /// The service.
        service: String,
        /// For how long, and which window.
        reason: String,
    },
    /// There is nothing to lift.
    #[error("version `{version}` of `{service}` is not quarantined; quarantined are: {known}")]
    NotQuarantined {
        /// The service.
        service: String,
        /// What was asked for.
        version: String,
        /// What there is.
        known: String,
    },
    /// The mesh would take away what is in use.
    #[error("the mesh is refused, the one in force stays: {0}")]
    Guard(#[from] crate::guard::Violation),
}
