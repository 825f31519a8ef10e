// What a connection was sent while it was away or slow, and what of it has arrived: computed from nothing but cursors,
// of which every logged event has one of its own. The page's second connection says what was sent.

const REMEMBERED = 50_000;

export class Tally {
  /** How often an event arrived that had arrived before, and how many came before an earlier one; since `begin`. */
  twice = 0;
  swapped = 0;
  /** How many of the expected have arrived. */
  arrived = 0;
  #expected = new Map(); // cursor → its number, from 1
  #early = []; // cursors that were sent before it counted
  #counting = false;
  #fixed = false;
  #newest = 0; // the largest number that has arrived
  #seen = new Set(); // cursors that have arrived, the newest 50,000

  /** Begins anew; what has arrived before is remembered. */
  begin() {
    Object.assign(this, { twice: 0, swapped: 0, arrived: 0 });
    this.#expected.clear();
    this.#early = [];
    this.#counting = false;
    this.#fixed = false;
    this.#newest = 0;
  }

  /** From now on the connection is away or slow: what has not arrived yet, and what is sent from now on, counts. */
  count() {
    if (this.#counting) return;
    this.#counting = true;
    for (const cursor of this.#early) if (!this.#seen.has(cursor)) this.sent(cursor);
    this.#early = [];
  }

  /** Nothing more counts: the connection is back. */
  fix() {
    this.#fixed = true;
  }

  /** The second connection got this. */
  sent(cursor) {
    if (!cursor || this.#fixed || this.#expected.has(cursor)) return;
    if (!this.#counting) {
      this.#early.push(cursor);
      if (this.#early.length > REMEMBERED) this.#early.shift();
      return;
    }
    this.#expected.set(cursor, this.#expected.size + 1);
    if (this.#seen.has(cursor)) this.#hit(this.#expected.size);
  }

  /** The connection got this. Answers its number if it was expected, and whether it came a second time. */
  got(cursor) {
    if (!cursor) return { twice: false };
    const number = this.#expected.get(cursor);
    if (this.#seen.has(cursor)) {
      this.twice += 1;
      return { number, twice: true };
    }
    this.#seen.add(cursor);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    if (number !== undefined) this.#hit(number);
    return { number, twice: false };
  }

  get expected() {
    return this.#expected.size;
  }

  /** Whether the last of what was expected has arrived, and with it, in order, all that still comes. */
  get complete() {
    return this.#fixed && this.#newest === this.#expected.size;
  }

  #hit(number) {
    this.arrived += 1;
    if (number < this.#newest) this.swapped += 1;
    this.#newest = Math.max(this.#newest, number);
  }
}
