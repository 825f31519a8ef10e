//! The provider suite: one function for each test, generic over the provider.

mod acks;
mod addressing;
mod closing;
mod credentials;
mod events;
mod forged;
mod inbound;
mod limits;
mod order;
mod resume;
mod rooms;

pub use acks::*;
pub use addressing::*;
pub use closing::*;
pub use credentials::*;
pub use events::*;
pub use forged::*;
pub use inbound::*;
pub use limits::*;
pub use order::*;
pub use resume::*;
pub use rooms::*;

/// Defines a `#[test]` for every test of the provider suite, in a module `conformance`, for a
/// [`ProviderUnderTest`](crate::conformance::ProviderUnderTest).
#[macro_export]
macro_rules! provider_conformance {
    ($provider:ty) => {
        $crate::conformance_tests! { $provider; in provider:
            acks_are_collected_from_every_connection,
            acks_for_one_tenants_user,
            acks_of_a_room_come_from_its_members,
            acks_report_gone_and_timed_out_connections,
            addressing_all,
            addressing_connection,
            addressing_except,
            addressing_tenant,
            addressing_user,
            addressing_user_within_a_tenant,
            binary_events_arrive_or_are_refused,
            burst_keeps_its_order,
            burst_of_many_publishers_has_one_order,
            client_is_notified_before_its_identity_expires,
            clients_enter_and_leave_rooms_by_events,
            close_all,
            close_one_connection,
            close_user,
            close_with_a_text_of_the_application,
            connected_is_the_first_event,
            connection_closes_when_its_identity_expires,
            disconnect_by_the_client_runs_the_hooks,
            events_flow_while_credentials_are_refreshed,
            failing_handlers_answer_with_an_error,
            handlers_answer_in_order,
            handlers_see_the_refreshed_identity,
            idempotency_key_delivers_once,
            invalid_identity_is_refused,
            invalid_names_are_refused,
            isolation_of_names_between_kinds,
            isolation_of_tenants_and_users,
            keys_without_effect_are_refused,
            limit_of_all_connections,
            limit_of_one_address,
            limit_of_one_tenant,
            limit_of_one_user,
            limit_of_one_user_holds_for_concurrent_connects,
            lost_is_reported_in_band,
            names_with_unusual_characters,
            notice_before_an_expiry_is_configurable,
            overflowed_client_catches_up,
            payloads_of_any_text,
            quiet_client_gets_its_cursor_before_it_expires,
            rate_of_handshakes,
            receipts_have_position_and_counts,
            refresh_replaces_the_expiry,
            refused_refresh_leaves_the_connection_as_it_was,
            resume_from_a_cursor,
            resume_from_a_forged_cursor,
            resume_from_an_unusable_cursor,
            resume_keeps_exceptions_of_the_previous_connection,
            resume_shows_nothing_of_others,
            rooms_except_and_within_a_tenant,
            rooms_follow_the_user,
            rooms_joined_are_replayed,
            rooms_named_by_the_client,
            rooms_of_one_tenants_user,
            shutdown_closes_and_refuses,
            stats_follow_what_happens,
            too_large_event_is_refused,
            unattached_provider_accepts_nothing,
            volatile_events_are_not_replayed,
        }
    };
}

/// Defines `#[test]` functions that call a suite's functions.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($subject:ty; in $suite:ident: $($test:ident),* $(,)?) => {
        mod conformance {
            use super::*;
            $(
                #[test]
                fn $test() {
                    $crate::conformance::run($crate::conformance::tests::$suite::$test::<$subject>());
                }
            )*
        }
    };
}
