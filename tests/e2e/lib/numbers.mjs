// Numbered events for users, tenants, rooms and all, 100 a second for each client, and those that
// each client must get.

import assert from 'node:assert/strict';
import { pipeline } from './burst.mjs';
import { unique } from './wait.mjs';

const PROVIDERS = ['sse', 'ws', 'socket'];
const PER_SECOND = 100;
/** One event for each client a turn, in this order of targets. */
const TURN = ['all', 'joined', 'tenant', 'all', 'named', 'user', 'all', 'tenant', 'joined', 'all', 'named', 'all'];
/** Turns for which the users are in the room of the tide, and then out of it. */
const TIDE = 130;

/**
 * Letters of one to four bytes, mostly a few and now and then more than a read holds: the same for
 * the same number.
 */
export function textOf(n) {
  return 'aß☃𝄞'.repeat(n % 211 === 0 ? 700 : n % 13);
}

/**
 * Users that see the same: one tenant, a room they name themselves, and rooms that the server joins
 * them to.
 */
export function teams(count) {
  const [tenant, named, joined, tide] = ['acme', 'named', 'joined', 'tide'].map(unique);
  return Array.from({ length: count }, () => (
    { user: unique('alice'), tenant, named, joined, tide, inTide: false, expected: [] }));
}

/**
 * Joins the teams' users to their room and sends until `stop()`, which resolves when all is sent
 * and answered.
 */
export async function publish(demo, all) {
  const [stranger, elsewhere, closed] = ['stranger', 'globex', 'closed'].map(unique);
  const [{ tenant, named, joined, tide }] = all;
  await inOrder(demo, '/api/rooms/join', all.map(({ user }) => ({ user, room: joined })));
  let n = 0;
  let turns = 0;
  let bodies = [];
  const flush = async () => {
    const sent = bodies;
    bodies = [];
    await inOrder(demo, '/api/send', sent);
  };
  /** Sends an event that exactly these teams must get. */
  const send = (target, seeing) => {
    n += 1;
    bodies.push({ provider: PROVIDERS, target, event: 'news', data: { n, text: textOf(n) } });
    for (const team of seeing) team.expected.push(n);
  };
  const turn = async () => {
    turns += 1;
    if (turns % TIDE === 0) {
      // Earlier events are in the log before the rooms change.
      await flush();
      const inTide = (turns / TIDE) % 2 === 1;
      await inOrder(demo, `/api/rooms/${inTide ? 'join' : 'leave'}`, all.map(({ user }) => ({ user, room: tide })));
      for (const team of all) team.inTide = inTide;
    }
    switch (TURN[turns % TURN.length]) {
      case 'all': send('all', all); break;
      case 'tenant': send({ tenant }, all); break;
      case 'named': send({ room: named }, all); break;
      case 'joined': send({ room: joined }, all); break;
      default: for (const team of all) send({ user: team.user }, [team]);
    }
    if (turns % 20 === 0) send({ room: tide }, all.filter(({ inTide }) => inTide));
    if (turns % 4 === 0) send([{ user: stranger }, { tenant: elsewhere }, { room: closed }][turns % 3], []);
  };
  let going = true;
  const begun = Date.now();
  const done = (async () => {
    while (going) {
      const due = ((Date.now() - begun) * PER_SECOND) / 1000;
      while (going && turns < due && bodies.length < 300) await turn();
      await flush();
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  })();
  done.catch(() => {}); // reported by stop()
  return {
    get turns() { return turns; },
    get seconds() { return (Date.now() - begun) / 1000; },
    async stop() {
      going = false;
      await done;
    },
  };
}

async function inOrder(demo, path, bodies) {
  if (bodies.length) assert.equal(await pipeline(demo, path, bodies), bodies.length, `not every ${path} was taken`);
}
