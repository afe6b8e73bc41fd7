//! What happened last. Written only when a story is told a second time, because it failed.

use std::collections::VecDeque;
use std::time::Instant;

use super::server::LinkId;
use crate::TypeUrl;
use crate::stream::tests::{RTDS, brief};
use crate::stream::{Request, Response};

const LINES_MAX: usize = 80;

/// The last lines of a story.
#[derive(Debug, Default)]
pub(super) struct Trace {
    on: bool,
    /// Only what one client sees.
    only: Option<usize>,
    lines: VecDeque<String>,
}

// === impl Trace ===

impl Trace {
    pub(super) fn off() -> Self {
        Self::default()
    }

    pub(super) fn on(only: Option<usize>) -> Self {
        Self {
            on: true,
            only,
            ..Self::default()
        }
    }

    /// What everybody sees.
    pub(super) fn note(&mut self, start: Instant, now: Instant, text: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        let at = (now - start).as_secs_f64();
        self.lines.push_back(format!("{at:>9.3} s  {}", text()));
    }

    /// What one client sees.
    pub(super) fn of(
        &mut self,
        start: Instant,
        now: Instant,
        client: usize,
        text: impl FnOnce() -> String,
    ) {
        if self.only.is_none_or(|only| only == client) {
            self.note(start, now, || format!("{client}: {}", text()));
        }
    }

    pub(super) fn response(
        &mut self,
        start: Instant,
        now: Instant,
        client: usize,
        link: LinkId,
        response: &Response,
    ) {
        // Renewals would be most of it.
        if response.type_url != RTDS {
            self.of(start, now, client, || {
                format!("<- {link} {} (nonce {})", brief(response), response.nonce)
            });
        }
    }

    pub(super) fn request(
        &mut self,
        start: Instant,
        now: Instant,
        client: usize,
        link: LinkId,
        request: &Request,
    ) {
        let type_url = TypeUrl::new(request.type_url());
        if type_url == RTDS {
            return;
        }
        self.of(start, now, client, || {
            let (nonce, error, names) = match request {
                Request::Delta(it) => {
                    let mut names = it.resource_names_subscribe.clone();
                    let unsubscribe = it.resource_names_unsubscribe.iter();
                    names.extend(unsubscribe.map(|name| format!("-{name}")));
                    let mut held: Vec<&String> = it.initial_resource_versions.keys().collect();
                    held.sort();
                    names.extend(held.into_iter().map(|name| format!("has {name}")));
                    (&it.response_nonce, it.error_detail.is_some(), names)
                }
                Request::Sotw(it) => {
                    let names = it.resource_names.clone();
                    (&it.response_nonce, it.error_detail.is_some(), names)
                }
            };
            let word = match (nonce.as_str(), error) {
                ("", _) => "asks".to_owned(),
                (nonce, false) => format!("takes {nonce}"),
                (nonce, true) => format!("REFUSES {nonce}"),
            };
            format!("-> {link} {} {word} {names:?}", type_url.short_name())
        });
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
