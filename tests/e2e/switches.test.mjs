// The page's switches: its own connections are cut and slowed down, and it shows what arrives of
// what was sent meanwhile. Writes target/screenshots/*.png, of which story.png is docs/demo.png.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Tally } from '../../examples/demo/page/tally.js';
import { pipeline } from './lib/burst.mjs';
import { startDemo } from './lib/demo.mjs';
import { connect, PROVIDERS, row, send, withPage } from './lib/page.mjs';
import { readyRelay, watchReady } from './lib/relay.mjs';
import { unique, until } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

test('switches: tally sees missing, repeated and swapped events', () => {
  const away = (early, sent, got) => {
    const tally = new Tally();
    for (const cursor of ['x', 'y']) tally.got(cursor);
    tally.begin();
    for (const cursor of early) tally.sent(cursor);
    tally.count();
    for (const cursor of sent) tally.sent(cursor);
    tally.fix();
    const numbers = got.map((cursor) => tally.got(cursor).number);
    return [tally.expected, tally.arrived, tally.twice, tally.swapped, tally.complete, numbers];
  };
  assert.deepEqual(away([], ['a', 'b', 'c'], ['a', 'b', 'c', 'd']), [3, 3, 0, 0, true, [1, 2, 3, undefined]]);
  assert.deepEqual(away(['y', 'a'], ['b'], ['a', 'b']), [2, 2, 0, 0, true, [1, 2]], 'what was on its way counts');
  assert.deepEqual(away([], ['a', 'b', 'c'], ['a', 'c']), [3, 2, 0, 0, true, [1, 3]], 'one is missing');
  assert.deepEqual(away([], ['a', 'b'], ['a']), [2, 1, 0, 0, false, [1]], 'the last is missing');
  assert.deepEqual(away([], ['a', 'b'], ['a', 'a', 'b']), [2, 2, 1, 0, true, [1, 1, 2]], 'one came twice');
  assert.deepEqual(away([], ['a'], ['y', 'a']), [1, 1, 1, 0, true, [undefined, 1]], 'one from before came again');
  assert.deepEqual(away([], ['a', 'b'], ['b', 'a']), [2, 2, 0, 1, true, [2, 1]], 'two changed places');
  assert.deepEqual(away([], [], []), [0, 0, 0, 0, true, []]);
  assert.deepEqual(away([], ['a', '', undefined], [undefined, '', 'a']), [1, 1, 0, 0, true, [undefined, undefined, 1]], 'volatile events');
});

const TITLES = { sse: 'Server-Sent Events', ws: 'WebSocket', socket: 'Socket.IO' };
const flip = (page, provider, name) => page.getByRole('switch', { name: `${name} over ${TITLES[provider]}` }).click();
const phase = (page, provider, name) => page.waitForSelector(`#panel-${provider}[data-phase="${name}"]`);
const figure = (page, provider, name) => page.textContent(`[data-testid=${name}-${provider}]`);
const stateText = async (page, provider) => (await page.textContent(`#panel-${provider} .state`)).replace(/\s+/g, ' ').trim();

async function cut(page, provider) {
  await flip(page, provider, 'Cut the wire');
  await page.waitForSelector(`#panel-${provider}[data-phase="cut"][data-state="connecting"]`);
}

const counted = (page, provider, name, n) => page.waitForFunction(([id, text]) => (
  document.querySelector(`[data-testid=${id}]`).textContent === text), [`${name}-${provider}`, String(n)]);

/**
 * Returns the events of this name in a panel, oldest first: their payload, and their number among
 * the missed.
 */
const shown = (page, provider, event) => page.$$eval(row(provider, event), (rows) => rows.reverse().map((item) => (
  { data: JSON.parse(item.querySelector('.row-data').textContent), late: item.dataset.late, tags: [...item.querySelectorAll('.tag')].map((tag) => tag.textContent) })));

/** Removes the browser's errors for requests that a cut resets; it may report no others. */
function forgiveResets(browser) {
  const reset = /^console: .*(net::ERR_(CONNECTION_RESET|CONNECTION_CLOSED|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)|WebSocket connection to )/;
  const kept = browser.faults.filter((fault) => !(reset.test(fault) && /[?&]link=[0-9a-f]{24}/.test(fault)));
  browser.faults.splice(0, Infinity, ...kept);
}

const range = (length, from = 0) => Array.from({ length }, (_, n) => n + from);

for (const provider of PROVIDERS) {
  test(`switches: ${provider} gets what it missed, in order`, () => withPage(demo, {}, async (page, browser) => {
    const { user, tenant } = await connect(page);
    const room = unique('room');
    await demo.join(user, room);
    await demo.send(provider, { user }, 'away', { n: 'before' });
    await page.waitForSelector(row(provider, 'away'));
    await cut(page, provider);

    const targets = [{ user }, { tenant }, { room }, 'all'];
    for (const n of range(20)) {
      await demo.send(provider, targets[n % 4], 'away', { n });
      await demo.send(provider, { user: unique('other') }, 'away', { n: 'not for this user' });
    }
    await demo.send(provider, { user }, 'away', { n: 'volatile' }, { volatile: true });
    await counted(page, provider, 'missed', 20);
    assert.match(await stateText(page, provider), /^Cut 20 events sent meanwhile\. (Next try in .*|Trying again)\.$/);
    assert.equal(await figure(page, provider, 'arrived'), '0');
    assert.equal(await page.locator(row(provider, 'away')).count(), 1, 'an event passed a cut connection');
    for (const other of PROVIDERS.filter((name) => name !== provider)) await phase(page, other, 'live');
    await browser.screenshot(`cut-${provider}`);

    await flip(page, provider, 'Cut the wire');
    await phase(page, provider, 'resumed');
    assert.equal(await stateText(page, provider), 'Resumed All 20 missed events arrived once, in order.');
    await demo.send(provider, { user }, 'away', { n: 'after' });
    await page.waitForFunction((of) => document.querySelectorAll(of).length === 22, row(provider, 'away'));
    const events = await shown(page, provider, 'away');
    assert.deepEqual(events.map(({ data }) => data.n), ['before', ...range(20), 'after']);
    assert.deepEqual(events.map(({ late }) => late), [undefined, ...range(20, 1).map(String), undefined]);
    assert.deepEqual(events[7].tags, ['missed 7 of 20']);
    const figures = await Promise.all(['missed', 'arrived', 'twice'].map((name) => figure(page, provider, name)));
    assert.deepEqual(figures, ['20', '20', '0']);
    const welcomes = await shown(page, provider, 'connected');
    assert.deepEqual(welcomes.map(({ data }) => data.resumed), [false, true]);

    // Once more, with nothing to miss.
    await cut(page, provider);
    await flip(page, provider, 'Cut the wire');
    await phase(page, provider, 'resumed');
    assert.equal(await stateText(page, provider), 'Resumed Nothing was missed.');
    forgiveResets(browser);
  }));

  test(`switches: slowed ${provider} falls behind and catches up`, () => withPage(demo, {}, async (page, browser) => {
    const { user } = await connect(page);
    const connection = await figure(page, provider, 'connection');
    const own = async () => (await demo.request('GET', `/api/connections?user=${user}`)).body.connections[provider]
      .find((stats) => stats.connection === connection);
    await flip(page, provider, 'Slow down');
    await phase(page, provider, 'slow');

    const count = 180; // no more than the log shows
    const pad = 'x'.repeat(4_000);
    assert.equal(await pipeline(demo, '/api/send', range(count).map((n) => (
      { provider, target: { user }, event: 'late', data: { n, pad } }))), count);
    await counted(page, provider, 'missed', count);
    const stats = await until(async () => {
      const now = await own();
      return now.behind && now.lag > 0 && now;
    }, 'the server to know that the connection is behind');
    assert.ok(stats.overflows > 0 && stats.lost === 0 && stats.eventsOut < count, JSON.stringify(stats));
    await page.waitForSelector(`#panel-${provider}[data-behind="true"]`);
    assert.match(await page.textContent(`#panel-${provider} .own`), /behind/);
    assert.ok(Number(await figure(page, provider, 'arrived')) < count);
    assert.match(await stateText(page, provider), /^Slow 2 kB\/s\. \d+ events on the way\.$/);
    await browser.screenshot(`slow-${provider}`);

    await flip(page, provider, 'Slow down');
    await phase(page, provider, 'resumed');
    assert.equal(await stateText(page, provider), `Caught up All ${count} late events arrived once, in order.`);
    await page.waitForFunction(([of, n]) => document.querySelectorAll(of).length === n, [row(provider, 'late'), count]);
    const numbers = await page.$$eval(row(provider, 'late'), (rows) => rows.reverse().map((item) => (
      Number(/"n":(\d+)/.exec(item.querySelector('.row-data').textContent)[1]))));
    assert.deepEqual(numbers, range(count));
    assert.equal(await figure(page, provider, 'twice'), '0');
    await page.waitForSelector(`#panel-${provider}[data-behind="false"]`);
    assert.equal((await own()).connection, connection, 'it is still the same connection');
  }));
}

test('switches: slow, cut and resumed transports side by side', () => withPage(demo, { height: 1044 }, async (page, browser) => {
  const { user, tenant } = await connect(page, 'alice', 'acme');
  const others = (orders) => pipeline(demo, '/api/send', orders.map(([target, event, data, provider = PROVIDERS]) => ({ provider, target, event, data })));
  await page.fill('#room-name', 'lobby');
  await page.click('#room-join');
  await page.waitForSelector('#rooms-list [data-room="lobby"]');
  await page.click('#send-submit');
  for (const provider of PROVIDERS) await page.waitForSelector(row(provider, 'notification'));
  await cut(page, 'ws');
  await cut(page, 'socket');
  await flip(page, 'sse', 'Slow down');
  await phase(page, 'sse', 'slow');

  const talk = ['Are you there?', 'Alice?', 'We start', 'Slide 1', 'Slide 2', 'Questions?', 'See you'];
  await others([
    ...range(700).map((n) => [{ user }, 'position', { van: n % 9, km: 18 + n, speed: 30 + (n % 20) }, 'sse']),
    ...range(8, 1040).map((n) => [{ user }, 'order:paid', { order: n, total: `${n % 7}9.90` }]),
    [{ tenant }, 'announcement', { title: 'Maintenance at 2 AM' }],
    ...range(4, 1600).map((n) => ['all', 'metric:update', { activeUsers: n }]),
    ...talk.map((text, n) => [{ room: 'lobby' }, 'chat:message', { user: n % 2 ? 'carol' : 'bob', text }]),
  ]);
  await counted(page, 'sse', 'missed', 720);
  for (const provider of ['ws', 'socket']) await counted(page, provider, 'missed', 20);
  await flip(page, 'socket', 'Cut the wire');
  await phase(page, 'socket', 'resumed');
  await page.waitForSelector('#panel-sse[data-behind="true"]');
  await page.waitForSelector('#panel-socket[data-behind="false"]');
  await page.evaluate(() => scrollTo(0, 0));
  await browser.screenshot('story');

  await flip(page, 'sse', 'Slow down');
  await flip(page, 'ws', 'Cut the wire');
  for (const provider of PROVIDERS) await phase(page, provider, 'resumed');
  assert.equal(await stateText(page, 'sse'), 'Caught up All 720 late events arrived once, in order.');
  assert.equal(await stateText(page, 'ws'), 'Resumed All 20 missed events arrived once, in order.');
  await page.click('#room-leave');
  forgiveResets(browser);
}));

for (const [name, options] of Object.entries({ phone: { width: 360, height: 740 }, dark: { colorScheme: 'dark', height: 1010 } })) {
  test(`switches: ${name}`, () => withPage(demo, options, async (page, browser) => {
    const { user } = await connect(page);
    await flip(page, 'sse', 'Slow down');
    await phase(page, 'sse', 'slow');
    await cut(page, 'ws');
    await cut(page, 'socket');
    for (const n of range(12)) for (const provider of PROVIDERS) await demo.send(provider, { user }, 'order:paid', { order: n });
    for (const provider of PROVIDERS) await counted(page, provider, 'missed', 12);
    await flip(page, 'socket', 'Cut the wire');
    await phase(page, 'socket', 'resumed');
    const wide = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide[0] <= wide[1], `the page is ${wide[0]} pixels wide`);
    const small = await page.$$eval('.switch', (labels) => labels.filter((label) => label.offsetParent && label.getBoundingClientRect().height < 20).length);
    assert.equal(small, 0, 'a switch is too small');
    await browser.screenshot(`switches-${name}`, { fullPage: true });
    forgiveResets(browser);
  }));
}

test('switches: keyboard operates them', () => withPage(demo, {}, async (page, browser) => {
  await connect(page);
  await page.focus('[data-testid=cut-ws]');
  await page.keyboard.press('Space');
  await page.waitForSelector('#panel-ws[data-phase="cut"][data-state="connecting"]');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), 'slow-ws');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Space');
  await phase(page, 'ws', 'resumed');
  forgiveResets(browser);
}));

test('switches: cut transport gets the newest of a latest key', () => withPage(demo, {}, async (page, browser) => {
  const { user } = await connect(page);
  await cut(page, 'ws');
  await page.selectOption('#send-target-kind', 'user');
  await page.fill('#send-latest', 'price');
  for (const n of range(3)) {
    await send(page, { over: ['ws'], kind: 'user', name: user, event: 'price', data: `{"n": ${n}}` });
    await counted(page, 'ws', 'missed', n + 1);
  }
  await flip(page, 'ws', 'Cut the wire');
  await phase(page, 'ws', 'resumed');
  await page.waitForFunction(() => /newer ones/.test(document.querySelector('#panel-ws .state').textContent));
  assert.equal(await stateText(page, 'ws'), 'Resumed 1 of 3 missed events arrived once, in order; newer ones of the same key stand for the others.');
  assert.deepEqual((await shown(page, 'ws', 'price')).map(({ data, late }) => [data.n, late]), [[2, '3']]);
  await page.waitForFunction(() => document.querySelector('#panel-ws [data-own=superseded]').textContent === '2');
  forgiveResets(browser);
}));

test('switches: events outside the window are reported as lost', async () => {
  const small = await startDemo('--window', '50');
  try {
    await withPage(small, {}, async (page, browser) => {
      const { user } = await connect(page);
      await cut(page, 'ws');
      await cut(page, 'socket');
      await flip(page, 'sse', 'Slow down');
      await phase(page, 'sse', 'slow');
      const count = 180;
      const pad = 'x'.repeat(4_000);
      // In parts, so that the page's second connections, which count, keep up with it.
      for (let sent = 0; sent < count; sent += 45) {
        assert.equal(await pipeline(small, '/api/send', range(45, sent).map((n) => (
          { provider: PROVIDERS, target: { user }, event: 'flood', data: { n, pad } }))), 45);
        for (const provider of PROVIDERS) await counted(page, provider, 'missed', sent + 45);
      }
      for (const provider of ['ws', 'socket']) {
        await flip(page, provider, 'Cut the wire');
        await phase(page, provider, 'lost');
        assert.equal(await stateText(page, provider),
          'Not resumed The old position has left the window. 180 events sent meanwhile will not come.');
      }
      await flip(page, 'sse', 'Slow down');
      await page.waitForSelector(row('sse', 'lost'));
      await page.waitForFunction(() => /will not come/.test(document.querySelector('#panel-sse[data-phase="lost"] .state')?.textContent));
      const [sent, arrived, twice] = (await Promise.all(['missed', 'arrived', 'twice'].map((name) => figure(page, 'sse', name)))).map(Number);
      // Of the 50 in the window it continues after the oldest quarter, and up to an eighth more.
      assert.ok(sent === count && arrived >= 49 - 18 && arrived < count && twice === 0, `${sent}, ${arrived}, ${twice}`);
      assert.equal(await stateText(page, 'sse'), 'Events lost It was too slow, and its position has left the window. '
        + `${count - arrived} events sent meanwhile will not come.`);
      await browser.screenshot('lost', { fullPage: true });
      forgiveResets(browser);
    });
  } finally {
    await small.stop();
  }
});

test('switches: page reports the new log after a deploy', async () => {
  const [first, second] = await Promise.all([startDemo('--drain', '1'), startDemo()]);
  const watch = await watchReady(first, second);
  const relay = await readyRelay(watch);
  try {
    await withPage(relay, {}, async (page, browser) => {
      await connect(page);
      first.child.kill('SIGTERM');
      for (const provider of ['ws', 'socket']) {
        await page.waitForSelector(row(provider, 'reconnect'));
        const [{ data }] = await shown(page, provider, 'reconnect');
        assert.ok(data.delayMs >= 100 && data.delayMs < 2_000, JSON.stringify(data));
      }
      for (const provider of PROVIDERS) {
        await phase(page, provider, 'lost');
        assert.equal(await stateText(page, provider),
          'Not resumed The server’s log is a new one. An application loads its state again.');
      }
      browser.faults.length = 0; // while one server went down and the other was not chosen yet
    });
  } finally {
    relay.close();
    watch.close();
    await first.stop();
    await second.stop();
  }
});
