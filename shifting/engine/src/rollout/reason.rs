//! Why something waits, in a sentence. What counts down is said anew each second and read seldom: its
//! words are put together when somebody asks for them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rollout::advance::Lacking;

/// A sentence. Two are equal when they read the same, and it is stored as what it reads.
#[derive(Debug, Clone)]
pub struct Reason(Words);

#[derive(Debug, Clone)]
enum Words {
    Said(String),
    /// A rung is watched for a while, or the soak when `None`.
    Watching {
        rung: Option<Arc<str>>,
        rest_s: u64,
    },
    /// Evidence to advance is missing.
    Lacking(Lacking),
}

// === impl Reason ===

impl Reason {
    /// A rung has to be watched for so long yet; the soak when `None`.
    pub(crate) fn watching(rung: Option<Arc<str>>, rest_s: u64) -> Self {
        Self(Words::Watching { rung, rest_s })
    }

    /// Evidence to advance is missing.
    pub(crate) fn lacking(lacking: Lacking) -> Self {
        Self(Words::Lacking(lacking))
    }
}

impl From<String> for Reason {
    fn from(sentence: String) -> Self {
        Self(Words::Said(sentence))
    }
}

impl From<&str> for Reason {
    fn from(sentence: &str) -> Self {
        sentence.to_owned().into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Words::Said(sentence) => f.write_str(sentence),
            Words::Watching { rung, rest_s } => {
                let place = rung.as_deref().unwrap_or("the soak");
                write!(f, "watching {place} for {rest_s} s more")
            }
            Words::Lacking(lacking) => lacking.fmt(f),
        }
    }
}

impl PartialEq for Reason {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Words::Said(one), Words::Said(other)) => one == other,
            _ => self.to_string() == other.to_string(),
        }
    }
}

impl Eq for Reason {}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stored_and_compared_as_what_it_reads() {
        let rung = Reason::watching(Some(Arc::from("5%")), 12);
        assert_eq!(rung, Reason::from("watching 5% for 12 s more"));
        assert_ne!(rung, Reason::watching(Some(Arc::from("5%")), 11));
        let soak = Reason::watching(None, 7);
        let stored = serde_json::to_string(&soak).unwrap();
        assert_eq!(stored, r#""watching the soak for 7 s more""#);
        assert_eq!(serde_json::from_str::<Reason>(&stored).unwrap(), soak);
    }
}
