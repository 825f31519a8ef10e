//! Who may be here, and who may run handlers: the places of connections and their limits.

pub(crate) mod limits;
pub(crate) mod work;
