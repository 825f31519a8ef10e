// One transport of the page: its panel, its link, its switches, and a second connection that says what the first one missed.
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
const HEARD = 2; // what the server says is sure the second time: the first may have been on its way before

const NOT_RESUMED = {
  epoch: 'The server’s log is a new one.',
  expired: 'The old place has left the window.',
  invalid: 'The old place was not valid.',
};
const TOO_SLOW = 'It was too slow, and its place has left the window.';

export class Transport {
  panel;
  state = 'closed';
  #provider;
  #page;
  #id = linkId();
  #link;
  #reason = 'Not connected yet.';
  #next = ''; // when it tries again
  #weather = { cut: false, slow: false };
  #changing = Promise.resolve();
  #cutOff = false; // the wire was cut, and no welcome has come since
  #witness = null;
  #witnessId = '';
  #unsure = false; // the second connection has lost events itself
  #tally = new Tally();
  #away = true; // whether the wire was cut since the switches were last both off, not only slow
  #back = ''; // "", "catching up", "done"
  #told = ''; // the server said that events are lost, and why
  #idle = 0; // how often in a row the server called this connection live
  #heard = 0; // how often the server has said something of it since it was back
  #superseded = 0; // how many events the server left out for newer ones of their key
  #supersededBefore = 0;

  /** `page` has identity, arrived(event), answer(), ready() and announce(text). */
  constructor(provider, page) {
    this.#provider = provider;
    this.#page = page;
    this.panel = new Panel(provider, {
      onToggle: (on) => (on ? page.ready() && this.connect() : this.#closedByHand()),
      onWeather: (weather) => this.#change(weather),
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

  /** Closes the link and forgets its place: the user is another one. */
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

  /** Sends an event over this connection; false while it is not open. */
  send(event, data) {
    return this.state === 'open' && this.#link.send(event, data);
  }

  /** The connections of this page, by id. */
  get ids() {
    return [this.panel.connectionId, this.#witness ? this.#witnessId : ''].filter(Boolean);
  }

  /** What the server says of this user's connections, by transport. */
  known(connections) {
    const own = connections?.[this.#provider.name]?.find(({ connection }) => connection === this.panel.connectionId);
    this.panel.setServer(own);
    // Without the last of the expected, only the server knows when nothing more comes.
    this.#idle = own && !own.behind && own.queuedEvents === 0 ? this.#idle + 1 : 0;
    this.#superseded = own?.superseded ?? 0;
    this.#heard += 1;
    if (this.#back === 'catching up' && this.#idle >= HEARD) this.#finish();
    else if (this.#back === 'done') this.#show();
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
      this.#back = '';
    } else if (this.#weather.cut) {
      // Whatever was on its way when the wire was cut has been read by now.
      this.#tally.count();
    }
    if (before === 'open' || (state === 'closed' && before !== 'closed')) this.#page.announce(`${this.#provider.title} ${state}. ${reason}`);
    this.#show();
  }

  #welcomed(data) {
    this.state = 'open';
    this.#cutOff = false;
    this.#told = NOT_RESUMED[data.reason] ?? '';
    this.#back = '';
    this.#reason = `Since ${clockText(new Date()).slice(0, 8)}. ${data.resumed ? 'Resumed from the cursor.' : 'Reads from now on.'}`;
    this.panel.setConnection(String(data.connectionId ?? ''));
    this.panel.add({ event: 'connected', data, kind: 'welcome' });
    if (this.#fair) this.#returned(data.resumed);
    this.#page.announce(`${this.#provider.title} open`);
    this.#show();
  }

  #got({ event, data, cursor, answer }) {
    const { number, twice } = this.#tally.got(cursor);
    const answers = answer && this.panel.answers;
    if (answers) answer(this.#page.answer());
    if (event === 'lost') this.#told = TOO_SLOW;
    const late = number !== undefined;
    const tags = [];
    if (twice) tags.push('twice');
    if (late) tags.push(`${this.#weather.slow ? 'late' : 'missed'} ${number} of ${this.#tally.expected}`);
    if (answer) tags.push(answers ? 'answered' : 'left unanswered');
    this.#page.arrived(this.#provider.name);
    this.panel.add({
      event, data, tags, late: number,
      kind: event === 'error' || event === 'lost' || twice ? 'problem' : event === 'reconnect' ? 'welcome' : 'event',
    });
    if (this.#back === 'catching up' && this.#tally.complete) this.#finish();
    this.#show();
  }

  // The switches

  get #fair() {
    return !this.#weather.cut && !this.#weather.slow;
  }

  /** One change after the other, the newest last. */
  #change(wanted) {
    this.#changing = this.#changing.then(() => this.#apply(wanted));
  }

  async #apply(wanted) {
    const { cut, slow } = wanted;
    if (cut === this.#weather.cut && slow === this.#weather.slow) return;
    if (this.#fair) await this.#observe();
    try {
      await call('wire', { link: this.#id, cut, bytesPerSecond: slow ? SLOW_BYTES : null });
    } catch (error) {
      this.panel.setWeather(this.#weather, error.message);
      if (this.#fair) this.#dismiss();
      return;
    }
    this.panel.setWeather(wanted);
    this.#weather = wanted;
    if (cut) this.#cutOff = this.#away = true;
    if (slow || (cut && this.state !== 'open')) this.#tally.count();
    if (this.#fair && this.state === 'open' && !this.#cutOff) this.#returned(true);
    if (cut) this.#page.announce(`${this.#provider.title}: the wire is cut`);
    this.#show();
  }

  /** Opens the second connection, whose wire stays whole: it gets what the first one does not, from the same place on. */
  async #observe() {
    this.#tally.begin();
    this.#back = '';
    this.#told = '';
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

  /** The wire is whole again, and the connection is there: what was missed comes now. */
  #returned(resumed) {
    if (!this.#witness) return;
    this.#dismiss();
    this.#tally.fix();
    this.#idle = 0;
    if (resumed && !this.#tally.complete) this.#back = 'catching up';
    else this.#finish();
  }

  #finish() {
    this.#back = 'done';
    this.#heard = 0;
    this.#page.announce(`${this.#provider.title}: ${this.#outcome()}`);
    this.#show();
  }

  // What the panel says

  #show() {
    const [phase, name, text] = this.#phase();
    this.panel.setPhase(this.state, phase, name, text);
    const { expected, arrived, twice } = this.#tally;
    this.panel.setTally({ away: this.#away, expected, arrived, twice });
  }

  #phase() {
    const { cut } = this.#weather;
    const { expected, arrived } = this.#tally;
    if (this.state === 'closed') return ['closed', 'Closed', this.#reason];
    if (cut) return ['cut', 'Cut', `${this.#witness ? `${events(expected)} sent meanwhile. ` : ''}${this.#next}`];
    if (this.state === 'connecting') {
      const text = `${this.#reason} ${this.#next}`.trim();
      return this.#link.cursor ? ['reconnecting', 'Reconnecting', text] : ['connecting', 'Connecting', text];
    }
    if (this.#weather.slow) {
      const waiting = expected - arrived;
      return ['slow', 'Slow', `${(SLOW_BYTES / 1000).toLocaleString('en')} kB/s. ${waiting > 0 ? `${events(waiting)} on the way.` : 'Nothing is waiting.'}`];
    }
    if (this.#back === 'catching up') return ['catching-up', 'Catching up', `${arrived} of ${events(expected)} have arrived.`];
    if (this.#told) return ['lost', this.#told === TOO_SLOW ? 'Events lost' : 'Not resumed', this.#outcome()];
    if (this.#back === 'done' && this.#unexplained > 0 && this.#heard >= HEARD) return ['lost', 'Events missing', this.#outcome()];
    if (this.#back === 'done') return ['resumed', this.#away ? 'Resumed' : 'Caught up', this.#outcome()];
    return ['live', 'Live', this.#reason];
  }

  /** How many events neither came nor were left out for newer ones of their key. */
  get #unexplained() {
    return this.#tally.expected - this.#tally.arrived - (this.#superseded - this.#supersededBefore);
  }

  #outcome() {
    return this.#unsure ? `${this.#result()} There may have been more: the connection that counts them missed some itself.` : this.#result();
  }

  #result() {
    const { expected, arrived, twice, swapped } = this.#tally;
    const gone = expected - arrived;
    if (this.#told) {
      return `${this.#told} ${this.#back === 'done' && gone > 0 ? `${events(gone)} sent meanwhile will not come.` : 'An application loads its state again.'}`;
    }
    const late = `${this.#away ? 'missed' : 'late'} ${expected === 1 ? 'event' : 'events'}`;
    if (expected === 0) return 'Nothing was missed.';
    if (twice > 0 || swapped > 0) return `${arrived} of ${expected} ${late} arrived, ${twice} twice, ${swapped} out of order.`;
    if (gone > 0) {
      const others = this.#unexplained <= 0 ? 'newer ones of the same key stand for the others'
        : this.#heard < HEARD ? 'the server is asked about the others' : `${events(this.#unexplained)} did not come`;
      return `${arrived} of ${expected} ${late} arrived once, in order; ${others}.`;
    }
    return expected === 1 ? `The ${late} arrived, once.` : `All ${expected.toLocaleString('en')} ${late} arrived once, in order.`;
  }
}

function events(n) {
  return `${n.toLocaleString('en')} ${n === 1 ? 'event' : 'events'}`;
}
