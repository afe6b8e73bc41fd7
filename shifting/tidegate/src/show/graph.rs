//! Who calls whom: what rollouts hold of one another's services.

use tidegate_engine::rollout::Call;
use tidegate_engine::time::Time;

use super::lists::{finish, paragraph, table};
use super::style::{Style, Tone};
use super::text::clean;
use super::words::ago;
use crate::api::model::GraphAnswer;

/// One line for each call, then the fleets whose calls are nobody's. Ends with a line feed.
#[must_use]
pub fn graph(answer: &GraphAnswer, style: &Style) -> String {
    let mut text = match answer.calls.as_slice() {
        [] => "no call is declared (`calls` of a service), and none was seen\n".to_owned(),
        calls => {
            let mut table = table(style);
            table.set_header(["service", "calls", "declared", "last seen"]);
            for call in calls {
                table.add_row([
                    clean(&call.caller),
                    clean(&call.callee),
                    if call.declared { "yes" } else { "-" }.to_owned(),
                    last_seen(call, answer.now),
                ]);
            }
            finish(&table, style)
        }
    };
    if !answer.unobserved.is_empty() {
        let fleets: Vec<String> = answer.unobserved.iter().map(|name| clean(name)).collect();
        let line = format!(
            "fleets without a `service` beside which their sidecars stand, whose calls are not known \
             to be anybody's: {}",
            fleets.join(", ")
        );
        paragraph(&mut text, &line, style, Tone::Faint);
    }
    text
}

/// To the hour, as it is recorded.
fn last_seen(call: &Call, now: Time) -> String {
    const HOUR_MS: u64 = 3_600_000;
    match call.last_seen {
        None => "-".to_owned(),
        Some(at) if now.since_ms(at) < HOUR_MS => "within the last hour".to_owned(),
        Some(at) => ago(now, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(caller: &str, callee: &str, declared: bool, last_seen: Option<u64>) -> Call {
        Call {
            caller: caller.to_owned(),
            callee: callee.to_owned(),
            declared,
            last_seen: last_seen.map(Time),
        }
    }

    #[test]
    fn calls_are_told_apart_by_how_they_are_known() {
        let answer = GraphAnswer {
            now: Time(7_200_000),
            calls: vec![
                call("checkout", "cart", true, Some(7_000_000)),
                call("checkout", "pay\u{1b}[2Jments", false, Some(0)),
                call("search", "cart", true, None),
            ],
            unobserved: vec!["edge".to_owned()],
        };
        assert_eq!(
            graph(&answer, &Style::plain()),
            "\
service   calls         declared  last seen
checkout  cart          yes       within the last hour
checkout  pay\u{fffd}[2Jments  -         2 h ago
search    cart          yes       -
fleets without a `service` beside which their sidecars stand, whose calls are not known to be
anybody's: edge
"
        );
    }

    #[test]
    fn no_call_says_so() {
        let answer = GraphAnswer {
            now: Time(0),
            calls: Vec::new(),
            unobserved: Vec::new(),
        };
        assert!(graph(&answer, &Style::plain()).contains("none was seen"));
    }
}
