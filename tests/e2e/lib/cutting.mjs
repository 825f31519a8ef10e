// A TCP relay in front of the demo that cuts every connection after a number of bytes, which a seed
// decides.

import { appendFileSync } from 'node:fs';
import { Tape } from './tape.mjs';
import { startRelay } from './tcp.mjs';

/** A file for a trace of every connection's bytes: `milliseconds name/connection what bytes`. */
const TRACE = process.env.CUTS_TRACE;
/** The bytes of handshakes, heads and the first events. */
const EARLY = 800;
/** The ways of a cut, as often as they happen: see `Link.#cut`. */
const WAYS = ['reset', 'reset', 'reset', 'end', 'end', 'server late', 'server late', 'client late', 'half'];

/**
 * Returns a generator of numbers from 0 to 1, the same for the same text (mulberry32 over FNV-1a).
 */
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
 * Starts a relay that cuts nothing until `cutting(true)`; use the result in place of the demo when
 * opening a client.
 *
 * `early` is the share of connections cut within the server's first bytes, `up` within the
 * client's; `span` is the most bytes of the others. The n-th connection under the same `seed` and
 * `name` has the same fate.
 */
export async function cuttingProxy(demo, { name, seed, early, up = 0.15, span }) {
  const links = new Set();
  const cuts = { total: 0, places: {}, ways: {} };
  let connections = 0;
  let on = false;
  const fate = (link) => {
    const roll = dice(`${seed}/${link.name}`);
    // Small numbers as often as large ones for the very first bytes, and any number after them.
    const few = () => Math.ceil(roll() < 0.5 ? Math.exp(roll() * Math.log(EARLY)) : roll() * EARLY);
    return {
      down: roll() < early ? few() : EARLY + Math.ceil(roll() * (span - EARLY)),
      up: roll() < up ? few() : Infinity,
      // A cut just before a chunk, which is lost as a whole: its sender has sent it, and the
      // receiver gets none of it.
      before: roll() < 0.25,
      way: WAYS[Math.floor(roll() * WAYS.length)],
      pause: 50 + roll() * 950,
    };
  };
  const relay = await startRelay((client, dial) => {
    const upstream = dial(demo);
    const link = new Link(`${name}/${++connections}`, client, upstream, (cut) => {
      cuts.total += 1;
      cuts.places[cut.place] = (cuts.places[cut.place] ?? 0) + 1;
      cuts.ways[cut.way] = (cuts.ways[cut.way] ?? 0) + 1;
    });
    links.add(link);
    client.once('close', () => links.delete(link));
    if (on) link.doom(fate(link));
  }, { allowHalfOpen: true, noDelay: true });
  const { close } = relay;
  return Object.assign(relay, {
    cuts,
    /** Dooms existing and later connections, or spares all of them. */
    cutting(yes) {
      on = yes;
      for (const link of links) link.doom(yes ? fate(link) : null);
    },
    close() {
      for (const link of links) link.reset();
      close();
    },
  });
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

  /** Sets the fate, counted from the bytes passed so far; null spares the connection. */
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
        // Bytes after a gap would be nonsense that TCP never delivers.
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
      case 'end': // both get a FIN, and what they still send is not read
        client.end();
        upstream.end();
        later(() => this.reset());
        break;
      case 'server late': // the server keeps writing to a client that is gone and may have reconnected
        upstream.pause();
        client.resetAndDestroy();
        later(() => this.reset());
        break;
      case 'client late': // the client waits for a server that is gone
        client.pause();
        upstream.resetAndDestroy();
        later(() => this.reset());
        break;
      case 'half': // the server gets a FIN, and may still send
        upstream.once('end', () => client.end());
        upstream.end();
        later(() => this.reset());
        break;
      default:
        this.reset();
    }
  }
}
