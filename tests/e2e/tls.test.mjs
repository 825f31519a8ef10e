// The demo over TLS: the clients of docs/clients.md, curl over HTTP/2, and a new certificate.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { X509Certificate } from 'node:crypto';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { makeCertificate } from './lib/certificate.mjs';
import { startDemo } from './lib/demo.mjs';
import { documentedSocket, documentedSse, documentedWs } from './lib/documented.mjs';
import { TRAVEL } from './lib/socketio.mjs';
import { unique, until, within } from './lib/wait.mjs';

// Of all clients in this process: the certificate is self-signed.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

let certificate;
let demo;
before(async () => {
  certificate = await makeCertificate();
  demo = await startDemo(...certificate.options);
});
after(async () => {
  await demo?.stop();
  await certificate?.remove();
});

const CLIENTS = {
  sse: documentedSse,
  ws: documentedWs,
  'socket.io over websocket': (at, user) => documentedSocket(at, user, TRAVEL.websocket),
  'socket.io over polling': (at, user) => documentedSocket(at, user, TRAVEL.polling),
};

/** The fingerprint of the certificate that a new connection gets. */
function presented() {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ port: demo.port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

const onDisk = async () => new X509Certificate(await readFile(certificate.cert)).fingerprint256;

test('tls: each client connects, and stays connected over a new certificate', async () => {
  const user = unique('ann');
  const clients = Object.entries(CLIENTS).map(([name, start]) => ({ name, client: start(demo, user) }));
  const got = (count) => until(() => clients.every(({ client }) => client.seen.news.length >= count), `${count} news each`);
  await until(() => clients.every(({ client }) => client.seen.welcomes.length === 1), 'a welcome each');
  const news = async (data) => {
    const { status } = await demo.request('POST', '/api/send', { target: { user }, event: 'news', data });
    assert.equal(status, 200);
  };
  await news('1');
  await got(1);

  const old = await presented();
  await certificate.renew();
  demo.child.kill('SIGHUP');
  await until(async () => await presented() !== old, 'another certificate');
  assert.equal(await presented(), await onDisk());

  await news('2');
  await got(2);
  for (const { name, client } of clients) {
    assert.deepEqual([client.seen.news, client.seen.welcomes.length], [['1', '2'], 1], name);
    client.close();
  }
});

test('tls: broken certificate is logged and the old one stays', async () => {
  const [old, good] = [await presented(), await readFile(certificate.cert)];
  await writeFile(certificate.cert, 'no certificate');
  demo.child.kill('SIGHUP');
  await until(() => demo.output().includes('failed to reload the certificate'), 'an error in the log');
  assert.equal(await presented(), old);
  await writeFile(certificate.cert, good);
});

test('tls: curl reads an event stream over HTTP/2', async () => {
  const user = unique('ann');
  const curl = promisify(execFile)('curl', ['-skN', '--http2', '--max-time', '10', '-w', '%{http_version}', `${demo.url}/sse?user=${user}`]);
  await until(async () => (await demo.send('sse', { user }, 'news', 'over HTTP/2')).delivered?.matched > 0, 'a connection');
  demo.child.kill('SIGTERM');
  const { stdout } = await within(curl, () => 'the end of the stream');
  assert.match(stdout, /over HTTP\/2/);
  assert.match(stdout, /2$/);
  await within(demo.exited, () => 'the end of the demo');
  demo = undefined;
});
