// The page's wiring: who the user is, three links, three panels, and the forms around them.
import { AskForm } from './ask.js';
import { byId, clockText, fieldProblem } from './element.js';
import { SocketIoLink } from './link-socketio.js';
import { SseLink } from './link-sse.js';
import { WsLink } from './link-ws.js';
import { Panel } from './panel.js';
import { Plot } from './plot.js';
import { PROVIDERS } from './providers.js';
import { Rooms } from './rooms.js';
import { SendForm } from './send.js';
import { watchStats } from './stats.js';
import { suggest } from './suggest.js';

const USERS = ['alice', 'bob', 'carol'];
const TENANTS = ['acme', 'globex'];
const ROOMS = ['lobby', 'support', 'trading'];
const LINKS = { sse: SseLink, ws: WsLink, socket: SocketIoLink };

const identity = { user: byId('user').value, tenant: byId('tenant').value };
const plot = new Plot();
const rooms = new Rooms(() => identity.user);
const send = new SendForm(targetNames);
const ask = new AskForm(targetNames, () => wires.map(({ panel }) => panel.connectionId).filter(Boolean));
const wires = PROVIDERS.map(wire);

/** One transport: its panel, its link, and what happens between them. */
function wire(provider) {
  const panel = new Panel(provider, {
    onToggle: (on) => {
      if (!on) {
        link.disconnect();
        panel.setState('closed', 'Closed by you. Connecting again resumes from the cursor.');
        announce(`${provider.title} closed`);
      } else if (takeIdentity()) {
        link.connect(identity);
      }
    },
  });
  const link = new LINKS[provider.name]({
    state: (state, reason) => {
      const before = panel.state;
      panel.setState(state, reason);
      if (state === 'closed' || (state === 'connecting' && before === 'open')) announce(`${provider.title} ${state}. ${reason}`);
    },
    welcome: (data) => {
      panel.setState('open', `Since ${clockText(new Date()).slice(0, 8)}. ${data.resumed ? 'Resumed from the cursor.' : originText(data.reason)}`);
      panel.setConnection(String(data.connectionId ?? ''));
      panel.add({ event: 'connected', data, kind: 'welcome' });
      announce(`${provider.title} open`);
      showConnect();
    },
    cursor: (cursor) => panel.setCursor(cursor),
    event: ({ event, data, answer }) => {
      plot.add(provider.name);
      const willAnswer = answer && panel.answers;
      if (willAnswer) answer(ask.answer);
      panel.add({
        event,
        data,
        tag: answer && (willAnswer ? 'answered' : 'left unanswered'),
        kind: event === 'error' || event === 'lost' ? 'problem' : 'event',
      });
    },
  });
  return { panel, link };
}

function originText(reason) {
  return {
    epoch: 'Not resumed: the log is a new one.',
    expired: 'Not resumed: the old place has left the window.',
    invalid: 'Not resumed: the old place was not valid.',
  }[reason] ?? 'Reads from now on.';
}

/** Takes user and tenant from the form; a new identity starts with empty logs and no place. False if a name is missing. */
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
  for (const { panel, link } of wires) {
    link.disconnect();
    link.forget();
    panel.setState('closed', 'Not connected as this user yet.');
    panel.setCursor('');
    panel.clear();
  }
  followIdentity();
  return true;
}

function followIdentity() {
  send.followDefaults(targetNames());
  ask.followDefaults(targetNames());
  rooms.refresh();
}

/** Connects all three links anew, each from its place. */
function connectAll() {
  if (!takeIdentity()) return;
  const address = `?${new URLSearchParams(identity)}`;
  history.replaceState(null, '', address);
  byId('new-device').href = address;
  for (const { link } of wires) link.connect(identity);
  showConnect();
}

function showConnect() {
  const same = byId('user').value === identity.user && byId('tenant').value === identity.tenant;
  const any = wires.some(({ panel }) => panel.state !== 'closed');
  byId('connect').textContent = any && same ? 'Reconnect' : 'Connect';
}

function targetNames() {
  return { user: identity.user, tenant: identity.tenant, room: rooms.names[0] ?? byId('room-name').value };
}

// Several links change at once; one sentence says it.
let sentences = [];
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

// A page opened with an identity in its address, such as "Add a device", connects by itself.
const given = new URLSearchParams(location.search);
if (given.get('user')) {
  byId('user').value = given.get('user');
  byId('tenant').value = given.get('tenant') || byId('tenant').value;
  connectAll();
}
followIdentity();
watchStats();
