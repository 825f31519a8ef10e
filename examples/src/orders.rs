use std::time::Duration;

use realtime_unified::{AckStatus, Event, NotificationService, Result, Target};
use serde::{Deserialize, Serialize};

/// What was ordered, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// The user who ordered.
    pub customer: String,
}

/// The part of a shop that tells people about orders. It holds the service and asks for nothing more, so its tests
/// need no server, no runtime of the providers, and no client.
#[derive(Clone, Debug)]
pub struct Orders {
    service: NotificationService,
}

/// How long a customer may think about a substitute.
const PATIENCE: Duration = Duration::from_secs(30);

impl Orders {
    /// Notifies through this service.
    #[must_use]
    pub fn new(service: NotificationService) -> Self {
        Self { service }
    }

    /// Tells the customer on every device, over whatever it is connected with, that the order is paid, and the kitchen that there
    /// is work.
    ///
    /// # Errors
    /// When the customer could not be told. The kitchen has a printer: that it could not be told is only logged.
    pub async fn paid(&self, order: &Order) -> Result<()> {
        if let Err(error) = self.kitchen(order).await {
            tracing::warn!(%error, order = order.id, "the kitchen was not told");
        }
        self.service.to_user(&order.customer, "order:paid", order).await.map(drop)
    }

    /// Asks the customer's devices, those that can answer, whether a substitute will do; the first yes counts.
    ///
    /// # Errors
    /// When the customer could not be asked. Not to answer is a no.
    pub async fn accepts_substitute(&self, order: &Order, substitute: &str) -> Result<bool> {
        let question = Event::json("order:substitute?", &(order.id, substitute))?;
        let answers = self.service.ask(&order.customer, question, PATIENCE).await?.all().await;
        let mut answered = answers.iter().filter(|answer| answer.status == AckStatus::Answered);
        Ok(answered.any(|answer| answer.json().unwrap_or(false)))
    }

    async fn kitchen(&self, order: &Order) -> Result<()> {
        let event = Event::json("order:new", order)?.with_idempotency_key(format!("order:new:{}", order.id));
        self.service.send(Target::room("kitchen"), event).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
