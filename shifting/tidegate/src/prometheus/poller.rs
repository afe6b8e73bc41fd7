//! Asks for the numbers of every running rollout that a Prometheus judges or watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tidegate_engine::compile::cluster_name;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::Scrapes;
use super::query::{Outage, Questions};
use crate::daemon::Published;

/// How often is looked whether somebody has to be asked.
const LOOK: Duration = Duration::from_millis(500);
/// A scrape is known after at most this part of an interval.
const POLLS_PER_INTERVAL: u64 = 3;

/// One answer, or none.
#[derive(Debug)]
pub struct Poll {
    /// The service.
    pub service: String,
    /// How often its sidecars are scraped, milliseconds.
    pub interval_ms: u64,
    /// When it was asked for.
    pub asked: Instant,
    /// What came of it.
    pub outcome: Result<Scrapes, Outage>,
}

/// What is asked for one rollout.
#[derive(Debug, Clone)]
struct Question {
    service: String,
    url: String,
    clusters: [String; 2],
    interval_ms: u64,
}

/// Polls until nobody takes the answers any more. One question per rollout is under way at a
/// time, so a slow server is not asked more, but less.
pub async fn run(published: Arc<ArcSwap<Published>>, polls: mpsc::Sender<Poll>) {
    let questions = Questions::new();
    let mut under_way: JoinSet<Poll> = JoinSet::new();
    // By service: when it was asked, and whether the answer is still awaited.
    let mut asked: BTreeMap<String, (Instant, bool)> = BTreeMap::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            Some(ended) = under_way.join_next() => {
                let Ok(poll) = ended else {
                    // It died by a fault of ours, and nobody knows which: all may be asked again.
                    asked.clear();
                    continue;
                };
                if let Some((_, awaited)) = asked.get_mut(&poll.service) {
                    *awaited = false;
                }
                if polls.send(poll).await.is_err() {
                    return;
                }
                continue;
            }
        }
        let wanted = wanted(&published.load());
        asked.retain(|service, (_, awaited)| {
            *awaited || wanted.iter().any(|question| question.service == *service)
        });
        for question in wanted {
            let now = Instant::now();
            let every = Duration::from_millis(question.interval_ms / POLLS_PER_INTERVAL);
            let due = asked
                .get(&question.service)
                .is_none_or(|(at, awaited)| !awaited && now.duration_since(*at) >= every);
            if due {
                asked.insert(question.service.clone(), (now, true));
                let questions = questions.clone();
                under_way.spawn(async move { question.ask(&questions, now).await });
            }
        }
    }
}

fn wanted(published: &Published) -> Vec<Question> {
    let running = published.state.active().map(|run| run.plan());
    running
        .filter_map(|plan| {
            let prometheus = plan.evidence.prometheus()?;
            Some(Question {
                service: plan.service.clone(),
                url: prometheus.url.clone(),
                clusters: [
                    cluster_name(&plan.service, &plan.to),
                    cluster_name(&plan.service, &plan.from),
                ],
                interval_ms: prometheus.scrape_interval_ms,
            })
        })
        .collect()
}

// === impl Question ===

impl Question {
    async fn ask(self, questions: &Questions, asked: Instant) -> Poll {
        let [canary, stable] = &self.clusters;
        let outcome = questions
            .scrapes(&self.url, [canary, stable], self.interval_ms)
            .await;
        Poll {
            service: self.service,
            interval_ms: self.interval_ms,
            asked,
            outcome,
        }
    }
}
