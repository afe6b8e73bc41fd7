//! Why connections are ended by HTTP/2: what the h2 library tells nobody but the peer.
//!
//! It refuses floods (rapid resets, headers without an end, empty data) with a last frame, `GOAWAY`,
//! that names the reason, and the server only learns that the connection is over. So that frame is
//! looked for in what is written: frame by frame, by their lengths, never in what they carry.
//!
//! Deliberately not here: pings and settings without end. The library answers each before it reads
//! on, and refuses nobody for them.

use super::Incident;

/// The head of a frame: length, kind, flags, stream (RFC 9113, section 4.1).
const HEAD_BYTES: usize = 9;

const GOAWAY: u8 = 7;

/// `GOAWAY` without its last words: the last stream, and the code.
const CODE_BYTES: usize = 8;

/// What is kept of a `GOAWAY`: the code, and more than the library's longest words.
const GOAWAY_KEPT_BYTES: usize = 64;

/// `NO_ERROR`: the end of a server that stops.
const NO_ERROR: u32 = 0;

/// Looks through what is written to a connection.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    head: [u8; HEAD_BYTES],
    /// How much of the head was written.
    head_length: usize,
    /// How much of the frame's payload is still to come.
    payload_left: usize,
    /// The payload of a `GOAWAY`, as far as it was written.
    goaway: Option<Vec<u8>>,
}

// === impl Farewell ===

impl Farewell {
    /// Takes note of bytes that were written; why they end the connection, if they do.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Option<Incident> {
        loop {
            if self.payload_left > 0 {
                let (payload, rest) = bytes.split_at(self.payload_left.min(bytes.len()));
                self.payload_left -= payload.len();
                if let Some(goaway) = &mut self.goaway {
                    let room = GOAWAY_KEPT_BYTES.saturating_sub(goaway.len());
                    goaway.extend(payload.iter().take(room));
                }
                bytes = rest;
            }
            if self.payload_left > 0 {
                return None;
            }
            if let Some(reason) = self.goaway.take().and_then(|goaway| reason(&goaway)) {
                return Some(reason);
            }
            if bytes.is_empty() {
                return None;
            }
            let head = self.head.get_mut(self.head_length..).unwrap_or_default();
            let (more, rest) = bytes.split_at(head.len().min(bytes.len()));
            head.iter_mut().zip(more).for_each(|(to, from)| *to = *from);
            self.head_length += more.len();
            bytes = rest;
            if self.head_length < HEAD_BYTES {
                return None;
            }
            self.head_length = 0;
            let [a, b, c, kind, ..] = self.head;
            self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
            self.goaway = (kind == GOAWAY).then(Vec::new);
        }
    }
}

/// What a `GOAWAY` is sent for.
fn reason(goaway: &[u8]) -> Option<Incident> {
    let (fixed, words) = goaway.split_at_checked(CODE_BYTES)?;
    let [_, _, _, _, code @ ..] = fixed else {
        return None;
    };
    if u32::from_be_bytes(code.try_into().ok()?) == NO_ERROR {
        return None;
    }
    Some(match words {
        b"too_many_resets" => Incident::Http2Resets,
        b"too_many_internal_resets" => Incident::Http2MalformedCalls,
        b"too_many_continuations" | b"header_list_way_too_large" => Incident::Http2Headers,
        b"too_many_data_frames" => Incident::Http2EmptyData,
        _ => Incident::Http2Broken,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    fn goaway(code: u32, words: &str) -> Vec<u8> {
        let payload = [&[0, 0, 0, 1], &code.to_be_bytes()[..], words.as_bytes()].concat();
        frame(GOAWAY, &payload)
    }

    #[test]
    fn a_farewell_is_understood_by_its_words() {
        for (code, words, incident) in [
            (11, "too_many_resets", Some(Incident::Http2Resets)),
            (
                11,
                "too_many_internal_resets",
                Some(Incident::Http2MalformedCalls),
            ),
            (11, "too_many_continuations", Some(Incident::Http2Headers)),
            (
                11,
                "header_list_way_too_large",
                Some(Incident::Http2Headers),
            ),
            (11, "too_many_data_frames", Some(Incident::Http2EmptyData)),
            (
                11,
                "something new, at length, as long as a frame may be, and longer",
                Some(Incident::Http2Broken),
            ),
            (1, "", Some(Incident::Http2Broken)),
            (0, "", None),
        ] {
            assert_eq!(
                Farewell::default().look(&goaway(code, words)),
                incident,
                "{words}"
            );
        }
    }

    proptest! {
        #[test]
        fn it_is_found_however_the_bytes_are_cut_and_in_no_payload(
            payloads in proptest::collection::vec(0..30_usize, 0..6),
            cuts in proptest::collection::vec(0..40_usize, 0..40),
        ) {
            let mut bytes = Vec::new();
            for length in payloads {
                // Data that looks like the frame.
                bytes.extend(frame(0, &goaway(11, "too_many_resets").repeat(length)));
            }
            bytes.extend(goaway(0, ""));
            bytes.extend(goaway(11, "too_many_continuations"));
            let (mut rest, mut farewell) = (&bytes[..], Farewell::default());
            let mut found = Vec::new();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                found.extend(farewell.look(piece));
                rest = more;
            }
            found.extend(farewell.look(rest));
            prop_assert_eq!(found, [Incident::Http2Headers]);
        }
    }
}
