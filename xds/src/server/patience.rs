//! How long a client may leave a response unread.

use std::future::poll_fn;

use tonic::Status;

use super::Settings;
use super::outbound::Outlet;
use crate::identity::Incident;
use crate::wire::Framed;

/// Sends a message to a client that is slow to read.
pub(super) async fn send(
    outlet: &Outlet,
    message: Framed,
    settings: &Settings,
) -> Result<(), Status> {
    free(outlet, settings).await?;
    // Nobody else sends, so that the place is still free.
    outlet.try_send(message).map_err(|_| blocked(settings))
}

/// Waits until a client has begun to read what it was sent last.
pub(super) async fn free(outlet: &Outlet, settings: &Settings) -> Result<(), Status> {
    let free = poll_fn(|context| outlet.poll_free(context));
    let free = tokio::time::timeout(settings.blocked_max, free).await;
    free.map_err(|_| blocked(settings))
}

fn blocked(settings: &Settings) -> Status {
    settings.access.note(Incident::StreamBlocked);
    Status::resource_exhausted("the client left responses unread for too long")
}
