//! Questions that users answer over any transport.

use std::time::Duration;

use realtime_core::{Acks, Error, Event, Result, Target};

use crate::service::NotificationService;

impl NotificationService {
    /// Asks every connection of a user, whatever the tenant, over each provider whose clients can
    /// answer: one record in the log, and one deadline. The answers are yielded as they arrive, for
    /// `timeout` at most (and at most a day), each with its connection's provider; connections of
    /// other providers, such as SSE, are not asked.
    ///
    /// ```no_run
    /// # async fn ask(
    /// #     service: realtime_unified::NotificationService,
    /// # ) -> realtime_unified::Result<()> {
    /// use realtime_unified::{AckStatus, Event};
    /// use std::time::Duration;
    ///
    /// let question = Event::json("dinner?", "pizza")?;
    /// let mut answers = service.ask("ann", question, Duration::from_secs(5)).await?;
    /// while let Some(answer) = answers.next().await {
    ///     if answer.status == AckStatus::Answered {
    ///         println!("over {}: {:?}", answer.provider, answer.json::<bool>());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`NotificationService::send`]; [`Error::Unsupported`] when no provider's clients
    /// can answer, and for a volatile event or one with a key.
    pub async fn ask(&self, user: &str, question: Event, timeout: Duration) -> Result<Acks> {
        self.ask_each(Target::user(user), question, timeout).await
    }

    /// Asks every connection of a target, a room's members for instance, as
    /// [`NotificationService::ask`] does.
    ///
    /// # Errors
    /// Those of [`NotificationService::ask`].
    pub async fn ask_each(&self, target: Target, question: Event, timeout: Duration) -> Result<Acks> {
        question.check()?;
        let (ours, others) = self.named(None);
        let begun = std::time::Instant::now();
        let mut answers = None;
        let mut unsupported = None;
        if let Some(log) = self.log().filter(|_| !ours.is_empty()) {
            match log.ask(None, target.clone(), question.clone(), timeout).await {
                Ok(acks) => answers = Some(acks),
                // No attached provider can, but a custom one may.
                Err(error @ (Error::Unsupported { .. } | Error::TooLarge { .. })) => unsupported = Some(error),
                Err(error) => return Err(error),
            }
        }
        for entry in others {
            let Some(socket) = entry.provider.socket_io().filter(|_| entry.provider.capabilities().acks) else {
                continue;
            };
            let rest = timeout.saturating_sub(begun.elapsed());
            let acks = socket.ask(target.clone(), question.clone(), rest).await?;
            answers = Some(answers.unwrap_or_else(|| Acks::ready([])).and(entry.name(), acks));
        }
        answers.ok_or_else(|| unsupported.unwrap_or_else(|| Error::Unsupported { provider: None, what: "acks" }))
    }
}
