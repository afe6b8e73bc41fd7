//! What is printed and written: tables whose columns name their units, and goals that are met or
//! missed.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Everything that a run of the benchmark found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// On what it ran.
    pub machine: Map<String, Value>,
    /// The tables, in order.
    pub sections: Vec<Section>,
    /// The goals.
    pub goals: Vec<Goal>,
    /// What servers did wrong. Numbers of a run with faults mean nothing.
    pub faults: Vec<String>,
}

/// One table.
#[derive(Debug, Serialize)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// Its lines; all have the same columns.
    pub rows: Vec<Row>,
}

/// A line: columns with their values, in order.
#[derive(Debug, Default, Clone)]
pub struct Row(Vec<(&'static str, Value)>);

/// A number that must not be above another, or not below it.
#[derive(Debug, Clone, Serialize)]
pub struct Goal {
    /// What is measured.
    pub what: String,
    /// What came out.
    pub value: f64,
    /// The most that it may be, or the least.
    pub limit: f64,
    /// The limit is the least that it may be.
    pub at_least: bool,
    /// Whether it is.
    pub met: bool,
}

// === impl Row ===

impl Row {
    /// One more column.
    #[must_use]
    pub fn with(mut self, column: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((column, value.into()));
        self
    }
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(column, value)| (column, value)))
    }
}

// === impl Section ===

impl Section {
    /// An empty table.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            rows: Vec::new(),
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        if let Some(first) = self.rows.first() {
            table.set_header(first.0.iter().map(|(column, _)| *column));
        }
        for row in &self.rows {
            table.add_row(row.0.iter().map(|(_, value)| shown(value)));
        }
        writeln!(f, "\n{}\n{table}", self.title)
    }
}

// === impl Goal ===

impl Goal {
    /// At most `limit`.
    pub fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self {
            what: what.into(),
            value,
            limit,
            at_least: false,
            met: value <= limit,
        }
    }

    /// At least `limit`.
    pub fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        Self {
            what: what.into(),
            value,
            limit,
            at_least: true,
            met: value >= limit,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, limit) = (shown(&json!(self.value)), shown(&json!(self.limit)));
        let verdict = if self.met { "met   " } else { "MISSED" };
        let side = if self.at_least { "least" } else { "most" };
        write!(
            f,
            "{verdict}  {value:>8}  (at {side} {limit})  {}",
            self.what
        )
    }
}

// === impl Report ===

impl Report {
    /// Prints the section and keeps it.
    pub fn add(&mut self, section: Section) {
        print!("{section}");
        self.sections.push(section);
    }

    /// Prints the goals and the faults.
    pub fn conclude(&self) {
        if !self.goals.is_empty() {
            println!("\nGoals");
        }
        for goal in &self.goals {
            println!("  {goal}");
        }
        for fault in &self.faults {
            println!("  FAULT {fault}");
        }
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text)
    }
}

/// Three digits that count, and no more.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            let digits = match number.abs() {
                size if size >= 100.0 => 0,
                size if size >= 10.0 => 1,
                size if size >= 1.0 => 2,
                _ => 3,
            };
            format!("{number:.digits$}")
        }
        other => other.to_string(),
    }
}
