//! What the world's resources look like, and the versions that the server gives them. Shared by all
//! streams: a stream keeps a generation for each resource, nothing more.

use bytes::Bytes;

use crate::bench::data::{Type, World};

/// Every content that was ever right, by type and index.
#[derive(Debug)]
pub(super) struct Known {
    contents: [Vec<Vec<Content>>; 3],
}

#[derive(Debug)]
struct Content {
    generation: u32,
    body: Bytes,
    /// How the server named it; unknown until it was sent.
    version: Option<Bytes>,
}

// === impl Known ===

impl Known {
    pub(super) fn of(world: World) -> Self {
        let contents = Type::ALL.map(|of| {
            let first = |index| {
                vec![Content {
                    generation: 0,
                    body: world.body(of, index, 0),
                    version: None,
                }]
            };
            (0..world.count(of)).map(first).collect()
        });
        Self { contents }
    }

    /// One more generation of an assignment. Only the last one stays right beside it: clients may
    /// be at either.
    pub(super) fn announce(&mut self, world: World, index: u32, generation: u32) {
        let place = usize::try_from(index).ok();
        let contents = &mut self.contents[Type::Assignment as usize];
        let Some(contents) = place.and_then(|place| contents.get_mut(place)) else {
            return;
        };
        contents.retain(|content| content.generation != generation);
        contents.drain(..contents.len().saturating_sub(1));
        contents.push(Content {
            generation,
            body: world.body(Type::Assignment, index, generation),
            version: None,
        });
    }

    /// Which generation this is, or what is wrong with it.
    pub(super) fn check(
        &mut self,
        of: Type,
        index: u32,
        body: &Bytes,
        version: &Bytes,
    ) -> Result<u32, String> {
        let contents = &mut self.contents[of as usize][index as usize];
        let same = |content: &Content| content.body == body;
        let found = contents.iter().rposition(same).or_else(|| {
            // Encoders may order fields differently; learnt once, compared by bytes from then on.
            let alike = contents
                .iter()
                .rposition(|content| of.same(&content.body, body))?;
            // A copy, or the whole response would stay in memory.
            contents[alike].body = Bytes::copy_from_slice(body);
            Some(alike)
        });
        let Some(found) = found else {
            return Err(format!(
                "{of:?} {index} came with a content that is not its own"
            ));
        };
        let content = &mut contents[found];
        match &content.version {
            Some(known) if known == version => {}
            Some(known) => {
                return Err(format!(
                    "{of:?} {index} came as version {version:?} and before as {known:?}, with equal bytes"
                ));
            }
            None if version.is_empty() => {
                return Err(format!("{of:?} {index} came without a version"));
            }
            None => content.version = Some(Bytes::copy_from_slice(version)),
        }
        Ok(content.generation)
    }

    /// The server's version of a content.
    pub(super) fn version(&self, of: Type, index: u32, generation: u32) -> Option<&Bytes> {
        let contents = self.contents[of as usize].get(index as usize)?;
        let found = contents.iter().find(|c| c.generation == generation)?;
        found.version.as_ref()
    }
}
