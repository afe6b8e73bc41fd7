//! What a run came to, as tables.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::explained::Refusal;
use crate::explanations::EXPLANATIONS;
use crate::judges::{Verdict, category, stage};
use crate::kinds::KINDS;
use crate::mutate::Mutant;

/// How often who refused.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    made: u32,
    envoy: u32,
    we: u32,
    only_envoy: u32,
    only_we: u32,
}

/// Disagreements of one category.
#[derive(Debug, Default)]
struct Entry {
    count: u32,
    example: String,
}

/// All that was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    all: Counts,
    kinds: BTreeMap<&'static str, Counts>,
    bases: BTreeMap<String, Counts>,
    stages: BTreeMap<&'static str, u32>,
    explained: BTreeMap<usize, Entry>,
    unexplained: BTreeMap<(&'static str, String), Entry>,
    our_time: Duration,
    our_time_max: Duration,
    envoys_time: Duration,
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, envoy: bool, we: bool) {
        self.made += 1;
        self.envoy += u32::from(envoy);
        self.we += u32::from(we);
        self.only_envoy += u32::from(envoy && !we);
        self.only_we += u32::from(we && !envoy);
    }

    fn row(&self, name: &str) {
        println!(
            "{name:36} {:>6} {:>7} {:>6} {:>11} {:>8}",
            self.made, self.envoy, self.we, self.only_envoy, self.only_we
        );
    }
}

// === impl Tally ===

impl Tally {
    /// Counts one, and tells whether the judges disagree.
    pub(crate) fn add(
        &mut self,
        number: u64,
        name: &str,
        mutant: &Mutant,
        verdict: &Verdict,
    ) -> bool {
        let (envoy, we) = (verdict.envoys.is_some(), !verdict.ours.is_empty());
        let of_kind = self.kinds.entry(mutant.kind.words()).or_default();
        let of_base = self.bases.entry(name.to_owned()).or_default();
        for counts in [&mut self.all, of_kind, of_base] {
            counts.add(envoy, we);
        }
        self.our_time += verdict.our_time;
        self.our_time_max = self.our_time_max.max(verdict.our_time);
        self.envoys_time += verdict.envoys_time;
        if let Some(reason) = &verdict.envoys {
            *self.stages.entry(stage(reason)).or_default() += 1;
        }
        let refusals: Vec<Refusal> = match &verdict.envoys {
            Some(reason) if !we => vec![Refusal::OnlyEnvoy(reason.clone())],
            None => Refusal::ours(&verdict.ours),
            Some(_) => Vec::new(),
        };
        for refusal in &refusals {
            let text = refusal.text();
            let example = format!("#{number} {name}, {}\n        {text:.400}", mutant.what);
            let entry = match refusal.explanation() {
                Some(known) => self.explained.entry(known).or_default(),
                None => {
                    // At once: a run is long.
                    println!("{}: {example}", refusal.who());
                    let key = (refusal.who(), category(&text));
                    self.unexplained.entry(key).or_default()
                }
            };
            entry.count += 1;
            if entry.example.is_empty() {
                entry.example = example;
            }
        }
        envoy != we
    }

    /// Configurations that Envoy refused.
    pub(crate) fn refusals(&self) -> u32 {
        self.all.envoy
    }

    /// Whether every disagreement is explained.
    pub(crate) fn is_clean(&self) -> bool {
        self.unexplained.is_empty()
    }

    pub(crate) fn print(&self) {
        let heads = ["made", "Envoy", "we", "only Envoy", "only we"];
        let head = |name: &str| {
            let [made, envoy, we, only_envoy, only_we] = heads;
            println!("\n{name:36} {made:>6} {envoy:>7} {we:>6} {only_envoy:>11} {only_we:>8}");
        };
        head("refused, by kind of mistake");
        for (_, _, words) in &KINDS {
            self.kinds
                .get(words)
                .copied()
                .unwrap_or_default()
                .row(words);
        }
        head("refused, by configuration");
        for (name, counts) in &self.bases {
            counts.row(name);
        }
        head("");
        self.all.row("all");
        println!("\nwhat Envoy refused them for");
        for (name, count) in &self.stages {
            println!("{count:6} {name}");
        }
        let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(self.all.made.max(1));
        println!(
            "\n{:.2} ms each for us (at most {:.0} ms), {:.0} ms each for Envoy",
            each(self.our_time),
            self.our_time_max.as_secs_f64() * 1e3,
            each(self.envoys_time),
        );
        println!("\nexplained disagreements");
        for (index, known) in EXPLANATIONS.iter().enumerate() {
            let (who, path) = (known.who(), known.path.unwrap_or_default());
            match self.explained.get(&index) {
                Some(entry) => println!(
                    "{:6} {who}: {path} {}: {}\n        {}",
                    entry.count, known.text, known.why, entry.example
                ),
                None => println!("unused {who}: {path} {}", known.text),
            }
        }
        let total: u32 = self.unexplained.values().map(|entry| entry.count).sum();
        println!("\nunexplained disagreements: {total}");
        for ((who, said), entry) in &self.unexplained {
            println!("{:6} {who}: {said}\n        {}", entry.count, entry.example);
        }
    }
}
