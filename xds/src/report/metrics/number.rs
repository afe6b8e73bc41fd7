//! The numbers of one metric, and which of them are believed.

use super::super::protobuf::{Fields, Malformed, Value};
use super::super::{Latency, MAX_BUCKETS, MAX_COUNT};

/// A bucket with its count and its edge takes no less, in bytes.
const BUCKET_BYTES_MIN: usize = 13;

/// A number that was asked for and can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The numbers of one metric, still as bytes: only the one that its name promises is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Metric<'a> {
    gauge: Option<&'a [u8]>,
    counter: Option<&'a [u8]>,
    histogram: Option<&'a [u8]>,
    summary: bool,
}

// === impl Metric ===

impl<'a> Metric<'a> {
    /// Reads what is behind the labels.
    pub(super) fn read(fields: Fields<'a>) -> Result<Self, Malformed> {
        let mut metric = Self::default();
        for field in fields {
            match field? {
                (2, gauge) => metric.gauge = Some(gauge.bytes()?),
                (3, counter) => metric.counter = Some(counter.bytes()?),
                (4, _) => metric.summary = true,
                (7, histogram) => metric.histogram = Some(histogram.bytes()?),
                _ => {}
            }
        }
        Ok(metric)
    }

    /// Envoy repeats a summary of the same name beside the histogram in its default emit mode.
    pub(super) fn is_summary_only(&self) -> bool {
        self.summary && self.histogram.is_none()
    }

    pub(super) fn delta(&self) -> Result<u64, Unreadable> {
        count(double(self.counter)?)
    }

    pub(super) fn gauge(&self) -> Result<u64, Unreadable> {
        count(double(self.gauge)?)
    }

    /// A version gauge: any whole of 64 bits.
    pub(super) fn version(&self) -> Result<u64, Unreadable> {
        match double(self.gauge)? {
            // 2^64 itself is what the largest hashes round to.
            value if value >= 0.0 && value <= u64::MAX as f64 => Ok(gauge_bits(value)),
            _ => Err(Unreadable),
        }
    }

    /// A histogram whose edges rise, whose cumulative counts don't fall and end at no more than the whole count.
    pub(super) fn histogram(&self) -> Result<Latency, Unreadable> {
        let histogram = self.histogram.ok_or(Unreadable)?;
        let room = (histogram.len() / BUCKET_BYTES_MIN).min(MAX_BUCKETS);
        let (mut whole, mut sum, mut buckets) = (None, None, Vec::with_capacity(room));
        for field in Fields::of(histogram) {
            match field? {
                (1, count) => whole = Some(count.varint()?),
                (2, value) => sum = Some(value.double()?),
                (3, bucket) if buckets.len() < MAX_BUCKETS => buckets.push(edge(bucket)?),
                (3, _) => return Err(Unreadable),
                _ => {}
            }
        }
        let (count, sum_ms) = whole.zip(sum).ok_or(Unreadable)?;
        if count > MAX_COUNT || !sum_ms.is_finite() || sum_ms < 0.0 {
            return Err(Unreadable);
        }
        let (mut last_edge, mut last_count) = (f64::NEG_INFINITY, 0);
        for (edge, cumulative) in &buckets {
            // The comparison is false for NaN. The last edge may be infinite.
            let rises = *edge > last_edge && *edge >= 0.0;
            if !rises || *cumulative < last_count || *cumulative > count {
                return Err(Unreadable);
            }
            (last_edge, last_count) = (*edge, *cumulative);
        }
        Ok(Latency {
            count,
            buckets,
            sum_ms,
        })
    }
}

/// The `value` of a counter or a gauge, which both have as their field 1.
fn double(message: Option<&[u8]>) -> Result<f64, Unreadable> {
    let mut value = None;
    for field in Fields::of(message.ok_or(Unreadable)?) {
        if let (1, number) = field? {
            value = Some(number.double()?);
        }
    }
    value.ok_or(Unreadable)
}

fn edge(bucket: Value<'_>) -> Result<(f64, u64), Unreadable> {
    let (mut cumulative, mut edge) = (None, None);
    for field in bucket.fields()? {
        match field? {
            (1, count) => cumulative = Some(count.varint()?),
            (2, bound) => edge = Some(bound.double()?),
            _ => {}
        }
    }
    edge.zip(cumulative).ok_or(Unreadable)
}

/// A whole number from 0 to [`MAX_COUNT`]; this keeps out NaN and infinities as well.
fn count(value: f64) -> Result<u64, Unreadable> {
    if value >= 0.0 && value <= MAX_COUNT as f64 && value.fract() == 0.0 {
        Ok(value as u64)
    } else {
        Err(Unreadable)
    }
}

/// A gauge's double as an integer; 2^64 becomes `u64::MAX`.
pub(super) fn gauge_bits(value: f64) -> u64 {
    value as u64
}

// === impl Unreadable ===

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self
    }
}
