// One transport's panel: its state, its facts, its switches and its log.
import { byId, clockText, element, payloadText, problem } from './element.js';

const ROWS = 200;

const EMPTY = {
  connecting: 'Waiting for the connection.',
  open: 'Listening. Send something to see it arrive.',
  closed: 'Connect to see events arrive here.',
};

export class Panel {
  state = 'closed';
  connectionId = '';
  count = 0;
  #provider;
  #root;
  #parts;
  #waiting = []; // rows that the next frame will insert, at most ROWS
  #frame = 0;

  /**
   * `onToggle(on)` when the link is to open or close, `onFault({cut, slow})` when a switch was
   * used.
   */
  constructor(provider, { onToggle, onFault }) {
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
      answers: part('.answers input', 'answer'),
      cut: part('.cut input', 'cut'),
      slow: part('.slow input', 'slow'),
      wireProblem: part('.wire .problem'),
      expectedName: part('.tally dt'),
      expected: part('.tally .expected', 'missed'),
      arrived: part('.tally .arrived', 'arrived'),
      twice: part('.tally .twice', 'twice'),
      own: [...root.querySelectorAll('.own [data-own]')],
      log: part('.log', 'log'),
      empty: part('.log-frame .empty'),
    };
    part('.clear', 'clear').addEventListener('click', () => this.clear());
    part('.clear').setAttribute('aria-label', `Clear the ${title} log`);
    part('.answers').hidden = !asks;
    part('.one-way').hidden = asks;
    for (const label of root.querySelectorAll('.switch span')) label.append(element('span', { class: 'sr' }, ` over ${title}`));
    part('.server', 'stats');
    const { cut, slow } = this.#parts;
    for (const input of [cut, slow]) input.addEventListener('change', () => onFault({ cut: cut.checked, slow: slow.checked }));
    this.#parts.log.setAttribute('aria-label', `${title} events, newest first`);
    this.#parts.toggle.addEventListener('click', () => onToggle(this.state === 'closed'));
    byId('streams').append(root);
    this.setPhase('closed', 'closed', 'Closed', '');
    this.setConnection('');
    this.setCursor('');
    this.setServer(undefined);
    this.clear();
  }

  /** `true` if asks on this transport are answered. */
  get answers() {
    return this.#parts.answers.checked;
  }

  /**
   * Shows the link's `state` and, in more detail, its `phase`: live, cut, reconnecting,
   * catching-up, resumed, lost, slow, connecting, closed.
   */
  setPhase(state, phase, name, reason) {
    const changed = state !== this.state || !this.#root.dataset.state;
    this.state = state;
    this.#root.dataset.state = state;
    this.#root.dataset.phase = phase;
    setText(this.#parts.state, name);
    setText(this.#parts.reason, reason);
    if (!changed) return;
    const label = state === 'closed' ? 'Connect' : 'Disconnect';
    this.#parts.toggle.textContent = label;
    this.#parts.toggle.setAttribute('aria-label', `${label} ${this.#provider.title}`);
    this.#showEmpty();
  }

  /** Shows the switches as they are set, and why the last change failed. */
  setFault({ cut, slow }, why) {
    this.#parts.cut.checked = cut;
    this.#parts.slow.checked = slow;
    problem(this.#parts.wireProblem, why);
  }

  /**
   * Shows the number of events sent while the connection was cut or slow, of those that arrived,
   * and that arrived twice.
   */
  setTally({ away, expected, arrived, twice }) {
    setText(this.#parts.expectedName, away ? 'missed while away' : 'sent while slow');
    for (const [part, n] of Object.entries({ expected, arrived, twice })) setText(this.#parts[part], n.toLocaleString('en'));
    this.#root.dataset.tally = expected === 0 && twice === 0 ? 'none' : arrived === expected && twice === 0 ? 'even' : 'open';
  }

  /** Shows the server's statistics of this connection; undefined if it knows none. */
  setServer(stats) {
    this.#root.dataset.behind = stats ? String(stats.behind) : '';
    for (const node of this.#parts.own) {
      const name = node.dataset.own;
      const value = stats?.[name];
      setText(node, value === undefined || value === null ? '–' : name === 'behind' ? (value ? 'behind' : 'live') : value.toLocaleString('en'));
    }
  }

  setConnection(id) {
    this.connectionId = id;
    this.#fact('connection', id);
  }

  setCursor(cursor) {
    this.#fact('cursor', cursor);
  }

  /**
   * Logs an event with its tags; `kind` is "event", "welcome" or "problem", `late` the number among
   * the missed ones.
   */
  add({ event, data, tags = [], late, kind = 'event' }) {
    if (kind === 'event') this.count += 1;
    this.#waiting.push({ event, data, tags, late, kind, at: new Date() });
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

  #row({ event, data, tags, late, kind, at }) {
    const { name } = this.#provider;
    const time = element('time', { datetime: at.toISOString() }, clockText(at));
    const head = element('div', { class: 'row-head' }, element('b', { class: 'row-event' }, event));
    head.append(...tags.map((tag) => element('span', { class: 'tag' }, tag)));
    head.append(element('span', { class: 'row-origin' }, name, time));
    const row = element('li', { 'data-event': event, 'data-provider': name, 'data-kind': kind, 'data-late': late }, head);
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

// Most calls change nothing, and a screen reader must not announce them.
function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}
