use std::process::Command;

use super::*;
use crate::envoy;

fn options() -> BootstrapOptions {
    BootstrapOptions {
        node_id: "sidecar-1".to_owned(),
        fleet: "shop".to_owned(),
        zone: "z1".to_owned(),
        region: "r1".to_owned(),
        control_planes: vec!["127.0.0.1:18000".parse().unwrap()],
        admin: "127.0.0.1:9901".parse().unwrap(),
        load_reports: false,
        tls: None,
    }
}

/// What a real Envoy says of a bootstrap; `None` when it accepts it.
fn complaint(yaml: &str) -> Option<String> {
    let envoy = envoy::find(None, &mut |progress| envoy::tell_on_stderr(&progress)).unwrap();
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::io::Write::write_all(&mut file, yaml.as_bytes()).unwrap();
    let output = Command::new(envoy.path)
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(file.path())
        .output()
        .unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_real_envoy_accepts_it() {
    let mut several = options();
    several.control_planes = vec![
        "10.1.2.3:18000".parse().unwrap(),
        "[::1]:18001".parse().unwrap(),
        "tidegate.internal:18002".parse().unwrap(),
    ];
    several.zone = String::new();
    several.region = String::new();
    several.admin = "[::1]:9901".parse().unwrap();
    several.load_reports = true;
    for options in [options(), several] {
        let yaml = bootstrap(&options).unwrap();
        assert_eq!(complaint(&yaml), None, "{yaml}");
    }
    // The check can fail: an unknown field is refused.
    let yaml = bootstrap(&self::options()).unwrap();
    let broken = yaml.replace("histogram_emit_mode", "histogram_emit_mood");
    assert!(complaint(&broken).is_some());
}

#[test]
fn names_are_data_whatever_is_in_them() {
    let strange = "a\"b\\ {x}: #'é漢\u{2028}🦀 @ZONE@ %s";
    let mut options = options();
    options.node_id = strange.to_owned();
    options.fleet = "]: [".to_owned();
    let yaml = bootstrap(&options).unwrap();
    assert!(
        yaml.contains(r#"  id: "a\"b\\ {x}: #'é漢\U00002028\U0001F980 @ZONE@ %s""#),
        "{yaml}"
    );
    assert_eq!(complaint(&yaml), None, "{yaml}");
}

#[test]
fn names_that_no_node_can_have_are_refused() {
    type Change = fn(&mut BootstrapOptions);
    let cases: [(Change, &str); 5] = [
        (|o| o.node_id.clear(), "the node id is empty"),
        (|o| o.fleet.clear(), "the fleet is empty"),
        (|o| o.node_id = "x".repeat(513), "has 513 bytes"),
        (|o| o.zone = "z\n".to_owned(), "control character"),
        (|o| o.control_planes.clear(), "no control plane"),
    ];
    for (change, words) in cases {
        let mut options = options();
        change(&mut options);
        let text = bootstrap(&options).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn addresses_of_control_planes_are_checked() {
    for text in [
        "127.0.0.1:1",
        "[2001:db8::1]:65535",
        "cp:18000",
        "a-b.c_d.example:80",
    ] {
        assert!(text.parse::<ControlPlaneAddress>().is_ok(), "{text}");
    }
    for text in [
        "127.0.0.1",
        "cp",
        ":18000",
        "cp:",
        "cp:0",
        "127.0.0.1:0",
        "cp:70000",
        "300.1.1.1:80",
        "::1:80",
        "a b:80",
        "a..b:80",
        "http://cp:80",
        "cp:+80",
    ] {
        let parsed = text.parse::<ControlPlaneAddress>();
        assert!(parsed.is_err(), "{text} → {parsed:?}");
    }
}

/// xDS protocol rule E4: changed bytes here would rebuild what depends on them in every
/// sidecar that restarts with a newer bootstrap. Don't adjust this test; ask why first.
#[test]
fn config_sources_stay_as_they_are_between_releases() {
    let yaml = bootstrap(&options()).unwrap();
    let sources: Vec<&str> = yaml
        .lines()
        .filter(|line| line.contains("resource_api_version"))
        .map(str::trim)
        .collect();
    assert_eq!(
        sources,
        [
            "cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 15s}",
            "lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 15s}",
            "rtds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 1s}",
        ]
    );
}

#[test]
fn a_host_name_is_resolved_and_addresses_are_not() {
    let mut options = options();
    assert!(bootstrap(&options).unwrap().contains("type: STATIC"));
    options
        .control_planes
        .push("cp.internal:1".parse().unwrap());
    assert!(bootstrap(&options).unwrap().contains("type: STRICT_DNS"));
}

fn with_tls(server_san: &str) -> BootstrapOptions {
    BootstrapOptions {
        tls: Some(ControlPlaneTls {
            certificate: "/etc/side\"car.pem".to_owned(),
            key: "/etc/sidecar.key".to_owned(),
            ca: "/etc/ca.pem".to_owned(),
            server_san: server_san.to_owned(),
        }),
        ..options()
    }
}

#[test]
fn with_certificates_the_control_plane_is_reached_over_tls_by_its_name_or_uri() {
    assert!(
        !bootstrap(&options())
            .unwrap()
            .contains("transport_sockets.tls")
    );
    let by_name = bootstrap(&with_tls("cp.internal")).unwrap();
    for words in [
        r#"certificate_chain: {filename: "/etc/side\"car.pem"}"#,
        r#"sni: "cp.internal""#,
        "san_type: DNS",
        r#"matcher: {exact: "cp.internal"}"#,
        "tls_maximum_protocol_version: TLSv1_3",
    ] {
        assert!(by_name.contains(words), "`{words}` is missing: {by_name}");
    }
    let by_uri = bootstrap(&with_tls("spiffe://mesh/control-plane")).unwrap();
    assert!(by_uri.contains("san_type: URI") && !by_uri.contains("sni:"));
    let wrong = bootstrap(&with_tls("")).unwrap_err().to_string();
    assert!(wrong.contains("the server's SAN is empty"), "{wrong}");
    let wrong = bootstrap(&with_tls("a\nb")).unwrap_err().to_string();
    assert!(wrong.contains("control character"), "{wrong}");
}
