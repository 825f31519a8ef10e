// A deploy: a demo is stopped while clients are connected, and a second one accepts them behind the
// same port.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openPage } from './lib/browser.mjs';
import { pipeline } from './lib/burst.mjs';
import { documentedSocket, documentedSse, documentedWs } from './lib/documented.mjs';
import { keep, keptDemo } from './lib/keep.mjs';
import { slowProxy } from './lib/proxy.mjs';
import { readyRelay, watchReady } from './lib/relay.mjs';
import { openSocket, TRAVEL } from './lib/socketio.mjs';
import { openSse, rawSse } from './lib/sse.mjs';
import { unique, until, within } from './lib/wait.mjs';
import { openWs, refusedWs } from './lib/ws.mjs';

const PROVIDERS = ['sse', 'ws', 'socket'];
const KINDS = {
  sse: documentedSse,
  ws: documentedWs,
  'socket.io over websocket': (at, user) => documentedSocket(at, user, TRAVEL.websocket),
  'socket.io over polling': (at, user) => documentedSocket(at, user, TRAVEL.polling),
  'socket.io over upgrade': (at, user) => documentedSocket(at, user, TRAVEL.upgrade),
};
/** Milliseconds that a timer may be early, as the clocks of two steps differ. */
const EARLY = 5;

const relay = async (watch) => keep(await readyRelay(watch));
const notReady = (at) => until(async () => (await at.request('GET', '/readyz')).status === 503, 'readyz to turn red');
const ended = (at, ms) => within(at.exited, () => `the end of the demo, which said: ${at.output()}`, ms);

function assertDelay(announced) {
  assert.deepEqual(Object.keys(announced), ['delayMs', 'reason']);
  assert.ok(Number.isInteger(announced.delayMs) && announced.delayMs >= 100 && announced.delayMs < 2000, `${announced.delayMs}`);
  assert.equal(announced.reason, 'service restart');
}

test('drain: clients reconnect after the announced delay', async () => {
  const [first, second] = await Promise.all([keptDemo('--drain', '2'), keptDemo()]);
  const watch = keep(await watchReady(first, second));
  // Each has a relay of its own, which shows when it was cut and when it reconnected.
  const clients = await Promise.all(Object.entries(KINDS).flatMap(([name, start]) => [1, 2, 3].map(async () => {
    const at = await relay(watch);
    return { name, at, client: keep(start(at, unique('ann'))) };
  })));
  const welcomed = (count) => until(() => clients.every(({ client }) => client.seen.welcomes.length >= count), `${count} welcomes each`);
  await welcomed(1);
  for (const provider of PROVIDERS) await first.send(provider, 'all', 'news', 'before');
  await until(() => clients.every(({ client }) => client.seen.news.length === 1), 'the news before');

  first.child.kill('SIGTERM');
  await notReady(first);
  // Clients that are still connected get what is sent meanwhile.
  const during = {};
  for (const provider of PROVIDERS) during[provider] = (await first.send(provider, 'all', 'news', 'during')).delivered.queued;
  const { code } = await ended(first);
  assert.equal(code, 0);
  await welcomed(2);
  const got = (provider) => clients.filter(({ name, client }) => (
    name.startsWith(provider === 'socket' ? 'socket.io' : provider) && client.seen.news.includes('during'))).length;
  for (const provider of PROVIDERS) assert.equal(got(provider), during[provider], `${provider}: news during the drain`);

  for (const { name, at, client } of clients) {
    const { welcomes, announced } = client.seen;
    assert.deepEqual(welcomes.map(({ resumed, reason }) => [resumed, reason]), [[false, 'new'], [false, 'epoch']], name);
    const last = at.links.findLast((link) => link.demo === first);
    const back = at.links.find((link) => link.demo === second);
    const waited = back.opened - last.lastBytes;
    if (name === 'sse') {
      const [, retry] = /^retry: (\d+)\n/.exec(last.tail.slice(last.tail.lastIndexOf('retry:'))) ?? [];
      assert.ok(Number(retry) >= 1000 && Number(retry) < 4000, `${name}: ${JSON.stringify(last.tail)}`);
      assert.ok(waited >= Number(retry) - EARLY, `${name}: back after ${waited} ms instead of ${retry}`);
      assert.equal(client.made(), 1, 'the EventSource reconnects by itself');
      continue;
    }
    assert.equal(announced.length, 1, name);
    assertDelay(announced[0]);
    if (name === 'ws') {
      assert.deepEqual(client.ends, ['1012 service restart']);
      assert.equal(client.made(), 2);
      assert.ok(waited >= announced[0].delayMs - EARLY, `${name}: back after ${waited} ms instead of ${announced[0].delayMs}`);
    } else {
      // Every client reconnects after a GET that fails.
      assert.deepEqual(client.ends, [name.includes('polling') ? 'transport error' : 'transport close'], name);
      // socket.io-client takes up to a half from every time it waits.
      if (!name.includes('polling')) assert.ok(waited >= announced[0].delayMs / 2 - EARLY, `${name}: back after ${waited} ms instead of ${announced[0].delayMs}`);
    }
  }
  for (const provider of PROVIDERS) await second.send(provider, 'all', 'news', 'after');
  await until(() => clients.every(({ client }) => client.seen.news.includes('after')), 'the news after');
  for (const { name, client } of clients) assert.equal(client.seen.news.filter((news) => news === 'after').length, 1, name);
});

test("drain: browser's EventSource reconnects by itself", async () => {
  const [first, second] = await Promise.all([keptDemo('--drain', '1'), keptDemo()]);
  const at = await relay(keep(await watchReady(first, second)));
  const { page } = keep(await openPage(at, { path: '/healthz' }));
  await page.evaluate((url) => {
    globalThis.welcomes = [];
    globalThis.source = new EventSource(url);
    globalThis.source.addEventListener('connected', (e) => globalThis.welcomes.push(JSON.parse(e.data)));
  }, `/sse?user=${unique('ann')}`);
  await page.waitForFunction(() => globalThis.welcomes.length === 1);
  first.child.kill('SIGTERM');
  assert.equal((await ended(first)).code, 0);
  await page.waitForFunction(() => globalThis.welcomes.length === 2);
  const [was, is] = await page.evaluate(() => globalThis.welcomes.map(({ resumed, reason }) => [resumed, reason]));
  assert.deepEqual([was, is], [[false, 'new'], [false, 'epoch']]);
  assert.equal(await page.evaluate(() => globalThis.source.readyState), 1);
});

test('drain: browser reconnects while the first server drains', async () => {
  const [first, second] = await Promise.all([keptDemo('--drain', '12'), keptDemo()]);
  const at = await relay(keep(await watchReady(first, second)));
  const { page } = keep(await openPage(at, { path: '/healthz' }));
  await page.evaluate((users) => {
    globalThis.welcomes = users.map((user) => {
      const reasons = [];
      const source = new EventSource(`/sse?user=${user}`);
      source.addEventListener('connected', (e) => reasons.push(JSON.parse(e.data).reason));
      return reasons;
    });
  }, [unique('ann'), unique('bob'), unique('cid')]);
  await page.waitForFunction(() => globalThis.welcomes.every((reasons) => reasons.length === 1));
  first.child.kill('SIGTERM');
  // Each is closed in its third of the time, and the first server exits with the last one. On a
  // connection kept alive they would ask it again and again until then.
  await page.waitForFunction(() => globalThis.welcomes.some((reasons) => reasons.length === 2), null, { timeout: 60_000 });
  assert.equal(first.child.exitCode, null, 'the first server still drains');
  await page.waitForFunction(() => globalThis.welcomes.every((reasons) => reasons.length === 2), null, { timeout: 60_000 });
  assert.deepEqual(await page.evaluate(() => globalThis.welcomes), [['new', 'epoch'], ['new', 'epoch'], ['new', 'epoch']]);
  assert.equal((await ended(first)).code, 0);
});

test('drain: new clients are refused with a delay', async () => {
  const first = await keptDemo('--drain', '60');
  const staying = await Promise.all([openSse, openWs, openSocket].flatMap((start) => [1, 2, 3].map(async () => (
    keep(await start(first, { user: unique('ann') }))))));
  assert.equal(staying.length, 9);
  first.child.kill('SIGTERM');
  await notReady(first);

  const sse = await rawSse(first, { user: unique('late') });
  assert.equal(sse.response.status, 200, 'an EventSource stays closed after any other status');
  assert.match(sse.response.headers.get('content-type'), /^text\/event-stream/);
  const { retry, lines } = await sse.inbox.next();
  assert.deepEqual(lines, [`retry: ${retry}`]);
  assert.ok(Number(retry) >= 1000 && Number(retry) < 4000, retry);
  await assert.rejects(sse.inbox.next(), /the server ended the stream/);

  const ws = await refusedWs(first, { user: unique('late') });
  const opening = '/socket.io/?EIO=4&transport=';
  const socket = await refusedWs({ wsUrl: `${first.wsUrl}${opening}websocket&rest=` }, {});
  const polling = await first.request('GET', `${opening}polling`);
  for (const [name, { status, headers }] of Object.entries({ ws, socket })) {
    assert.equal(status, 503, name);
    assert.match(headers['retry-after'], /^\d+$/, name);
  }
  assert.equal(JSON.parse(ws.body).error.code, 'draining');
  assert.equal(polling.status, 503);
  assert.match(polling.headers.get('retry-after'), /^\d+$/);
  // At least: the first closed client may have reconnected.
  for (const provider of PROVIDERS) assert.ok((await first.stats(provider)).refused.draining >= (provider === 'socket' ? 2 : 1), provider);
});

test('drain: server is only not ready during the hold', async () => {
  const first = await keptDemo('--drain', '1', '--hold', '2');
  const before = keep(await openWs(first, { user: unique('ann') }));
  const began = Date.now();
  first.child.kill('SIGTERM');
  await notReady(first);
  // A load balancer that has not probed yet still sends clients here, and the application's own
  // routes work.
  assert.equal((await first.request('GET', '/healthz')).status, 200);
  const user = unique('late');
  for (const start of [openSse, openWs, openSocket]) keep(await start(first, { user }));
  for (const provider of PROVIDERS) assert.equal((await first.send(provider, { user }, 'news', 1)).delivered.queued, 1, provider);
  assert.ok(Date.now() - began < 2000, 'the hold is not over');
  assert.equal((await before.closure()).code, 1012);
  assert.ok(Date.now() - began >= 2000 - EARLY, `${Date.now() - began} ms`);
  assert.equal((await ended(first)).code, 0);
});

test('drain: running handler answers before its client is closed', async () => {
  const first = await keptDemo('--drain', '2');
  const user = unique('ann');
  const clients = await Promise.all([
    openWs(first, { user }), openSocket(first, { user }), openSocket(first, { user }, TRAVEL.polling)]);
  const [ws, socket, polling] = clients.map((client) => keep(client));
  const { eventsIn } = await first.stats('socket');
  ws.send('wait', 1000, { ack: 7 });
  const answers = Promise.all([socket.ask('wait', 1000), polling.ask('wait', 1000)]);
  await until(async () => (await first.stats('ws')).eventsIn === 1, 'the handler to begin');
  await until(async () => (await first.stats('socket')).eventsIn === eventsIn + 2, 'the handlers to begin');
  first.child.kill('SIGTERM');
  assert.deepEqual(await answers, [1000, 1000]);
  const { message } = await ws.next('ack');
  assert.deepEqual([message.ack, message.payload], [7, 1000]);
  assertDelay((await ws.next('reconnect')).data);
  assert.deepEqual(await ws.closure(), { code: 1012, reason: 'service restart' });
  for (const [client, end] of [[socket, 'transport close'], [polling, 'transport error']]) {
    assertDelay((await client.next('reconnect')).data);
    assert.equal(await client.disconnected, end);
  }
  assert.equal((await ended(first)).code, 0);
});

test('drain: second signal exits immediately', async () => {
  const first = await keptDemo('--drain', '600');
  for (let n = 0; n < 3; n++) keep(await openWs(first, { user: unique('ann') }));
  first.child.kill('SIGTERM');
  await notReady(first);
  assert.equal(first.child.exitCode, null);
  first.child.kill('SIGINT');
  assert.equal((await ended(first)).code, 1);
});

test('drain: stalled clients are disconnected at the deadline', async () => {
  const first = await keptDemo('--drain', '1');
  const user = unique('ann');
  const proxy = keep(await slowProxy(first));
  const starts = [openSse, openWs, openSocket, (at, who) => openSocket(at, who, TRAVEL.polling)];
  for (const start of starts) keep(await start(proxy, { user }));
  proxy.setRate(0);
  // More than the kernel's buffers take.
  const bodies = Array.from({ length: 100 }, (_, n) => ({ provider: PROVIDERS, target: { user }, event: 'news', data: `${n}`.padEnd(200_000) }));
  assert.equal(await pipeline(first, '/api/send', bodies), bodies.length);
  const healthy = keep(await openWs(first, { user: unique('bob') }));
  const began = Date.now();
  first.child.kill('SIGTERM');
  assert.equal((await healthy.closure()).code, 1012);
  assert.equal((await ended(first)).code, 0);
  // The drain, a second for the last, one for their hooks, one for plain requests, and some for a
  // busy machine.
  const took = Date.now() - began;
  assert.ok(took < 8000, `${took} ms`);
});
