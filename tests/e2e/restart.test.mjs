// A restart of one node whose log is on disk: the same process ends, however it ends, and the next
// one takes the directory and the port. Clients do not notice.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { documentedSocket, documentedSse, documentedWs } from './lib/documented.mjs';
import { keep, keptDemo } from './lib/keep.mjs';
import { TRAVEL } from './lib/socketio.mjs';
import { unique, until, within } from './lib/wait.mjs';

const KINDS = {
  sse: documentedSse,
  ws: documentedWs,
  'socket.io over websocket': (at, user) => documentedSocket(at, user, TRAVEL.websocket),
  'socket.io over polling': (at, user) => documentedSocket(at, user, TRAVEL.polling),
};
const directories = [];
after(() => Promise.all(directories.map((directory) => rm(directory, { recursive: true }))));

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`restart: ${signal} loses nothing with the log on disk`, async () => {
    const data = await mkdtemp(join(tmpdir(), 'realtime-'));
    directories.push(data);
    const first = await keptDemo('--data', data);
    const user = unique('ann');
    const clients = Object.entries(KINDS).map(([name, start]) => ({ name, client: keep(start(first, user)) }));
    const welcomed = (count) => until(() => clients.every(({ client }) => client.seen.welcomes.length >= count), `${count} welcomes each`);
    const got = (news) => until(() => clients.every(({ client }) => client.seen.news.length >= news.length), () => `${news}`);
    await welcomed(1);
    await first.join(user, 'board');
    await first.request('POST', '/api/send', { target: { room: 'board' }, event: 'news', data: '1' });
    await got(['1']);

    // The next process waits for the directory and then takes the port.
    first.child.kill(signal);
    await within(first.exited, () => 'the end of the demo');
    const second = await keptDemo('--data', data, '--listen', `127.0.0.1:${first.port}`);
    for (const data of ['2', '3']) {
      const { status } = await second.request('POST', '/api/send', { target: { room: 'board' }, event: 'news', data });
      assert.equal(status, 200);
    }
    await got(['1', '2', '3']);
    await welcomed(2);
    for (const { name, client } of clients) {
      assert.deepEqual(client.seen.news, ['1', '2', '3'], name);
      assert.deepEqual(client.seen.welcomes.map(({ resumed, reason }) => [resumed, reason]), [[false, 'new'], [true, 'resumed']], name);
    }
    assert.deepEqual((await second.rooms(user)).sse, ['board']);
  });
}

test('restart: second process waits for the directory', async () => {
  const data = await mkdtemp(join(tmpdir(), 'realtime-'));
  directories.push(data);
  const first = await keptDemo('--data', data);
  const second = keptDemo('--data', data);
  let waits = true;
  second.then(() => { waits = false; }, () => { waits = false; });
  await new Promise((resolve) => { setTimeout(resolve, 1000); });
  assert.ok(waits, 'it waits for the directory');
  await first.stop();
  await second;
});
