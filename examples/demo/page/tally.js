// The events that were sent while a connection was cut or slow, and those of them that have
// arrived: computed from cursors only, of which each logged event has its own. The page's second
// connection says what was sent.

const REMEMBERED = 50_000;

export class Tally {
  /**
   * The number of events that arrived again, and of those that arrived before an earlier one; since
   * `begin`.
   */
  twice = 0;
  swapped = 0;
  /** The number of expected events that have arrived. */
  arrived = 0;
  #expected = new Map(); // cursor → its number, from 1
  #early = []; // cursors that were sent before `count`
  #counting = false;
  #fixed = false;
  #newest = 0; // the largest number that has arrived
  #seen = new Set(); // cursors that have arrived, the newest 50,000

  /** Starts again; remembers what has arrived. */
  begin() {
    Object.assign(this, { twice: 0, swapped: 0, arrived: 0 });
    this.#expected.clear();
    this.#early = [];
    this.#counting = false;
    this.#fixed = false;
    this.#newest = 0;
  }

  /**
   * Starts counting, the connection is cut or slow: what has not arrived yet and what is sent from
   * here on.
   */
  count() {
    if (this.#counting) return;
    this.#counting = true;
    for (const cursor of this.#early) if (!this.#seen.has(cursor)) this.sent(cursor);
    this.#early = [];
  }

  /** Stops counting: the connection is open again. */
  fix() {
    this.#fixed = true;
  }

  /** Notes an event of the second connection. */
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

  /**
   * Notes an event of the connection. Returns its number if it was expected, and whether it arrived
   * before.
   */
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

  /**
   * `true` if the last expected event has arrived, and with it, in order, all that still arrive.
   */
  get complete() {
    return this.#fixed && this.#newest === this.#expected.size;
  }

  #hit(number) {
    this.arrived += 1;
    if (number < this.#newest) this.swapped += 1;
    this.#newest = Math.max(this.#newest, number);
  }
}
