//! A runtime layer with a time to live: it stays up while somebody renews it, and comes down at the
//! sidecar itself when nobody does.

use std::time::{Duration, Instant};

use tidegate_integration::machine::wait_until;
use tidegate_xds::{ResourceStatus, TypeUrl};

use crate::config::read;
use crate::world::{AGGREGATED, LIMIT, World, all_good, await_requests, with_each};

const TTL: Duration = Duration::from_secs(2);

/// How long after its end the layer may still be in force on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// Requests go to `checkout`, and the share that the runtime says to `second`.
const ROUTE: &str = "
'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: rt
virtual_hosts:
- name: all
  domains: ['*']
  routes:
  - match:
      prefix: ''
      runtime_fraction: {default_value: {numerator: 0}, runtime_key: shift.rt}
    route: {cluster: second}
  - match: {prefix: ''}
    route: {cluster: checkout}
";

fn layer(percent: u32) -> tidegate_xds::Resource {
    let text = format!(
        "
'@type': type.googleapis.com/envoy.service.runtime.v3.Runtime
name: shift
layer: {{shift.rt: {percent}, shift.other: 1}}
"
    );
    read(&text).with_ttl(TTL).unwrap()
}

#[test]
fn d12_s13_a_layer_lives_while_it_is_renewed_and_no_longer() {
    with_each(&AGGREGATED, |kind| {
        let mut world = World::start_with(kind, |config| {
            config.put(read(ROUTE));
        });
        let traffic = world.traffic("in");
        await_requests(&traffic, 20);
        for percent in [100, 101] {
            // Up, and renewed for longer than it lives by itself.
            world.config.put(layer(percent));
            world.publish();
            world.await_acknowledged(&TypeUrl::RUNTIME, "shift");
            let up = Instant::now();
            await_requests(&traffic, 1);
            let from = traffic.records().len();
            let mut last = Instant::now();
            while up.elapsed() < 2 * TTL {
                world.library.server().renew();
                last = Instant::now();
                await_requests(&traffic, 20);
            }
            let renewed = traffic.records().split_off(from);
            // Envoy's workers may be behind its acknowledgement for a moment.
            let late = renewed.iter().filter(|record| record.version != "v2");
            let moment = Duration::from_millis(500);
            assert!(
                late.clone().all(|record| record.sent < up + moment),
                "{}: {} of {} requests were not on v2",
                kind.name,
                late.count(),
                renewed.len()
            );
            assert!(world.status().takes_ttl);
            assert_eq!(
                world.resource(&TypeUrl::RUNTIME, "shift"),
                Some(ResourceStatus::Acknowledged)
            );

            // Nobody renews it.
            wait_until(LIMIT, "the first request on v1", || {
                traffic.records().last().unwrap().version == "v1"
            });
            let lived = last.elapsed();
            println!("{}: {lived:.2?} after the last renewal", kind.name);
            assert!((TTL / 2..TTL + SLACK).contains(&lived), "{lived:?}");
            await_requests(&traffic, 50);
            let newest = traffic.records().split_off(traffic.records().len() - 40);
            assert!(newest.iter().all(|record| record.version == "v1"));
            let expired = world.resource(&TypeUrl::RUNTIME, "shift");
            assert_eq!(expired, Some(ResourceStatus::Expired), "{}", kind.name);
        }
        all_good(traffic);
    });
}
