//! The lists of mutants, `integration/mutants/*.txt`.
//!
//! ```text
//! # What the list is about.
//!
//! == name-of-a-mutant
//! breaks: the safeguard that it breaks, as it should be; the paper's number of it
//!   (a line that begins with blanks goes on with the one before)
//! file: rollout/judge.rs                 below the engine's `src`
//! tests: rollout::tests::evidence        the part of tests' names that are meant to notice
//! - text that is there exactly once, from anywhere in a line
//! - its next line, with its blanks
//! + what stands there instead; nothing, without such a line
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// So many there have to be.
pub(crate) const LEAST: usize = 50;

/// One mutant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// Name of its list.
    pub(crate) list: String,
    pub(crate) name: String,
    pub(crate) breaks: String,
    /// Below the engine's `src`.
    pub(crate) file: String,
    /// Part of the names of the tests that are meant to notice.
    pub(crate) tests: String,
    find: Vec<String>,
    replacement: Vec<String>,
}

// === impl Mutant ===

impl Mutant {
    /// The source with the bug in it.
    pub(crate) fn apply(&self, source: &str) -> Result<String, String> {
        let (find, replacement) = (self.find.join("\n"), self.replacement.join("\n"));
        match source.matches(&find).count() {
            1 => Ok(source.replace(&find, &replacement)),
            n => Err(format!("{} has {n} times: {find}", self.file)),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let field = match key {
            "breaks" => &mut self.breaks,
            "file" => &mut self.file,
            "tests" => &mut self.tests,
            _ => return Err(format!("`{key}`: there are breaks, file and tests")),
        };
        if !field.is_empty() {
            return Err(format!("a second `{key}`"));
        }
        value.clone_into(field);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let missing = [
            ("breaks", self.breaks.is_empty()),
            ("file", self.file.is_empty()),
            ("tests", self.tests.is_empty()),
            ("a line to find", self.find.concat().trim().is_empty()),
        ];
        match missing.iter().find(|(_, is_missing)| *is_missing) {
            Some((what, _)) => Err(format!("`{}` has no {what}", self.name)),
            None if self.find == self.replacement => Err(format!("`{}` is no change", self.name)),
            None => Ok(()),
        }
    }
}

/// All lists, by name.
pub(crate) fn read() -> Result<Vec<Mutant>, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants");
    let text = |cause: std::io::Error| format!("{}: {cause}", directory.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(&directory).map_err(text)? {
        paths.push(entry.map_err(text)?.path());
    }
    paths.sort();
    let (mut mutants, mut names) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let list = path.file_stem().unwrap_or_default().to_string_lossy();
        mutants.extend(parse(&list, &fs::read_to_string(&path).map_err(text)?)?);
    }
    for mutant in &mutants {
        if !names.insert(&mutant.name) {
            return Err(format!("two mutants are called `{}`", mutant.name));
        }
    }
    Ok(mutants)
}

fn parse(list: &str, text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = |why: String| format!("{list}.txt:{}: {why}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            mutants.push(Mutant {
                list: list.to_owned(),
                name: name.to_owned(),
                ..Mutant::default()
            });
            continue;
        }
        let Some(mutant) = mutants.last_mut() else {
            return Err(at("a mutant begins with `== name`".to_owned()));
        };
        // An editor may have taken the blank from a line that has nothing else.
        let of = |sign: char| {
            let rest = line.strip_prefix(sign)?;
            rest.strip_prefix(' ')
                .or_else(|| rest.is_empty().then_some(""))
        };
        if let Some(line) = of('-') {
            mutant.find.push(line.to_owned());
        } else if let Some(line) = of('+') {
            mutant.replacement.push(line.to_owned());
        } else if line.starts_with(' ') {
            mutant.breaks = format!("{} {}", mutant.breaks, line.trim());
        } else {
            let (key, value) = line
                .split_once(": ")
                .ok_or_else(|| at(format!("neither `key: value` nor a change: {line}")))?;
            mutant.set(key, value.trim()).map_err(at)?;
        }
    }
    for mutant in &mutants {
        mutant.check().map_err(|why| format!("{list}.txt: {why}"))?;
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_still_applies_to_the_sources() {
        let mutants = read().unwrap();
        assert!(mutants.len() >= LEAST, "{}", mutants.len());
        let engine = crate::workspace().join("shifting/engine/src");
        let faults: Vec<String> = mutants
            .iter()
            .filter_map(|mutant| {
                let source = fs::read_to_string(engine.join(&mutant.file)).unwrap_or_default();
                let why = mutant.apply(&source).err()?;
                Some(format!("{}: {why}", mutant.name))
            })
            .collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn a_mutant_is_read_with_its_lines_and_applied() {
        let text = "# About.\n\n== late\nbreaks: never\n  late\nfile: a.rs\ntests: a::\n- b();\n-     c();\n+ d();\n";
        let mutants = parse("list", text).unwrap();
        assert_eq!(mutants[0].breaks, "never late");
        let source = "fn a() {\n    b();\n    c();\n}\n";
        assert_eq!(
            mutants[0].apply(source),
            Ok("fn a() {\n    d();\n}\n".to_owned())
        );
        assert!(mutants[0].apply("nothing").is_err());
        assert!(mutants[0].apply(&source.repeat(2)).is_err());
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, why) in [
            ("breaks: early", "list.txt:1: a mutant begins"),
            ("== a\nfile: b\ntests: c\n- d", "`a` has no breaks"),
            (
                "== a\nbreaks: b\nfile: c\ntests: d\n- \n",
                "no a line to find",
            ),
            ("== a\nbreaks: b\nfile: c\ntests: d\n- e\n+ e", "no change"),
            ("== a\nwhat: b", "list.txt:2: `what`"),
        ] {
            let cause = parse("list", text).unwrap_err();
            assert!(cause.contains(why), "{text}: {cause}");
        }
    }
}
