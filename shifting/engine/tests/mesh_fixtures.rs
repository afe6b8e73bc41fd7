//! Bad meshes with the diagnostics that they must get, and the example mesh that must get none.
//!
//! `UPDATE=1 cargo test -p tidegate-engine --test mesh_fixtures` rewrites the expectations.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the tests read fixtures; the engine does not"
)]

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_engine::mesh::{
    self, CircuitBreakers, EvidenceSource, Mesh, Prometheus, Protocol, RolloutPolicy, Service,
    SourceFile, Tier, TrafficPolicy,
};
use tidegate_engine::units::Ppm;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    paths.sort();
    paths
}

fn source(path: &Path) -> SourceFile {
    SourceFile {
        path: path.file_name().unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(path).unwrap(),
    }
}

fn shop() -> Mesh {
    let files: Vec<SourceFile> = yaml_files(&fixtures().join("meshes/shop"))
        .iter()
        .map(|path| source(path))
        .collect();
    mesh::read(&files).unwrap()
}

#[test]
fn every_bad_mesh_gets_exactly_its_diagnostics() {
    let update = std::env::var_os("UPDATE").is_some();
    let paths = yaml_files(&fixtures().join("bad-meshes"));
    assert!(!paths.is_empty());
    for path in paths {
        let diagnostics = mesh::read(&[source(&path)]).unwrap_err();
        let text: String = diagnostics
            .iter()
            .map(|diagnostic| format!("{diagnostic}\n\n"))
            .collect();
        let expected = path.with_extension("expected");
        if update {
            fs::write(&expected, &text).unwrap();
        }
        let wanted = fs::read_to_string(&expected)
            .unwrap_or_else(|_| panic!("no {}; set UPDATE=1 to write it", expected.display()));
        assert_eq!(text, wanted, "{}", path.display());
    }
}

#[test]
fn the_example_mesh_is_read_whole() {
    let shop = shop();
    assert_eq!(shop.fleets.keys().collect::<Vec<_>>(), ["web"]);
    assert_eq!(shop.fleets["web"].listener.port, 15001);
    assert_eq!(
        shop.services.keys().collect::<Vec<_>>(),
        ["checkout", "payments"]
    );
    let checkout = &shop.services["checkout"];
    assert_eq!(checkout.protocol, Protocol::Http2);
    assert_eq!(checkout.slo.success, Ppm::new(999_000).unwrap());
    let latency = checkout.slo.latency.as_ref().unwrap();
    assert_eq!((latency.threshold_ms, latency.share.get()), (250, 990_000));
    assert_eq!(shop.hosts("checkout", "v1").len(), 4);
    assert_eq!(shop.hosts("checkout", "v3"), []);
    assert_eq!(shop.services["payments"].protocol, Protocol::Grpc);
    for (service, neighbour) in [("checkout", "payments"), ("payments", "checkout")] {
        let neighbours = shop.neighbours(service);
        assert_eq!(neighbours.iter().collect::<Vec<_>>(), [neighbour]);
    }
}

#[test]
fn what_the_example_spells_out_as_defaults_are_the_defaults() {
    let shop = shop();
    let spelt_out = &shop.services["checkout"];
    let left_out = &shop.services["payments"];
    for service in [spelt_out, left_out] {
        assert_eq!(service.rollout, RolloutPolicy::default());
        assert_eq!(service.traffic, TrafficPolicy::default());
        assert_eq!(service.traffic.circuit_breakers, CircuitBreakers::default());
        assert_eq!(service.ladder, Service::default_ladder());
        assert_eq!(service.tier, Tier::default());
    }
}

#[test]
fn a_mesh_is_the_same_however_its_files_are_cut_and_ordered() {
    let mut files: Vec<SourceFile> = yaml_files(&fixtures().join("meshes/shop"))
        .iter()
        .map(|path| source(path))
        .collect();
    let together = SourceFile {
        path: "all.yaml".to_owned(),
        text: files
            .iter()
            .map(|file| file.text.as_str())
            .collect::<Vec<_>>()
            .join("\n---\n"),
    };
    files.reverse();
    let revision = shop().revision();
    assert_eq!(mesh::read(&files).unwrap().revision(), revision);
    assert_eq!(mesh::read(&[together]).unwrap().revision(), revision);
}

#[test]
fn the_sources_of_evidence_are_those_that_are_named() {
    let read = |evidence: &str| {
        let text = format!(
            "kind: fleet\nname: web\nlistener: {{address: 127.0.0.1, port: 15001}}\n---\n\
             kind: service\nname: checkout\nfleets: [web]\ninitial: v1\n\
             versions: {{v1: {{hosts: [{{address: \"10.0.0.1:80\"}}]}}}}\n\
             slo: {{success: 99.9%}}\n{evidence}\n"
        );
        let path = "mesh.yaml".to_owned();
        let mut mesh = mesh::read(&[SourceFile { path, text }]).unwrap();
        mesh.services.remove("checkout").unwrap()
    };
    let server = || Prometheus {
        url: "http://127.0.0.1:9090".to_owned(),
        scrape_interval_ms: 15_000,
    };
    let named = "prometheus: {url: \"http://127.0.0.1:9090\"}";
    for (evidence, wanted, kept) in [
        (String::new(), EvidenceSource::Sidecars, ""),
        (
            "evidence: {sidecars: true}".to_owned(),
            EvidenceSource::Sidecars,
            "",
        ),
        (
            format!("evidence: {{{named}}}"),
            EvidenceSource::Prometheus(server()),
            r#""evidence":{"prometheus":{"url":"http://127.0.0.1:9090","scrape_interval_ms":15000}}"#,
        ),
        (
            format!("evidence: {{sidecars: false, {named}}}"),
            EvidenceSource::Prometheus(server()),
            r#""evidence":{"prometheus":{"url":"http://127.0.0.1:9090","scrape_interval_ms":15000}}"#,
        ),
        (
            format!("evidence: {{sidecars: true, {named}}}"),
            EvidenceSource::Witnessed(server()),
            r#""evidence":{"witnessed":{"url":"http://127.0.0.1:9090","scrape_interval_ms":15000}}"#,
        ),
        (
            "evidence: {load_reports: true}".to_owned(),
            EvidenceSource::LoadReports,
            r#""evidence":"load_reports""#,
        ),
        (
            "evidence: {sidecars: false, load_reports: true}".to_owned(),
            EvidenceSource::LoadReports,
            r#""evidence":"load_reports""#,
        ),
        (
            "evidence: {sidecars: true, load_reports: true}".to_owned(),
            EvidenceSource::SidecarsByHost,
            r#""evidence":"sidecars_by_host""#,
        ),
        (
            "evidence: {sidecars: true, load_reports: false}".to_owned(),
            EvidenceSource::Sidecars,
            "",
        ),
    ] {
        let service = read(&evidence);
        assert_eq!(service.evidence, wanted, "{evidence}");
        // As journals keep it, earlier ones too.
        let text = serde_json::to_string(&service).unwrap();
        assert!(text.contains(kept), "{text}");
        assert_eq!(text.contains("evidence"), !kept.is_empty(), "{text}");
        assert_eq!(serde_json::from_str::<Service>(&text).unwrap(), service);
    }
}
