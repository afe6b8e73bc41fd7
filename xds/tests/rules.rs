//! The table of rules and their tests in the README is made from the names of the tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- rules: made by tests/rules.rs -->";
const END: &str = "<!-- end of rules -->";

/// The rules of the xDS protocol, and the invariants, that a test may be named after.
fn is_rule(word: &str) -> bool {
    let mut letters = word.chars();
    let known = letters
        .next()
        .is_some_and(|letter| "csdoxm".contains(letter));
    let rest = letters.as_str().trim_end_matches(['a', 'b', 'c']);
    known && !rest.is_empty() && rest.chars().all(|letter| letter.is_ascii_digit())
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Rules in their order, with the tests that name them: letter, number, suffix.
fn table(root: &Path) -> String {
    let mut rules: BTreeMap<(String, u32, String), Vec<String>> = BTreeMap::new();
    let mut files = Vec::new();
    for folder in [
        "xds/src",
        "xds/tests",
        "integration/tests/clients",
        "integration/tests/wedge",
    ] {
        sources(&root.join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let place = file.strip_prefix(root).unwrap_or(&file).display();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let [attribute, function] = pair else {
                continue;
            };
            let name = function.trim_start_matches("async ").strip_prefix("fn ");
            let Some(name) = name.filter(|_| {
                attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test")
            }) else {
                continue;
            };
            let name = name.split('(').next().unwrap_or_default();
            for word in name.split('_').take_while(|word| is_rule(word)) {
                let (letter, rest) = word.split_at(1);
                let digits = rest.trim_end_matches(['a', 'b', 'c']);
                let suffix = rest.trim_start_matches(digits).to_owned();
                let key = (letter.to_uppercase(), digits.parse().unwrap_or(0), suffix);
                let tests = rules.entry(key).or_default();
                tests.push(format!("`{name}` ({place})"));
            }
        }
    }
    let mut text = String::from("| rule | tests |\n|---|---|\n");
    for ((letter, number, suffix), tests) in rules {
        text.push_str(&format!(
            "| {letter}{number}{suffix} | {} |\n",
            tests.join("<br>")
        ));
    }
    text
}

#[test]
fn the_table_of_rules_in_the_readme_is_up_to_date() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = package.join("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let table = table(package.parent().unwrap());
    assert!(
        table.contains("| C2 |") && table.contains("| O5 |"),
        "{table}"
    );
    let wanted = format!("{before}{BEGIN}\n{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&readme, wanted).unwrap();
    } else {
        assert!(
            text == wanted,
            "run `UPDATE=1 cargo test -p tidegate-xds --test rules`"
        );
    }
}
