// The three transports in the order in which they stand on the page.
export const PROVIDERS = [
  { name: 'sse', short: 'SSE', title: 'Server-Sent Events', path: '/sse', asks: false },
  { name: 'ws', short: 'WebSocket', title: 'WebSocket', path: '/ws', asks: true },
  { name: 'socket', short: 'Socket.IO', title: 'Socket.IO', path: '/socket.io/', asks: true },
];

export const shortName = (name) => PROVIDERS.find((p) => p.name === name)?.short ?? name;
