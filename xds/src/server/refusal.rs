//! What a stream ends with when it can't go on, and what of that is counted.

use tonic::{Code, Status};

use super::inbound::Broken;
use crate::identity::{Access, Incident};
use crate::stream::Violation;

/// What every stream ends with when the server stops.
pub(super) fn stopping() -> Status {
    Status::unavailable("the control plane is stopping; connect again")
}

/// Counts what could not be read as a request, and not what a broken connection cut off.
pub(super) fn unreadable(access: &Access, broken: Broken) -> Status {
    match &broken {
        Broken::Excess(excess) => access.note(excess.incident()),
        Broken::Unreadable(status) if is_lost(status) => {}
        Broken::Unreadable(_) => access.note(Incident::RequestRefused),
        Broken::Unfinished(_) => access.note(Incident::RequestUnfinished),
    }
    broken.into()
}

/// The connection broke or was closed in the middle: every day's end of a client.
pub(super) fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Cancelled)
}

/// Counts a request that isn't served, and gives the status that says why.
pub(super) fn refusal(access: &Access, violation: &Violation) -> Status {
    access.note(Incident::RequestRefused);
    status_of(violation)
}

/// The same, uncounted.
pub(super) fn status_of(violation: &Violation) -> Status {
    let code = match violation {
        Violation::TooManyNames | Violation::TooManyTypes => Code::ResourceExhausted,
        _ => Code::InvalidArgument,
    };
    Status::new(code, violation.to_string())
}
