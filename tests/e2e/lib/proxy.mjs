// A TCP relay in front of the demo that stands for a slow or stuck network between the server and a
// client.

import { failTogether, startRelay } from './tcp.mjs';

/** Starts a relay; use the result in place of the demo when opening a client. */
export async function slowProxy(demo) {
  const links = new Set();
  let rate = Infinity;
  const relay = await startRelay((client, dial) => {
    const upstream = dial(demo);
    const link = new Link(client, upstream);
    link.setRate(rate);
    links.add(link);
    client.pipe(upstream);
    client.once('close', () => { links.delete(link); upstream.destroy(); });
    failTogether(client, upstream);
  });
  return Object.assign(relay, {
    /**
     * Sets the bytes a second from the server to each client; 0 holds everything back, Infinity has
     * no bound.
     */
    setRate(bytes) {
      rate = bytes;
      for (const link of links) link.setRate(bytes);
    },
  });
}

/** One connection, whose server side is read no faster than the rate allows. */
class Link {
  #timer = null;
  #allowed = 0;
  #rate = Infinity;
  #last = 0;

  constructor(client, upstream) {
    this.client = client;
    this.upstream = upstream;
    upstream.on('readable', () => this.#pump());
    upstream.once('end', () => client.end());
    upstream.once('close', () => { clearInterval(this.#timer); client.destroySoon(); });
  }

  setRate(bytes) {
    this.#rate = bytes;
    clearInterval(this.#timer);
    this.#allowed = 0;
    this.#last = Date.now();
    if (bytes > 0 && bytes < Infinity) this.#timer = setInterval(() => this.#pump(), 20);
    this.#pump();
  }

  // The stream buffers 64 KiB at most; what is not read stays in the kernel, and so with the
  // server.
  #pump() {
    if (this.#rate === 0 || !this.client.writable) return;
    const now = Date.now();
    this.#allowed = this.#rate === Infinity ? Infinity : this.#allowed + (this.#rate * (now - this.#last)) / 1000;
    this.#last = now;
    for (;;) {
      const size = Math.min(Math.floor(this.#allowed), this.upstream.readableLength);
      const chunk = size > 0 ? this.upstream.read(size) : null;
      if (!chunk) break;
      this.#allowed -= chunk.length;
      this.client.write(chunk);
    }
    if (this.upstream.readableLength === 0) this.upstream.read(0);
    this.#allowed = Math.min(this.#allowed, Math.max(this.#rate / 5, 1));
  }
}
