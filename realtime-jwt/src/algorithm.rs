use jsonwebtoken::Algorithm;

/// An algorithm that signs tokens (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// EdDSA with Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

/// The names in `alg`.
const NAMES: [(JwtAlgorithm, &str); 12] = [
    (JwtAlgorithm::EdDsa, "EdDSA"),
    (JwtAlgorithm::Es256, "ES256"),
    (JwtAlgorithm::Es384, "ES384"),
    (JwtAlgorithm::Hs256, "HS256"),
    (JwtAlgorithm::Hs384, "HS384"),
    (JwtAlgorithm::Hs512, "HS512"),
    (JwtAlgorithm::Ps256, "PS256"),
    (JwtAlgorithm::Ps384, "PS384"),
    (JwtAlgorithm::Ps512, "PS512"),
    (JwtAlgorithm::Rs256, "RS256"),
    (JwtAlgorithm::Rs384, "RS384"),
    (JwtAlgorithm::Rs512, "RS512"),
];

impl JwtAlgorithm {
    /// The algorithms of an RSA key that names none.
    pub(crate) const RSA: [Self; 6] = [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512];

    /// Returns the algorithm of this name; `none`, and names that are not known, are none.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        // RFC 9864 §2.2: the name of EdDSA with this curve.
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        NAMES.iter().find(|(_, own)| *own == name).map(|(algorithm, _)| *algorithm)
    }

    /// Returns the name in `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(own, _)| *own == self).map_or("", |(_, name)| name)
    }

    /// Returns the least number of bytes of a secret (RFC 7518 §3.2); `None` for algorithms with
    /// public keys.
    pub(crate) fn secret_bytes(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::EdDsa => Self::EdDSA,
            JwtAlgorithm::Es256 => Self::ES256,
            JwtAlgorithm::Es384 => Self::ES384,
            JwtAlgorithm::Hs256 => Self::HS256,
            JwtAlgorithm::Hs384 => Self::HS384,
            JwtAlgorithm::Hs512 => Self::HS512,
            JwtAlgorithm::Ps256 => Self::PS256,
            JwtAlgorithm::Ps384 => Self::PS384,
            JwtAlgorithm::Ps512 => Self::PS512,
            JwtAlgorithm::Rs256 => Self::RS256,
            JwtAlgorithm::Rs384 => Self::RS384,
            JwtAlgorithm::Rs512 => Self::RS512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_one_name() {
        for (algorithm, name) in NAMES {
            assert_eq!((algorithm.name(), JwtAlgorithm::of_name(name)), (name, Some(algorithm)));
        }
        for name in ["none", "None", "hs256", "", "ES512", "HS256 "] {
            assert_eq!(JwtAlgorithm::of_name(name), None, "{name}");
        }
    }
}
