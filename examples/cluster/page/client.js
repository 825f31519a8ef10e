// One connection of the page, over one transport, and the numbers that have arrived over it.
import { linkId } from './link.js';
import { SocketIoLink } from './link-socketio.js';
import { SseLink } from './link-sse.js';
import { WsLink } from './link-ws.js';

const KINDS = { sse: ['SSE', SseLink], ws: ['WebSocket', WsLink], socket: ['Socket.IO', SocketIoLink] };
const TRAIL = 60;

export class Client {
  element;
  connection = '';
  #title;
  #link;
  #identity;
  #announce;
  #node = '';
  #resumed = 0;
  #seen = new Set();
  #last = 0;
  #wrong = 0; // twice, or after a later one
  #sent = 0;

  constructor(provider, identity, announce) {
    const [title, Kind] = KINDS[provider];
    this.#title = title;
    this.#identity = identity;
    this.#announce = announce;
    this.element = document.getElementById('client').content.firstElementChild.cloneNode(true);
    this.element.classList.add(`of-${provider}`);
    this.element.id = `client-${provider}`;
    this.element.querySelector('h3').textContent = title;
    this.#link = new Kind({
      state: (state, reason, next = '') => this.#moved(state, reason, next),
      welcome: (data) => this.#welcomed(data),
      cursor: () => {},
      event: (event) => this.#got(event),
    }, linkId());
  }

  connect() {
    this.#link.connect(this.#identity);
  }

  /** Begins to count again. */
  begin() {
    this.#seen.clear();
    this.#last = this.#wrong = this.#sent = 0;
    this.#show();
  }

  /** Takes the number of events that are in the log. */
  expect(sent) {
    this.#sent = sent;
    this.#show();
  }

  /** Takes the name of the node that has this connection, by the directory. */
  setNode(name) {
    if (this.element.dataset.state !== 'open' || !name || name === this.#node) return;
    if (this.#node) this.#note(`now at ${name}, before at ${this.#node}`, 'moved');
    this.#node = name;
    this.#show();
  }

  #moved(state, reason, next) {
    if (this.element.dataset.state === 'open') {
      this.#note(reason, 'moved');
      this.#announce(`${this.#title}: ${reason}`);
    }
    this.connection = '';
    this.element.dataset.state = state;
    this.#text('.detail', `${reason} ${next}`);
    this.#show();
  }

  #welcomed({ connectionId, resumed, reason }) {
    this.connection = connectionId;
    this.element.dataset.state = 'open';
    if (resumed) this.#resumed += 1;
    this.#text('.detail', resumed ? 'Resumed from its cursor.' : `Not resumed (${reason}).`);
    this.#note(resumed ? 'resumed from its cursor' : `connected (${reason})`, 'moved');
    this.#show();
  }

  #got({ event, data }) {
    if (event !== 'number') return this.#note(`${event} ${JSON.stringify(data)}`);
    if (this.#seen.has(data.n) || data.n < this.#last) this.#wrong += 1;
    this.#seen.add(data.n);
    this.#last = Math.max(this.#last, data.n);
    this.#note(`number ${data.n}`);
    return this.#show();
  }

  #show() {
    const { state } = this.element.dataset;
    this.element.dataset.node = state === 'open' ? this.#node : '';
    this.#text('.phase', { open: 'Open.', connecting: 'Connecting.', closed: 'Closed.' }[state] ?? '');
    this.#text('.at', state === 'open' ? `at ${this.#node || '…'}` : 'at no node');
    this.#text('.arrived', this.#seen.size);
    this.#text('.missing', Math.max(this.#sent - this.#seen.size, 0));
    this.#text('.twice', this.#wrong);
    this.#text('.resumed', this.#resumed);
    this.element.querySelector('.twice').toggleAttribute('data-wrong', this.#wrong > 0);
  }

  #note(text, kind = '') {
    const item = document.createElement('li');
    const time = document.createElement('time');
    time.textContent = new Date().toISOString().slice(11, 23);
    const what = document.createElement('span');
    what.textContent = text;
    what.className = kind;
    item.append(time, what);
    const trail = this.element.querySelector('.trail');
    trail.prepend(item);
    while (trail.children.length > TRAIL) trail.lastChild.remove();
  }

  #text(selector, text) {
    this.element.querySelector(selector).textContent = String(text).trim();
  }
}
