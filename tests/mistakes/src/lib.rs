//! The dependencies of the programs in `cases`, each of which makes a common mistake, and of those
//! that must compile, in `tests/first_programs.rs`.
