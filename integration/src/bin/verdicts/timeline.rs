//! One rollout again, told second by second.

use std::io;

use crate::random::Coins;
use crate::rule::{Rule, Tidegate, Verdict};
use crate::scenario::named;
use crate::traffic::Traffic;

/// Prints what the engine thought of the rollout with this seed. True: it ran.
pub(crate) fn replay(scenario: &str, seed: u64) -> io::Result<bool> {
    let Some(scenario) = named(scenario) else {
        return Err(io::Error::other(format!(
            "there is no scenario `{scenario}`; see `verdicts scenarios`"
        )));
    };
    println!("{}: {}; seed {seed}", scenario.name, scenario.about);
    println!("second  canary failed/requests  stable failed/requests");
    let mut coins = Coins::default();
    let mut traffic = Traffic::new(&scenario, seed, &mut coins);
    let mut rule = Tidegate::at_the_rung(&scenario);
    for _ in 0..scenario.seconds {
        let second = traffic.next();
        let verdict = rule.second(&second);
        if let Some(thought) = rule.thought() {
            println!(
                "{:>6}  {:>10}/{:<11}  {:>10}/{:<11}  {}{thought}",
                second.at,
                second.canary.bad,
                second.canary.requests,
                second.stable.bad,
                second.stable.requests,
                if second.told { "" } else { "(no telemetry) " },
            );
        }
        if verdict == Verdict::Revert {
            println!("reverted in second {}", second.at);
            return Ok(true);
        }
    }
    println!("not reverted within {} s", scenario.seconds);
    Ok(true)
}
