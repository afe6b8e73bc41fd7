//! What a metric is to us, by its name and labels.

use std::borrow::Cow;

use super::super::protobuf::{Fields, Malformed};
use super::family::LABEL;

pub(super) const CLUSTER_LABEL: &str = "envoy.cluster_name";
pub(super) const RESPONSE_CLASS_LABEL: &str = "envoy.response_code_class";
pub(super) const HTTP_PREFIX_LABEL: &str = "envoy.http_conn_manager_prefix";
pub(super) const ROUTE_CONFIG_LABEL: &str = "envoy.rds_route_config";

/// What a stat of an upstream measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Requests,
    Completed,
    /// An answer that was retried.
    RetriedAnswer,
    /// 0 for 2xx … 3 for 5xx.
    Response(usize),
    Timeout,
    Retry,
    ConnectFailure,
    GrpcFailure,
    Active,
    Latency,
}

/// What a stat of the process itself measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessGauge {
    Memory,
    Uptime,
}

/// What a metric is to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stat<'a> {
    Upstream(&'a str, Measure),
    Version(Cow<'a, str>),
    Server(ProcessGauge),
    /// One that is asked for, but whose labels make no sense.
    Garbled,
    NotAskedFor,
}

/// The labels that tell what a metric is about; the first of each name counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Labels<'a> {
    cluster: Option<&'a str>,
    response_class: Option<&'a str>,
    http_prefix: Option<&'a str>,
    route_config: Option<&'a str>,
}

/// Whether a family of this name can hold anything that is asked for. Most can't, and cost no more than this:
/// every stat that is read ends in one of a few words, or in a gRPC status.
pub(super) fn may_be_asked_for(family: &str) -> bool {
    let Some((first, last)) = family
        .split_once('.')
        .zip(family.rsplit_once('.'))
        .map(|((first, _), (_, last))| (first, last))
    else {
        return false;
    };
    match first {
        "cluster" => {
            last == "version"
                || last == "upstream_cx_connect_fail"
                || last.starts_with("upstream_rq_")
                || blames_the_server(last)
        }
        "cluster_manager" | "listener_manager" | "runtime" | "http" => last == "version",
        "server" => last == "memory_allocated" || last == "uptime",
        _ => false,
    }
}

/// Tells what a metric is.
pub(super) fn classify<'a>(name: &'a str, labels: &Labels<'a>) -> Stat<'a> {
    if let Some(rest) = name.strip_prefix("cluster.") {
        return match labels.cluster {
            Some(cluster) => upstream_stat(cluster, rest, labels, || {
                Cow::Owned(format!("cluster.{cluster}.{rest}"))
            }),
            None => match rest.split_once('.') {
                Some((cluster, rest)) => {
                    upstream_stat(cluster, rest, labels, || Cow::Borrowed(name))
                }
                None => Stat::NotAskedFor,
            },
        };
    }
    match name {
        "cluster_manager.cds.version" | "listener_manager.lds.version" | "runtime.version" => {
            Stat::Version(Cow::Borrowed(name))
        }
        "server.memory_allocated" => Stat::Server(ProcessGauge::Memory),
        "server.uptime" => Stat::Server(ProcessGauge::Uptime),
        "http.rds.version" => match (labels.http_prefix, labels.route_config) {
            (Some(prefix), Some(route)) => {
                Stat::Version(Cow::Owned(format!("http.{prefix}.rds.{route}.version")))
            }
            _ => Stat::Garbled,
        },
        _ if name.starts_with("http.") && name.ends_with(".version") && name.contains(".rds.") => {
            Stat::Version(Cow::Borrowed(name))
        }
        _ => Stat::NotAskedFor,
    }
}

/// `rest` is the stat's name behind the cluster's.
fn upstream_stat<'a>(
    cluster: &'a str,
    rest: &str,
    labels: &Labels<'a>,
    full_name: impl FnOnce() -> Cow<'a, str>,
) -> Stat<'a> {
    let (retried, plain) = match rest.strip_prefix("retry.") {
        Some(plain) => (true, plain),
        None => (false, rest),
    };
    let measure = match plain {
        "upstream_rq_completed" if retried => Measure::RetriedAnswer,
        "upstream_rq_completed" => Measure::Completed,
        "upstream_rq_2xx" => Measure::Response(0),
        "upstream_rq_3xx" => Measure::Response(1),
        "upstream_rq_4xx" => Measure::Response(2),
        "upstream_rq_5xx" => Measure::Response(3),
        "upstream_rq_xx" => match labels.response_class {
            Some("2") => Measure::Response(0),
            Some("3") => Measure::Response(1),
            Some("4") => Measure::Response(2),
            Some("5") => Measure::Response(3),
            Some("1") => return Stat::NotAskedFor,
            _ => return Stat::Garbled,
        },
        _ if retried => return Stat::NotAskedFor,
        "upstream_rq_total" => Measure::Requests,
        "upstream_rq_timeout" | "upstream_rq_per_try_timeout" => Measure::Timeout,
        "upstream_rq_retry" => Measure::Retry,
        "upstream_cx_connect_fail" => Measure::ConnectFailure,
        "upstream_rq_active" => Measure::Active,
        "upstream_rq_time" => Measure::Latency,
        "version" => return Stat::Version(full_name()),
        _ if is_grpc_failure(plain) => Measure::GrpcFailure,
        _ => return Stat::NotAskedFor,
    };
    Stat::Upstream(cluster, measure)
}

/// Whether this is `grpc.<status>` or, per method, `grpc.….<status>`, of a status that blames the server: the
/// ones that load reports count as errors (xDS protocol §2.7).
fn is_grpc_failure(stat: &str) -> bool {
    let rest = stat.strip_prefix("grpc.");
    rest.is_some_and(|rest| blames_the_server(rest.rsplit('.').next().unwrap_or(rest)))
}

/// UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
pub(in crate::report) fn blames_the_server(grpc_status: &str) -> bool {
    matches!(grpc_status, "2" | "4" | "12" | "13" | "14" | "15")
}

// === impl Labels ===

impl<'a> Labels<'a> {
    /// Reads the labels that a metric begins with. Envoy writes them first; what comes later is no label of it.
    pub(super) fn read(metric: &mut Fields<'a>) -> Result<Self, Malformed> {
        let mut labels = Self::default();
        while let Some(label) = metric.bytes_if(LABEL) {
            let (mut name, mut value) = ("", "");
            for field in Fields::of(label) {
                match field? {
                    (1, text) => name = text.text()?,
                    (2, text) => value = text.text()?,
                    _ => {}
                }
            }
            labels.note(name, value);
        }
        Ok(labels)
    }

    pub(super) fn note(&mut self, name: &str, value: &'a str) {
        let slot = match name {
            CLUSTER_LABEL => &mut self.cluster,
            RESPONSE_CLASS_LABEL => &mut self.response_class,
            HTTP_PREFIX_LABEL => &mut self.http_prefix,
            ROUTE_CONFIG_LABEL => &mut self.route_config,
            _ => return,
        };
        slot.get_or_insert(value);
    }
}
