//! Connections: in order within one, in any order among them, slow at times, and cut at any moment.

use std::collections::VecDeque;
use std::time::Instant;

use super::random::Random;
use crate::stream::{Request, Response};

/// What goes to the server.
#[derive(Debug)]
pub(super) enum Up {
    Request(Box<Request>),
    /// The client says no more.
    Close,
}

/// One connection with its one stream.
#[derive(Debug)]
pub(super) struct Link {
    /// The client's number.
    pub(super) client: usize,
    random: Random,
    slow: bool,
    up: VecDeque<(Instant, Up)>,
    down: VecDeque<(Instant, Response)>,
    /// The client still knows it.
    pub(super) client_end: bool,
    /// When the server finds out that the client's end is gone; for long after, if it was cut.
    pub(super) server_learns: Option<Instant>,
    /// When the client finds out that the server's end is gone.
    pub(super) client_learns: Option<Instant>,
}

// === impl Link ===

impl Link {
    pub(super) fn new(client: usize, mut random: Random) -> Self {
        Self {
            client,
            slow: random.once_in(8),
            random,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_end: true,
            server_learns: None,
            client_learns: None,
        }
    }

    fn arrival(&mut self, last: Option<Instant>, now: Instant) -> Instant {
        let delay = if self.slow || self.random.once_in(40) {
            self.random.millis(0, 1_500)
        } else {
            self.random.millis(0, 4)
        };
        last.map_or(now + delay, |last| last.max(now + delay))
    }

    pub(super) fn send_up(&mut self, what: Up, now: Instant) {
        let at = self.arrival(self.up.back().map(|(at, _)| *at), now);
        self.up.push_back((at, what));
    }

    pub(super) fn send_down(&mut self, response: Response, now: Instant) {
        let at = self.arrival(self.down.back().map(|(at, _)| *at), now);
        self.down.push_back((at, response));
    }

    pub(super) fn next_up(&self) -> Option<Instant> {
        self.up.front().map(|(at, _)| *at)
    }

    /// Only while there is somebody to receive it.
    pub(super) fn next_down(&self) -> Option<Instant> {
        let first = self.down.front().filter(|_| self.client_end);
        first.map(|(at, _)| *at)
    }

    pub(super) fn take_up(&mut self) -> Option<Up> {
        self.up.pop_front().map(|(_, what)| what)
    }

    pub(super) fn take_down(&mut self) -> Option<Response> {
        self.down.pop_front().map(|(_, response)| response)
    }

    /// What is under way is lost, in both directions.
    pub(super) fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
        self.client_end = false;
    }
}
