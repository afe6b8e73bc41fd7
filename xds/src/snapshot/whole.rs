//! All that a subscription covers of a type, as one piece: the first answer to every client that
//! asks for the same.

use std::sync::Arc;

use crate::limits::RESPONSE_BYTES_TARGET;
use crate::resource::{NameList, Resource};
use crate::stream::Item;

/// All that a subscription covers, in order, if it can be sent at once and there is nothing special
/// about any of it: no time to live, no other name, no version of the embedder's own, and nothing
/// that has to wait for clusters.
#[derive(Debug)]
pub(crate) struct Whole {
    items: Arc<[Arc<Resource>]>,
    /// The same as every stream sends it.
    sent: Arc<[Item]>,
}

// === impl Whole ===

impl Whole {
    /// `None` if it can't be; also if it is nothing.
    pub(super) fn of<'a>(
        resources: impl Iterator<Item = Option<&'a Arc<Resource>>>,
    ) -> Option<Arc<Self>> {
        let items: Option<Arc<[Arc<Resource>]>> = resources.map(Option::<&_>::cloned).collect();
        let items = items?;
        let bytes = |resource: &Arc<Resource>| resource.body().len() + resource.name().len();
        let fits = items.iter().map(bytes).sum::<usize>() <= RESPONSE_BYTES_TARGET;
        let sound = fits && !items.is_empty() && items.iter().all(|resource| is_plain(resource));
        sound.then(|| {
            let sent = items.iter().map(|resource| Item::plain(resource.clone()));
            let sent = sent.collect();
            Arc::new(Self { items, sent })
        })
    }

    /// The resources, by name.
    pub(crate) fn items(&self) -> &Arc<[Arc<Resource>]> {
        &self.items
    }

    /// The resources as they are sent.
    pub(crate) fn sent(&self) -> &Arc<[Item]> {
        &self.sent
    }
}

fn is_plain(resource: &Resource) -> bool {
    resource.ttl().is_none()
        && resource.own_version().is_none()
        && resource.aliases().is_empty()
        && !resource.is_on_demand()
        && resource.references().clusters.is_empty()
}

/// Lists of names and what they cover, newest last.
pub(super) type Wholes = Vec<(Arc<NameList>, Option<Arc<Whole>>)>;
