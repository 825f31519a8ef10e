/// Writes the constructor and the getter of a type that is a number: `stored` names what the number
/// is.
macro_rules! number {
    ($kind:ident: $stored:literal) => {
        impl $kind {
            #[doc = concat!("Creates it from ", $stored, ".")]
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            #[doc = concat!("Returns ", $stored, ".")]
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }
    };
    ($kind:ident: random, $stored:literal) => {
        impl $kind {
            /// Creates a new random one.
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4().as_u64_pair().0)
            }
        }

        $crate::values::number::number!($kind: $stored);
    };
}

pub(crate) use number;
