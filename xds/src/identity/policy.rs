//! Which identity may speak for which node, and which secrets it may have.

use std::fmt;
use std::str::FromStr;

use super::SpiffeId;

/// Rules of who may claim what. What no rule allows is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// One rule: an identity pattern, and what its holders may claim.
///
/// The pattern is a SPIFFE ID in which each segment of the path may hold one placeholder:
/// `{node.id}` or `{node.cluster}` for exactly what the client claims, `*` for anything but
/// nothing. `spiffe://mesh/ns/*/sidecar/{node.id}` lets every identity of that form speak for the
/// one node that it names. A claim that the pattern doesn't hold is bound with
/// [`node_id`](Self::node_id) and [`cluster`](Self::cluster); one that nothing binds is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    domain: String,
    segments: Vec<Segment>,
    node_id: Option<Glob>,
    cluster: Option<Glob>,
    secrets: Vec<Glob>,
}

/// A pattern that can't be a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the identity pattern `{pattern}` can't be used: {why}")]
pub struct PolicyError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it, and what to write instead.
    pub why: String,
}

/// What an identity claimed without being allowed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{identity}` claims node.id `{node_id}` in node.cluster `{cluster}`, but {allowed}")]
pub struct Denied {
    /// Who.
    pub identity: SpiffeId,
    /// The claimed `node.id`.
    pub node_id: String,
    /// The claimed `node.cluster`.
    pub cluster: String,
    /// What it may claim.
    pub allowed: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    before: String,
    hole: Option<Hole>,
    after: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hole {
    NodeId,
    Cluster,
    Any,
}

/// Text in which `*` stands for any run of characters, also an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob(String);

/// What a rule says that one identity may claim; free where `None`.
struct Allowed<'a> {
    node_id: Option<Cow<'a>>,
    cluster: Option<Cow<'a>>,
}

enum Cow<'a> {
    Exactly(&'a str),
    Like(&'a Glob),
}

// === impl Policy ===

impl Policy {
    /// A policy of these rules. Each is asked; one that allows is enough.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
        }
    }

    /// The rule by which an identity may make these claims.
    ///
    /// # Errors
    /// If none allows them; the error says what is allowed.
    pub fn check(
        &self,
        identity: &SpiffeId,
        node_id: &str,
        cluster: &str,
    ) -> Result<&Rule, Denied> {
        let mut allowed = Vec::new();
        for rule in &self.rules {
            match rule.allowed(identity) {
                Some(claims) if claims.cover(node_id, cluster) => return Ok(rule),
                Some(claims) => allowed.push(claims.to_string()),
                None => {}
            }
        }
        let allowed = if allowed.is_empty() {
            "this identity matches no pattern of the policy".to_owned()
        } else {
            format!("it may claim only {}", allowed.join(", or "))
        };
        Err(Denied {
            identity: identity.clone(),
            node_id: short(node_id),
            cluster: short(cluster),
            allowed,
        })
    }

    /// Whether an identity may claim anything at all.
    #[must_use]
    pub fn knows(&self, identity: &SpiffeId) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.allowed(identity).is_some())
    }

    /// Whether an identity stands for one node alone: then it needs no more than one client does.
    #[must_use]
    pub fn is_one_node(&self, identity: &SpiffeId) -> bool {
        let mut rules = self
            .rules
            .iter()
            .filter_map(|rule| rule.allowed(identity))
            .peekable();
        rules.peek().is_some() && rules.all(|claims| claims.is_one_node())
    }

    /// The patterns under which a client may choose its `node.cluster` freely.
    pub fn with_free_cluster(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| !rule.binds_cluster())
    }
}

// === impl Rule ===

impl Rule {
    /// A rule of an identity pattern alone.
    ///
    /// # Errors
    /// If it is none, or binds neither `{node.id}` nor `{node.cluster}`: its holders could speak
    /// for every node.
    pub fn new(pattern: &str) -> Result<Self, PolicyError> {
        let rule = Self::parse(pattern)?;
        if !rule.binds(Hole::NodeId) && !rule.binds(Hole::Cluster) {
            let why = "it holds neither `{node.id}` nor `{node.cluster}`, so its holders could \
                       speak for every node; write for instance \
                       `spiffe://mesh/fleet/{node.cluster}/sidecar/{node.id}`";
            return Err(error(pattern, why));
        }
        Ok(rule)
    }

    /// A rule of an identity pattern and the node ids that its holders may claim, in which `*`
    /// stands for any run of characters.
    ///
    /// # Errors
    /// If the pattern is none.
    pub fn for_nodes(pattern: &str, node_id: &str) -> Result<Self, PolicyError> {
        Ok(Self::parse(pattern)?.node_id(node_id))
    }

    fn parse(pattern: &str) -> Result<Self, PolicyError> {
        let rest = pattern
            .strip_prefix("spiffe://")
            .ok_or_else(|| error(pattern, "it does not begin with `spiffe://`"))?;
        let (domain, path) = rest
            .split_once('/')
            .ok_or_else(|| error(pattern, "it has no path after the trust domain"))?;
        let segments: Vec<Segment> = path
            .split('/')
            .map(|text| Segment::parse(text).map_err(|why| error(pattern, why)))
            .collect::<Result<_, _>>()?;
        let rule = Self {
            text: pattern.to_owned(),
            domain: domain.to_owned(),
            segments,
            node_id: None,
            cluster: None,
            secrets: Vec::new(),
        };
        // With its holes filled it must be an identity, or it would match nothing.
        let filled: Vec<String> = rule.segments.iter().map(Segment::example).collect();
        SpiffeId::new(&format!("spiffe://{domain}/{}", filled.join("/")))
            .map_err(|wrong| error(pattern, wrong.why))?;
        Ok(rule)
    }

    /// Binds `node.id` as well; `*` stands for any run of characters.
    #[must_use]
    pub fn node_id(mut self, glob: &str) -> Self {
        self.node_id = Some(Glob(glob.to_owned()));
        self
    }

    /// Binds `node.cluster` as well; `*` stands for any run of characters.
    #[must_use]
    pub fn cluster(mut self, glob: &str) -> Self {
        self.cluster = Some(Glob(glob.to_owned()));
        self
    }

    /// Grants the secrets of this name, in which `*` stands for any run of characters. Without a
    /// grant a client gets no secret.
    #[must_use]
    pub fn grant_secret(mut self, glob: &str) -> Self {
        self.secrets.push(Glob(glob.to_owned()));
        self
    }

    /// Whether a secret is granted.
    #[must_use]
    pub fn may_have_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|glob| glob.matches(name))
    }

    fn binds(&self, hole: Hole) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.hole == Some(hole))
    }

    fn binds_cluster(&self) -> bool {
        self.cluster.is_some() || self.binds(Hole::Cluster)
    }

    /// What an identity may claim by this rule; `None` if the rule isn't about it.
    fn allowed<'a>(&'a self, identity: &'a SpiffeId) -> Option<Allowed<'a>> {
        let rest = identity.as_str().strip_prefix("spiffe://")?;
        let (domain, path) = rest.split_once('/')?;
        if domain != self.domain || path.split('/').count() != self.segments.len() {
            return None;
        }
        let (mut node_id, mut cluster) = (None, None);
        for (segment, text) in self.segments.iter().zip(path.split('/')) {
            let filled = segment.capture(text)?;
            let slot = match segment.hole {
                Some(Hole::NodeId) => &mut node_id,
                Some(Hole::Cluster) => &mut cluster,
                Some(Hole::Any) | None => continue,
            };
            // The same claim in two places must be the same in both.
            if slot.is_some_and(|earlier| earlier != filled) {
                return None;
            }
            *slot = Some(filled);
        }
        // A glob beside a placeholder narrows it: what both allow.
        let bound = |filled: Option<&'a str>, glob: &'a Option<Glob>| match (filled, glob) {
            (Some(filled), Some(glob)) if !glob.matches(filled) => None,
            (Some(filled), _) => Some(Some(Cow::Exactly(filled))),
            (None, glob) => Some(glob.as_ref().map(Cow::Like)),
        };
        Some(Allowed {
            node_id: bound(node_id, &self.node_id)?,
            cluster: bound(cluster, &self.cluster)?,
        })
    }
}

impl FromStr for Rule {
    type Err = PolicyError;

    fn from_str(pattern: &str) -> Result<Self, PolicyError> {
        Self::new(pattern)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn error(pattern: &str, why: &str) -> PolicyError {
    PolicyError {
        pattern: pattern.to_owned(),
        why: why.to_owned(),
    }
}

/// A claim as an error shows it.
fn short(claim: &str) -> String {
    claim.chars().take(200).collect()
}

// === impl Segment ===

impl Segment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let holes = [
            ("{node.id}", Hole::NodeId),
            ("{node.cluster}", Hole::Cluster),
            ("*", Hole::Any),
        ];
        let mut found = None;
        for (word, hole) in holes {
            if let Some((before, after)) = text.split_once(word) {
                if found.is_some() || after.contains(word) {
                    return Err("a segment of its path has more than one placeholder");
                }
                found = Some((before, hole, after));
            }
        }
        let (before, hole, after) = match found {
            Some((before, hole, after)) => (before, Some(hole), after),
            None => (text, None, ""),
        };
        if [before, after].iter().any(|text| text.contains(['{', '}'])) {
            return Err(
                "it holds an unknown placeholder; known are `{node.id}`, `{node.cluster}` and `*`",
            );
        }
        Ok(Self {
            before: before.to_owned(),
            hole,
            after: after.to_owned(),
        })
    }

    fn example(&self) -> String {
        let hole = if self.hole.is_some() { "x" } else { "" };
        format!("{}{hole}{}", self.before, self.after)
    }

    /// What stands in the hole (the empty text if there is none); `None` if it doesn't match.
    fn capture<'a>(&self, text: &'a str) -> Option<&'a str> {
        let inner = text.strip_prefix(self.before.as_str())?;
        let inner = inner.strip_suffix(self.after.as_str())?;
        (inner.is_empty() != self.hole.is_some()).then_some(inner)
    }
}

// === impl Allowed ===

impl Allowed<'_> {
    fn cover(&self, node_id: &str, cluster: &str) -> bool {
        let covers = |bound: &Option<Cow<'_>>, claim| match bound {
            None => true,
            Some(Cow::Exactly(text)) => *text == claim,
            Some(Cow::Like(glob)) => glob.matches(claim),
        };
        covers(&self.node_id, node_id) && covers(&self.cluster, cluster)
    }

    fn is_one_node(&self) -> bool {
        match &self.node_id {
            Some(Cow::Exactly(_)) => true,
            Some(Cow::Like(glob)) => !glob.0.contains('*'),
            None => false,
        }
    }
}

impl fmt::Display for Allowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |bound: &Option<Cow<'_>>| match bound {
            None => "*".to_owned(),
            Some(Cow::Exactly(text)) => (*text).to_owned(),
            Some(Cow::Like(glob)) => glob.0.clone(),
        };
        write!(
            f,
            "node.id `{}` in node.cluster `{}`",
            show(&self.node_id),
            show(&self.cluster)
        )
    }
}

// === impl Glob ===

impl Glob {
    /// Linear in the text for each `*`: after the first piece, the leftmost place of each next one
    /// is as good as any other.
    fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return self.0 == text;
        };
        let Some(mut text) = text.strip_prefix(first) else {
            return false;
        };
        let mut pieces: Vec<&str> = rest.split('*').collect();
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            match text.split_once(piece) {
                Some((_, after)) => text = after,
                None => return false,
            }
        }
        text.ends_with(last)
    }
}

#[cfg(test)]
mod tests;
