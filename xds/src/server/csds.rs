//! The client status discovery service: what every client has, in the form that standard tools
//! read.
//!
//! It tells anybody who may call it about everybody's configuration, so it isn't among
//! [`Server::routes`]: mount it where only operators are. Bodies are never in it, since views may hold
//! secrets.
//!
//! Deliberately not here: matchers by metadata (it isn't kept) and by regular expression (a caller's
//! expression would run on every node id).

use std::sync::Arc;

use envoy_types::pb::envoy::admin::v3::UpdateFailureState;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node};
use envoy_types::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_server::{
    ClientStatusDiscoveryService, ClientStatusDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use futures::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{Client, Hub, Server};
use crate::delivery::ResourceStatus;
use crate::resource::Resource;

/// The client status discovery service. Made by [`Server::client_status`].
#[derive(Debug)]
pub struct ClientStatusService {
    hub: Arc<Hub>,
}

// === impl Server ===

impl Server {
    /// The client status discovery service (CSDS), to be mounted where only operators are.
    pub fn client_status(&self) -> ClientStatusDiscoveryServiceServer<ClientStatusService> {
        ClientStatusDiscoveryServiceServer::new(ClientStatusService {
            hub: self.hub.clone(),
        })
    }
}

// === impl ClientStatusService ===

#[tonic::async_trait]
impl ClientStatusDiscoveryService for ClientStatusService {
    type StreamClientStatusStream = BoxStream<'static, Result<ClientStatusResponse, Status>>;

    /// One answer per request.
    async fn stream_client_status(
        &self,
        requests: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        let hub = self.hub.clone();
        let answers = requests
            .into_inner()
            .map(move |request| answer(&hub, &request?));
        Ok(Response::new(answers.boxed()))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        answer(&self.hub, request.get_ref()).map(Response::new)
    }
}

fn answer(hub: &Hub, request: &ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
    let matchers = &request.node_matchers;
    matchers.iter().try_for_each(check)?;
    // Any of them suffices, and none means all.
    let config = hub
        .registry
        .connected()
        .into_iter()
        .filter(|client| matchers.is_empty() || matchers.iter().any(|it| matches(it, client)))
        .map(|client| ClientConfig {
            generic_xds_configs: hub
                .registry
                .resources(&client.node_id)
                .iter()
                .map(|(resource, status)| generic(resource, status))
                .collect(),
            node: Some(node(client)),
            ..ClientConfig::default()
        });
    Ok(ClientStatusResponse {
        config: config.collect(),
    })
}

fn generic(resource: &Resource, status: &ResourceStatus) -> GenericXdsConfig {
    let (config_status, error) = match status {
        ResourceStatus::Acknowledged => (ConfigStatus::Synced, None),
        ResourceStatus::Sent | ResourceStatus::Expired => (ConfigStatus::Stale, None),
        ResourceStatus::NotSent | ResourceStatus::NotSubscribed => (ConfigStatus::NotSent, None),
        ResourceStatus::Rejected { text } => (ConfigStatus::Error, Some(text)),
    };
    GenericXdsConfig {
        type_url: resource.type_url().as_str().to_owned(),
        name: resource.name().to_string(),
        version_info: resource.version_text().to_string(),
        config_status: config_status as i32,
        error_state: error.map(|text| UpdateFailureState {
            details: text.to_string(),
            ..UpdateFailureState::default()
        }),
        ..GenericXdsConfig::default()
    }
}

fn node(client: Client) -> Node {
    Node {
        id: client.node_id,
        cluster: client.cluster,
        locality: Some(Locality {
            region: client.region,
            zone: client.zone,
            sub_zone: client.sub_zone,
        }),
        client_features: client.client_features,
        ..Node::default()
    }
}

/// Refuses what can't be answered, rather than answering something else.
fn check(matcher: &NodeMatcher) -> Result<(), Status> {
    if !matcher.node_metadatas.is_empty() {
        return Err(Status::invalid_argument(
            "`node_metadatas` can't be matched: metadata isn't kept; match `node_id`",
        ));
    }
    match matcher.node_id.as_ref().map(|it| &it.match_pattern) {
        None
        | Some(Some(
            MatchPattern::Exact(_)
            | MatchPattern::Prefix(_)
            | MatchPattern::Suffix(_)
            | MatchPattern::Contains(_),
        )) => Ok(()),
        Some(_) => Err(Status::invalid_argument(
            "`node_id` can be matched by `exact`, `prefix`, `suffix` or `contains` only",
        )),
    }
}

fn matches(matcher: &NodeMatcher, client: &Client) -> bool {
    matcher
        .node_id
        .as_ref()
        .is_none_or(|pattern| text_matches(pattern, &client.node_id))
}

fn text_matches(matcher: &StringMatcher, text: &str) -> bool {
    let fold = |text: &str| {
        if matcher.ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    let text = fold(text);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(wanted)) => text == fold(wanted),
        Some(MatchPattern::Prefix(wanted)) => text.starts_with(&fold(wanted)),
        Some(MatchPattern::Suffix(wanted)) => text.ends_with(&fold(wanted)),
        Some(MatchPattern::Contains(wanted)) => text.contains(&fold(wanted)),
        _ => false,
    }
}
