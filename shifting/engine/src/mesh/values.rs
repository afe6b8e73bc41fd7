//! What the texts of single values mean: percentages, durations, sizes, rungs, names, addresses.
//!
//! Everything is exact: percentages are read digit by digit into parts per million, never through
//! a float, so that `99.9%` is 999,000 on every machine.

use std::net::{IpAddr, SocketAddr};

use super::diagnostic::{Fault, listed, shown, suggest};
use super::limits;
use super::model::{ErrorBudget, Protocol, Rung};
use crate::units::Ppm;

/// Milliseconds in a unit of time, longest first.
const UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Bytes in a unit of size, largest first.
const UNITS_BYTES: [(&str, u64); 3] = [("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];

/// A percentage with up to four decimals: `99.9%`.
pub(super) fn percentage(text: &str) -> Result<Ppm, Fault> {
    let Some(number) = text.strip_suffix('%') else {
        let help = match exact_percentage(text) {
            // `0.999` may be meant as a fraction or as a percentage: no guess.
            Some(_) if !text.starts_with('0') => format!("write it as {text}%"),
            _ => "write a percentage such as 99.9%".to_owned(),
        };
        return Err(Fault::new(
            format!("{} is not a percentage", shown(text)),
            help,
        ));
    };
    exact_percentage(number.trim_end()).ok_or_else(|| {
        Fault::new(
            format!("{} is not a percentage", shown(text)),
            "write a number from 0% to 100% with at most four decimals, such as 99.9%",
        )
    })
}

/// A percentage above 0.
pub(super) fn part(text: &str) -> Result<Ppm, Fault> {
    match percentage(text)? {
        Ppm::ZERO => Err(Fault::new(
            "a part of 0%",
            "leave it out, or write such as 5%",
        )),
        part => Ok(part),
    }
}

fn exact_percentage(number: &str) -> Option<Ppm> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 4 {
        return None;
    }
    let parts: u32 = format!("{whole}{decimals:0<4}").parse().ok()?;
    Ppm::new(parts).ok()
}

/// A duration in milliseconds: a whole number and `ms`, `s`, `m` or `h`.
pub(super) fn duration_ms(text: &str) -> Result<u64, Fault> {
    quantity(
        text,
        &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)],
    )
    .ok_or_else(|| {
        let help = match text {
            _ if digits(text) => format!("say the unit: {text}ms, {text}s, {text}m or {text}h"),
            _ => "write a whole number and a unit, such as 250ms, 2s, 10m or 1h".to_owned(),
        };
        Fault::new(format!("{} is not a duration", shown(text)), help)
    })
}

/// A size in bytes: a whole number and `B`, `KiB` or `MiB`.
pub(super) fn size_bytes(text: &str) -> Result<u64, Fault> {
    quantity(text, &UNITS_BYTES).ok_or_else(|| {
        let message = format!("{} is not a size", shown(text));
        Fault::new(
            message,
            "write a whole number and a unit: B, KiB or MiB, such as 64KiB or 1MiB",
        )
    })
}

/// `<digits> <unit>`, with or without a space.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// A duration for people: `6s`, `1500ms`.
pub(super) fn show_ms(ms: u64) -> String {
    show_quantity(ms, &UNITS_MS)
}

/// A size for people: `64KiB`.
pub(super) fn show_bytes(bytes: u64) -> String {
    show_quantity(bytes, &UNITS_BYTES)
}

/// In the largest unit that divides it.
fn show_quantity(value: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, scale)| value > 0 && value.is_multiple_of(*scale))
        .map_or_else(
            || value.to_string(),
            |(unit, scale)| format!("{}{unit}", value / scale),
        )
}

/// A whole number.
pub(super) fn count(text: &str) -> Result<u64, Fault> {
    let fault = |help: &str| Fault::new(format!("{} is not a whole number", shown(text)), help);
    if !digits(text) {
        return Err(fault("write digits only, such as 1024"));
    }
    text.parse().map_err(|_| fault("it is too large"))
}

/// What a rung that is no share counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noun {
    /// Hosts of a service's new version.
    Host,
    /// Sidecars of a fleet.
    Sidecar,
}

impl std::fmt::Display for Noun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Noun::Host => "host",
            Noun::Sidecar => "sidecar",
        })
    }
}

/// `5%`, `1 host`, `3 hosts`; for a fleet `1 sidecar`, `3 sidecars`.
pub(super) fn rung(text: &str, noun: Noun) -> Result<Rung, Fault> {
    if text.ends_with('%') {
        return match percentage(text)? {
            Ppm::ZERO => Err(Fault::new("a rung of 0%", "leave it out")),
            share => Ok(Rung::Share(share)),
        };
    }
    let singular = noun.to_string();
    let count = text
        .strip_suffix('s')
        .unwrap_or(text)
        .strip_suffix(singular.as_str())
        .map(str::trim_end)
        .filter(|number| digits(number))
        .and_then(|number| number.parse::<u32>().ok());
    match count {
        Some(0) => Err(Fault::new(format!("a rung of 0 {noun}s"), "leave it out")),
        Some(count) => Ok(Rung::Hosts(count)),
        None => {
            let help = if digits(text) {
                format!("write it as {text}% or as {text} {noun}s")
            } else {
                format!("write `1 {noun}`, `3 {noun}s` or a percentage such as 5%")
            };
            Err(Fault::new(format!("{} is not a rung", shown(text)), help))
        }
    }
}

/// `1%`, `500 requests`.
pub(super) fn error_budget(text: &str) -> Result<ErrorBudget, Fault> {
    let requests = text
        .strip_suffix("requests")
        .or_else(|| text.strip_suffix("request"))
        .map(str::trim_end)
        .filter(|number| digits(number))
        .and_then(|number| number.parse::<u64>().ok());
    let budget = match requests {
        Some(requests) => ErrorBudget::Requests(requests),
        None if text.ends_with('%') => ErrorBudget::Share(percentage(text)?),
        None => {
            let help = if digits(text) {
                format!("write it as {text}% or as {text} requests")
            } else {
                "write a percentage such as 1%, or `500 requests`".to_owned()
            };
            let message = format!("{} is not an error budget", shown(text));
            return Err(Fault::new(message, help));
        }
    };
    match budget {
        ErrorBudget::Share(Ppm::ZERO) | ErrorBudget::Requests(0) => Err(Fault::new(
            "an error budget of nothing",
            "a single failed request would revert; write at least 1 request",
        )),
        budget => Ok(budget),
    }
}

/// A name of a fleet, service or version. No dots: Envoy's statistics split names at them.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let wrong = if text.is_empty() {
        "a name is empty".to_owned()
    } else if text.chars().count() > limits::MAX_NAME_CHARACTERS {
        format!(
            "{} is longer than {} characters",
            shown(text),
            limits::MAX_NAME_CHARACTERS
        )
    } else if !text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        || !text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
    {
        format!("{} is not a name", shown(text))
    } else {
        return Ok(text.to_owned());
    };
    let repaired: String = text
        .chars()
        .take(limits::MAX_NAME_CHARACTERS)
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' => c,
            _ => '-',
        })
        .collect();
    let repaired = repaired.trim_matches(['-', '_']);
    let rule = "a name has a-z, 0-9, - and _, begins with a letter or a digit, and has at most 63 \
                characters (no dots: Envoy's statistics split names at them)";
    let help = if repaired.is_empty() || repaired == text {
        rule.to_owned()
    } else {
        format!("write it as {}: {rule}", shown(repaired))
    };
    Err(Fault::new(wrong, help))
}

/// A failure domain, as clouds spell them: `eu-west-1a`, `rack.7`.
pub(super) fn zone(text: &str) -> Result<String, Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    if text.chars().all(allowed) && text.len() <= limits::MAX_NAME_CHARACTERS {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{} is not a zone", shown(text)),
        "a zone has letters, digits, - _ . / : and at most 63 characters",
    ))
}

/// The node id of a sidecar, as it stands in the Envoy's bootstrap.
pub(super) fn node_id(text: &str) -> Result<String, Fault> {
    let is_short = (1..=limits::MAX_NODE_ID_BYTES).contains(&text.len());
    if is_short && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("{} is not a sidecar's node id", shown(text)),
        "write what `--node-id` of `tidegate bootstrap` says: 1 to 512 bytes, no control characters",
    ))
}

/// The address of a host: `ip:port`.
pub(super) fn host_address(text: &str) -> Result<SocketAddr, Fault> {
    let address: SocketAddr = text.parse().map_err(|_| {
        let help = match text.rsplit_once(':') {
            _ if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
                format!("add the port: [{text}]:8080")
            }
            _ if text.parse::<IpAddr>().is_ok() => format!("add the port: {text}:8080"),
            Some((host, port)) if digits(port) && host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) => {
                "a port is 1 to 65535".to_owned()
            }
            Some((host, _)) if host.contains(|c: char| c.is_ascii_alphabetic()) && !host.starts_with('[') => {
                "host names are not resolved; write the IP address and the port, such as 10.0.0.1:8080"
                    .to_owned()
            }
            _ => "write an IP address and a port, such as 10.0.0.1:8080 or [fd00::1]:8080".to_owned(),
        };
        Fault::new(format!("{} is not a host's address", shown(text)), help)
    })?;
    if address.port() == 0 {
        return Err(Fault::new("a host with port 0", "a port is 1 to 65535"));
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(Fault::new(
            format!("{} is not the address of one host", shown(text)),
            "write the address at which sidecars reach it",
        ));
    }
    Ok(address)
}

/// `true` or `false`; `help` says what it means.
pub(super) fn truth(text: &str, help: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let message = format!("{} is neither true nor false", shown(text));
            Err(Fault::new(message, help))
        }
    }
}

/// The base address of an HTTP server: `http://host:port`, perhaps with a path.
pub(super) fn http_url(text: &str) -> Result<String, Fault> {
    let wrong = |help: &str| Fault::new(format!("{} is not a server's address", shown(text)), help);
    let example = "write it like http://127.0.0.1:9090";
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(wrong(if text.starts_with("https://") {
            "only http:// is spoken here; put a proxy that speaks TLS on this machine before it"
        } else {
            example
        }));
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%/:[]".contains(c);
    if authority.is_empty() || authority.contains('@') || !rest.chars().all(plain) {
        return Err(wrong(example));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// An address to listen at.
pub(super) fn listening_address(text: &str) -> Result<IpAddr, Fault> {
    text.parse().map_err(|_| {
        let help = match text {
            "localhost" => "write it as 127.0.0.1",
            _ => "write an IP address without port, such as 127.0.0.1 or ::1",
        };
        Fault::new(format!("{} is not an IP address", shown(text)), help)
    })
}

/// A port to listen at; 0 for any free one.
pub(super) fn listening_port(text: &str) -> Result<u16, Fault> {
    text.parse().ok().filter(|_| digits(text)).ok_or_else(|| {
        Fault::new(
            format!("{} is not a port", shown(text)),
            "a port is 1 to 65535, or 0 for any free one",
        )
    })
}

/// How sidecars speak to a service.
pub(super) fn protocol(text: &str) -> Result<Protocol, Fault> {
    match text {
        "http1" => Ok(Protocol::Http1),
        "http2" => Ok(Protocol::Http2),
        "grpc" => Ok(Protocol::Grpc),
        _ => Err(Fault::new(
            format!("unknown protocol {}", shown(text)),
            suggest(text, ["http1", "http2", "grpc"], "there are"),
        )),
    }
}

/// One of the latency edges that sidecars report.
pub(super) fn latency_edge_ms(text: &str, edges: &[u32]) -> Result<u32, Fault> {
    let edges_for_people = || {
        let names: Vec<String> = edges.iter().map(|edge| format!("{edge}ms")).collect();
        listed(names.iter().map(String::as_str))
    };
    let ms = match duration_ms(text) {
        Ok(ms) => ms,
        Err(_) if edges.iter().any(|edge| edge.to_string() == text) => {
            return Err(Fault::new(
                format!("{} is not a duration", shown(text)),
                format!("write it as {text}ms"),
            ));
        }
        Err(fault) => return Err(fault),
    };
    edges
        .iter()
        .copied()
        .find(|edge| u64::from(*edge) == ms)
        .ok_or_else(|| {
            Fault::new(
                format!(
                    "{} is not a latency that sidecars count exactly",
                    shown(text)
                ),
                format!("choose one of {}", edges_for_people()),
            )
        })
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        assert_eq!(percentage("99.9%").unwrap().get(), 999_000);
        assert_eq!(percentage("99.999%").unwrap().get(), 999_990);
        assert_eq!(percentage("0.0001%").unwrap().get(), 1);
        assert_eq!(percentage("100%").unwrap(), Ppm::WHOLE);
        assert_eq!(percentage("5 %").unwrap().get(), 50_000);
        for wrong in [
            "100.0001%",
            "101%",
            "-1%",
            "1e2%",
            "%",
            ".5%",
            "5.%",
            "0.00001%",
            "٣%",
        ] {
            assert!(percentage(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_without_its_sign_is_told_how_to_write_it() {
        assert_eq!(percentage("99.9").unwrap_err().help, "write it as 99.9%");
        assert_eq!(
            percentage("0.999").unwrap_err().help,
            "write a percentage such as 99.9%"
        );
    }

    #[test]
    fn durations_need_a_unit_and_never_overflow() {
        assert_eq!(duration_ms("250ms").unwrap(), 250);
        assert_eq!(duration_ms("2s").unwrap(), 2_000);
        assert_eq!(duration_ms("10m").unwrap(), 600_000);
        assert_eq!(duration_ms("1h").unwrap(), 3_600_000);
        for wrong in [
            "",
            "250",
            "s",
            "1.5s",
            "-1s",
            "1d",
            "1s1s",
            "99999999999999999999h",
        ] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
        assert!(duration_ms("18446744073709551615h").is_err());
    }

    #[test]
    fn quantities_are_shown_in_the_largest_unit_that_divides_them() {
        assert_eq!(show_ms(1_500), "1500ms");
        assert_eq!(show_ms(600_000), "10m");
        assert_eq!(show_ms(0), "0");
        assert_eq!(show_bytes(65_536), "64KiB");
        assert_eq!(size_bytes("64KiB").unwrap(), 65_536);
        assert!(size_bytes("64KB").is_err());
    }

    #[test]
    fn names_keep_out_of_the_way_of_statistics_and_keys() {
        assert_eq!(name("checkout").unwrap(), "checkout");
        assert_eq!(name("7f3c2a9").unwrap(), "7f3c2a9");
        for wrong in ["", "-a", "a.b", "A", "a/b", "a b", &"a".repeat(64), "ä"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(
            name("V1.2")
                .unwrap_err()
                .help
                .starts_with("write it as `v1-2`")
        );
    }

    #[test]
    fn a_hosts_address_is_an_ip_and_a_real_port() {
        assert!(host_address("10.0.0.1:8080").is_ok());
        assert!(host_address("[fd00::1]:8080").is_ok());
        for wrong in [
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "checkout.internal:80",
            "0.0.0.0:80",
            "fd00::1",
            "224.0.0.1:80",
            "",
        ] {
            assert!(host_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_budget_is_a_share_or_a_number_of_requests() {
        let share = ErrorBudget::Share(Ppm::new(25_000).unwrap());
        assert_eq!(error_budget("2.5%").unwrap(), share);
        for (text, requests) in [("1 request", 1), ("500 requests", 500)] {
            let budget = error_budget(text).unwrap();
            assert_eq!(budget, ErrorBudget::Requests(requests));
            assert_eq!(budget.to_string(), text);
        }
        for wrong in ["5", "0%", "0 requests", "requests", "-1 requests", "101%"] {
            assert!(error_budget(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rungs_are_hosts_or_shares() {
        assert_eq!(rung("1 host", Noun::Host).unwrap(), Rung::Hosts(1));
        assert_eq!(rung("3 hosts", Noun::Host).unwrap(), Rung::Hosts(3));
        assert_eq!(rung("2 sidecars", Noun::Sidecar).unwrap(), Rung::Hosts(2));
        assert_eq!(
            rung("5%", Noun::Host).unwrap(),
            Rung::Share(Ppm::new(50_000).unwrap())
        );
        for wrong in [
            "5",
            "host",
            "0 hosts",
            "0%",
            "half",
            "4294967296 hosts",
            "1 sidecar",
        ] {
            assert!(rung(wrong, Noun::Host).is_err(), "{wrong}");
        }
    }
}
