//! Where pages of the users of rooms are read: the store, one page at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::store::{
    Store,
    people::{PeoplePage, PeoplePageQuery},
};

/// The most pages that are read at a time. They share the connections of reports.
const READS_MAX: usize = 1;

/// Where pages of users are read.
#[derive(Debug)]
pub struct UserPages {
    store: Arc<dyn Store>,
    reads: Semaphore,
}

impl UserPages {
    /// The users whom this store knows.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, reads: Semaphore::new(READS_MAX) }
    }

    /// A page; `None` if the store does not answer.
    pub(super) async fn page(&self, query: PeoplePageQuery) -> Option<PeoplePage> {
        // The semaphore is never closed.
        let _permit = self.reads.acquire().await.ok()?;
        let page = self.store.people_page(query).await;
        page.inspect_err(|error| tracing::debug!(%error, "failed to read users of a room")).ok()
    }
}
