use std::sync::{Arc, OnceLock};

use realtime_core::spi::Meter;

/// Meter of what a session's client sends, to the provider's namespace and to others; created by
/// the first packet of a connected session, without a meter in it if there is no rate.
#[derive(Default)]
pub(crate) struct SessionRate(OnceLock<Option<Arc<Meter>>>);

impl SessionRate {
    /// Returns whether the first packet has come.
    pub(crate) fn is_created(&self) -> bool {
        self.0.get().is_some()
    }

    /// Returns the meter, if it was created and there is a rate.
    pub(crate) fn meter(&self) -> Option<&Arc<Meter>> {
        self.0.get()?.as_ref()
    }

    /// Returns the meter, which is created by this if it was not.
    pub(crate) fn meter_or(&self, create: impl FnOnce() -> Option<Arc<Meter>>) -> Option<&Arc<Meter>> {
        self.0.get_or_init(create).as_ref()
    }
}
