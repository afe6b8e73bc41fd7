//! Secrets and extension configurations that a listener or a cluster fetches over the stream that it
//! came on.

use std::collections::BTreeSet;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::config::core::v3::{ExtensionConfigSource, TransportSocket};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, UpstreamTlsContext,
};
use prost::{DecodeError, Message as _, Name as _};

use super::references::is_this_stream;
use super::{Name, TypeUrl};

/// What is fetched. Few resources fetch anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fetched(BTreeSet<(TypeUrl, Name)>);

// === impl Fetched ===

impl Fetched {
    pub(super) fn boxed(self) -> Box<[(TypeUrl, Name)]> {
        self.0.into_iter().collect()
    }

    pub(super) fn add_extension(&mut self, name: &str, source: &ExtensionConfigSource) {
        if source.config_source.as_ref().is_some_and(is_this_stream) {
            self.0.insert((TypeUrl::EXTENSION_CONFIG, Arc::from(name)));
        }
    }

    pub(super) fn add_socket(&mut self, socket: &TransportSocket) -> Result<(), DecodeError> {
        let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
            return Ok(());
        };
        let bytes = any.value.as_slice();
        let context = if any.type_url == UpstreamTlsContext::type_url() {
            UpstreamTlsContext::decode(bytes)?.common_tls_context
        } else if any.type_url == DownstreamTlsContext::type_url() {
            DownstreamTlsContext::decode(bytes)?.common_tls_context
        } else {
            None
        };
        if let Some(context) = context {
            self.add_context(&context);
        }
        Ok(())
    }

    fn add_context(&mut self, context: &CommonTlsContext) {
        let validation = match &context.validation_context_type {
            Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => Some(secret),
            Some(ValidationContextType::CombinedValidationContext(combined)) => {
                combined.validation_context_sds_secret_config.as_ref()
            }
            _ => None,
        };
        let certificates = context.tls_certificate_sds_secret_configs.iter();
        for secret in certificates.chain(validation) {
            self.add_secret(secret);
        }
    }

    fn add_secret(&mut self, secret: &SdsSecretConfig) {
        if secret.sds_config.as_ref().is_some_and(is_this_stream) {
            self.0.insert((TypeUrl::SECRET, Arc::from(&*secret.name)));
        }
    }
}
