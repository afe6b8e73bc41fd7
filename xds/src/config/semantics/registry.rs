//! Which message configures which kind of extension, as Envoy 1.40 tells of itself in its node.

/// A kind of extension.
#[derive(Debug)]
pub(super) struct Kind {
    /// With its article.
    pub(super) words: &'static str,
    /// Packages of extensions that other builds of Envoy may have.
    pub(super) package: &'static str,
    /// Full names of messages.
    pub(super) types: &'static [&'static str],
}

/// Of listeners whose clients connect; those of datagrams have filters of their own.
pub(super) const LISTENER_FILTERS: Kind = Kind {
    words: "a listener filter of connections",
    package: "envoy.extensions.filters.listener.",
    types: &[
        "envoy.extensions.filters.listener.dynamic_modules.v3.DynamicModuleListenerFilter",
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
        "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        "envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
        "envoy.extensions.filters.listener.set_filter_state.v3.Config",
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    ],
};

pub(super) const UDP_LISTENER_FILTERS: Kind = Kind {
    words: "a listener filter of datagrams",
    package: "envoy.extensions.filters.udp.",
    types: &[
        "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig",
        "envoy.extensions.filters.udp.dynamic_modules.v3.DynamicModuleUdpListenerFilter",
        "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
    ],
};

/// Of QUIC; Envoy itself has none.
pub(super) const QUIC_LISTENER_FILTERS: Kind = Kind {
    words: "a listener filter of QUIC",
    package: "envoy.extensions.filters.",
    types: &[],
};

pub(super) const NETWORK_FILTERS: Kind = Kind {
    words: "a network filter",
    package: "envoy.extensions.filters.network.",
    types: &[
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "envoy.extensions.filters.network.direct_response.v3.Config",
        "envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy",
        "envoy.extensions.filters.network.dynamic_modules.v3.DynamicModuleNetworkFilter",
        "envoy.extensions.filters.network.echo.v3.Echo",
        "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.network.ext_proc.v3.NetworkExternalProcessor",
        "envoy.extensions.filters.network.generic_proxy.v3.GenericProxy",
        "envoy.extensions.filters.network.geoip.v3.Geoip",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        "envoy.extensions.filters.network.ratelimit.v3.RateLimit",
        "envoy.extensions.filters.network.rbac.v3.RBAC",
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "envoy.extensions.filters.network.reverse_tunnel.v3.DrainAwareHttpConnectionManager",
        "envoy.extensions.filters.network.reverse_tunnel.v3.ReverseTunnel",
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
        "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
        "envoy.extensions.filters.network.tcp_bandwidth_limit.v3.TcpBandwidthLimit",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy",
        "envoy.extensions.filters.network.wasm.v3.Wasm",
        "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
    ],
};

pub(super) const HTTP_FILTERS: Kind = Kind {
    words: "an HTTP filter",
    package: "envoy.extensions.filters.http.",
    types: &[
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        "envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute",
        "envoy.extensions.filters.http.a2a.v3.A2a",
        "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
        "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
        "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManager",
        "envoy.extensions.filters.http.ai_protocol_manager.v3.AiProtocolManagerPerRoute",
        "envoy.extensions.filters.http.alternate_protocols_cache.v3.FilterConfig",
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
        "envoy.extensions.filters.http.aws_eventstream_parser.v3.AwsEventstreamParser",
        "envoy.extensions.filters.http.aws_lambda.v3.Config",
        "envoy.extensions.filters.http.aws_lambda.v3.PerRouteConfig",
        "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning",
        "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigningPerRoute",
        "envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit",
        "envoy.extensions.filters.http.bandwidth_share.v3.BandwidthShare",
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute",
        "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit",
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        "envoy.extensions.filters.http.cache.v3.CacheConfig",
        "envoy.extensions.filters.http.cache_v2.v3.CacheV2Config",
        "envoy.extensions.filters.http.cdn_loop.v3.CdnLoopConfig",
        "envoy.extensions.filters.http.composite.v3.Composite",
        "envoy.extensions.filters.http.composite.v3.CompositePerRoute",
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
        "envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig",
        "envoy.extensions.filters.http.cors.v3.Cors",
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
        "envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
        "envoy.extensions.filters.http.custom_response.v3.CustomResponse",
        "envoy.extensions.filters.http.decompressor.v3.Decompressor",
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
        "envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig",
        "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        "envoy.extensions.filters.http.file_server.v3.FileServerConfig",
        "envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig",
        "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfig",
        "envoy.extensions.filters.http.filter_chain.v3.FilterChainConfigPerRoute",
        "envoy.extensions.filters.http.gcp_authn.v3.GcpAuthnFilterConfig",
        "envoy.extensions.filters.http.geoip.v3.Geoip",
        "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
        "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
        "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
        "envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfigPerRoute",
        "envoy.extensions.filters.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder",
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        "envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "envoy.extensions.filters.http.ip_tagging.v3.IPTagging",
        "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "envoy.extensions.filters.http.lua.v3.Lua",
        "envoy.extensions.filters.http.lua.v3.LuaPerRoute",
        "envoy.extensions.filters.http.mcp.v3.Mcp",
        "envoy.extensions.filters.http.mcp.v3.McpOverride",
        "envoy.extensions.filters.http.mcp_json_rest_bridge.v3.McpJsonRestBridge",
        "envoy.extensions.filters.http.mcp_json_rest_bridge.v3.McpJsonRestBridgePerRoute",
        "envoy.extensions.filters.http.mcp_router.v3.McpRouter",
        "envoy.extensions.filters.http.oauth2.v3.OAuth2",
        "envoy.extensions.filters.http.oauth2.v3.OAuth2PerRoute",
        "envoy.extensions.filters.http.on_demand.v3.OnDemand",
        "envoy.extensions.filters.http.on_demand.v3.PerRouteConfig",
        "envoy.extensions.filters.http.original_src.v3.OriginalSrc",
        "envoy.extensions.filters.http.proto_api_scrubber.v3.ProtoApiScrubberConfig",
        "envoy.extensions.filters.http.proto_message_extraction.v3.ProtoMessageExtractionConfig",
        "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaFilterConfig",
        "envoy.extensions.filters.http.rate_limit_quota.v3.RateLimitQuotaOverride",
        "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
        "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        "envoy.extensions.filters.http.router.v3.Router",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        "envoy.extensions.filters.http.set_metadata.v3.Config",
        "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
        "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "envoy.extensions.filters.http.tap.v3.Tap",
        "envoy.extensions.filters.http.thrift_to_metadata.v3.ThriftToMetadata",
        "envoy.extensions.filters.http.transform.v3.TransformConfig",
        "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
        "envoy.extensions.filters.http.wasm.v3.Wasm",
    ],
};

pub(super) const ACCESS_LOGS: Kind = Kind {
    words: "an access log",
    package: "envoy.extensions.access_loggers.",
    types: &[
        "envoy.extensions.access_loggers.dynamic_modules.v3.DynamicModuleAccessLog",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "envoy.extensions.access_loggers.fluentd.v3.FluentdAccessLogConfig",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig",
        "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "envoy.extensions.access_loggers.stats.v3.Config",
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "envoy.extensions.access_loggers.wasm.v3.WasmAccessLog",
    ],
};

pub(super) const DOWNSTREAM_SOCKETS: Kind = Kind {
    words: "a transport socket of listeners",
    package: "envoy.extensions.transport_sockets.",
    types: &[
        "envoy.extensions.transport_sockets.alts.v3.Alts",
        "envoy.extensions.transport_sockets.dynamic_modules.v3.DynamicModuleTransportSocket",
        "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig",
        "envoy.extensions.transport_sockets.tap.v3.Tap",
        "envoy.extensions.transport_sockets.tcp_stats.v3.Config",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    ],
};

pub(super) const UPSTREAM_SOCKETS: Kind = Kind {
    words: "a transport socket of clusters",
    package: "envoy.extensions.transport_sockets.",
    types: &[
        "envoy.extensions.transport_sockets.alts.v3.Alts",
        "envoy.extensions.transport_sockets.dynamic_modules.v3.DynamicModuleTransportSocket",
        "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport",
        "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        "envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig",
        "envoy.extensions.transport_sockets.tap.v3.Tap",
        "envoy.extensions.transport_sockets.tcp_stats.v3.Config",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    ],
};

pub(super) const CLUSTERS: Kind = Kind {
    words: "a kind of clusters",
    package: "envoy.extensions.clusters.",
    types: &[
        "envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "envoy.extensions.clusters.composite.v3.ClusterConfig",
        "envoy.extensions.clusters.dns.v3.DnsCluster",
        "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        "envoy.extensions.clusters.dynamic_modules.v3.ClusterConfig",
        "envoy.extensions.clusters.mcp_multicluster.v3.ClusterConfig",
        "envoy.extensions.clusters.original_dst.v3.OriginalDstCluster",
        "envoy.extensions.clusters.redis.v3.RedisClusterConfig",
        "envoy.extensions.clusters.reverse_connection.v3.ReverseConnectionClusterConfig",
    ],
};

pub(super) const BALANCERS: Kind = Kind {
    words: "a load balancing policy",
    package: "envoy.extensions.load_balancing_policies.",
    types: &[
        "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided",
        "envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig",
        "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
        "envoy.extensions.load_balancing_policies.load_aware_locality.v3.LoadAwareLocality",
        "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
        "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        "envoy.extensions.load_balancing_policies.random.v3.Random",
        "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
        "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        "envoy.extensions.load_balancing_policies.subset.v3.Subset",
        "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality",
    ],
};

pub(super) const MONITORS: Kind = Kind {
    words: "a resource monitor",
    package: "envoy.extensions.resource_monitors.",
    types: &[
        "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig",
        "envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig",
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig",
    ],
};

pub(super) const SINKS: Kind = Kind {
    words: "a statistics sink",
    package: "envoy.extensions.stat_sinks.",
    types: &[
        "envoy.config.metrics.v3.DogStatsdSink",
        "envoy.config.metrics.v3.HystrixSink",
        "envoy.config.metrics.v3.MetricsServiceConfig",
        "envoy.config.metrics.v3.StatsdSink",
        "envoy.extensions.stat_sinks.dynamic_modules.v3.DynamicModuleStatsSink",
        "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink",
        "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig",
        "envoy.extensions.stat_sinks.wasm.v3.Wasm",
    ],
};

pub(super) const TRACERS: Kind = Kind {
    words: "a tracer",
    package: "envoy.extensions.tracers.",
    types: &[
        "envoy.config.trace.v3.DatadogConfig",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        "envoy.config.trace.v3.SkyWalkingConfig",
        "envoy.config.trace.v3.XRayConfig",
        "envoy.config.trace.v3.ZipkinConfig",
        "envoy.extensions.tracers.dynamic_modules.v3.DynamicModuleTracer",
        "envoy.extensions.tracers.fluentd.v3.FluentdConfig",
    ],
};

pub(super) const HOST_PREDICATES: Kind = Kind {
    words: "a retry host predicate",
    package: "envoy.extensions.retry.host.",
    types: &[
        "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
        "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    ],
};

pub(super) const RETRY_PRIORITIES: Kind = Kind {
    words: "a retry priority",
    package: "envoy.extensions.retry.priority.",
    types: &["envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"],
};

pub(super) const BOOTSTRAP_EXTENSIONS: Kind = Kind {
    words: "a bootstrap extension",
    package: "envoy.extensions.",
    types: &[
        "envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension",
        "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
        "envoy.extensions.bootstrap.reverse_tunnel.downstream_socket_interface.v3.DownstreamReverseConnectionSocketInterface",
        "envoy.extensions.bootstrap.reverse_tunnel.upstream_socket_interface.v3.UpstreamReverseConnectionSocketInterface",
        "envoy.extensions.network.socket_interface.sockmap.v3.Sockmap",
        "envoy.extensions.network.socket_interface.v3.DefaultSocketInterface",
        "envoy.extensions.wasm.v3.WasmService",
    ],
};

pub(super) const COMPRESSORS: Kind = Kind {
    words: "a compressor",
    package: "envoy.extensions.compression.",
    types: &[
        "envoy.extensions.compression.brotli.compressor.v3.Brotli",
        "envoy.extensions.compression.gzip.compressor.v3.Gzip",
        "envoy.extensions.compression.zstd.compressor.v3.Zstd",
    ],
};

pub(super) const REGEX_ENGINES: Kind = Kind {
    words: "a regex engine",
    package: "envoy.extensions.regex_engines.",
    types: &["envoy.extensions.regex_engines.v3.GoogleRE2"],
};

pub(super) const HEALTH_CHECKERS: Kind = Kind {
    words: "a health checker",
    package: "envoy.extensions.health_checkers.",
    types: &[
        "envoy.config.core.v3.HealthCheck.GrpcHealthCheck",
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
        "envoy.config.core.v3.HealthCheck.TcpHealthCheck",
        "envoy.extensions.health_checkers.dynamic_modules.v3.DynamicModuleHealthCheck",
        "envoy.extensions.health_checkers.redis.v3.Redis",
        "envoy.extensions.health_checkers.thrift.v3.Thrift",
        "envoy.extensions.health_checkers.udp.v3.UdpHealthCheck",
    ],
};

// === impl Kind ===

impl Kind {
    /// Whether a message of this full name may configure it. What no Envoy that we know has may be
    /// one of another build, if its package fits.
    pub(super) fn takes(&self, name: &str) -> bool {
        // Its real name stands within, and isn't looked for.
        if ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"].contains(&name) {
            return true;
        }
        let known = |kind: &Kind| kind.types.contains(&name);
        known(self) || (name.starts_with(self.package) && !ALL.iter().any(|other| known(other)))
    }
}

/// All kinds.
const ALL: [&Kind; 19] = [
    &LISTENER_FILTERS,
    &UDP_LISTENER_FILTERS,
    &QUIC_LISTENER_FILTERS,
    &NETWORK_FILTERS,
    &HTTP_FILTERS,
    &ACCESS_LOGS,
    &DOWNSTREAM_SOCKETS,
    &UPSTREAM_SOCKETS,
    &CLUSTERS,
    &BALANCERS,
    &MONITORS,
    &SINKS,
    &TRACERS,
    &HOST_PREDICATES,
    &RETRY_PRIORITIES,
    &BOOTSTRAP_EXTENSIONS,
    &COMPRESSORS,
    &REGEX_ENGINES,
    &HEALTH_CHECKERS,
];
