//! What Prometheus answers, read.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The samples of one poll.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scrapes {
    /// Prometheus' own time when it was asked, milliseconds since 1970.
    pub now_ms: i64,
    /// What it has.
    pub series: Vec<Series>,
}

/// One time series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Oldest first. Values that are no numbers are left out, and counted in `not_numbers`.
    pub samples: Vec<Sample>,
    /// Samples without a value: NaN or infinite.
    pub not_numbers: u64,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was scraped, milliseconds since 1970 by Prometheus' clock.
    pub at_ms: i64,
    /// Its value.
    pub value: f64,
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Success {
        data: Data,
    },
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(default)]
        error: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Matrix(Vec<RawSeries>),
    Scalar((f64, String)),
    Vector(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct RawSeries {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Why an answer can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Prometheus' own words.
    Refused(String),
    /// It is not what Prometheus answers.
    NotUnderstood(String),
}

/// The time that a query of `time()` answers, in milliseconds.
pub(super) fn time(text: &[u8]) -> Result<i64, Unusable> {
    match data(text)? {
        Data::Scalar((at, _)) => Ok(milliseconds(at)),
        _ => Err(Unusable::NotUnderstood("it is no scalar".to_owned())),
    }
}

/// The series that a query of raw samples answers.
pub(super) fn matrix(text: &[u8]) -> Result<Vec<Series>, Unusable> {
    match data(text)? {
        Data::Matrix(series) => Ok(series.into_iter().map(Series::of).collect()),
        _ => Err(Unusable::NotUnderstood("it is no matrix".to_owned())),
    }
}

fn data(text: &[u8]) -> Result<Data, Unusable> {
    match serde_json::from_slice(text) {
        Ok(Answer::Success { data }) => Ok(data),
        Ok(Answer::Error { kind, error }) => Err(Unusable::Refused(format!("{kind}: {error}"))),
        Err(cause) => Err(Unusable::NotUnderstood(cause.to_string())),
    }
}

// === impl Series ===

impl Series {
    fn of(raw: RawSeries) -> Self {
        let mut series = Self {
            labels: raw.metric,
            ..Self::default()
        };
        for (at, value) in raw.values {
            match value.parse::<f64>() {
                Ok(value) if value.is_finite() => series.samples.push(Sample {
                    at_ms: milliseconds(at),
                    value,
                }),
                _ => series.not_numbers += 1,
            }
        }
        series
    }

    /// A label; empty when it has none of this name.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "milliseconds of any date that Prometheus knows fit, and the cast saturates"
)]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}
