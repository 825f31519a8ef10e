//! Why a user got an event, or did not: an [`Explanation`] and its parts.

pub use crate::values::explanation::{Explained, ExplainedEnd, ExplainedNode, Explanation, Published};
pub use crate::values::fate::{Acknowledgement, Answer, DropReason, Fate, Mismatch, Unknown};
