// Input that no client should send: bytes that are not HTTP, or only a part of it.

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { within } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

/** Writes the bytes and resolves with the whole answer, once the server closes the connection. */
function exchange(bytes, ms = 30_000) {
  const socket = net.connect(demo.port, '127.0.0.1');
  let answer = '';
  const closed = new Promise((resolve) => {
    socket.setEncoding('latin1').on('data', (chunk) => { answer += chunk; });
    socket.on('error', () => {});
    socket.once('close', () => resolve(answer));
  });
  socket.write(bytes);
  return within(closed, () => `the end of the connection, which said: ${answer}`, ms).finally(() => socket.destroy());
}

const stillServes = async () => assert.equal((await demo.request('GET', '/healthz')).status, 200);

test('http: half-sent headers time out', async () => {
  const answers = await Promise.all([
    exchange('GET /sse?user=a HTTP/1.1\r\nhost: x\r\n'),
    exchange('GET /ws?user=a HTTP/1.1\r\nhost: x\r\nupgrade: websock'),
    exchange('P'),
    exchange(''),
  ]);
  for (const answer of answers) assert.match(answer, /^(HTTP\/1\.1 408 .*)?$/s);
  await stillServes();
});

test('http: garbage is refused', async () => {
  for (const bytes of ['\0\0\0\0\0\0\0\0\r\n\r\n', 'GET\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET / HTTP/1.1\r\nno colon\r\n\r\n',
    'POST /api/send HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03']) {
    assert.match(await exchange(bytes), /^(HTTP\/1\.[01] (400|505) .*)?$/s, JSON.stringify(bytes));
  }
  await stillServes();
});

test('http: headers without end are refused', async () => {
  const answer = await exchange(`GET / HTTP/1.1\r\nhost: x\r\n${'x-filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n'.repeat(50_000)}`);
  assert.match(answer, /^(HTTP\/1\.1 431 .*)?$/s);
  await stillServes();
});

test('http: too large body is refused', async () => {
  const answer = await demo.request('POST', '/api/send', Buffer.alloc(100_000_000, 0x20)).catch((error) => error);
  // The server may close before the client has written all: then the client sees no answer, only
  // the end.
  assert.ok(answer instanceof Error || [400, 413].includes(answer.status), `${answer.status}`);
  await stillServes();
});
