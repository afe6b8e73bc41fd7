//! Ports for the control plane, which must find them free again after it was killed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use super::error::DemoError;

/// Where Linux says which ports it gives to outgoing connections.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The first port that is looked at.
const LOWEST: u16 = 10_240;

/// `count` free TCP ports on 127.0.0.1, below the range of outgoing connections: while the control
/// plane is dead the sidecars knock on its port, and from within that range one of them could be
/// given the port itself, and be connected to itself for good. `seed` spreads demos that run side
/// by side.
///
/// # Errors
/// When there are not so many.
pub(super) fn free(count: usize, seed: u32) -> Result<Vec<u16>, DemoError> {
    let end = fs::read_to_string(EPHEMERAL)
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
        .unwrap_or(32_768);
    let span = u32::from(end.saturating_sub(LOWEST)).max(1);
    let mut held = Vec::with_capacity(count);
    for step in 0..span {
        if held.len() == count {
            break;
        }
        let offset = (seed.wrapping_mul(64).wrapping_add(step)) % span;
        let port = u16::try_from(u32::from(LOWEST) + offset).unwrap_or(LOWEST);
        // Held until all are found, so that none is found twice.
        held.extend(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .ok()
                .map(|held| (port, held)),
        );
    }
    if held.len() < count {
        return Err(DemoError::System {
            action: format!("find {count} free ports between {LOWEST} and {end}"),
            source: std::io::ErrorKind::AddrInUse.into(),
        });
    }
    Ok(held.into_iter().map(|(port, _)| port).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports = free(2, std::process::id()).unwrap();
        let listeners: Vec<_> = ports
            .iter()
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap())
            .collect();
        assert_eq!(listeners.len(), 2);
        assert_ne!(ports[0], ports[1]);
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let first = free(1, 5).unwrap()[0];
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(free(1, 5).unwrap()[0], first);
    }
}
