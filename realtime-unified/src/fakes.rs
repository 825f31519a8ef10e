use std::sync::Arc;

use realtime_core::RealtimeProvider;

/// The fake providers of [`NotificationService::mocked`](crate::NotificationService::mocked): an array or a
/// `Vec` of one kind, or a tuple of several.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a collection of providers",
    note = "give an array `[mock]`, a tuple `(mock, RecordingProvider::new(\"ws\"))`, or a `Vec` of one kind"
)]
pub trait Fakes {
    /// Returns the providers in their order.
    fn into_providers(self) -> Vec<Arc<dyn RealtimeProvider>>;
}

impl<P: RealtimeProvider + 'static, const N: usize> Fakes for [P; N] {
    fn into_providers(self) -> Vec<Arc<dyn RealtimeProvider>> {
        self.into_iter().map(|provider| Arc::new(provider) as _).collect()
    }
}

impl<P: RealtimeProvider + 'static> Fakes for Vec<P> {
    fn into_providers(self) -> Vec<Arc<dyn RealtimeProvider>> {
        self.into_iter().map(|provider| Arc::new(provider) as _).collect()
    }
}

macro_rules! tuples {
    ($(($($kind:ident $provider:ident),+))+) => { $(
        impl<$($kind: RealtimeProvider + 'static),+> Fakes for ($($kind,)+) {
            fn into_providers(self) -> Vec<Arc<dyn RealtimeProvider>> {
                let ($($provider,)+) = self;
                vec![$(Arc::new($provider)),+]
            }
        }
    )+ };
}

tuples! {
    (A a)
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d)
}
