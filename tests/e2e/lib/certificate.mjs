// A self-signed certificate of 127.0.0.1 in two files, made by openssl.

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Makes a certificate; `renew` puts another into the same files. */
export async function makeCertificate() {
  const directory = await mkdtemp(join(tmpdir(), 'realtime-tls-'));
  const [cert, key] = ['certificate.pem', 'key.pem'].map((name) => join(directory, name));
  const renew = () => promisify(execFile)('openssl', ['req', '-x509', '-nodes', '-days', '2', '-newkey', 'ec',
    '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1',
    '-keyout', key, '-out', cert]);
  await renew();
  return { cert, key, renew, options: ['--tls-cert', cert, '--tls-key', key], remove: () => rm(directory, { recursive: true }) };
}
