//! Names of the form `xdstp://[authority]/{resource type}/{id}?{context parameters}` (xRFC TP1).
//!
//! Two names are equal if they are component by component, whatever the order of the context
//! parameters; the normal form has these in order. A glob collection is a name whose id ends in
//! `/*`, or is `*`: it holds what lies directly in that directory, not deeper (cncf/xds#91), with
//! exactly the same context parameters.
//!
//! Deliberately not here: list collections, redirects and processing directives (`#…`), which are a
//! client's to follow: they are resources of types of their own, or never sent.

use std::borrow::Cow;

use super::TypeUrl;

/// What such names begin with.
pub(crate) const SCHEME: &str = "xdstp:";

/// The parts of a name, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts<'a> {
    /// Up to the directory: `xdstp://authority/type`.
    head: &'a str,
    resource_type: &'a str,
    id: &'a str,
    /// In order.
    context: Vec<(&'a str, &'a str)>,
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// The parts; an error is a reason for people.
    fn of(name: &'a str) -> Result<Self, &'static str> {
        let rest = name
            .strip_prefix("xdstp://")
            .ok_or("`xdstp:` must be followed by `//`, an authority or none, and `/`")?;
        if rest.contains('#') {
            return Err("a processing directive (`#…`) is for clients and not part of a name");
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = path
            .split_once('/')
            .ok_or("it lacks a resource type and an id after its authority")?;
        let (resource_type, id) = path
            .split_once('/')
            .ok_or("it lacks an id after its resource type")?;
        if resource_type.is_empty() || id.is_empty() {
            return Err("neither its resource type nor its id may be empty");
        }
        if id.split('/').rev().skip(1).any(|part| part == "*") {
            return Err("`*` stands only at the end of a collection's name");
        }
        let mut context = Vec::new();
        for parameter in query.into_iter().flat_map(|query| query.split('&')) {
            let pair = parameter
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or("context parameters are written `key=value`, separated by `&`")?;
            context.push(pair);
        }
        context.sort_unstable();
        if context
            .windows(2)
            .any(|pair| matches!(pair, [(a, _), (b, _)] if a == b))
        {
            return Err("it names a context parameter twice");
        }
        let length = "xdstp://".len() + authority.len() + 1 + resource_type.len();
        Ok(Self {
            head: name.get(..length).unwrap_or_default(),
            resource_type,
            id,
            context,
        })
    }

    fn is_collection(&self) -> bool {
        self.id == "*" || self.id.ends_with("/*")
    }

    /// The name, with another id.
    fn with_id(&self, id: &str) -> String {
        let mut name = format!("{}/{id}", self.head);
        for (index, (key, value)) in self.context.iter().enumerate() {
            name.push(if index == 0 { '?' } else { '&' });
            name.push_str(key);
            name.push('=');
            name.push_str(value);
        }
        name
    }
}

/// Whether a resource of the type may have the name. What hasn't the scheme is opaque, and may be
/// anything.
pub(super) fn check(type_url: &TypeUrl, name: &str) -> Result<(), String> {
    if !name.starts_with(SCHEME) {
        return Ok(());
    }
    let parts = Parts::of(name)?;
    let expected = type_url.as_str().rsplit('/').next().unwrap_or_default();
    if parts.resource_type != expected {
        return Err(format!("its resource type must be `{expected}`"));
    }
    if parts.is_collection() {
        return Err("that is a collection; name a member of it".to_owned());
    }
    let normal = parts.with_id(parts.id);
    if normal != name {
        return Err(format!("write it as `{normal}`, its parameters in order"));
    }
    Ok(())
}

/// A name as it is compared. A name that has the scheme and no sense stays as it is: no resource has
/// it, so that it is answered like any other that doesn't exist, and disturbs nothing else.
pub(crate) fn normal(name: &str) -> Cow<'_, str> {
    if !name.starts_with(SCHEME) {
        return Cow::Borrowed(name);
    }
    match Parts::of(name) {
        Ok(parts) => Cow::Owned(parts.with_id(parts.id)),
        Err(_) => Cow::Borrowed(name),
    }
}

/// Whether a normal name is that of a glob collection.
pub(crate) fn is_collection(name: &str) -> bool {
    name.starts_with(SCHEME) && Parts::of(name).is_ok_and(|parts| parts.is_collection())
}

/// The collection that a normal name is a direct member of.
pub(crate) fn collection_of(name: &str) -> Option<String> {
    if !name.starts_with(SCHEME) {
        return None;
    }
    let parts = Parts::of(name)
        .ok()
        .filter(|parts| !parts.is_collection())?;
    Some(match parts.id.rsplit_once('/') {
        Some((directory, _)) => parts.with_id(&format!("{directory}/*")),
        None => parts.with_id("*"),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Resource, ResourceError};

    const HEAD: &str = "xdstp://acme/envoy.config.listener.v3.Listener";

    #[test]
    fn tp1_names_are_equal_whatever_the_order_of_their_parameters() {
        let (one, other) = (format!("{HEAD}/x?b=2&a=1"), format!("{HEAD}/x?a=1&b=2"));
        assert_eq!(normal(&one), normal(&other));
        assert_eq!(normal(&other), other);
        assert_ne!(normal(&one), normal(&format!("{HEAD}/x?a=1")));
        assert_eq!(normal("xdstp:nonsense"), "xdstp:nonsense");
        assert_eq!(normal("plain?b=2&a=1"), "plain?b=2&a=1");
    }

    #[test]
    fn tp1_a_collection_holds_what_lies_directly_in_it_with_its_very_parameters() {
        let collection = |id: &str| collection_of(&format!("{HEAD}/{id}"));
        assert_eq!(collection("foo/bar"), Some(format!("{HEAD}/foo/*")));
        assert_eq!(collection("foo/bar/baz"), Some(format!("{HEAD}/foo/bar/*")));
        assert_eq!(collection("foo"), Some(format!("{HEAD}/*")));
        assert_eq!(collection("f/b?a=1"), Some(format!("{HEAD}/f/*?a=1")));
        assert_eq!(collection("foo/*"), None, "a collection is in none");
        assert_eq!(
            collection_of("foo/bar"),
            None,
            "without the scheme it is opaque"
        );
        assert!(is_collection(&format!("{HEAD}/*")));
        assert!(is_collection(&format!("{HEAD}/foo/*?a=1")));
        for other in [format!("{HEAD}/foo"), "foo/*".to_owned(), "*".to_owned()] {
            assert!(!is_collection(&other), "{other}");
        }
    }

    #[test]
    fn tp1_a_resource_may_have_only_a_sound_name_in_normal_form() {
        let refused = |name: &str| {
            let type_url = TypeUrl::new("type.googleapis.com/acme.Thing");
            match Resource::new(type_url, name, Bytes::new()) {
                Err(ResourceError::BadXdstpName { reason, .. }) => Some(reason),
                Err(other) => panic!("{other}"),
                Ok(_) => None,
            }
        };
        for sound in [
            "xdstp://a/acme.Thing/x",
            "xdstp:///acme.Thing/x/y",
            "xdstp://a/acme.Thing/x?a=1&b=",
        ] {
            assert_eq!(refused(sound), None, "{sound}");
        }
        for (name, reason) in [
            ("xdstp:a/acme.Thing/x", "followed by `//`"),
            ("xdstp://a", "lacks a resource type"),
            ("xdstp://a/acme.Thing", "lacks an id"),
            ("xdstp://a/acme.Thing/", "may be empty"),
            ("xdstp://a/acme.Other/x", "must be `acme.Thing`"),
            ("xdstp://a/acme.Thing/x/*", "a collection"),
            ("xdstp://a/acme.Thing/*/x", "only at the end"),
            ("xdstp://a/acme.Thing/x#entry=y", "processing directive"),
            ("xdstp://a/acme.Thing/x?a", "key=value"),
            ("xdstp://a/acme.Thing/x?", "key=value"),
            ("xdstp://a/acme.Thing/x?a=1&a=2", "twice"),
            ("xdstp://a/acme.Thing/x?b=2&a=1", "x?a=1&b=2`"),
        ] {
            let text = refused(name).unwrap_or_else(|| panic!("{name} was taken"));
            assert!(text.contains(reason), "{name}: {text}");
        }
    }
}
