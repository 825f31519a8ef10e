use std::any::{Any, type_name};
use std::sync::Arc;

/// The application's data about an identity beyond its names, in the application's type. Clones are
/// the same claims, and equal to no others.
#[derive(Clone)]
pub(crate) struct Claims {
    value: Arc<dyn Any + Send + Sync>,
    type_name: &'static str,
}

impl Claims {
    pub(crate) fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self { value: Arc::new(value), type_name: type_name::<T>() }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    pub(crate) fn get<T: 'static>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }
}

impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value)
    }
}

impl Eq for Claims {}

impl std::fmt::Debug for Claims {
    /// Writes only the type's name: there may be a token in the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.type_name())
    }
}
