//! What reading documents comes to: resources, or diagnostics.

use std::collections::BTreeMap;
use std::rc::Rc;

use prost_reflect::DynamicMessage;

use super::decode::Decoder;
use super::diagnostic::{Diagnostic, Fault, shown};
use super::encode::encode;
use super::path::Path;
use super::references::Link;
use super::rules::Violation;
use super::spelling::Speller;
use super::tree::{NodeId, Tree};
use crate::resource::{Resource, TypeUrl};

pub(super) const TYPE_PREFIX: &str = "type.googleapis.com/";

/// What the documents so far came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) resources: Vec<Resource>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Where each name of a type was first defined; a diagnostic without words.
    pub(super) defined: BTreeMap<(TypeUrl, String), Diagnostic>,
    /// Clusters that others may name, once all documents are read.
    pub(super) wanted: Vec<(Link, Diagnostic)>,
    /// For all that is read at once.
    pub(super) speller: Rc<Speller>,
}

// === impl Outcome ===

impl Outcome {
    /// Takes what was found in a document. A violation that only repeats a mistake in reading (a
    /// misspelt field leaves a required one empty) is left out.
    pub(super) fn report(
        &mut self,
        decoder: &Decoder<'_, '_>,
        document: NodeId,
        violations: Vec<Violation>,
    ) {
        let tree = decoder.tree;
        for violation in violations {
            let at = &violation.path;
            let repeats = decoder.findings.iter().any(|(path, _, _)| {
                path == at
                    || path.parent() == at.segments()
                    || (says_missing(&violation.rule)
                        && (path.starts_with(at) || path.parent() == at.parent()))
            });
            if !repeats {
                let node = violation.path.locate(tree, document);
                let help = match violation.rule.split_once('.') {
                    Some(("envoy", _)) => String::new(),
                    _ => format!("the rule is `{}`", violation.rule),
                };
                let fault = Fault::new(violation.message, help);
                let diagnostic = tree.diagnostic(node, violation.path.to_string(), fault);
                self.diagnostics.push(diagnostic);
            }
        }
        for (path, node, fault) in &decoder.findings {
            let diagnostic = tree.diagnostic(*node, path.to_string(), fault.clone());
            self.diagnostics.push(diagnostic);
        }
    }

    pub(super) fn want(&mut self, tree: &Tree<'_>, document: NodeId, links: Vec<Link>) {
        for link in links {
            let node = link.path.locate(tree, document);
            let diagnostic = tree.diagnostic(node, link.path.to_string(), Fault::new("", ""));
            self.wanted.push((link, diagnostic));
        }
    }

    pub(super) fn add(
        &mut self,
        tree: &Tree<'_>,
        document: NodeId,
        type_url: &str,
        message: &DynamicMessage,
        path: &Path,
    ) {
        let node = path.locate(tree, document);
        let Some(name) = name_of(message) else {
            // What is empty although a rule forbids it was reported.
            let fault = Fault::new(
                "no name, by which clients could ask for it",
                "add `name` (`cluster_name` of an assignment of endpoints)",
            );
            let there = ["name", "cluster_name"].map(|field| path.with(field).to_string());
            let reported = |d: &Diagnostic| d.file == tree.file && there.contains(&d.path);
            if !self.diagnostics.iter().any(reported) {
                self.diagnostics
                    .push(tree.diagnostic(node, path.to_string(), fault));
            }
            return;
        };
        let kind = TypeUrl::new(&format!(
            "{TYPE_PREFIX}{}",
            type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
        ));
        let here = tree.diagnostic(node, path.to_string(), Fault::new("", ""));
        if let Some(first) = self.defined.get(&(kind.clone(), name.clone())) {
            let place = format!("{}:{}:{}", first.file, first.line, first.column);
            let message = format!("a second {kind} {}; the first is at {place}", shown(&name));
            let fault = Fault::new(message, "rename or remove one of them");
            self.diagnostics
                .push(tree.diagnostic(node, path.to_string(), fault));
            return;
        }
        self.defined.insert((kind.clone(), name.clone()), here);
        match Resource::new(kind, &name, encode(message)) {
            Ok(resource) => self.resources.push(resource),
            Err(cause) => {
                let fault = Fault::new(cause.to_string(), "");
                self.diagnostics
                    .push(tree.diagnostic(node, path.to_string(), fault));
            }
        }
    }

    /// Route configurations of listeners, and endpoints of clusters.
    pub(super) fn check_dependents(&mut self) {
        for resource in &self.resources {
            let kind = resource.type_url();
            let Some(place) = self
                .defined
                .get(&(kind.clone(), resource.name().to_string()))
            else {
                continue;
            };
            let references = resource.references();
            let routes = references
                .routes
                .iter()
                .map(|name| (TypeUrl::ROUTE_CONFIGURATION, name));
            let assignment = references
                .assignment
                .iter()
                .map(|name| (TypeUrl::CLUSTER_LOAD_ASSIGNMENT, name));
            for (wanted, name) in routes.chain(assignment) {
                if self
                    .defined
                    .contains_key(&(wanted.clone(), name.to_string()))
                {
                    continue;
                }
                let (whose, what) = (shown(resource.name()), shown(name));
                self.diagnostics.push(Diagnostic {
                    message: format!("{kind} {whose} needs {wanted} {what}, which isn't there"),
                    help: "add it".to_owned(),
                    ..place.clone()
                });
            }
        }
    }

    pub(super) fn finish(self) -> Result<Vec<Resource>, Vec<Diagnostic>> {
        if self.diagnostics.is_empty() {
            Ok(self.resources)
        } else {
            Err(self.diagnostics)
        }
    }
}

/// The name that clients ask for.
pub(super) fn name_of(message: &DynamicMessage) -> Option<String> {
    ["name", "cluster_name"].iter().find_map(|field| {
        let value = message.get_field_by_name(field)?;
        let name = value.as_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// Whether a breach of the rule may come from a mistake next to its place.
fn says_missing(rule: &str) -> bool {
    ["required", "min_len", "min_bytes", "min_items", "min_pairs"]
        .iter()
        .any(|end| rule.rsplit('.').next() == Some(end))
}
