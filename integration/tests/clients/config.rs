//! Envoy configuration as YAML, and views made of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use prost::Message;
use tidegate_xds::config::Reader;
use tidegate_xds::{Resource, Snapshot, TypeUrl};

/// Resources that can be changed one by one.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where clients get endpoints, routes and secrets from: a `ConfigSource` without its braces.
    source: String,
    resources: BTreeMap<(TypeUrl, String), Arc<Resource>>,
    missing: Vec<String>,
}

/// One resource of a text with its `@type`.
pub(crate) fn read(text: &str) -> Resource {
    match Reader::new().read("resource.yaml", text) {
        Ok(mut resources) => resources.pop().expect("a resource"),
        Err(diagnostics) => panic!("{diagnostics:#?}"),
    }
}

// === impl Config ===

impl Config {
    /// Nothing yet.
    pub(crate) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            resources: BTreeMap::new(),
            missing: Vec::new(),
        }
    }

    /// Adds a resource, or replaces the one of its name.
    pub(crate) fn put(&mut self, resource: Resource) -> &mut Self {
        let key = (resource.type_url().clone(), resource.name().to_string());
        self.resources.insert(key, Arc::new(resource));
        self
    }

    pub(crate) fn remove(&mut self, type_url: &TypeUrl, name: &str) -> &mut Self {
        let removed = self.resources.remove(&(type_url.clone(), name.to_owned()));
        assert!(removed.is_some(), "no {type_url} {name}");
        self
    }

    /// Changes a resource as the reader wouldn't let pass.
    pub(crate) fn spoil<M: Message + Default>(
        &mut self,
        type_url: &TypeUrl,
        name: &str,
        spoil: impl FnOnce(&mut M),
    ) -> &mut Self {
        let mut message = M::decode(self.get(type_url, name).body().clone()).unwrap();
        spoil(&mut message);
        self.put(Resource::encode(type_url.clone(), name, &message).unwrap())
    }

    /// Lets routes lead to a cluster that doesn't exist.
    pub(crate) fn pretend(&mut self, cluster: &str) -> &mut Self {
        self.missing.push(cluster.to_owned());
        self
    }

    pub(crate) fn get(&self, type_url: &TypeUrl, name: &str) -> &Resource {
        &self.resources[&(type_url.clone(), name.to_owned())]
    }

    /// Every resource, by type and name.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&TypeUrl, &str)> {
        let keys = self.resources.keys();
        keys.map(|(type_url, name)| (type_url, name.as_str()))
    }

    pub(crate) fn view(&self) -> Arc<Snapshot> {
        let mut builder = Snapshot::builder();
        for resource in self.resources.values() {
            builder.insert(Arc::clone(resource));
        }
        for cluster in &self.missing {
            builder.assume(TypeUrl::CLUSTER, cluster);
        }
        Arc::new(builder.build().unwrap())
    }

    /// A cluster with these hosts.
    pub(crate) fn put_cluster(&mut self, name: &str, hosts: &[SocketAddr]) -> &mut Self {
        let source = &self.source;
        self.put(read(&format!(
            "
'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster
name: {name}
type: EDS
connect_timeout: 5s
eds_cluster_config:
  eds_config: {{{source}, resource_api_version: V3}}
"
        )))
        .put_endpoints(name, hosts)
    }

    /// The hosts of a cluster. gRPC needs the locality and its weight.
    pub(crate) fn put_endpoints(&mut self, cluster: &str, hosts: &[SocketAddr]) -> &mut Self {
        let mut text = format!(
            "
'@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
cluster_name: {cluster}
endpoints:
- locality: {{zone: z1}}
  load_balancing_weight: 1
  lb_endpoints:
"
        );
        for host in hosts {
            text += &format!(
                "  - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n",
                host.ip(),
                host.port()
            );
        }
        self.put(read(&text))
    }

    /// A route configuration that sends everything to a cluster.
    pub(crate) fn put_route(&mut self, name: &str, cluster: &str) -> &mut Self {
        self.put(read(&format!(
            "
'@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration
name: {name}
virtual_hosts:
- name: all
  domains: ['*']
  routes:
  - match: {{prefix: ''}}
    route: {{cluster: {cluster}, timeout: 30s}}
"
        )))
    }

    fn manager(&self, route: &str) -> String {
        let source = &self.source;
        format!(
            "{{'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
             stat_prefix: in, \
             rds: {{route_config_name: {route}, config_source: {{{source}, resource_api_version: V3}}}}, \
             http_filters: [{{name: envoy.filters.http.router, typed_config: {{\
             '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}"
        )
    }

    /// A listener on loopback; port 0 is any.
    pub(crate) fn put_listener(&mut self, name: &str, route: &str, port: u16) -> &mut Self {
        self.put_listener_with(name, route, port, "")
    }

    /// The same with the certificate `secret` of SDS.
    pub(crate) fn put_tls_listener(&mut self, name: &str, route: &str, secret: &str) -> &mut Self {
        let source = &self.source;
        let socket = format!(
            "
  transport_socket:
    name: tls
    typed_config:
      '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
      common_tls_context:
        tls_certificate_sds_secret_configs:
        - name: {secret}
          sds_config: {{{source}, resource_api_version: V3}}
"
        );
        self.put_listener_with(name, route, 0, &socket)
    }

    fn put_listener_with(&mut self, name: &str, route: &str, port: u16, more: &str) -> &mut Self {
        let manager = self.manager(route);
        self.put(read(&format!(
            "
'@type': type.googleapis.com/envoy.config.listener.v3.Listener
name: {name}
address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config: {manager}
{more}"
        )))
    }

    /// A listener for proxyless clients of `xds:///<name>`.
    pub(crate) fn put_api_listener(&mut self, name: &str, route: &str) -> &mut Self {
        let manager = self.manager(route);
        self.put(read(&format!(
            "
'@type': type.googleapis.com/envoy.config.listener.v3.Listener
name: {name}
api_listener:
  api_listener: {manager}
"
        )))
    }
}
