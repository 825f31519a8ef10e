// Makes the keys of this folder, and a token of each algorithm that Node.js has signed (with
// OpenSSL): `node make.mjs`. The keys are for tests only.

import { createHmac, generateKeyPairSync, sign, constants } from 'node:crypto';
import { writeFileSync } from 'node:fs';

const EXP = 4_102_444_800; // the year 2100
const SECRET = 'a secret of the tests, which has at least sixty-four bytes in all';
const pairs = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ed25519: generateKeyPairSync('ed25519'),
  ed25519b: generateKeyPairSync('ed25519'),
};

for (const [name, { privateKey, publicKey }] of Object.entries(pairs)) {
  writeFileSync(`${name}.pem`, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  writeFileSync(`${name}.pub.pem`, publicKey.export({ type: 'spki', format: 'pem' }));
  writeFileSync(`${name}.jwk.json`, `${JSON.stringify(publicKey.export({ format: 'jwk' }))}\n`);
}

const bits = (alg) => `sha${alg.slice(2)}`;
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
const signers = {
  H: (alg, data) => createHmac(bits(alg), SECRET).update(data).digest(),
  R: (alg, data) => sign(bits(alg), data, pairs.rsa.privateKey),
  P: (alg, data) => sign(bits(alg), data, { key: pairs.rsa.privateKey, ...pss }),
  E: (alg, data) => (alg === 'EdDSA' ? sign(null, data, pairs.ed25519.privateKey) : sign(bits(alg), data, {
    key: (alg === 'ES256' ? pairs.p256 : pairs.p384).privateKey, dsaEncoding: 'ieee-p1363',
  })),
};

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const tokens = {};
for (const alg of ['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']) {
  const data = `${encode({ alg, typ: 'JWT' })}.${encode({ sub: 'ann', exp: EXP, alg })}`;
  tokens[alg] = `${data}.${signers[alg[0]](alg, Buffer.from(data)).toString('base64url')}`;
}
writeFileSync('tokens.json', `${JSON.stringify(tokens, null, 1)}\n`);
