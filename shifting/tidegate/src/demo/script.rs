//! Plays a scenario: sets the stage, starts the rollout, does what the scenario does to it,
//! watches it to its end, and hands what was recorded to the judge.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tidegate_engine::rollout::{Phase, RolloutStatus};
use tidegate_engine::units::Ppm;
use tokio::time::Instant;

use super::behaviour::Behaviour;
use super::error::DemoError;
use super::hosts::Arm;
use super::judge::{self, Loss, Run};
use super::load::Counts;
use super::measure::Rung;
use super::mesh::{DEAD_MAN_TTL_MS, SERVICE};
use super::report::Measurements;
use super::stage::{CANARY_HOSTS, STABLE_HOSTS, Stage};
use super::view::{Scene, View};
use super::{Options, Scenario, wait};
use crate::api::model::{RequestedTurn, StartRequest};
use crate::client::ClientError;
use crate::show;

/// Time between two looks at the rollout.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time that a rollout may take in all; the issue promises a healthy one within it.
pub(super) const ROLLOUT_LIMIT: Duration = Duration::from_secs(180);
/// Time within which the rung of the kill must be reached.
const RUNG_LIMIT: Duration = Duration::from_secs(90);
/// Time after the rollout's end within which the traffic must show it.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// A version without requests for so long is taken to have none.
const QUIET_US: u64 = 2_000_000;
/// Time without the control plane after the sidecars must have dropped the canary.
const AFTER_TTL_US: u64 = 3_000_000;
/// Time that the restarted control plane is watched, if the rollout does not end before.
const AFTER_RESTART_LIMIT: Duration = Duration::from_secs(30);
/// The rung at which the control plane is killed.
const KILLED_AT: &str = "5%";

/// A scenario in play.
struct Play<'a> {
    scenario: Scenario,
    stage: &'a mut Stage,
    view: &'a mut View,
    started_us: u64,
    rungs: Vec<Rung>,
    latest: RolloutStatus,
    /// When it was decided to go back.
    decided_us: Option<u64>,
    /// The highest share that was wanted since the last reset.
    highest: Ppm,
    remark: Option<String>,
}

/// Runs `scenario` on the empty `stage`.
pub(super) async fn play(
    scenario: Scenario,
    options: &Options,
    envoy: &Path,
    stage: &mut Stage,
    view: &mut View,
) -> Result<Measurements, DemoError> {
    let sidecars = usize::try_from(options.sidecars).unwrap_or(usize::MAX);
    view.note(&format!(
        "{}: starting {STABLE_HOSTS} hosts of {SERVICE}/{}, {CANARY_HOSTS} of {SERVICE}/{}, the \
         control plane and {sidecars} Envoys",
        scenario.name(),
        Arm::Stable.version(),
        Arm::Canary.version(),
    ))?;
    let targets = stage.set_up(envoy, sidecars, scenario.behaviour()).await?;
    stage.start_load(targets, options.rate);
    warm_up(stage, options.rate).await?;
    stage.steady().await?;
    view.note(&format!(
        "{} requests/s are flowing; the rollout begins",
        options.rate
    ))?;

    let started_us = stage.clock.now_us();
    let request = StartRequest {
        to: Arm::Canary.version().to_owned(),
        actor: "demo".to_owned(),
        turn: RequestedTurn::Next,
        terms: tidegate_engine::rollout::Terms::default(),
    };
    stage.client.start(SERVICE, &request).await?;
    let latest = stage.client.rollout(SERVICE).await?;
    let latest = latest.ok_or_else(|| DemoError::Forgotten {
        service: SERVICE.to_owned(),
    })?;
    let mut play = Play {
        scenario,
        stage,
        view,
        started_us,
        rungs: Vec::new(),
        highest: latest.share_wanted,
        latest,
        decided_us: None,
        remark: None,
    };
    let loss = match scenario {
        Scenario::ControlPlaneLoss => Some(play.lose_control_plane().await?),
        _ => {
            play.follow(ROLLOUT_LIMIT).await?;
            None
        }
    };
    let ended_us = play.stage.clock.now_us();
    play.settle().await?;
    play.finish(options.rate, ended_us, loss).await
}

/// Waits until a second's worth of requests was answered: what the rollout is compared with.
async fn warm_up(stage: &mut Stage, rate: u32) -> Result<(), DemoError> {
    wait::until(
        "a second's worth of answers",
        Duration::from_secs(20),
        async || {
            stage.check()?;
            let counts = stage.load().map(|load| load.counts()).unwrap_or_default();
            let enough = counts.answered >= u64::from(rate);
            Ok(if enough {
                Ok(())
            } else {
                Err(format!("{} so far", counts.answered))
            })
        },
    )
    .await
}

// === impl Play ===

impl Play<'_> {
    /// One look: are the children alive, what does the rollout do. Redraws the view.
    async fn look(&mut self) -> Result<(), DemoError> {
        self.stage.check()?;
        let asked_us = self.stage.clock.now_us();
        match self.stage.client.rollout(SERVICE).await {
            Ok(Some(status)) => {
                let now_us = self.stage.clock.now_us();
                self.enter(status, asked_us + (now_us - asked_us) / 2);
            }
            Ok(None) => {
                return Err(DemoError::Forgotten {
                    service: SERVICE.to_owned(),
                });
            }
            // Slow for a moment. Death is noticed by the check above, and whoever calls has a
            // deadline.
            Err(ClientError::Unreachable { .. } | ClientError::TimedOut { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.show()
    }

    /// Enters a status that was true at `at_us`.
    fn enter(&mut self, status: RolloutStatus, at_us: u64) {
        let since_ms = status.now.since_ms(status.since);
        // Never before the previous rung: the two clocks are compared to within a request.
        let earliest_us = self
            .rungs
            .last()
            .map_or(self.started_us, |rung| rung.since_us);
        let since_us = at_us
            .saturating_sub(since_ms.saturating_mul(1_000))
            .max(earliest_us);
        let same = self.rungs.last().is_some_and(|rung| {
            rung.phase == status.phase
                && rung.name == status.rung
                && rung.share == status.share_wanted
        });
        if !same {
            self.rungs.push(Rung {
                name: status.rung.clone(),
                phase: status.phase,
                share: status.share_wanted,
                since_us,
            });
        }
        if matches!(status.phase, Phase::Reverting | Phase::Reverted) {
            self.decided_us.get_or_insert(since_us);
        }
        self.highest = self.highest.max(status.share_wanted);
        self.latest = status;
    }

    fn show(&mut self) -> Result<(), DemoError> {
        let now_us = self.stage.clock.now_us();
        let scene = Scene {
            scenario: self.scenario,
            elapsed_ms: (now_us - self.started_us) / 1_000,
            status: Some(&self.latest),
            remark: self.remark.clone(),
            load: self
                .stage
                .load()
                .map_or_else(Counts::default, |load| load.counts()),
            hosts: self.recent(1_000_000),
        };
        self.view.show(&scene)
    }

    /// Requests at the hosts of (old, new) in the last `window_us`.
    fn recent(&self, window_us: u64) -> (u64, u64) {
        let from_us = self.stage.clock.now_us().saturating_sub(window_us);
        self.stage
            .hosts()
            .map_or((0, 0), |hosts| hosts.ledger.since(from_us))
    }

    /// Follows the rollout until it is over, or the time is.
    async fn follow(&mut self, limit: Duration) -> Result<(), DemoError> {
        self.follow_until(limit, |play| play.latest.phase.is_final())
            .await
            .map(|_| ())
    }

    /// Follows the rollout until `done` or the time is over; tells which.
    async fn follow_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, DemoError> {
        let deadline = Instant::now() + limit;
        loop {
            self.look().await?;
            if done(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the traffic shows how the rollout ended: one of the versions without requests.
    /// If it does not, the judge sees that.
    async fn settle(&mut self) -> Result<(), DemoError> {
        let phase = self.latest.phase;
        self.follow_until(SETTLE_LIMIT, |play| {
            let (stable, canary) = play.recent(QUIET_US);
            match phase {
                Phase::Committed => stable == 0,
                Phase::Reverted => canary == 0,
                _ => true,
            }
        })
        .await
        .map(|_| ())
    }

    /// Kills the control plane at 5%, waits until the sidecars dropped the canary by themselves,
    /// brings it back and watches what it makes of it.
    async fn lose_control_plane(&mut self) -> Result<Loss, DemoError> {
        let reached = self.follow_until(RUNG_LIMIT, |play| {
            let status = &play.latest;
            let acknowledged = status.sidecars_expected > 0
                && status.sidecars_acknowledged == status.sidecars_expected;
            let judging = status.phase == Phase::Judging && status.rung == KILLED_AT;
            // For two seconds, so that this rung and not the one before is in the traffic.
            let stood = status.now.since_ms(status.since) >= 2_000;
            judging && acknowledged && stood && play.recent(1_000_000).1 > 0
        });
        if !reached.await? {
            return Err(DemoError::Overdue {
                what: format!("that the rollout judges at {KILLED_AT}"),
                seconds: RUNG_LIMIT.as_secs(),
                last: show::rollout_line(&self.latest),
                tail: String::new(),
            });
        }
        let before = self.latest.clone();
        let killed_us = self.stage.kill_control_plane().await?;
        self.stay_dead(killed_us).await?;

        let restarted_us = self.stage.clock.now_us();
        self.stage.start_control_plane().await?;
        self.remark = None;
        self.view.note("the control plane is back")?;
        self.highest = Ppm::ZERO;
        self.reconnected().await?;
        self.follow(AFTER_RESTART_LIMIT).await?;
        let answer = self.stage.client.sidecars().await?;
        let mut resent: BTreeMap<String, u64> =
            ["cds", "lds"].map(|kind| (kind.to_owned(), 0)).into();
        for (kind, count) in answer.sidecars.iter().flat_map(|sidecar| &sidecar.sent) {
            *resent.entry(kind.clone()).or_default() += count;
        }
        Ok(Loss {
            killed_us,
            restarted_us,
            before,
            resent,
            highest_after: self.highest,
        })
    }

    /// Waits until the TTL is over and the canary without requests. If the canary never is, the
    /// judge sees that.
    async fn stay_dead(&mut self, killed_us: u64) -> Result<(), DemoError> {
        let least_us = killed_us + DEAD_MAN_TTL_MS * 1_000 + AFTER_TTL_US;
        let most_us = least_us + 10_000_000;
        loop {
            let now_us = self.stage.clock.now_us();
            let quiet = self.recent(AFTER_TTL_US).1 == 0;
            if now_us >= most_us || (now_us >= least_us && quiet) {
                return Ok(());
            }
            let dead = show::duration((now_us - killed_us) / 1_000);
            self.remark = Some(format!(
                "the control plane was killed at {KILLED_AT}, {dead} ago; each sidecar drops the \
                 canary {} after its last heartbeat",
                show::duration(DEAD_MAN_TTL_MS).replace(".0 s", " s"),
            ));
            self.stage.check()?;
            self.show()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all sidecars are connected again.
    async fn reconnected(&mut self) -> Result<(), DemoError> {
        let expected = usize::try_from(self.latest.sidecars_expected).unwrap_or(usize::MAX);
        let stage = &mut *self.stage;
        wait::until(
            "that all sidecars reconnect",
            AFTER_RESTART_LIMIT,
            async || {
                stage.check()?;
                let answer = match stage.client.sidecars().await {
                    Ok(answer) => answer,
                    Err(error) => return Ok(Err(error.to_string())),
                };
                let connected = answer
                    .sidecars
                    .iter()
                    .filter(|sidecar| sidecar.connected)
                    .count();
                Ok(if connected >= expected {
                    Ok(())
                } else {
                    Err(format!("{connected} of {expected} did"))
                })
            },
        )
        .await
    }

    /// Stops the client and judges what was recorded.
    async fn finish(
        self,
        rate: u32,
        ended_us: u64,
        loss: Option<Loss>,
    ) -> Result<Measurements, DemoError> {
        let stopped_us = self.stage.clock.now_us();
        let answers = match self.stage.take_load() {
            Some(load) => load.stop().await,
            None => Vec::new(),
        };
        let seen = self
            .stage
            .hosts()
            .map(|hosts| hosts.ledger.all())
            .unwrap_or_default();
        Ok(judge::judge(&Run {
            scenario: self.scenario,
            rate,
            started_us: self.started_us,
            ended_us,
            stopped_us,
            status: self.latest,
            rungs: self.rungs,
            decided_us: self.decided_us,
            answers,
            seen,
            loss,
        }))
    }
}

// === impl Scenario ===

impl Scenario {
    /// How the new version's hosts behave in it.
    fn behaviour(self) -> Behaviour {
        match self {
            Self::Errors => Behaviour::Errors,
            Self::Slow => Behaviour::Slow,
            Self::Hang => Behaviour::Hang,
            Self::Gone => Behaviour::Gone,
            Self::Healthy | Self::ControlPlaneLoss | Self::All => Behaviour::Healthy,
        }
    }
}
