//! The dependencies of the programs in `cases`, each of which makes a common mistake.
