// A TCP relay in front of the demo that stands for a network that vanishes without a word: a laptop
// that was closed, a telephone that changed from one network to another.

import { failTogether, startRelay } from './tcp.mjs';

/** Starts a relay; use the result in place of the demo when opening a client. */
export async function vanishingProxy(demo) {
  const links = new Set();
  const relay = await startRelay((client, dial) => {
    const upstream = dial(demo);
    links.add([client, upstream]);
    client.pipe(upstream);
    upstream.pipe(client);
    failTogether(client, upstream);
  });
  return Object.assign(relay, {
    /** Swallows from here on what either side sends, and does not pass on that one disconnects. */
    vanish() {
      for (const link of links) for (const end of link) { end.unpipe(); end.resume(); }
    },
  });
}
