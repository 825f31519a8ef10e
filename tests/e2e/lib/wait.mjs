// Waiting: always for a condition, always with a deadline, never for a span of time.

/** Milliseconds that anything in these tests may take before it counts as "did not happen". */
export const DEADLINE = 15_000;

/** Resolves with the promise's value, or fails with `what` at the deadline. */
export function within(promise, what, ms = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what()}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Asks `check` again and again until it returns something truthy, and returns that. */
export async function until(check, what, ms = DEADLINE) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The items that a client received, in order; readers wait for items instead of polling. */
export class Inbox {
  items = [];
  #read = 0;
  #waiting = new Set();
  #ended = null;

  push(item) {
    this.items.push(item);
    this.#wake();
  }

  /** Ends the inbox: all readers fail immediately, with the reason. */
  end(why) {
    this.#ended ??= why;
    this.#wake();
  }

  /** The next unread item that `wanted` accepts; the items before it count as read. */
  async next(wanted = () => true, what = 'an item', ms = DEADLINE) {
    const find = () => {
      while (this.#read < this.items.length) {
        const item = this.items[this.#read++];
        if (wanted(item)) return { item };
      }
      return null;
    };
    return (await this.#when(find, what, ms)).item;
  }

  /** All items, once at least `count` of those that `wanted` accepts are here. */
  async collect(count, wanted = () => true, what = `${count} items`, ms = DEADLINE) {
    let seen = 0;
    const found = [];
    const find = () => {
      for (; seen < this.items.length; seen++) if (wanted(this.items[seen])) found.push(this.items[seen]);
      return found.length >= count ? found : null;
    };
    return this.#when(find, () => `${what} (have ${found.length})`, ms);
  }

  #when(find, what, ms) {
    const now = find();
    if (now) return now;
    const text = () => `${typeof what === 'function' ? what() : what}${this.#ended ? `; ended: ${this.#ended}` : ''}`;
    let look;
    const found = new Promise((resolve, reject) => {
      look = () => {
        const hit = find();
        // Removed immediately: a second look before the promise settles would swallow an item.
        if (hit || this.#ended) this.#waiting.delete(look);
        if (hit) resolve(hit);
        else if (this.#ended) reject(new Error(`will not come: ${text()}`));
      };
      this.#waiting.add(look);
      look();
    });
    return within(found, text, ms).finally(() => this.#waiting.delete(look));
  }

  #wake() {
    for (const look of [...this.#waiting]) look();
  }
}

let count = 0;

/** A name that no other test uses. */
export function unique(prefix) {
  count += 1;
  return `${prefix}-${process.pid}-${count}`;
}

/** Waits until a client of the tests has received `connected`; closes it if that fails. */
export async function welcomed(client) {
  try {
    client.connected = await client.inbox.next((i) => i.event === 'connected', 'connected');
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}
