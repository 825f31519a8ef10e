// Real clients on connections that are cut again and again, while 100 events a second are sent to
// each: nothing is lost, doubled or out of order, and nothing is seen that was for others.
//
//   CUTS=200        cuts for each kind of client, at least (30)
//   CUTS_SEED=text  the same cuts again, as far as time allows
//   CUTS_ONLY=text  only the kinds of client with this in their name
//   CUTS_TRACE=file the bytes of every connection

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { openPage } from './lib/browser.mjs';
import { cuttingProxy } from './lib/cutting.mjs';
import { startDemo } from './lib/demo.mjs';
import { publish, teams } from './lib/numbers.mjs';
import { returningInPage, returningSocket, returningSocketInPage, returningSse, returningWs } from './lib/returning.mjs';
import { TRAVEL } from './lib/socketio.mjs';
import { unique, until } from './lib/wait.mjs';

const CUTS = Number(process.env.CUTS ?? 30);
const SEED = process.env.CUTS_SEED ?? `${Date.now()}`;
const TEAMS = teams(10);

/**
 * Keeps connections alive, but without the flag that makes xmlhttprequest-ssl resend and then throw
 * uncaught.
 */
class Agent extends http.Agent {
  reuseSocket(connection, request) {
    super.reuseSocket(connection, request);
    request.reusedSocket = false;
  }
}
const agent = new Agent({ keepAlive: true });

const here = (open, count) => (at, next) => Array.from({ length: count }, () => open(at, next()));
const inChromium = (open, count) => async (at, next) => {
  const page = await newPage(at);
  return open(page, Array.from({ length: count }, next));
};
const socket = (transports, count, more) => here((at, team) => returningSocket(at, team, { transports, ...more }), count);

// An EventSource reconnects after 3 s, with 300 events to read. A page may open six connections to
// its origin.
const SSE = { early: 0.3, span: 250_000 };
// Engine.IO hears of a session's end by a request, which may be cut too: until its next ping is not
// answered, the session counts among the ten that a user may have. So there are several clients, to
// cut each of them less often.
const POLLING = { early: 0.15, up: 0.05, span: 40_000 };
const KINDS = {
  'Chromium’s EventSource': { ...SSE, proxies: 2, open: inChromium(returningInPage, 5) },
  eventsource: { ...SSE, open: here(returningSse, 10) },
  ws: { early: 0.3, span: 30_000, open: here(returningWs, 3) },
  'socket.io over websocket': { early: 0.4, span: 20_000, open: socket(TRAVEL.websocket, 2) },
  'socket.io over polling': { ...POLLING, open: socket(TRAVEL.polling, 6) },
  'socket.io over polling, kept alive': { ...POLLING, open: socket(TRAVEL.polling, 2, { agent }) },
  'socket.io over upgrade': { early: 0.2, up: 0.07, span: 20_000, open: socket(TRAVEL.upgrade, 4) },
  'socket.io over polling in Chromium': {
    ...POLLING, open: inChromium((page, all) => returningSocketInPage(page, all, { transports: ['polling'] }), 2),
  },
};

let demo;
let browser;
before(async () => { demo = await startDemo(); });
after(async () => {
  await browser?.close();
  agent.destroy();
  await demo?.stop();
});

/** A page of the proxy's own origin, for an EventSource to another one would need its leave. */
async function newPage(at) {
  browser ??= openPage(at, { path: '/healthz' });
  browser = await browser;
  if (new URL(browser.page.url()).port === `${at.port}`) return browser.page;
  const page = await browser.context.newPage();
  await page.goto(`${at.url}/healthz`);
  return page;
}

/** Opens every kind of client behind its cutting proxies, and adds them to `links`. */
async function openAll(links, next) {
  for (const [name, { proxies = 1, open, ...shape }] of Object.entries(KINDS)) {
    if (!name.includes(process.env.CUTS_ONLY ?? '')) continue;
    for (let n = 0; n < proxies; n++) {
      const proxy = await cuttingProxy(demo, { seed: SEED, name: `${name}/${n}`, ...shape });
      const link = { name, proxy, clients: [] };
      links.push(link);
      // A page is loaded without cuts; all other clients are cut from the first byte on.
      if (!/Chromium/.test(name)) proxy.cutting(true);
      link.clients = await open(proxy, next);
      proxy.cutting(true);
    }
  }
}

test(`${CUTS} cuts on each kind of client, seed ${SEED}`, async (t) => {
  let dealt = 0;
  const next = () => TEAMS[dealt++ % TEAMS.length];
  const links = [];
  let sending;
  try {
    await openAll(links, next);
    const clients = links.flatMap((link) => link.clients);
    const kinds = [...new Set(links.map(({ name }) => name))];
    const proxiesOf = (kind) => links.filter(({ name }) => name === kind).map(({ proxy }) => proxy);
    const cutsOf = (kind) => proxiesOf(kind).reduce((sum, { cuts }) => sum + cuts.total, 0);
    const all = (check) => async () => (await Promise.all(clients.map(async (client) => check(await client.peek())))).every(Boolean);
    // A new client gets nothing that was sent before.
    await until(all(({ connected }) => connected), 'the first connection of each client', 60_000);

    sending = await publish(demo, TEAMS);
    /** Spares a client that has been cut often enough. */
    const enough = () => kinds.filter((kind) => {
      const done = cutsOf(kind) >= CUTS;
      if (done) for (const proxy of proxiesOf(kind)) proxy.cutting(false);
      return !done;
    }).length === 0;
    const patience = 60_000 + CUTS * 2000;
    await until(enough, `${CUTS} cuts on each`, patience).catch((error) => t.diagnostic(error.message));
    const seconds = sending.seconds;
    await sending.stop();
    for (const { proxy } of links) proxy.cutting(false);
    const mark = unique('mark');
    for (const provider of ['sse', 'ws', 'socket']) await demo.send(provider, 'all', 'sentinel', mark);
    await until(all(({ marks }) => marks.includes(mark)), 'the last mark', 30_000).catch((error) => t.diagnostic(error.message));

    t.diagnostic(`${(sending.turns / seconds).toFixed(1)} events a second for each client, over ${seconds.toFixed(0)} s`);
    for (const kind of kinds) {
      await t.test(kind, async (t) => {
        const own = links.filter(({ name }) => name === kind);
        const clients = own.flatMap((link) => link.clients);
        const seen = await Promise.all(clients.map(async (client) => ({ team: client.team, ...await client.read() })));
        t.diagnostic(summary(own.map(({ proxy }) => proxy.cuts), seen));
        for (const { team, numbers, marks, connects, faults } of seen) {
          assert.deepEqual(faults, []);
          assert.equal(difference(numbers, team.expected, connects), '');
          assert.deepEqual(marks, [mark]);
        }
        assert.ok(seen.some(({ connects }) => connects.length > 1), 'no client reconnected');
        assert.ok(cutsOf(kind) >= CUTS, `${cutsOf(kind)} cuts`);
        assert.ok(own.some(({ proxy }) => proxy.cuts.places.event > 0), 'no cut within an event');
      });
    }
  } finally {
    await sending?.stop().catch(() => {});
    for (const { clients, proxy } of links) {
      for (const client of clients) await client.close();
      proxy.close();
    }
  }
});

function summary(cuts, seen) {
  const sum = (of, list) => list.reduce((total, one) => total + of(one), 0);
  const merged = (of) => {
    const total = {};
    for (const counts of cuts.map(of)) for (const [key, n] of Object.entries(counts)) total[key] = (total[key] ?? 0) + n;
    return Object.entries(total).map(([key, n]) => `${key} ${n}`).join(', ');
  };
  return [
    `${sum((c) => c.total, cuts)} cuts (${merged((c) => c.places)}; ${merged((c) => c.ways)})`,
    `${seen.length} clients reconnected ${sum((r) => r.connects.length - 1, seen)} times`,
    `resumed ${sum((r) => r.connects.filter(({ resumed }) => resumed).length, seen)}`,
    `made anew ${sum((r) => r.madeAnew, seen)}`,
    `saw ${sum((r) => r.numbers.length, seen)} events`,
  ].join('; ');
}

/** Describes the error in the numbers, if any: counts, and the neighbourhood of the first error. */
function difference(numbers, expected, connects) {
  const at = expected.findIndex((n, index) => numbers[index] !== n);
  const first = at < 0 && numbers.length > expected.length ? expected.length : at;
  if (first < 0) return '';
  const known = new Set(expected);
  const found = new Set(numbers);
  const missing = expected.filter((n) => !found.has(n));
  const foreign = numbers.filter((n) => !known.has(n));
  const connection = connects.findLastIndex((connect) => connect.at <= first);
  return [
    `${missing.length} missing (${missing.slice(0, 10)})`,
    `${numbers.length - found.size} doubled`,
    `${foreign.length} foreign (${foreign.slice(0, 10)})`,
    `the first fault at ${first}, ${first - connects[connection].at} after connection ${connection}`,
    `expected ${expected.slice(Math.max(0, first - 3), first + 5)}`,
    `saw ${numbers.slice(Math.max(0, first - 3), first + 5)}`,
  ].join('; ');
}
