// One transport's panel: its state, its facts and its log.
import { byId, clockText, element, payloadText } from './element.js';

const ROWS = 200;

const EMPTY = {
  connecting: 'Waiting for the connection.',
  open: 'Listening. Send something to see it arrive.',
  closed: 'Connect to see events arrive here.',
};
const STATE_NAMES = { connecting: 'Connecting', open: 'Open', closed: 'Closed' };

export class Panel {
  state = 'closed';
  connectionId = '';
  count = 0;
  #provider;
  #root;
  #parts;
  #waiting = []; // rows that the next frame will insert, at most ROWS
  #frame = 0;

  constructor(provider, { onToggle }) {
    this.#provider = provider;
    const { name, title, path, asks } = provider;
    const root = byId('panel').content.firstElementChild.cloneNode(true);
    const part = (selector, testId) => {
      const found = root.querySelector(selector);
      if (testId) found.dataset.testid = `${testId}-${name}`;
      return found;
    };
    root.id = `panel-${name}`;
    root.dataset.testid = root.id;
    root.classList.add(`of-${name}`);
    root.setAttribute('aria-labelledby', `title-${name}`);
    const heading = part('h2');
    heading.id = `title-${name}`;
    heading.textContent = title;
    part('.path').textContent = path;
    this.#root = root;
    this.#parts = {
      toggle: part('.toggle', 'toggle'),
      state: part('.state-name', 'state'),
      reason: part('.reason', 'reason'),
      connection: part('.connection', 'connection'),
      cursor: part('.cursor', 'cursor'),
      count: part('.count b', 'count'),
      noun: part('.count span'),
      answers: part('.switch input', 'answer'),
      log: part('.log', 'log'),
      empty: part('.log-frame .empty'),
    };
    part('.clear', 'clear').addEventListener('click', () => this.clear());
    part('.clear').setAttribute('aria-label', `Clear the ${title} log`);
    part('.switch').hidden = !asks;
    part('.one-way').hidden = asks;
    part('.switch span').append(element('span', { class: 'sr' }, ` over ${title}`));
    part('.server', 'stats');
    this.#parts.log.setAttribute('aria-label', `${title} events, newest first`);
    this.#parts.toggle.addEventListener('click', () => onToggle(this.state === 'closed'));
    byId('streams').append(root);
    this.setState('closed', 'Not connected yet.');
    this.setCursor('');
    this.clear();
  }

  /** Whether asks on this transport are to be answered. */
  get answers() {
    return this.#parts.answers.checked;
  }

  setState(state, reason) {
    this.state = state;
    this.#root.dataset.state = state;
    this.#parts.state.textContent = STATE_NAMES[state];
    this.#parts.reason.textContent = reason;
    const label = state === 'closed' ? 'Connect' : 'Disconnect';
    this.#parts.toggle.textContent = label;
    this.#parts.toggle.setAttribute('aria-label', `${label} ${this.#provider.title}`);
    if (state !== 'open') this.setConnection('');
    this.#showEmpty();
  }

  setConnection(id) {
    this.connectionId = id;
    this.#fact('connection', id);
  }

  setCursor(cursor) {
    this.#fact('cursor', cursor);
  }

  /** Logs an event; `tag` says what became of an ask, `kind` is "event", "welcome" or "problem". */
  add({ event, data, tag, kind = 'event' }) {
    if (kind === 'event') this.count += 1;
    this.#waiting.push({ event, data, tag, kind, at: new Date() });
    if (this.#waiting.length > ROWS) this.#waiting.shift();
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  clear() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#waiting = [];
    this.count = 0;
    this.#parts.log.replaceChildren();
    this.#showCount();
    this.#showEmpty();
  }

  #draw() {
    this.#frame = 0;
    const rows = this.#waiting.map((row) => this.#row(row)).reverse();
    this.#waiting = [];
    const { log } = this.#parts;
    log.prepend(...rows);
    while (log.childElementCount > ROWS) log.lastElementChild.remove();
    this.#showCount();
    this.#showEmpty();
  }

  #row({ event, data, tag, kind, at }) {
    const { name } = this.#provider;
    const time = element('time', { datetime: at.toISOString() }, clockText(at));
    const head = element('div', { class: 'row-head' }, element('b', { class: 'row-event' }, event));
    if (tag) head.append(element('span', { class: 'tag' }, tag));
    head.append(element('span', { class: 'row-origin' }, name, time));
    const row = element('li', { 'data-event': event, 'data-provider': name, 'data-kind': kind }, head);
    const text = payloadText(data);
    if (text) row.append(element('code', { class: 'row-data' }, text));
    return row;
  }

  #fact(part, text) {
    const node = this.#parts[part];
    node.textContent = text || '–';
    node.title = text;
  }

  #showCount() {
    this.#parts.count.textContent = String(this.count);
    this.#parts.noun.textContent = this.count === 1 ? 'event' : 'events';
  }

  #showEmpty() {
    const { log, empty } = this.#parts;
    empty.hidden = log.childElementCount > 0;
    empty.textContent = EMPTY[this.state];
  }
}
