//! What is added to engineioxide.

pub(crate) mod settings;
