//! The long-lived tasks of an instance. They are spawned by the composition root, and their ends are noticed here.

use anyhow::{Context, anyhow};
use tokio::task::{JoinError, JoinSet};

/// The long-lived tasks, by name.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: JoinSet<&'static str>,
}

impl Tasks {
    /// Spawns a task, which must not end before it is told to.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    /// Resolves when a task ends by itself.
    pub(super) async fn first_to_end(&mut self) -> anyhow::Error {
        match self.running.join_next().await {
            Some(ended) => failure(ended),
            None => anyhow!("no task is running"),
        }
    }

    /// Waits for the end of all tasks, after they were told to stop.
    pub(super) async fn all_to_end(&mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.running.join_next().await {
            ended.context("a task panicked while stopping")?;
        }
        Ok(())
    }
}

fn failure(ended: Result<&'static str, JoinError>) -> anyhow::Error {
    match ended {
        Ok(name) => anyhow!("the {name} ended by itself"),
        Err(error) => anyhow!(error).context("a long-lived task panicked"),
    }
}
