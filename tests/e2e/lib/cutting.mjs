// A TCP relay in front of the demo that cuts every connection after a number of bytes, told by a seed.

import { appendFileSync } from 'node:fs';
import net from 'node:net';
import { Tape } from './tape.mjs';

/** A file to write down what went over every wire: `milliseconds name/connection what bytes`. */
const TRACE = process.env.CUTS_TRACE;
/** Below this many bytes lie handshakes, heads and the first events. */
const EARLY = 800;
/** How a connection ends, and how often: see `Link.#cut`. */
const WAYS = ['reset', 'reset', 'reset', 'end', 'end', 'server late', 'server late', 'client late', 'half'];

/** Numbers from 0 to 1, the same for the same text (mulberry32 over FNV-1a). */
export function dice(text) {
  let state = [...text].reduce((hash, letter) => Math.imul(hash ^ letter.codePointAt(0), 0x01000193), 0x811c9dc5);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Starts a relay that leaves everything whole until `cutting(true)`; use it in place of the demo when opening a client.
 *
 * `early` is the share of connections cut within the server's first bytes, `up` within the client's; `span` is how many
 * bytes the others live at most. The n-th connection under the same `seed` and `name` has the same fate.
 */
export async function cuttingProxy(demo, { name, seed, early, up = 0.15, span }) {
  const links = new Set();
  const cuts = { total: 0, places: {}, ways: {} };
  let connections = 0;
  let on = false;
  const fate = (link) => {
    const roll = dice(`${seed}/${link.name}`);
    // Small numbers as often as large ones for the very first bytes, and any for what comes next.
    const few = () => Math.ceil(roll() < 0.5 ? Math.exp(roll() * Math.log(EARLY)) : roll() * EARLY);
    return {
      down: roll() < early ? few() : EARLY + Math.ceil(roll() * (span - EARLY)),
      up: roll() < up ? few() : Infinity,
      // A cut just before something is lost as a whole: its sender knows it sent, and nobody ever heard of it.
      before: roll() < 0.25,
      way: WAYS[Math.floor(roll() * WAYS.length)],
      pause: 50 + roll() * 950,
    };
  };
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = net.connect({ port: demo.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    const link = new Link(`${name}/${++connections}`, client, upstream, (cut) => {
      cuts.total += 1;
      cuts.places[cut.place] = (cuts.places[cut.place] ?? 0) + 1;
      cuts.ways[cut.way] = (cuts.ways[cut.way] ?? 0) + 1;
    });
    links.add(link);
    client.once('close', () => links.delete(link));
    if (on) link.doom(fate(link));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    cuts,
    /** Dooms the connections of now and those to come, or leaves the wire whole for all of them. */
    cutting(yes) {
      on = yes;
      for (const link of links) link.doom(yes ? fate(link) : null);
    },
    close() {
      for (const link of links) link.reset();
      server.close();
    },
  };
}

/** One connection, relayed until its fate is reached. */
class Link {
  #fate = null;
  #tape = new Tape();
  #passed = { up: 0, down: 0 };
  #over = false;
  #half = false;

  constructor(name, client, upstream, onCut) {
    this.name = name;
    this.client = client;
    this.upstream = upstream;
    this.onCut = onCut;
    this.#relay('up', client, upstream);
    this.#relay('down', upstream, client);
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      one.on('error', () => this.reset());
      one.once('close', () => { if (!this.#over) other.destroySoon(); });
    }
  }

  /** Counts from what has passed already; null lets it live. */
  doom(fate) {
    this.#fate = fate && { ...fate, up: this.#passed.up + fate.up, down: this.#passed.down + fate.down };
  }

  reset() {
    this.#over = true;
    for (const end of [this.client, this.upstream]) {
      if (!end.destroyed) end.resetAndDestroy();
    }
  }

  #relay(side, from, to) {
    from.on('data', (chunk) => {
      if (this.#over) {
        if (side === 'down' && this.#half) to.write(chunk);
        return;
      }
      const limit = this.#fate?.[side] ?? Infinity;
      const fate = this.#fate;
      const cut = this.#passed[side] + chunk.length >= limit;
      const part = cut ? chunk.subarray(0, fate.before ? 0 : limit - this.#passed[side]) : chunk;
      this.#passed[side] += part.length;
      if (side === 'down') this.#tape.push(part);
      this.#trace(side, part);
      if (cut) {
        this.#trace(`cut (${fate.way}) from ${side}`, chunk.subarray(part.length));
        this.#over = true;
        this.#half = fate.way === 'half';
        this.onCut({ side, place: side === 'up' ? 'request' : this.#tape.place, way: fate.way });
        // What follows a gap would be nonsense that no wire makes of a stream.
        const last = side === 'down' && this.#half ? chunk : part;
        // Only now, so that the last bytes before the cut arrive.
        to.write(last, () => this.#cut(fate));
      } else if (!to.write(part)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.once('end', () => { if (!this.#over) to.end(); });
  }

  #trace(what, bytes) {
    if (TRACE) appendFileSync(TRACE, `${Math.round(performance.now())} ${this.name} ${what} ${bytes}\n`);
  }

  #cut({ way, pause }) {
    const { client, upstream } = this;
    const later = (what) => setTimeout(what, pause);
    switch (way) {
      case 'end': // both are told in order, and what they still send is not read
        client.end();
        upstream.end();
        later(() => this.reset());
        break;
      case 'server late': // the server goes on writing to somebody who is gone and perhaps back already
        upstream.pause();
        client.resetAndDestroy();
        later(() => this.reset());
        break;
      case 'client late': // the client waits for somebody who is gone
        client.pause();
        upstream.resetAndDestroy();
        later(() => this.reset());
        break;
      case 'half': // the server is told that no more will come, and may still say something
        upstream.once('end', () => client.end());
        upstream.end();
        later(() => this.reset());
        break;
      default:
        this.reset();
    }
  }
}
