//! From files to a mesh, or to everything that is wrong with them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::check::{Check, CheckedFleet, CheckedService, Named};
use super::declared::{FleetDocument, ServiceDocument};
use super::decode::decode;
use super::diagnostic::{Diagnostic, Fault, SourceFile, listed, shown, suggest};
use super::limits;
use super::model::Mesh;
use super::neighbours::not_declared;
use super::tree::{NodeId, Tree};

/// Reads a mesh from its files, each with one or more YAML documents of `kind: fleet` or
/// `kind: service`.
///
/// # Errors
/// Everything that is wrong, ordered by file, line and column; at most
/// [`MAX_DIAGNOSTICS`](super::limits::MAX_DIAGNOSTICS). Files that declare nothing are wrong, too:
/// an empty directory is more often a mistake than a wish.
pub fn read(files: &[SourceFile]) -> Result<Mesh, Vec<Diagnostic>> {
    let diagnostics = RefCell::new(Vec::new());
    let sized = within_limits(files, &diagnostics);
    let trees: Vec<Tree<'_>> = sized
        .iter()
        .map(|file| {
            let (tree, faults) = Tree::read(file);
            diagnostics.borrow_mut().extend(faults);
            tree
        })
        .collect();
    let whole = sized.len() == files.len() && diagnostics.borrow().is_empty();

    let mut reading = Reading {
        diagnostics: &diagnostics,
        fleets: BTreeMap::new(),
        services: BTreeMap::new(),
        used_fleets: Vec::new(),
        named_services: Vec::new(),
        sidecars: BTreeMap::new(),
        mesh: Mesh::default(),
        whole,
    };
    for tree in &trees {
        for document in &tree.documents {
            reading.document(tree, *document);
        }
    }
    reading.references();
    let mesh = reading.mesh;

    let mut diagnostics = diagnostics.into_inner();
    if diagnostics.is_empty() {
        return Ok(mesh);
    }
    diagnostics.sort_by(|a, b| {
        (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
    });
    let more = diagnostics.len().saturating_sub(limits::MAX_DIAGNOSTICS);
    if more > 0 {
        diagnostics.truncate(limits::MAX_DIAGNOSTICS);
        diagnostics.push(Diagnostic::of_file(
            "mesh",
            Fault::new(format!("{more} more mistakes are not shown"), ""),
        ));
    }
    // Only now: to make an excerpt for each of very many mistakes would take very long.
    let texts: BTreeMap<&str, &str> = files
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    for diagnostic in &mut diagnostics {
        if let Some(text) = texts.get(diagnostic.file.as_str()) {
            diagnostic.add_excerpt(text);
        }
    }
    Err(diagnostics)
}

/// The files that are small enough to be read.
fn within_limits<'a>(
    files: &'a [SourceFile],
    diagnostics: &RefCell<Vec<Diagnostic>>,
) -> Vec<&'a SourceFile> {
    let report = |file: &str, message: String, help: &str| {
        let fault = Fault::new(message, help);
        diagnostics
            .borrow_mut()
            .push(Diagnostic::of_file(file, fault));
    };
    let total: usize = files.iter().map(|file| file.text.len()).sum();
    if files.len() > limits::MAX_FILES {
        let message = format!(
            "{} files; at most {} are read",
            files.len(),
            limits::MAX_FILES
        );
        report("mesh", message, "join some of them");
        return Vec::new();
    }
    if total > limits::MAX_TOTAL_BYTES {
        let message = format!(
            "{total} bytes in all files; at most {} are read",
            limits::MAX_TOTAL_BYTES
        );
        report("mesh", message, "is this the right directory?");
        return Vec::new();
    }
    files
        .iter()
        .filter(|file| {
            let fits = file.text.len() <= limits::MAX_FILE_BYTES;
            if !fits {
                let message = format!(
                    "{} bytes; a file has at most {}",
                    file.text.len(),
                    limits::MAX_FILE_BYTES
                );
                report(&file.path, message, "split it");
            }
            fits
        })
        .collect()
}

/// What was read so far.
struct Reading<'a> {
    diagnostics: &'a RefCell<Vec<Diagnostic>>,
    /// Where each fleet was declared, for the checks between documents.
    fleets: BTreeMap<String, Place<'a>>,
    services: BTreeMap<String, Place<'a>>,
    used_fleets: Vec<(String, Place<'a>)>,
    /// The services that others call or that fleets stand beside, and where that is said.
    named_services: Vec<(String, Place<'a>)>,
    /// The sidecars that hosts send through, and where that is said.
    sidecars: BTreeMap<String, Place<'a>>,
    mesh: Mesh,
    /// Every document could be read as far as its name and its fleets. Otherwise a reference to nowhere may be a
    /// consequence of another mistake, and is not reported.
    whole: bool,
}

#[derive(Clone, Copy)]
struct Place<'a> {
    tree: &'a Tree<'a>,
    node: NodeId,
}

// === impl Reading ===

impl<'a> Reading<'a> {
    fn document(&mut self, tree: &'a Tree<'a>, document: NodeId) {
        let check = Check {
            tree,
            diagnostics: self.diagnostics,
        };
        let kind = tree
            .get(document, "kind")
            .filter(|kind| !tree.is_nothing(*kind));
        match kind.and_then(|kind| tree.text(kind)) {
            Some("fleet") => match decode::<FleetDocument>(tree, document, self.diagnostics) {
                Some(declared) => self.fleet(tree, check.fleet(document, declared)),
                None => self.whole = false,
            },
            Some("service") => match decode::<ServiceDocument>(tree, document, self.diagnostics) {
                Some(declared) => self.service(tree, check.service(document, declared)),
                None => self.whole = false,
            },
            Some(other) => {
                self.whole = false;
                let help = suggest(other, ["fleet", "service"], "there are");
                let fault = Fault::new(format!("unknown kind {}", shown(other)), help);
                check.report(kind.unwrap_or(document), fault);
            }
            None => {
                self.whole = false;
                let help = "begin the document with `kind: fleet` or `kind: service`";
                let fault = Fault::new("a document without a kind", help);
                check.report(kind.unwrap_or(document), fault);
            }
        }
    }

    fn fleet(&mut self, tree: &'a Tree<'a>, checked: CheckedFleet) {
        if let Some(Named { name, node }) = checked.service {
            self.named_services.push((name, Place { tree, node }));
        }
        let Some(Named { name, node }) = checked.name else {
            self.whole = false;
            return;
        };
        if let Some(first) = self.fleets.get(&name) {
            self.twice("fleet", &name, *first, Place { tree, node });
            return;
        }
        self.fleets.insert(name.clone(), Place { tree, node });
        if let Some(fleet) = checked.fleet {
            self.mesh.fleets.insert(name, fleet);
        }
    }

    fn service(&mut self, tree: &'a Tree<'a>, checked: CheckedService) {
        self.whole &= checked.all_fleets_read;
        for Named { name, node } in checked.fleets {
            self.used_fleets.push((name, Place { tree, node }));
        }
        for Named { name, node } in checked.calls {
            self.named_services.push((name, Place { tree, node }));
        }
        for Named { name, node } in checked.sidecars {
            self.sidecar(name, Place { tree, node });
        }
        let Some(Named { name, node }) = checked.name else {
            self.whole = false;
            return;
        };
        if let Some(first) = self.services.get(&name) {
            self.twice("service", &name, *first, Place { tree, node });
            return;
        }
        self.services.insert(name.clone(), Place { tree, node });
        if let Some(service) = checked.service {
            self.mesh.services.insert(name, service);
        }
    }

    /// What a sidecar sends is to be one version's doing.
    fn sidecar(&mut self, name: String, place: Place<'a>) {
        if let Some(first) = self.sidecars.get(&name) {
            let message = format!(
                "sidecar {} stands beside hosts of two versions, first at {}",
                shown(&name),
                first.tree.place(first.node)
            );
            let help = "nobody could tell whose requests it sends; leave `sidecar` out where \
                        versions share one";
            self.report(place, Fault::new(message, help));
            return;
        }
        self.sidecars.insert(name, place);
    }

    fn twice(&self, what: &str, name: &str, first: Place<'a>, second: Place<'a>) {
        let message = format!(
            "{what} {} is declared twice, first at {}",
            shown(name),
            first.tree.place(first.node)
        );
        self.report(second, Fault::new(message, "rename or remove one of them"));
    }

    /// The checks between documents.
    fn references(&self) {
        if !self.whole {
            return;
        }
        if self.fleets.is_empty() && self.services.is_empty() {
            let fault = Fault::new(
                "nothing is declared",
                "declare at least one `kind: fleet` and one `kind: service`",
            );
            let nothing = Diagnostic::of_file("mesh", fault);
            self.diagnostics.borrow_mut().push(nothing);
            return;
        }
        for (service, place) in &self.named_services {
            if !self.services.contains_key(service) {
                self.report(*place, not_declared(service, self.services.keys()));
            }
        }
        for (fleet, place) in &self.used_fleets {
            if !self.fleets.contains_key(fleet) {
                let help = match self.fleets.is_empty() {
                    true => "declare it with `kind: fleet`".to_owned(),
                    false => suggest(
                        fleet,
                        self.fleets.keys().map(String::as_str),
                        "declared are",
                    ),
                };
                let message = format!("fleet {} is not declared", shown(fleet));
                self.report(*place, Fault::new(message, help));
            }
        }
        let used: BTreeSet<&str> = self
            .used_fleets
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        for (fleet, place) in &self.fleets {
            if !used.contains(fleet.as_str()) {
                let message = format!(
                    "no service names fleet {}, so its sidecars would answer every request with 404",
                    shown(fleet)
                );
                let services = listed(self.services.keys().map(String::as_str));
                let help = match self.services.is_empty() {
                    true => "declare a service that names it in `fleets`".to_owned(),
                    false => format!("add it to the `fleets` of one of {services}, or remove it"),
                };
                self.report(*place, Fault::new(message, help));
            }
        }
    }

    fn report(&self, place: Place<'a>, fault: Fault) {
        let diagnostic = place.tree.diagnostic(place.node, None, fault);
        self.diagnostics.borrow_mut().push(diagnostic);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "\
kind: fleet
name: web
listener: {address: 127.0.0.1, port: 15001}
---
kind: service
name: checkout
fleets: [web]
initial: v1
versions:
  v1:
    hosts:
      - {address: \"10.0.0.1:8080\", zone: a}
  v2:
    hosts:
      - {address: \"10.0.1.1:8080\", zone: a}
slo:
  success: 99.9%
  latency: {threshold: 250ms, share: 99%}
ladder: [1 host, 5%, 100%]
";

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn faults(files: &[SourceFile]) -> Vec<String> {
        read(files)
            .unwrap_err()
            .iter()
            .map(|fault| format!("{}:{}: {}", fault.file, fault.line, fault.message))
            .collect()
    }

    #[test]
    fn references_between_files_are_found() {
        let (fleet, service) = GOOD.split_once("---\n").unwrap();
        let mesh = read(&[file("b.yaml", service), file("a.yaml", fleet)]).unwrap();
        assert_eq!(mesh, read(&[file("all.yaml", GOOD)]).unwrap());
        assert_eq!(
            faults(&[file("b.yaml", service)]),
            ["b.yaml:3: fleet `web` is not declared"]
        );
        assert_eq!(
            faults(&[file("a.yaml", GOOD), file("b.yaml", service)]),
            ["b.yaml:2: service `checkout` is declared twice, first at a.yaml:6:7"]
        );
    }

    #[test]
    fn a_fleet_may_say_beside_which_service_its_sidecars_stand() {
        let beside = |service: &str| GOOD.replace("name: web\n", &format!("name: web\n{service}"));
        let mesh = read(&[file("a.yaml", &beside("service: checkout\n"))]).unwrap();
        assert_eq!(mesh.fleets["web"].service.as_deref(), Some("checkout"));
        // It changes nothing for the sidecars.
        let without = read(&[file("a.yaml", GOOD)]).unwrap();
        assert_eq!(without.fleets["web"].service, None);
        let settings = |mesh: &Mesh| crate::mesh::Settings::of(mesh, "web");
        assert_eq!(settings(&mesh), settings(&without));
        assert_ne!(mesh.revision(), without.revision());
        assert_eq!(
            faults(&[file("a.yaml", &beside("service: cart\n"))]),
            ["a.yaml:3: service `cart` is not declared"]
        );
    }

    #[test]
    fn a_broken_file_hides_no_mistake_of_another_and_causes_no_false_one() {
        let (fleet, service) = GOOD.split_once("---\n").unwrap();
        let broken = format!("{fleet}broken: [\n");
        let wrong = service.replace("99.9%", "999%");
        let faults = faults(&[file("a.yaml", &broken), file("b.yaml", &wrong)]);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("a.yaml:5: not YAML"), "{faults:?}");
        assert_eq!(faults[1], "b.yaml:13: `999%` is not a percentage");
    }

    #[test]
    fn a_mesh_that_declares_nothing_is_refused() {
        assert_eq!(faults(&[]), ["mesh:0: nothing is declared"]);
        assert_eq!(
            faults(&[file("a.yaml", "# soon\n---\n")]),
            ["mesh:0: nothing is declared"]
        );
    }

    #[test]
    fn input_beyond_the_limits_is_refused_at_small_cost() {
        let large = " ".repeat(limits::MAX_FILE_BYTES + 1);
        assert_eq!(faults(&[file("a.yaml", &large)]).len(), 1);

        let many = vec![file("a.yaml", ""); limits::MAX_FILES + 1];
        assert!(faults(&many)[0].contains("1001 files"));

        let deep = "[".repeat(limits::MAX_DEPTH + 1);
        assert!(faults(&[file("a.yaml", &deep)])[0].contains("deeper than 16"));
        for deeper in ["[", "{a: ", "- "] {
            assert_eq!(faults(&[file("a.yaml", &deeper.repeat(100_000))]).len(), 1);
        }

        let nodes = format!("[{}]", "1,".repeat(limits::MAX_NODES));
        assert!(faults(&[file("a.yaml", &nodes)])[0].contains("more than 400000 values"));

        let mistakes: String = (0..60_000).map(|i| format!("x{i}: 1\n")).collect();
        let mistakes = faults(&[file("a.yaml", &format!("kind: fleet\n{mistakes}"))]);
        assert_eq!(mistakes.len(), limits::MAX_DIAGNOSTICS + 1);
        assert!(
            mistakes
                .last()
                .unwrap()
                .ends_with("59002 more mistakes are not shown")
        );
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
        let windows = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
        assert_eq!(read(&[file("a", &windows)]), read(&[file("a", GOOD)]));
    }

    #[test]
    fn the_order_of_hosts_in_a_file_changes_no_revision() {
        let hosts = "      - {address: \"10.0.0.1:8080\", zone: a}\n";
        let more = "      - {address: \"10.0.0.9:8080\", zone: b}\n";
        let one = GOOD.replace(hosts, &format!("{hosts}{more}"));
        let other = GOOD.replace(hosts, &format!("{more}{hosts}"));
        let revision = |text: &str| read(&[file("a", text)]).unwrap().revision();
        assert_eq!(revision(&one), revision(&other));
        assert_ne!(revision(&one), revision(GOOD));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = read(&[file("a.yaml", &text)]);
        }

        #[test]
        fn yaml_like_text_never_panics(
            text in "([a-c]|[-:?,#&*!|>'\"%@`{}\\[\\] \n\t~0]|kind: fleet\n|---\n|name: ){0,60}"
        ) {
            let _ = read(&[file("a.yaml", &text)]);
        }

        #[test]
        fn a_mutilated_mesh_never_panics(
            at in 0..GOOD.len(), length in 0..20usize, insert in "[-a-z0-9:%{}\\[\\],\"'&*!\n ]{0,6}"
        ) {
            let end = (at + length).min(GOOD.len());
            let text = format!("{}{insert}{}", &GOOD[..at], &GOOD[end..]);
            // Every diagnostic points into the file, or at none.
            for fault in read(&[file("a.yaml", &text)]).err().unwrap_or_default() {
                prop_assert!(fault.line <= text.lines().count() + 1, "{fault}");
                prop_assert!(!fault.to_string().is_empty());
            }
        }
    }
}
