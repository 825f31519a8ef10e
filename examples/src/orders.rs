use std::time::Duration;

use realtime_unified::prelude::*;
use realtime_unified::{AckStatus, Error};
use serde::{Deserialize, Serialize};

/// An order of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Order {
    /// The number.
    pub id: u64,
    /// The user that ordered.
    pub customer: String,
}

/// The part of a shop that notifies users about orders. It holds the service and needs nothing
/// more, so its tests need no server, no runtime of the providers, and no client.
#[derive(Clone, Debug)]
pub struct Orders {
    service: NotificationService,
}

/// The time that a customer has to answer about a substitute.
const PATIENCE: Duration = Duration::from_secs(30);

impl Orders {
    /// Creates one that notifies through this service.
    #[must_use]
    pub fn new(service: NotificationService) -> Self {
        Self { service }
    }

    /// Notifies the customer on every device, over whatever it is connected with, that the order is
    /// paid, and the kitchen of the new order.
    ///
    /// # Errors
    /// An error when the customer could not be notified. The kitchen has a printer: an error
    /// there is only logged.
    pub async fn paid(&self, order: &Order) -> Result<(), Error> {
        if let Err(error) = self.kitchen(order).await {
            tracing::warn!(%error, order = order.id, "kitchen not notified");
        }
        self.service.to_user(&order.customer, "order:paid", order).await.map(drop)
    }

    /// Asks the customer's devices, those that can answer, whether a substitute will do; the first
    /// yes counts.
    ///
    /// # Errors
    /// An error when the customer could not be asked. No answer is a no.
    pub async fn accepts_substitute(&self, order: &Order, substitute: &str) -> Result<bool, Error> {
        let question = Event::json("order:substitute?", &(order.id, substitute))?;
        let answers = self.service.ask(&order.customer, question, PATIENCE).await?.all().await;
        let mut answered = answers.iter().filter(|answer| answer.status == AckStatus::Answered);
        Ok(answered.any(|answer| answer.json().unwrap_or(false)))
    }

    async fn kitchen(&self, order: &Order) -> Result<(), Error> {
        let event = Event::json("order:new", order)?.with_idempotency_key(format!("order:new:{}", order.id));
        self.service.send(Target::room("kitchen"), event).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
