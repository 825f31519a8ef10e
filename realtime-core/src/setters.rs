//! The macros that write the setters of configurations, here and in the providers.

/// Writes the `with_*` setters of a configuration; `in part` passes the value on to the setter of
/// that field.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    (impl $config:ident { $(
        $(#[$doc:meta])*
        $setter:ident($field:ident: $kind:ty) $(in $part:ident)?;
    )* }) => {
        #[allow(clippy::useless_conversion, reason = "a setter may take what its field is made from")]
        impl $config { $(
            $(#[$doc])*
            #[must_use]
            pub fn $setter(mut self, $field: $kind) -> Self {
                $crate::setters!(@set self $setter $field $($part)?);
                self
            }
        )* }
    };
    (@set $config:ident $setter:ident $field:ident) => {
        $config.$field = $field.into();
    };
    (@set $config:ident $setter:ident $field:ident $part:ident) => {
        $config.$part = $config.$part.$setter($field);
    };
}

/// Writes the setters of a provider's configuration that has a field `delivery`; the documentation
/// says what a provider does at its limits, and what its largest event costs.
#[doc(hidden)]
#[macro_export]
macro_rules! delivery_setters {
    (impl $config:ident {
        $(#[$limits:meta])*
        with_limits;
        $(#[$event:meta])*
        with_max_event_bytes;
    }) => {
        $crate::setters! {
            impl $config {
                /// Sets the configuration of the delivery: capacity, outbox, window and times.
                with_delivery(delivery: $crate::DeliveryConfig);
                $(#[$limits])*
                with_limits(limits: $crate::Limits) in delivery;
                /// Sets how much may wait for one connection before it reads the window instead;
                /// default 256 KiB or 256 frames.
                ///
                /// Replies and answers have a lane of the same size of their own; while a client
                /// leaves it full, its messages wait.
                with_outbox(outbox: $crate::OutboxConfig) in delivery;
                /// Sets how much of the log stays in memory for clients that resume or are slow;
                /// default 10,000 records, 64 MiB, 5 minutes.
                with_window(window: $crate::WindowConfig) in delivery;
                /// Sets how long a connection may make no progress while something waits for it
                /// before it is reset; default 30 s.
                with_write_stall(write_stall: std::time::Duration) in delivery;
                /// Sets how long before a connection's credentials end its client gets the event
                /// `expiring`, so that it can refresh them; default 60 s, zero for never. Where
                /// they end sooner than twice that, it gets it halfway.
                with_expiry_notice(expiry_notice: std::time::Duration) in delivery;
                $(#[$event])*
                with_max_event_bytes(max_event_bytes: usize) in delivery;
            }
        }
    };
}
