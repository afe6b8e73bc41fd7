//! A scripted client that speaks either variant over either transport, so that a rule is written
//! once.
//!
//! That *nothing* is sent is never shown by waiting for a while. A stream is answered in order, so
//! there are two proofs:
//!
//! - [`Client::ends_quietly`] closes the sending side. The server takes in everything that was sent
//!   before, sends what it has to say to that, and only then ends the stream; so that whatever came
//!   until the end is all there was. (That it does answer before it ends is a test of its own,
//!   `c15_what_was_asked_before_a_half_close_is_answered_first`.)
//! - [`Client::is_quiet`], in the middle of an aggregated stream, asks for a resource of a type that
//!   nothing else is about. Its answer must be the next message.
//!
//! A task of the server that panics ends its stream as well; so panics are counted, and must be none.
//!
//! Both hold for what was caused by requests. For what a new view might cause, wait first until the
//! server's own status says that the stream took it in ([`Client::took`]): a task sends what a view
//! gives rise to before it reads again.

mod client;
mod message;
mod mode;
mod world;

use std::time::Duration;

pub(crate) use client::Client;
pub(crate) use message::{Ask, Got};
pub(crate) use mode::Mode;
pub(crate) use world::*;

pub(crate) use crate::common::{Running, cluster as lone_cluster, together};
pub(crate) use crate::testing::*;
pub(crate) use crate::{Resource, Snapshot, TypeUrl};

pub(crate) const CDS: TypeUrl = TypeUrl::CLUSTER;
pub(crate) const EDS: TypeUrl = TypeUrl::CLUSTER_LOAD_ASSIGNMENT;
pub(crate) const LDS: TypeUrl = TypeUrl::LISTENER;
pub(crate) const RDS: TypeUrl = TypeUrl::ROUTE_CONFIGURATION;
pub(crate) const RTDS: TypeUrl = TypeUrl::RUNTIME;
pub(crate) const ECDS: TypeUrl = TypeUrl::EXTENSION_CONFIG;
pub(crate) const ROUTE: &str = "rt";

/// Of [`Client::is_quiet`].
const PING: &str = "type.googleapis.com/acme.Ping";
const PINGS: usize = 8;

/// Longer than anything here may take, short enough to fail a hanging test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
