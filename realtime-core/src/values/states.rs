use std::any::type_name;
use std::sync::Arc;

use http::Extensions;

use crate::values::error::{Error, Result};

/// The application's states, one value of each type, which all handlers, hooks and policies of a
/// service find in their [`Context`](crate::Context). Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct States(Arc<Extensions>);

impl States {
    /// Adds a value, which replaces an earlier one of its type.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        Arc::make_mut(&mut self.0).insert(Arc::new(value));
        self
    }

    /// Returns whether there is a value of this type.
    pub fn has<T: Send + Sync + 'static>(&self) -> bool {
        self.0.get::<Arc<T>>().is_some()
    }

    /// Returns the value of this type.
    ///
    /// # Errors
    /// [`Error::NoState`] when there is none.
    pub fn get<T: Send + Sync + 'static>(&self) -> Result<&T> {
        self.0.get::<Arc<T>>().map(Arc::as_ref).ok_or_else(|| Error::NoState { of: type_name::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_value() {
        let states = States::default().with(1_u32).with("a").with(2_u32);
        assert_eq!((states.get::<u32>().unwrap(), states.get::<&str>().unwrap()), (&2, &"a"));
        assert!(states.has::<u32>() && !states.has::<u64>());
        let missing = states.get::<u64>().unwrap_err();
        assert_eq!((missing.code(), missing.is_client_error()), ("no_state", false));
        assert!(missing.to_string().contains("u64"), "{missing}");
    }
}
