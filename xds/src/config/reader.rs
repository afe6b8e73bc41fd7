//! From files to resources.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};

use super::decode::{Decoder, TYPE};
use super::diagnostic::{Diagnostic, Fault, shown};
use super::fields::{sub, text};
use super::outcome::{Outcome, TYPE_PREFIX, name_of};
use super::path::Path;
use super::references::Target;
use super::spelling::Speller;
use super::tree::{self, NodeId, Tree};
use super::walk::Walk;
use super::{limits, schema, semantics};
use crate::resource::{Resource, TypeUrl};

const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
const DISCOVERY_RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";

/// A file's name, for diagnostics, and its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// As people should see it.
    pub file: &'a str,
    /// YAML or JSON.
    pub text: &'a str,
}

/// Reads Envoy configuration.
///
/// A document is a resource with its `@type`, a list of such, a mapping with such a list under
/// `resources` (as Envoy's own files for filesystem subscriptions), or a bootstrap, of which the
/// `static_resources` are taken. A file may hold several documents, separated by `---`.
///
/// The descriptors are decoded when the first reader reads (about 40 ms, once per process).
#[derive(Debug, Clone)]
pub struct Reader {
    clusters: BTreeSet<String>,
    regex_program_max: u64,
}

// === impl Reader ===

impl Default for Reader {
    fn default() -> Self {
        Self {
            clusters: BTreeSet::new(),
            regex_program_max: limits::REGEX_PROGRAM,
        }
    }
}

impl Reader {
    /// A reader that knows no clusters but those that it reads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets configuration name a cluster that comes from elsewhere.
    #[must_use]
    pub fn assume_cluster(mut self, name: &str) -> Self {
        self.clusters.insert(name.to_owned());
        self
    }

    /// Lets regular expressions compile to so many instructions of RE2, as
    /// `re2.max_program_size.error_level` does in the runtime of those Envoys. A bootstrap that
    /// sets it in a static layer speaks for itself.
    #[must_use]
    pub fn assume_regex_program(mut self, instructions: u64) -> Self {
        self.regex_program_max = instructions;
        self
    }

    /// Reads one file. The clusters that a bootstrap names must be its own; resources may name
    /// clusters that come from elsewhere.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the text.
    pub fn read(&self, file: &str, text: &str) -> Result<Vec<Resource>, Vec<Diagnostic>> {
        let mut outcome = Outcome::default();
        self.file(Source { file, text }, &mut outcome);
        outcome.finish()
    }

    /// Reads files that belong together: whatever names a cluster needs it to be in one of them,
    /// or [assumed](Self::assume_cluster); the same for route configurations and endpoints that
    /// come over the same stream.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the files and their text.
    pub fn read_all(&self, sources: &[Source<'_>]) -> Result<Vec<Resource>, Vec<Diagnostic>> {
        let mut outcome = Outcome::default();
        for source in sources {
            self.file(*source, &mut outcome);
        }
        let mut clusters = self.clusters.clone();
        let names = outcome.defined.keys();
        clusters.extend(
            names
                .filter(|(kind, _)| *kind == TypeUrl::CLUSTER)
                .map(|(_, name)| name.clone()),
        );
        for (link, mut diagnostic) in std::mem::take(&mut outcome.wanted) {
            if link.target != Target::Cluster {
                // The secrets of the bootstraps that this goes to aren't known.
                continue;
            }
            if let Some(fault) = missing("cluster", &link.name, &clusters, &outcome.speller) {
                (diagnostic.message, diagnostic.help) = (fault.message, fault.help);
                outcome.diagnostics.push(diagnostic);
            }
        }
        outcome.check_dependents();
        let order: BTreeMap<&str, usize> = sources.iter().map(|s| s.file).zip(0..).collect();
        outcome
            .diagnostics
            .sort_by_key(|d| (order.get(d.file.as_str()).copied(), d.line, d.column));
        outcome.finish()
    }

    fn file(&self, source: Source<'_>, outcome: &mut Outcome) {
        let (tree, mut found) = Tree::read(source.file, source.text);
        let mut diagnostics = std::mem::take(&mut outcome.diagnostics);
        for document in &tree.documents {
            self.document(&tree, *document, outcome);
        }
        found.append(&mut outcome.diagnostics);
        found.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        if found.len() > limits::DIAGNOSTICS_MAX {
            let more = found.len() - limits::DIAGNOSTICS_MAX;
            found.truncate(limits::DIAGNOSTICS_MAX);
            if let Some(last) = found.last().cloned() {
                found.push(Diagnostic {
                    path: String::new(),
                    message: format!("{more} more like these"),
                    help: String::new(),
                    ..last
                });
            }
        }
        diagnostics.append(&mut found);
        outcome.diagnostics = diagnostics;
    }

    fn document(&self, tree: &Tree<'_>, document: NodeId, outcome: &mut Outcome) {
        let name = tree.get(document, TYPE).and_then(|node| tree.text(node));
        let name = name
            .and_then(|url| url.rsplit_once('/'))
            .map(|(_, name)| name);
        let mut path = Path::default();
        let items = match (name, tree.get(document, "resources"), tree.value(document)) {
            (None | Some(DISCOVERY_RESPONSE), Some(list), _) => {
                path.field("resources");
                Some(list)
            }
            (_, _, Some(tree::Value::List(_))) => Some(document),
            _ => None,
        };
        if let Some(items) = items {
            let Some(tree::Value::List(items)) = tree.value(items) else {
                let message = format!("expected a list, found {}", tree.kind(items));
                let fault = Fault::new(message, "start each resource with `- `");
                outcome
                    .diagnostics
                    .push(tree.diagnostic(items, path.to_string(), fault));
                return;
            };
            for (index, item) in items.iter().enumerate() {
                path.index(index);
                self.resource(tree, document, *item, path.clone(), outcome);
                path.pop();
            }
        } else if name == Some(BOOTSTRAP) || (name.is_none() && is_bootstrap(tree, document)) {
            self.bootstrap(tree, document, outcome);
        } else {
            self.resource(tree, document, document, path, outcome);
        }
    }

    fn resource(
        &self,
        tree: &Tree<'_>,
        document: NodeId,
        item: NodeId,
        path: Path,
        outcome: &mut Outcome,
    ) {
        let speller = outcome.speller.clone();
        let mut decoder = Decoder::new(tree, &speller);
        decoder.path = path.clone();
        let read = decoder.typed(item, 0);
        let mut walk = Walk::new(self.regex_program_max, &speller);
        walk.path = path.clone();
        if let Some((_, message)) = &read {
            walk.message(message, 0);
        }
        outcome.report(&decoder, document, walk.violations);
        outcome.want(tree, document, walk.links);
        if let Some((type_url, message)) = read {
            outcome.add(tree, document, &type_url, &message, &path);
        }
    }

    fn bootstrap(&self, tree: &Tree<'_>, document: NodeId, outcome: &mut Outcome) {
        let Some(descriptor) = schema::pool().get_message_by_name(BOOTSTRAP) else {
            return;
        };
        let speller = outcome.speller.clone();
        let mut decoder = Decoder::new(tree, &speller);
        let message = match tree.get(document, TYPE) {
            Some(_) => decoder.typed(document, 0).map(|(_, message)| message),
            None => decoder.message(document, &descriptor, 0),
        };
        let Some(message) = message else {
            outcome.report(&decoder, document, Vec::new());
            return;
        };
        let program_max = semantics::regex_program_max(&message);
        let mut walk = Walk::new(program_max.unwrap_or(self.regex_program_max), &speller);
        walk.message(&message, 0);
        outcome.report(&decoder, document, walk.violations);

        let node = sub(&message, "node");
        let identified = |node: DynamicMessage| {
            ["id", "cluster"]
                .iter()
                .all(|field| !text(&node, field).is_empty())
        };
        if walk.subscribes && !node.is_some_and(identified) {
            let fault = Fault::new(
                "needs an `id` and a `cluster`: configuration is fetched from a management server",
                "add them",
            );
            let mut path = Path::default();
            path.field("node");
            let place = path.locate(tree, document);
            let diagnostic = tree.diagnostic(place, path.to_string(), fault);
            outcome.diagnostics.push(diagnostic);
        }
        let mut path = Path::default();
        path.field("static_resources");
        let (mut clusters, mut secrets) = (self.clusters.clone(), BTreeSet::new());
        let statics = message.get_field_by_name("static_resources");
        let statics = statics.as_deref().and_then(Value::as_message);
        for kind in ["clusters", "listeners", "secrets"] {
            let items = statics.and_then(|statics| statics.get_field_by_name(kind));
            let items = items
                .as_deref()
                .and_then(Value::as_list)
                .unwrap_or_default();
            path.field(kind);
            for (index, item) in items.iter().enumerate() {
                let Value::Message(item) = item else { continue };
                match kind {
                    "clusters" => clusters.extend(name_of(item)),
                    "secrets" => secrets.extend(name_of(item)),
                    _ => {}
                }
                path.index(index);
                let type_url = format!("{TYPE_PREFIX}{}", item.descriptor().full_name());
                outcome.add(tree, document, &type_url, item, &path);
                path.pop();
            }
            path.pop();
        }
        for link in walk.links {
            let fault = match link.target {
                Target::Cluster => missing("cluster", &link.name, &clusters, &speller),
                Target::StaticSecret => missing("static secret", &link.name, &secrets, &speller),
            };
            if let Some(fault) = fault {
                let node = link.path.locate(tree, document);
                let diagnostic = tree.diagnostic(node, link.path.to_string(), fault);
                outcome.diagnostics.push(diagnostic);
            }
        }
    }
}

/// Whether a mapping without `@type` has a field of a bootstrap.
fn is_bootstrap(tree: &Tree<'_>, document: NodeId) -> bool {
    [
        "static_resources",
        "staticResources",
        "dynamic_resources",
        "dynamicResources",
        "admin",
        "node",
    ]
    .iter()
    .any(|key| tree.get(document, key).is_some())
}

fn missing(what: &str, name: &str, known: &BTreeSet<String>, speller: &Speller) -> Option<Fault> {
    if known.contains(name) {
        return None;
    }
    let help = match known.len() {
        0 => format!("there is no {what} at all"),
        _ => speller.suggest(name, known.iter().map(String::as_str), "there are"),
    };
    Some(Fault::new(
        format!("there is no {what} {}", shown(name)),
        help,
    ))
}
