// The page's wiring: one user, three clients through the proxy, the nodes behind it.
import { Client } from './client.js';
import { call, NodeList } from './nodes.js';
import { Stream } from './stream.js';

const byId = (id) => document.getElementById(id);
const identity = { user: `visitor-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`, tenant: 'acme' };
const room = 'lobby';

byId('user').textContent = identity.user;
byId('room').textContent = room;
byId('send-name').value = identity.user;

const announce = (text) => { byId('announce').textContent = text; };
const clients = ['sse', 'ws', 'socket'].map((provider) => new Client(provider, identity, announce));
const stream = new Stream(identity.user, clients);
const nodes = new NodeList(byId('nodes'), identity.user, (names) => {
  for (const client of clients) client.setNode(names.get(client.connection));
});

for (const client of clients) {
  byId('clients').append(client.element);
  client.connect();
}
nodes.watch((all) => {
  byId('broker').textContent = all.broker;
  const from = byId('send-from');
  const missing = all.nodes.filter(({ name }) => ![...from.options].some(({ value }) => value === name));
  from.append(...missing.map(({ name }) => new Option(name, name)));
});
// Joined by one node, in the log, and so known to every node.
call('/api/rooms/join', { ...identity, room }).catch((error) => { byId('send-result').textContent = error.message; });

byId('stream').addEventListener('click', () => {
  stream.toggle();
  byId('stream').textContent = stream.running ? 'Stop' : 'Start';
  byId('stream').setAttribute('aria-pressed', String(stream.running));
});

byId('send-kind').addEventListener('change', ({ target }) => {
  const name = byId('send-name');
  name.disabled = target.value === 'all';
  name.value = { user: identity.user, room, all: '' }[target.value];
});

byId('send').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [from, kind, name] = ['send-from', 'send-kind', 'send-name'].map((id) => byId(id).value);
  const path = from ? `/cluster/nodes/${from}/api/send` : '/api/send';
  try {
    await call(path, { target: kind === 'all' ? 'all' : { [kind]: name }, event: 'said', data: { text: byId('send-text').value } });
    byId('send-result').textContent = `In the log, from ${from || 'any node'}.`;
  } catch (error) {
    byId('send-result').textContent = `${from || 'Any node'}: ${error.message}`;
  }
});
