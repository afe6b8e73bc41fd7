//! What only some resources have: a version of the embedder's own, other names, and that they go
//! only to those who ask for them.

use std::sync::Arc;

use xxhash_rust::xxh64::Xxh64;

use super::{Name, Resource, ResourceError, TypeUrl, Version};
use crate::limits::{ALIASES_MAX, NAME_BYTES_MAX, VERSION_BYTES_MAX};

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extras {
    version: Option<Arc<str>>,
    aliases: Box<[Name]>,
    on_demand: bool,
}

// === impl Resource ===

impl Resource {
    /// Gives the resource a version of the embedder's own, as it goes out and comes back (xDS's
    /// `Resource.version`), in place of the hash of its bytes.
    ///
    /// The string is opaque and needs no order. It has to change with the bytes (rule D13): a
    /// client that comes back and names it is believed to hold these bytes, unless this server
    /// knows the string with others, too. Within a stream nothing depends on it: bytes that differ
    /// are sent under an equal version as well, and a version that differs is sent over equal
    /// bytes.
    ///
    /// # Errors
    /// If it is empty, or longer than [`VERSION_BYTES_MAX`].
    pub fn with_version(mut self, version: &str) -> Result<Self, ResourceError> {
        if version.is_empty() || version.len() > VERSION_BYTES_MAX {
            return Err(ResourceError::BadVersion {
                type_url: self.type_url,
                name: self.name.to_string(),
                version: version.to_owned(),
            });
        }
        let is_hash = Version::parse(version) == Some(Version::of(&self.body));
        self.extras.get_or_insert_default().version = (!is_hash).then(|| Arc::from(version));
        Ok(self.restamped())
    }

    /// Lets a virtual host go by other names, of the form `<route configuration>/<host>`: a client
    /// that asks for one of them gets this resource (rule D14).
    ///
    /// # Errors
    /// For any other type, for what can't be a name, and for more than [`ALIASES_MAX`].
    pub fn with_aliases<'a>(
        mut self,
        aliases: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ResourceError> {
        let mut names: Vec<Name> = Vec::new();
        for alias in aliases {
            let bad = |reason| ResourceError::BadAlias {
                type_url: self.type_url.clone(),
                name: self.name.to_string(),
                alias: alias.to_owned(),
                reason,
            };
            if self.type_url != TypeUrl::VIRTUAL_HOST {
                return Err(bad("only virtual hosts have aliases"));
            }
            if alias.is_empty() || alias.len() > NAME_BYTES_MAX || alias == "*" {
                return Err(bad("it can't be a name"));
            }
            if names.len() >= ALIASES_MAX {
                return Err(bad("it has too many aliases"));
            }
            names.push(Arc::from(alias));
        }
        names.sort();
        names.dedup();
        self.extras.get_or_insert_default().aliases = names.into();
        Ok(self.restamped())
    }

    /// Keeps the resource from those who ask for everything: it goes to those who ask for it by
    /// its name, an alias, or a collection that it is in. So a cluster can be discovered on demand
    /// (ODCDS) by an Envoy that takes all other clusters unasked.
    ///
    /// What has an `xdstp:` name is so without this.
    #[must_use]
    pub fn on_demand(mut self) -> Self {
        self.extras.get_or_insert_default().on_demand = true;
        self
    }

    /// The version as it goes out: the embedder's own, or 16 hex digits.
    pub fn version_text(&self) -> Arc<str> {
        let own = self.own_version().cloned();
        own.unwrap_or_else(|| Arc::from(self.version.to_string()))
    }

    /// The version that the embedder gave.
    pub fn own_version(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.version.as_ref()
    }

    /// The other names that the resource goes by, in order.
    pub fn aliases(&self) -> &[Name] {
        self.extras.as_ref().map_or(&[], |extras| &extras.aliases)
    }

    /// Whether the resource is only for those who ask for it.
    pub fn is_on_demand(&self) -> bool {
        self.is_kept_from_wildcards() || self.name.starts_with(super::xdstp::SCHEME)
    }

    /// Whether [`on_demand`](Self::on_demand) was called.
    pub(crate) fn is_kept_from_wildcards(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.on_demand)
    }

    fn restamped(mut self) -> Self {
        self.version = Version::of(&self.body);
        if let Some(extras) = &self.extras
            && (extras.version.is_some() || !extras.aliases.is_empty())
        {
            let mut hash = Xxh64::new(0);
            hash.update(&self.version.to_bits().to_le_bytes());
            for text in extras.version.iter().chain(&extras.aliases) {
                hash.update(&text.len().to_le_bytes());
                hash.update(text.as_bytes());
            }
            // A version that is missing differs from one that is the first alias.
            hash.update(&[u8::from(extras.version.is_some())]);
            self.version = Version(hash.digest());
        }
        self.reframed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cluster, virtual_host};

    #[test]
    fn d13_an_own_version_goes_out_as_it_is_and_tells_states_apart_with_the_bytes() {
        let own = |content, version: &str| cluster("a", content).with_version(version).unwrap();
        assert_eq!(&*own(1, "v7").version_text(), "v7");
        assert_eq!(own(1, "v7").version(), own(1, "v7").version());
        assert_ne!(own(1, "v7").version(), own(2, "v7").version());
        assert_ne!(own(1, "v7").version(), own(1, "v8").version());
        assert_ne!(own(1, "v7").version(), cluster("a", 1).version());
        assert_eq!(
            *cluster("a", 1).version_text(),
            *cluster("a", 1).version().to_string()
        );
    }

    #[test]
    fn an_own_version_that_is_the_hash_is_none() {
        let hash = cluster("a", 1).version_text();
        let own = cluster("a", 1).with_version(&hash).unwrap();
        assert_eq!(own.version(), cluster("a", 1).version());
        assert_eq!(own.own_version(), None);
    }

    #[test]
    fn c16_versions_are_bounded_and_never_empty() {
        for version in ["", &"x".repeat(VERSION_BYTES_MAX + 1)] {
            let refused = cluster("a", 1).with_version(version).unwrap_err();
            assert!(matches!(refused, ResourceError::BadVersion { .. }));
        }
        let longest = "x".repeat(VERSION_BYTES_MAX);
        assert!(cluster("a", 1).with_version(&longest).is_ok());
    }

    #[test]
    fn d14_only_virtual_hosts_have_aliases_and_they_are_names() {
        let host = || virtual_host("rt/shop", "a");
        let named = host().with_aliases(["rt/b", "rt/a", "rt/b"]).unwrap();
        let aliases: Vec<&str> = named.aliases().iter().map(|alias| &**alias).collect();
        assert_eq!(aliases, ["rt/a", "rt/b"]);
        assert_ne!(named.version(), host().version());
        assert!(cluster("a", 1).with_aliases(["b"]).is_err());
        for bad in ["", "*", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let refused = host().with_aliases([bad]).unwrap_err();
            assert!(matches!(refused, ResourceError::BadAlias { .. }));
        }
        let many: Vec<String> = (0..=ALIASES_MAX).map(|host| format!("rt/{host}")).collect();
        assert!(
            host()
                .with_aliases(many.iter().map(String::as_str))
                .is_err()
        );
    }

    #[test]
    fn a_virtual_host_names_itself_as_envoy_will_remove_it() {
        let body = virtual_host("rt/shop", "a").body().clone();
        let refused = Resource::new(TypeUrl::VIRTUAL_HOST, "rt/other", body).unwrap_err();
        assert!(matches!(refused, ResourceError::NameDiffers { .. }));
        let host = virtual_host("rt/shop", "a");
        assert!(host.references().clusters.contains("a"));
    }
}
