//! The brain of a program whose journal cannot be read: it serves what was served last, with
//! every canary taken back, and decides nothing.
//!
//! To begin from the part of the journal that can be read would be worse than to stand still: a
//! commit or an abort in the lost part would be undone for everyone at once.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_engine::rollout::State;
use tidegate_xds::report::Asked;
use tokio::sync::{mpsc, watch};
use tracing::error;

use super::outage::take_back;
use super::served::Served;
use super::{BrainHandle, CommandError, INPUTS_WAITING, Incoming, Input};
use crate::daemon::error::StartError;
use crate::daemon::published::Published;
use crate::daemon::views::Views;

/// Serves `served` because of `why`, until the program ends.
pub(crate) fn start(
    served: Served,
    why: String,
    views: &Views,
    mut incoming: Incoming,
) -> Result<BrainHandle, StartError> {
    let Served {
        mesh,
        mut splits,
        settings,
    } = served;
    let state = State::frozen(mesh, &splits, settings);
    splits.values_mut().for_each(take_back);
    let prepared = Views::prepare(&state.configurations(), &splits)
        .map_err(|error| StartError::Command(CommandError::Views(error)))?;
    views.publish(prepared);
    error!(
        page = true,
        "frozen: what was served last is served on, every canary is taken back, and nothing is \
         decided: {why}"
    );
    let (inputs, mut waiting) = mpsc::channel(INPUTS_WAITING);
    let published = Published {
        state: Arc::new(state),
        journal_failed: Some(why.clone()),
        ..Published::default()
    };
    let handle = BrainHandle {
        inputs,
        reload: Arc::default(),
        published: Arc::new(ArcSwap::from_pointee(published)),
        // Nobody judges: reports tell that their sidecars live, and nothing else.
        asked: watch::Sender::new(Asked::upstreams([])).subscribe(),
    };
    std::thread::Builder::new()
        .name("brain".to_owned())
        .spawn(move || {
            let refused = || Err(CommandError::Frozen(why.clone()));
            while let Some(input) = waiting.blocking_recv() {
                match input {
                    // Nobody judges; the sidecars' streams stay open all the same.
                    Input::Tick => incoming.drop_all(),
                    Input::Command(_, reply) | Input::Reload(reply) => drop(reply.send(refused())),
                    Input::Stop => return,
                }
            }
        })
        .map_err(StartError::Thread)?;
    Ok(handle)
}
