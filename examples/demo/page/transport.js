// One transport of the page: its panel, its link, its switches, and a second connection that shows
// what the first one missed.
import { call } from './api.js';
import { clockText } from './element.js';
import { linkId, pause } from './link.js';
import { SocketIoLink } from './link-socketio.js';
import { SseLink } from './link-sse.js';
import { WsLink } from './link-ws.js';
import { Panel } from './panel.js';
import { Tally } from './tally.js';

const LINKS = { sse: SseLink, ws: WsLink, socket: SocketIoLink };
const SLOW_BYTES = 2_000; // a second; about twenty small events
const WITNESS_MS = 3_000;
const REPORTS = 2; // the server's second report is certain: the first may have been on its way before

const NOT_RESUMED = {
  epoch: 'The server’s log is a new one.',
  expired: 'The old position has left the window.',
  invalid: 'The old cursor was not valid.',
};
const TOO_SLOW = 'It was too slow, and its position has left the window.';

export class Transport {
  panel;
  state = 'closed';
  #provider;
  #page;
  #id = linkId();
  #link;
  #reason = 'Not connected yet.';
  #next = ''; // the time of the next attempt
  #fault = { cut: false, slow: false };
  #changing = Promise.resolve();
  #cutOff = false; // set from a cut to the next welcome
  #witness = null;
  #witnessId = '';
  #unsure = false; // set when the second connection has lost events itself
  #tally = new Tally();
  #away = true; // set when the connection was cut, not only slow, since both switches were off
  #recovery = ''; // "", "catching up", "done"
  #loss = ''; // the reason, when the server said that events are lost
  #idle = 0; // the number of reports in a row in which this connection is live
  #reports = 0; // the server's reports on this connection since it recovered
  #superseded = 0; // the number of events that newer ones of their key have replaced
  #supersededBefore = 0;

  /** `page` has identity, arrived(event), answer(), ready() and announce(text). */
  constructor(provider, page) {
    this.#provider = provider;
    this.#page = page;
    this.panel = new Panel(provider, {
      onToggle: (on) => (on ? page.ready() && this.connect() : this.#closedByHand()),
      onFault: (fault) => this.#change(fault),
    });
    this.#link = this.#open({
      state: (state, reason, next) => this.#moved(state, reason, next),
      welcome: (data) => this.#welcomed(data),
      cursor: (cursor) => this.panel.setCursor(cursor),
      event: (event) => this.#got(event),
    }, this.#id);
    this.#show();
  }

  connect() {
    this.#link.connect(this.#page.identity);
  }

  /** Closes the link and forgets its cursor: the user is another one. */
  leave() {
    this.#link.disconnect();
    this.#link.forget();
    this.#moved('closed', 'Not connected as this user yet.');
    this.#tally.begin();
    this.panel.setCursor('');
    this.panel.clear();
    this.#show();
  }

  get title() {
    return this.#provider.title;
  }

  /** Sends an event over this connection; returns false while it is not open. */
  send(event, data) {
    return this.state === 'open' && this.#link.send(event, data);
  }

  /** The connections of this page, by id. */
  get ids() {
    return [this.panel.connectionId, this.#witness ? this.#witnessId : ''].filter(Boolean);
  }

  /** Takes the server's report on this user's connections, by transport. */
  report(connections) {
    const own = connections?.[this.#provider.name]?.find(({ connection }) => connection === this.panel.connectionId);
    this.panel.setServer(own);
    // Without the last expected event, only the server knows when nothing more is sent.
    this.#idle = own && !own.behind && own.queuedEvents === 0 ? this.#idle + 1 : 0;
    this.#superseded = own?.superseded ?? 0;
    this.#reports += 1;
    if (this.#recovery === 'catching up' && this.#idle >= REPORTS) this.#finish();
    else if (this.#recovery === 'done') this.#show();
  }

  #open(on, id, cursor) {
    return new LINKS[this.#provider.name](on, id, cursor);
  }

  #closedByHand() {
    this.#link.disconnect();
    this.#moved('closed', 'Closed by you. Connecting again resumes from the cursor.');
  }

  #moved(state, reason, next = '') {
    const before = this.state;
    this.state = state;
    this.#reason = reason;
    this.#next = next;
    if (state !== 'open') {
      this.panel.setConnection('');
      this.panel.setServer(undefined);
      this.#superseded = this.#supersededBefore = 0;
    }
    if (state === 'closed') {
      this.#dismiss();
      this.#recovery = '';
    } else if (this.#fault.cut) {
      // Everything on its way at the cut has been read by now.
      this.#tally.count();
    }
    if (before === 'open' || (state === 'closed' && before !== 'closed')) this.#page.announce(`${this.#provider.title} ${state}. ${reason}`);
    this.#show();
  }

  #welcomed(data) {
    this.state = 'open';
    this.#cutOff = false;
    this.#loss = NOT_RESUMED[data.reason] ?? '';
    this.#recovery = '';
    this.#reason = `Since ${clockText(new Date()).slice(0, 8)}. ${data.resumed ? 'Resumed from the cursor.' : 'Reads from here on.'}`;
    this.panel.setConnection(String(data.connectionId ?? ''));
    this.panel.add({ event: 'connected', data, kind: 'welcome' });
    if (this.#faultless) this.#recovered(data.resumed);
    this.#page.announce(`${this.#provider.title} open`);
    this.#show();
  }

  #got({ event, data, cursor, answer }) {
    const { number, twice } = this.#tally.got(cursor);
    const answers = answer && this.panel.answers;
    if (answers) answer(this.#page.answer());
    if (event === 'lost') this.#loss = TOO_SLOW;
    const late = number !== undefined;
    const tags = [];
    if (twice) tags.push('twice');
    if (late) tags.push(`${this.#fault.slow ? 'late' : 'missed'} ${number} of ${this.#tally.expected}`);
    if (answer) tags.push(answers ? 'answered' : 'left unanswered');
    this.#page.arrived(this.#provider.name);
    this.panel.add({
      event, data, tags, late: number,
      kind: event === 'error' || event === 'lost' || twice ? 'problem' : event === 'reconnect' ? 'welcome' : 'event',
    });
    if (this.#recovery === 'catching up' && this.#tally.complete) this.#finish();
    this.#show();
  }

  // The switches

  get #faultless() {
    return !this.#fault.cut && !this.#fault.slow;
  }

  /** Applies one change after the other, the newest last. */
  #change(wanted) {
    this.#changing = this.#changing.then(() => this.#apply(wanted));
  }

  async #apply(wanted) {
    const { cut, slow } = wanted;
    if (cut === this.#fault.cut && slow === this.#fault.slow) return;
    if (this.#faultless) await this.#observe();
    try {
      await call('wire', { link: this.#id, cut, bytesPerSecond: slow ? SLOW_BYTES : null });
    } catch (error) {
      this.panel.setFault(this.#fault, error.message);
      if (this.#faultless) this.#dismiss();
      return;
    }
    this.panel.setFault(wanted);
    this.#fault = wanted;
    if (cut) this.#cutOff = this.#away = true;
    if (slow || (cut && this.state !== 'open')) this.#tally.count();
    if (this.#faultless && this.state === 'open' && !this.#cutOff) this.#recovered(true);
    if (cut) this.#page.announce(`${this.#provider.title}: the wire is cut`);
    this.#show();
  }

  /**
   * Opens the second connection, which has no fault: from the same position, it gets what the first
   * one does not.
   */
  async #observe() {
    this.#tally.begin();
    this.#recovery = '';
    this.#loss = '';
    this.#unsure = false;
    this.#away = false;
    this.#supersededBefore = this.#superseded;
    if (this.state === 'closed' || !this.#link.cursor) return;
    const opened = new Promise((resolve) => {
      this.#witness = this.#open({
        state: (state) => { if (state === 'closed') resolve(); },
        welcome: (data) => {
          if (!data.resumed) this.#unsure = true;
          this.#witnessId = String(data.connectionId ?? '');
          resolve();
        },
        cursor: () => {},
        event: ({ event, cursor, answer }) => {
          if (event === 'lost') this.#unsure = true;
          this.#tally.sent(cursor);
          answer?.({ answer: 'The page’s second connection, which counts what the first one misses' });
          this.#show();
        },
      }, linkId(), this.#link.cursor);
    });
    this.#witness.connect(this.#page.identity);
    await Promise.race([opened, pause(WITNESS_MS)]);
  }

  #dismiss() {
    this.#witness?.disconnect();
    this.#witness = null;
  }

  /**
   * Starts the recovery, when the connection is open without a fault: what was missed arrives now.
   */
  #recovered(resumed) {
    if (!this.#witness) return;
    this.#dismiss();
    this.#tally.fix();
    this.#idle = 0;
    if (resumed && !this.#tally.complete) this.#recovery = 'catching up';
    else this.#finish();
  }

  #finish() {
    this.#recovery = 'done';
    this.#reports = 0;
    this.#page.announce(`${this.#provider.title}: ${this.#outcome()}`);
    this.#show();
  }

  // The panel

  #show() {
    const [phase, name, text] = this.#phase();
    this.panel.setPhase(this.state, phase, name, text);
    const { expected, arrived, twice } = this.#tally;
    this.panel.setTally({ away: this.#away, expected, arrived, twice });
  }

  #phase() {
    const { cut } = this.#fault;
    const { expected, arrived } = this.#tally;
    if (this.state === 'closed') return ['closed', 'Closed', this.#reason];
    if (cut) return ['cut', 'Cut', `${this.#witness ? `${events(expected)} sent meanwhile. ` : ''}${this.#next}`];
    if (this.state === 'connecting') {
      const text = `${this.#reason} ${this.#next}`.trim();
      return this.#link.cursor ? ['reconnecting', 'Reconnecting', text] : ['connecting', 'Connecting', text];
    }
    if (this.#fault.slow) {
      const waiting = expected - arrived;
      return ['slow', 'Slow', `${(SLOW_BYTES / 1000).toLocaleString('en')} kB/s. ${waiting > 0 ? `${events(waiting)} on the way.` : 'Nothing is waiting.'}`];
    }
    if (this.#recovery === 'catching up') return ['catching-up', 'Catching up', `${arrived} of ${events(expected)} have arrived.`];
    if (this.#loss) return ['lost', this.#loss === TOO_SLOW ? 'Events lost' : 'Not resumed', this.#outcome()];
    if (this.#recovery === 'done' && this.#unexplained > 0 && this.#reports >= REPORTS) return ['lost', 'Events missing', this.#outcome()];
    if (this.#recovery === 'done') return ['resumed', this.#away ? 'Resumed' : 'Caught up', this.#outcome()];
    return ['live', 'Live', this.#reason];
  }

  /** The number of events that neither arrived nor were replaced by newer ones of their key. */
  get #unexplained() {
    return this.#tally.expected - this.#tally.arrived - (this.#superseded - this.#supersededBefore);
  }

  #outcome() {
    return this.#unsure ? `${this.#result()} There may have been more: the connection that counts them missed some itself.` : this.#result();
  }

  #result() {
    const { expected, arrived, twice, swapped } = this.#tally;
    const gone = expected - arrived;
    if (this.#loss) {
      return `${this.#loss} ${this.#recovery === 'done' && gone > 0 ? `${events(gone)} sent meanwhile will not come.` : 'An application loads its state again.'}`;
    }
    const late = `${this.#away ? 'missed' : 'late'} ${expected === 1 ? 'event' : 'events'}`;
    if (expected === 0) return 'Nothing was missed.';
    if (twice > 0 || swapped > 0) return `${arrived} of ${expected} ${late} arrived, ${twice} twice, ${swapped} out of order.`;
    if (gone > 0) {
      const others = this.#unexplained <= 0 ? 'newer ones of the same key stand for the others'
        : this.#reports < REPORTS ? 'the server is asked about the others' : `${events(this.#unexplained)} did not come`;
      return `${arrived} of ${expected} ${late} arrived once, in order; ${others}.`;
    }
    return expected === 1 ? `The ${late} arrived, once.` : `All ${expected.toLocaleString('en')} ${late} arrived once, in order.`;
  }
}

function events(n) {
  return `${n.toLocaleString('en')} ${n === 1 ? 'event' : 'events'}`;
}
