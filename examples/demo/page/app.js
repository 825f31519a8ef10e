// The page's wiring: who the user is, three transports, and the forms around them.
import { AskForm } from './ask.js';
import { byId, fieldProblem } from './element.js';
import { ExplainForm } from './explain.js';
import { Plot } from './plot.js';
import { PROVIDERS } from './providers.js';
import { Rooms } from './rooms.js';
import { SayForm } from './say.js';
import { SendForm } from './send.js';
import { watchStats } from './stats.js';
import { suggest } from './suggest.js';
import { Transport } from './transport.js';

const USERS = ['alice', 'bob', 'carol'];
const TENANTS = ['acme', 'globex'];
const ROOMS = ['lobby', 'support', 'trading'];

let sentences = []; // to be announced
const identity = { user: byId('user').value, tenant: byId('tenant').value };
const plot = new Plot();
const rooms = new Rooms(() => identity.user);
const send = new SendForm(targetNames);
const ask = new AskForm(targetNames, () => transports.flatMap(({ ids }) => ids));
const transports = PROVIDERS.map((provider) => new Transport(provider, {
  identity,
  ready: takeIdentity,
  arrived: (name) => plot.add(name),
  answer: () => ask.answer,
  announce,
}));
new ExplainForm(() => send.lastId);
new SayForm(Object.fromEntries(PROVIDERS.map(({ name }, at) => [name, transports[at]])));

/**
 * Takes user and tenant from the form; a new identity starts with empty logs and no cursor. Returns
 * false if a name is missing.
 */
function takeIdentity() {
  const user = byId('user');
  const tenant = byId('tenant');
  const empty = [user, tenant].find(({ value }) => value.trim() === '');
  for (const field of [user, tenant]) fieldProblem(field, byId('identity-error'));
  if (empty) {
    fieldProblem(empty, byId('identity-error'), `Enter a ${empty.id} name.`);
    empty.focus();
    return false;
  }
  if (user.value === identity.user && tenant.value === identity.tenant) return true;

  identity.user = user.value;
  identity.tenant = tenant.value;
  for (const transport of transports) transport.leave();
  followIdentity();
  return true;
}

function followIdentity() {
  send.followDefaults(targetNames());
  ask.followDefaults(targetNames());
  rooms.refresh();
}

/** Reconnects all three transports, each from its cursor. */
function connectAll() {
  if (!takeIdentity()) return;
  const address = `?${new URLSearchParams(identity)}`;
  history.replaceState(null, '', address);
  byId('new-device').href = address;
  for (const transport of transports) transport.connect();
  showConnect();
}

function showConnect() {
  const same = byId('user').value === identity.user && byId('tenant').value === identity.tenant;
  const any = transports.some(({ state }) => state !== 'closed');
  byId('connect').textContent = any && same ? 'Reconnect' : 'Connect';
}

function targetNames() {
  return { user: identity.user, tenant: identity.tenant, room: rooms.names[0] ?? byId('room-name').value };
}

// Several transports change at the same time; one sentence says it.
function announce(text) {
  showConnect();
  if (sentences.push(text) === 1) {
    setTimeout(() => {
      byId('announce').textContent = sentences.join('. ');
      sentences = [];
    }, 300);
  }
}

const suggestions = {
  users: () => USERS,
  tenants: () => TENANTS,
  rooms: () => roomNames(),
  targets: () => ofKind(byId('send-target-kind').value),
  'ask-targets': () => ofKind(byId('ask-target-kind').value),
};
const roomNames = () => [...new Set([...rooms.names, ...ROOMS])];
const ofKind = (kind) => ({ user: USERS, tenant: TENANTS, room: roomNames(), all: [] })[kind];
for (const input of document.querySelectorAll('[data-suggest]')) suggest(input, suggestions[input.dataset.suggest]);

byId('identity').addEventListener('submit', (event) => {
  event.preventDefault();
  connectAll();
});
for (const id of ['user', 'tenant']) {
  byId(id).addEventListener('input', showConnect);
  byId(id).addEventListener('change', showConnect);
}
// Rooms may have changed from another tab.
document.addEventListener('visibilitychange', () => { if (!document.hidden) rooms.refresh(); });

// The page connects on load, as the user in its address ("Add a device") or else the one in the
// form.
const given = new URLSearchParams(location.search);
if (given.get('user')) {
  byId('user').value = given.get('user');
  byId('tenant').value = given.get('tenant') || byId('tenant').value;
}
connectAll();
followIdentity();
watchStats(transports, () => identity.user);
