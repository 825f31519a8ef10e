// The TCP relay that all proxies in front of the demo are made of.

import net from 'node:net';

/**
 * Starts a relay on a free port; use the result in place of the demo when opening a client.
 * `accept(client, dial)` gets each client's socket, and `dial(demo)` connects to a demo. `options`
 * are those of both sockets.
 */
export async function startRelay(accept, options = { noDelay: true }) {
  const sockets = new Set();
  const keep = (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    return socket;
  };
  const dial = ({ port }) => keep(net.connect({ port, host: '127.0.0.1', ...options }));
  const server = net.createServer(options, (client) => accept(keep(client), dial));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Destroys both sockets when one fails. */
export function failTogether(...sockets) {
  for (const socket of sockets) socket.on('error', () => sockets.forEach((one) => one.destroy()));
}
