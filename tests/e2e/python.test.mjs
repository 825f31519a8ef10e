// The client library of Python, which writes names, queries and ends in ways of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keep, keptDemo } from './lib/keep.mjs';
import { startPython } from './lib/python.mjs';
import { readyRelay, watchReady } from './lib/relay.mjs';
import { unique, within } from './lib/wait.mjs';

const TRANSPORTS = { websocket: ['websocket'], polling: ['polling'], upgrade: [] };


test('python: any name and query is understood, and faults resume', async () => {
  const at = await keptDemo();
  await Promise.all(Object.entries(TRANSPORTS).map(async ([name, transports]) => {
    const user = unique('ann');
    const python = keep(startPython(`${at.url}/?sid=AAAAAAAAAAAAAAAA&t=acme`, user, ...transports));
    await python.next('connect');
    assert.equal((await python.next('connected'))[0].reason, 'new', name);
    await at.send('socket', { user }, 'grün', 1);
    assert.deepEqual(await python.next('grün'), [1], name);
    python.tell({ emit: ['grün', { a: 'ü' }] });
    assert.equal((await python.next('ack'))[0].error.code, 'unknown_event', name);
    // After `1`, which long polling ends with, it would stay away.
    if (name === 'polling') return;
    python.tell({ packet: 'x' });
    assert.equal((await python.next('error'))[0].code, 'protocol_error', name);
    await python.next('disconnect');
    await at.send('socket', { user }, 'missed', 2);
    await python.next('connect');
    assert.equal((await python.next('connected'))[0].resumed, true, name);
    assert.deepEqual(await python.next('missed'), [2], name);
  }));
});

test('python: client reconnects to the next server after a drain', async () => {
  const [first, second] = await Promise.all([keptDemo('--drain', '1'), keptDemo()]);
  const watch = keep(await watchReady(first, second));
  const all = await Promise.all(Object.entries(TRANSPORTS).map(async ([name, transports]) => {
    const relay = keep(await readyRelay(watch));
    const python = keep(startPython(relay.url, unique('ann'), ...transports));
    assert.equal((await python.next('connected'))[0].reason, 'new', name);
    return [name, python];
  }));
  first.child.kill('SIGTERM');
  for (const [name, python] of all) {
    assert.equal((await python.next('reconnect'))[0].reason, 'service restart', name);
    await python.next('disconnect');
    assert.equal((await python.next('connected'))[0].reason, 'epoch', name);
  }
  assert.equal((await within(first.exited, () => 'the end of the demo')).code, 0);
});
