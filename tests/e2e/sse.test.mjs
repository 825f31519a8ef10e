// Server-Sent Events, with npm's eventsource and with a reader that shows the bytes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addressing } from './lib/common.mjs';
import { startDemo } from './lib/demo.mjs';
import { openSse, rawSse, sseQuery } from './lib/sse.mjs';
import { unique, until } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

addressing('sse', 'sse', openSse, () => demo);

test('sse: headers keep caches and proxies from buffering', async () => {
  const { response, inbox, close } = await rawSse(demo, { user: unique('alice') });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/event-stream\b/);
  assert.equal(response.headers.get('cache-control'), 'no-cache, no-transform');
  assert.equal(response.headers.get('x-accel-buffering'), 'no');
  assert.equal(response.headers.get('content-encoding'), null);
  await inbox.next((b) => b.event === 'connected', 'connected');
  close();
});

test('sse: stream begins with retry and connected', async () => {
  const user = unique('alice');
  const { inbox, close } = await rawSse(demo, { user });
  const connected = await inbox.next();
  assert.equal(connected.event, 'connected', 'the first block');
  assert.ok(Number(connected.retry) >= 2000 && Number(connected.retry) <= 4000, connected.retry);
  assert.ok(connected.id === undefined || connected.id === JSON.parse(connected.data).cursor);
  await demo.send('sse', { user }, 'news', { text: 'a\r\nb' });
  const news = await inbox.next((b) => b.event === 'news', 'news');
  assert.match(news.id, /^[A-Za-z0-9_-]{1,256}$/);
  assert.deepEqual(JSON.parse(news.data), { text: 'a\r\nb' });
  assert.ok(news.lines.every((line) => /^(event|id|data): /.test(line)), JSON.stringify(news.lines));
  close();
});

test('sse: other methods are refused', async () => {
  const path = sseQuery({ user: unique('alice') });
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const answer = await demo.request(method, path);
    assert.equal(answer.status, 405, method);
  }
  const user = unique('head');
  const head = await demo.request('HEAD', sseQuery({ user }));
  assert.ok([200, 405].includes(head.status), `HEAD: ${head.status}`);
  assert.equal(head.body, '');
  const receipt = await demo.send('sse', { user }, 'news', 0);
  assert.equal(receipt.delivered.matched, 0, 'HEAD must not leave a connection behind');
});

test('sse: identity is required', async () => {
  const answer = await demo.request('GET', '/sse');
  assert.ok([400, 401].includes(answer.status), `${answer.status}`);
});

test('sse: names that cannot be are refused', async () => {
  for (const who of [{ user: '' }, { user: 'a\nb' }, { user: 'a\0b' }, { user: 'x'.repeat(257) },
    { user: 'ok', tenant: 'a\rb' }, { user: 'ok', channels: [''] }, { user: 'ok', channels: ['a\r\nevent: fake'] },
    { user: 'ok', channels: ['x'.repeat(257)] }]) {
    const { response, close } = await rawSse(demo, who);
    close();
    assert.ok([400, 401, 403].includes(response.status), `${JSON.stringify(who)}: ${response.status}`);
  }
});

test('sse: eleventh connection of a user gets 429 until one closes', async () => {
  const user = unique('alice');
  const open = await Promise.all(Array.from({ length: 10 }, () => openSse(demo, { user })));
  const before = (await demo.stats('sse')).refused;
  const eleventh = await rawSse(demo, { user });
  assert.equal(eleventh.response.status, 429);
  const refused = (await demo.stats('sse')).refused;
  assert.equal(total(refused), total(before) + 1, JSON.stringify(refused));
  const other = await openSse(demo, { user: unique('bob') });
  other.close();
  open.pop().close();
  const again = await until(async () => {
    const attempt = await rawSse(demo, { user });
    if (attempt.response.status === 200) return attempt;
    attempt.close();
    return null;
  }, 'a free place');
  again.close();
  for (const client of open) client.close();
});

test('sse: foreign origin is refused, the own one is not', async () => {
  const foreign = await rawSse(demo, { user: unique('alice') }, { origin: 'https://evil.example' });
  assert.equal(foreign.response.status, 403);
  foreign.close();
  const own = await rawSse(demo, { user: unique('alice') }, { origin: demo.url });
  assert.equal(own.response.status, 200);
  own.close();
});

const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
