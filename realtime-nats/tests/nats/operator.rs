use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account that may use JetStream, and its user: servers that trust it ask
/// for a JWT.
pub(crate) struct Operator {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
    user: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (operator, user) = (KeyPair::new_operator(), KeyPair::new_user());
        Self { operator, system: KeyPair::new_account(), account: KeyPair::new_account(), user }
    }

    /// Returns the settings of a server that trusts this operator.
    pub(crate) fn settings(&self) -> String {
        let own = jwt(&self.operator, &self.operator, json!({ "type": "operator", "version": 2 }));
        let (system, account) = (self.account_jwt(&self.system, 0), self.account_jwt(&self.account, -1));
        let keys = (self.system.public_key(), self.account.public_key());
        format!(
            "operator: {own}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload: {{ {}: {system}, {}: {account} }}\njetstream {{}}",
            keys.0, keys.0, keys.1
        )
    }

    fn account_jwt(&self, account: &KeyPair, storage: i64) -> String {
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1, "mem_storage": storage, "disk_storage": storage, "streams": -1, "consumer": -1,
        });
        jwt(&self.operator, account, json!({ "type": "account", "version": 2, "limits": limits }))
    }

    /// Returns the content of the user's file.
    pub(crate) fn credentials(&self) -> String {
        let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (jwt, seed) = (jwt(&self.account, &self.user, claims), self.user.seed().unwrap());
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, claims: Value) -> String {
    let subject = subject.public_key();
    let claims = json!({ "jti": subject, "iat": 1, "iss": issuer.public_key(), "name": "tests", "sub": subject,
        "nats": claims });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
