// A TCP relay in front of the demo that stands for a network that is gone without a word: a laptop that was closed, a
// telephone that changed from one network to another.

import net from 'node:net';

/** Starts a relay; use what it returns in place of the demo when opening a client. */
export async function vanishingProxy(demo) {
  const links = new Set();
  const server = net.createServer((client) => {
    const upstream = net.connect({ port: demo.port, host: '127.0.0.1', noDelay: true });
    const link = [client, upstream];
    links.add(link);
    client.pipe(upstream);
    upstream.pipe(client);
    for (const end of link) end.on('error', () => { client.destroy(); upstream.destroy(); });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    /** From here on what either side sends is taken and goes nowhere, and neither hears of the other's end. */
    vanish() {
      for (const link of links) for (const end of link) { end.unpipe(); end.resume(); }
    },
    close() {
      for (const link of links) for (const end of link) end.destroy();
      server.close();
    },
  };
}
