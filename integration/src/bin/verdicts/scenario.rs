//! What happens to a service while a rollout stands at one rung.

use tidegate_engine::units::Ppm;

/// The errors that a canary may have, per million: what it costs a rule to find them.
const BROKEN: [(&str, u32); 5] = [
    ("errors-0.3%", 3_000),
    ("errors-1%", 10_000),
    ("errors-2%", 20_000),
    ("errors-5%", 50_000),
    ("errors-50%", 500_000),
];

/// Failure rates of the two arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) canary: f64,
    pub(crate) stable: f64,
}

/// What a scenario is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing is wrong with the canary: every revert is false.
    Harmless,
    /// Something is: how soon is it found?
    Harmful,
    /// Telemetry fails: what is done without it?
    Outage,
}

/// What happens.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// Requests per second of the whole service.
    pub(crate) rps: u64,
    pub(crate) share: Ppm,
    /// Failure rates before `trouble` begins.
    pub(crate) healthy: Rates,
    pub(crate) trouble: Rates,
    /// Trouble from, until (seconds).
    pub(crate) when: (u64, u64),
    /// Seconds over which trouble grows to its full size.
    pub(crate) ramp_s: Option<u64>,
    /// Rate of slow requests, in both arms.
    pub(crate) slow: f64,
    /// Intraclass correlation of one arm's requests of one second.
    pub(crate) icc: Option<f64>,
    /// Standard deviation of the logarithm of each host's error rate.
    pub(crate) host_spread: Option<f64>,
    /// Seconds without any telemetry, once.
    pub(crate) outage_s: Option<u64>,
    /// Single sidecars report.
    pub(crate) single_reports: bool,
    /// Probability that a sidecar's report is lost, and that it restarts, per second.
    pub(crate) lost_reports: f64,
    pub(crate) restarts: f64,
    /// How long it is watched.
    pub(crate) seconds: u64,
}

// === impl Scenario ===

impl Scenario {
    /// Failure rates at a second.
    pub(crate) fn rates(&self, at: u64) -> Rates {
        let (from, until) = self.when;
        if !(from..until).contains(&at) {
            return self.healthy;
        }
        let Some(ramp_s) = self.ramp_s else {
            return self.trouble;
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds of an hour")]
        let part = ((at - from) as f64 / ramp_s as f64).min(1.0);
        let between = |a: f64, b: f64| a + part * (b - a);
        Rates {
            canary: between(self.healthy.canary, self.trouble.canary),
            stable: between(self.healthy.stable, self.trouble.stable),
        }
    }

    /// The second in which the canary becomes harmful.
    pub(crate) fn begins(&self) -> u64 {
        self.when.0
    }
}

/// A service of 200 requests/s, 10 of them on the canary, 0.1% of each arm's fail.
fn base() -> Scenario {
    let healthy = Rates {
        canary: 0.001,
        stable: 0.001,
    };
    Scenario {
        name: "healthy",
        about: "nothing is wrong",
        kind: Kind::Harmless,
        rps: 200,
        share: Ppm::of(5, 100),
        healthy,
        trouble: healthy,
        when: (1, u64::MAX),
        ramp_s: None,
        slow: 0.005,
        icc: None,
        host_spread: None,
        outage_s: None,
        single_reports: false,
        lost_reports: 0.0,
        restarts: 0.0,
        seconds: 3_600,
    }
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Scenario> {
    let alike = Rates {
        canary: 0.03,
        stable: 0.03,
    };
    let mut all = vec![
        base(),
        Scenario {
            name: "alike",
            about: "3% of both arms fail for 5 min",
            trouble: alike,
            when: (600, 900),
            ..base()
        },
        Scenario {
            name: "alike-gradual",
            about: "both arms' failures grow to 3% within 20 min and stay",
            trouble: alike,
            when: (600, u64::MAX),
            ramp_s: Some(1_200),
            ..base()
        },
        Scenario {
            name: "bursty",
            about: "failures come in bursts (intraclass correlation 0.005)",
            icc: Some(0.005),
            ..base()
        },
        Scenario {
            name: "low-traffic",
            about: "4 requests/s in all",
            rps: 4,
            ..base()
        },
        Scenario {
            name: "hosts-0.3",
            about: "1 canary host of 20; hosts differ by nature (sd 0.3)",
            host_spread: Some(0.3),
            ..base()
        },
        Scenario {
            name: "hosts-0.5",
            about: "the same, sd 0.5",
            host_spread: Some(0.5),
            ..base()
        },
        Scenario {
            name: "lost-reports",
            about: "5 sidecars, each loses 1 report in 100",
            single_reports: true,
            lost_reports: 0.01,
            ..base()
        },
        Scenario {
            name: "resets",
            about: "5 sidecars, each restarts every 5 min",
            single_reports: true,
            restarts: 1.0 / 300.0,
            ..base()
        },
    ];
    for (name, rate) in BROKEN {
        all.push(Scenario {
            name,
            about: "the canary fails from its first request",
            kind: Kind::Harmful,
            trouble: Rates {
                canary: f64::from(rate) / 1e6,
                ..base().healthy
            },
            ..base()
        });
    }
    let five = Rates {
        canary: 0.05,
        ..base().healthy
    };
    all.push(Scenario {
        name: "late",
        about: "5% of the canary fail after 10 min of health",
        kind: Kind::Harmful,
        trouble: five,
        when: (601, u64::MAX),
        ..base()
    });
    all.push(Scenario {
        name: "gradual",
        about: "the canary's failures grow to 5% within 30 min",
        kind: Kind::Harmful,
        trouble: five,
        ramp_s: Some(1_800),
        ..base()
    });
    all.push(Scenario {
        name: "low-traffic-50%",
        about: "4 requests/s in all, half of the canary's fail",
        kind: Kind::Harmful,
        rps: 4,
        trouble: Rates {
            canary: 0.5,
            ..base().healthy
        },
        ..base()
    });
    all.push(Scenario {
        name: "outage",
        about: "no telemetry for 5 min; nothing is wrong",
        kind: Kind::Outage,
        outage_s: Some(300),
        seconds: 720,
        ..base()
    });
    all
}

/// The scenario of this name.
pub(crate) fn named(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}
