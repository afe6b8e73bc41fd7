//! Which disagreements are meant to be, each with its reason. Any other fails the run.

use tidegate_xds::config::Diagnostic;

use crate::explanations::EXPLANATIONS;

/// What one judge refuses and the other takes.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// Its reason.
    OnlyEnvoy(String),
    /// One of our diagnostics: each needs an explanation of its own.
    OnlyWe(Diagnostic),
}

/// One kind of disagreement. In its patterns, `*` stands for anything.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// Of the path of our diagnostic, without the numbers in brackets; `None` if it is Envoy's.
    pub(crate) path: Option<&'static str>,
    /// Of Envoy's whole reason, or of our whole message and, after `; `, its help.
    pub(crate) text: &'static str,
    pub(crate) why: &'static str,
}

// === impl Explanation ===

impl Explanation {
    pub(crate) fn who(&self) -> &'static str {
        match self.path {
            None => "only Envoy",
            Some(_) => "only we",
        }
    }

    fn explains(&self, refusal: &Refusal) -> bool {
        match (refusal, self.path) {
            (Refusal::OnlyEnvoy(reason), None) => matches(self.text, reason),
            (Refusal::OnlyWe(diagnostic), Some(path)) => {
                matches(path, &unnumbered(&diagnostic.path))
                    && matches(self.text, &said(diagnostic))
            }
            _ => false,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// What only we refuse, but for what is wrong within a listener that Envoy leaves out: of two
    /// with one name, the later, which is a diagnostic of its own.
    pub(crate) fn ours(diagnostics: &[Diagnostic]) -> Vec<Self> {
        let left_out = |place: &str| {
            diagnostics.iter().any(|other| {
                let within = place.strip_prefix(other.path.as_str());
                other.message.starts_with("a second lds ")
                    && within.is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let kept = diagnostics.iter().filter(|found| !left_out(&found.path));
        kept.cloned().map(Self::OnlyWe).collect()
    }

    /// The number of its explanation.
    pub(crate) fn explanation(&self) -> Option<usize> {
        EXPLANATIONS.iter().position(|known| known.explains(self))
    }

    pub(crate) fn who(&self) -> &'static str {
        match self {
            Self::OnlyEnvoy(_) => "only Envoy",
            Self::OnlyWe(_) => "only we",
        }
    }

    /// Where and why.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::OnlyEnvoy(reason) => reason.clone(),
            Self::OnlyWe(diagnostic) => {
                format!("{}: {}", unnumbered(&diagnostic.path), said(diagnostic))
            }
        }
    }
}

/// The message with its help.
fn said(diagnostic: &Diagnostic) -> String {
    match diagnostic.help.as_str() {
        "" => diagnostic.message.clone(),
        help => format!("{}; {help}", diagnostic.message),
    }
}

/// `a[3].b` as `a[].b`.
fn unnumbered(path: &str) -> String {
    let mut out = String::new();
    for (index, part) in path.split('[').enumerate() {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        if index > 0 {
            out.push('[');
        }
        out.push_str(if rest.starts_with(']') { rest } else { part });
    }
    out
}

/// Whether a pattern is all of a text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, more)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let (between, last) = more.rsplit_once('*').unwrap_or(("", more));
    for part in between.split('*') {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_all_of_a_text() {
        for (pattern, text, wanted) in [
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
            ("*", "anything", true),
            ("*.b", "a.b", true),
            ("*.b", "a.b.c", false),
            ("a*c", "ac", true),
            ("ab*bc", "abc", false),
            ("a*b*c", "a b c", true),
            ("a*b*c", "a c b", false),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
        assert_eq!(unnumbered("a[12].b[0]"), "a[].b[]");
        assert_eq!(unnumbered("a[\"1]\"].b"), "a[\"1]\"].b");
    }

    #[test]
    fn only_what_is_within_a_listener_that_envoy_leaves_out_goes_with_it() {
        let at = |path: &str, message: &str| Diagnostic {
            file: String::new(),
            line: 1,
            column: 1,
            path: path.to_owned(),
            message: message.to_owned(),
            help: String::new(),
        };
        let second = at("a.listeners[1]", "a second lds `x`; the first is at a:1:1");
        let (within, elsewhere) = (at("a.listeners[1].b", "no"), at("a.listeners[10].b", "no"));
        let paths = |diagnostics: &[Diagnostic]| -> Vec<String> {
            let refusals = Refusal::ours(diagnostics);
            refusals.iter().map(Refusal::text).collect()
        };
        let kept = paths(&[second, within.clone(), elsewhere.clone()]);
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert_eq!(paths(&[within, elsewhere]).len(), 2);
    }

    #[test]
    fn an_explanation_of_one_mistake_excuses_no_other() {
        let at = |path: &str, message: &str, help: &str| {
            Refusal::OnlyWe(Diagnostic {
                file: String::new(),
                line: 1,
                column: 1,
                path: path.to_owned(),
                message: message.to_owned(),
                help: help.to_owned(),
            })
        };
        let place = "a.listeners[0].http_filters";
        let known = at(place, "needs a router at least", "");
        assert!(known.explanation().is_some());
        let elsewhere = at("a.listeners[0]", "needs a router at least", "");
        assert_eq!(elsewhere.explanation(), None);
        let more = at(place, "needs a router at least", "and more");
        assert_eq!(more.explanation(), None);
        let envoys = Refusal::OnlyEnvoy("needs a router at least".to_owned());
        assert_eq!(envoys.explanation(), None);
    }
}
