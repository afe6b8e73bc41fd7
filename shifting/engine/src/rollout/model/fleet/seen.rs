//! What the program sees of the fleet's world at a tick.

use std::collections::BTreeMap;

use super::world::{SIDECARS, WEB, Weather, World};
use crate::rollout::fixture::arm;
use crate::rollout::{
    ArmHealth, Delivery, Evidence, FleetHealth, FleetObservation, Observation, Rejection, order,
};
use crate::units::Ppm;

/// Requests a second through each sidecar.
const REQUESTS: u64 = 20_000;

// === impl World ===

impl World {
    /// What the program would see: deliveries as they are, requests through the revisions that
    /// sidecars really have, reports as the weather lets them through.
    pub(super) fn observation(&self) -> Observation {
        let run = self.run();
        let exposed = run.exposed_sidecars();
        let ordered = order(&run.plan().to, SIDECARS);
        let next = ordered.into_iter().filter(|id| !exposed.includes(id));
        let mut delivery = Delivery::default();
        let mut health = FleetHealth::default();
        let (mut canary, mut stable) = (0, 0);
        let wanted = self.wanted();
        for (((id, _), sidecar), wanted) in SIDECARS.iter().zip(&self.sidecars).zip(wanted) {
            let candidate = exposed.includes(id);
            let arm = match candidate {
                true => &mut health.canary,
                false => &mut health.stable,
            };
            *arm = ArmHealth {
                sidecars: arm.sidecars + 1,
                gone: arm.gone + u64::from(!sidecar.connected),
                restarts: arm.restarts + u64::from(sidecar.restarted && sidecar.connected),
                ..*arm
            };
            if !sidecar.connected {
                delivery.disconnected.push((*id).to_owned());
                continue;
            }
            *if candidate { &mut canary } else { &mut stable } += REQUESTS;
            delivery.expected += 1;
            if sidecar.has == wanted {
                delivery.acknowledged += 1;
            } else {
                delivery.behind.push((*id).to_owned());
            }
            if sidecar.rejected == Some(wanted) {
                delivery.rejected.push(Rejection {
                    sidecar: (*id).to_owned(),
                    text: "no".to_owned(),
                });
            }
        }
        let silent = match self.weather {
            Weather::AllSilent => (true, true),
            Weather::CandidateSilent => (true, false),
            _ => (false, false),
        };
        let bad = match self.weather {
            Weather::CandidateFails => (canary / 2, 0),
            Weather::AllFail => (canary / 5, stable / 5),
            _ => (0, 0),
        };
        let counted = |silent, requests, bad| {
            if silent {
                arm(0, 0)
            } else {
                arm(requests, bad)
            }
        };
        let fresh = |silent, requests| match silent || requests == 0 {
            true => Ppm::ZERO,
            false => Ppm::WHOLE,
        };
        Observation {
            service: WEB.into(),
            epoch: run.epoch(),
            delivery,
            evidence: Evidence {
                canary: counted(silent.0, canary, bad.0),
                stable: counted(silent.1, stable, bad.1),
                canary_fresh: fresh(silent.0, canary),
                stable_fresh: fresh(silent.1, stable),
                ..Evidence::default()
            },
            fleet: Some(Box::new(FleetObservation {
                next: next.map(str::to_owned).collect(),
                health,
                crossed: BTreeMap::new(),
            })),
            witness: None,
            parts: BTreeMap::new(),
            callers: BTreeMap::new(),
        }
    }
}
