//! What this program finds when it starts: the journal, or, where that can't be read, what was
//! served last.

use std::path::{Path, PathBuf};

use tidegate_engine::time::Time;
use tidegate_xds::server::Server;
use tracing::error;

use super::DaemonError;
use super::brain::served::{Served, ServedFile};
use super::brain::{Brain, BrainHandle, History, Incoming, frozen};
use super::error::StartError;
use super::views::Views;
use crate::clock::{Clock, wall_ms};
use crate::journal::Journal;
use crate::source::MeshDirectory;

/// What is known of the time before this program started.
pub(super) enum Past {
    Known {
        history: Box<History>,
        /// Milliseconds since the last record; `None` when unknown.
        outage_ms: Option<u64>,
    },
    /// The journal can't be read, but what was served last is known.
    Frozen { served: Box<Served>, why: String },
}

// === impl Past ===

impl Past {
    pub(super) fn open(data: &Path) -> Result<Self, DaemonError> {
        let served = ServedFile::in_directory(data);
        match Journal::open(data) {
            Ok((journal, records)) => {
                let outage_ms = records
                    .last()
                    .and_then(|last| wall_ms().checked_sub(last.wall_ms));
                let history = History {
                    journal,
                    records,
                    served,
                };
                Ok(Self::Known {
                    history: Box::new(history),
                    outage_ms,
                })
            }
            Err(error) if error.is_damage() => match served.read() {
                Ok(Some(served)) => Ok(Self::Frozen {
                    served: Box::new(served),
                    why: error.to_string(),
                }),
                Ok(None) => Err(error.into()),
                Err(cause) => {
                    error!("what was served last can't be read either: {cause}");
                    Err(error.into())
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on from the last record.
    pub(super) fn clock(&self) -> Clock {
        let Self::Known { history, outage_ms } = self else {
            return Clock::starting_at(Time(0));
        };
        let last = history.records.last().map_or(Time(0), |last| last.at);
        Clock::starting_at(last.plus_ms(outage_ms.unwrap_or(0)))
    }

    pub(super) fn brain(
        self,
        mesh: PathBuf,
        clock: Clock,
        views: Views,
        server: &Server,
        incoming: Incoming,
    ) -> Result<BrainHandle, StartError> {
        match self {
            Self::Known { history, outage_ms } => Brain::new(
                *history,
                clock,
                views,
                server.clone(),
                incoming,
                MeshDirectory::new(mesh),
            )
            .start(outage_ms),
            Self::Frozen { served, why } => frozen::start(*served, why, &views, incoming),
        }
    }
}
