// The send form: one event or a burst of them over the chosen transports, and the receipt of each.
import { call } from './api.js';
import { byId, element, fieldProblem, problem } from './element.js';
import { parseJson } from './json.js';
import { seconds } from './link.js';
import { PROVIDERS, shortName } from './providers.js';

const BURST = 100;

export class SendForm {
  #form = byId('send-form');
  #kind = byId('send-target-kind');
  #name = byId('send-target-name');
  #data = byId('send-data');
  #busy = false;
  #last;

  /** `defaults()` returns `{user, tenant, room}`: the first name of a target of that kind. */
  constructor(defaults) {
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#run(() => this.#sendOne());
    });
    byId('burst').addEventListener('click', () => this.#run(() => this.#sendBurst()));
    this.#kind.addEventListener('change', () => this.followDefaults(defaults()));
    this.#data.addEventListener('input', () => {
      if (this.#data.hasAttribute('aria-invalid')) this.#payload();
    });
    this.#data.addEventListener('change', () => this.#payload());
    this.#noReceipts();
  }

  /** The id of the last event that was sent, if there is one. */
  get lastId() {
    return this.#last;
  }

  /** Puts the name that goes with the chosen kind of target into its field. */
  followDefaults(defaults) {
    const all = this.#kind.value === 'all';
    this.#name.disabled = all;
    this.#name.value = all ? '' : defaults[this.#kind.value];
    this.#name.placeholder = all ? 'everyone' : '';
  }

  async #run(send) {
    if (this.#busy) return;
    this.#busy = true;
    const buttons = [byId('send-submit'), byId('burst')];
    buttons.forEach((button) => button.setAttribute('aria-disabled', 'true'));
    problem(byId('send-error'));
    try {
      await send();
    } catch (error) {
      problem(byId('send-error'), error.message);
      this.#noReceipts();
    } finally {
      this.#busy = false;
      buttons.forEach((button) => button.removeAttribute('aria-disabled'));
    }
  }

  async #sendOne() {
    const order = this.#order();
    const data = this.#payload();
    if (data.wrong) {
      this.#data.focus();
      return;
    }
    const { receipts } = await call('send', { ...order, data: data.value });
    this.#last = receipts[0]?.receipt.id;
    this.#receipts(receipts.map(({ provider, receipt }) => [provider, receiptText(receipt), 'good', receipt.id]));
  }

  async #sendBurst() {
    const order = this.#order();
    const button = byId('burst');
    const label = button.textContent;
    let last = [];
    let accepted = 0;
    const started = performance.now();
    try {
      // One after the other, so that the log shows them in order.
      while (accepted < BURST) {
        last = (await call('send', { ...order, event: 'burst', data: { n: accepted + 1, of: BURST } })).receipts;
        accepted += 1;
        if (accepted % 10 === 0) button.textContent = `${accepted} of ${BURST}`;
      }
    } catch (error) {
      throw accepted === 0 ? error : new Error(`${accepted} of ${BURST} were accepted. ${error.message}`);
    } finally {
      button.textContent = label;
      this.#last = last[0]?.receipt.id ?? this.#last;
    }
    const took = seconds(performance.now() - started);
    this.#receipts(last.map(({ provider, receipt }) => [provider, `${accepted} accepted in ${took}${placed(receipt)}`, 'good']));
  }

  #order() {
    const chosen = [...this.#form.querySelectorAll('[name=provider]:checked')].map(({ value }) => value);
    if (chosen.length === 0) throw new Error('Choose at least one transport to send over.');
    const kind = this.#kind.value;
    if (kind !== 'all' && this.#name.value === '') throw new Error(`Enter the name of the ${kind} to send to.`);
    const event = byId('send-event').value;
    if (event === '') throw new Error('Enter an event name.');
    const order = { target: kind === 'all' ? 'all' : { [kind]: this.#name.value }, event };
    // No provider named: over all of them, with one record in the log.
    if (chosen.length < PROVIDERS.length) order.provider = chosen;
    if (byId('send-volatile').checked) order.volatile = true;
    const latest = byId('send-latest').value;
    if (latest !== '') order.latestKey = latest;
    return order;
  }

  #payload() {
    try {
      const value = parseJson(this.#data.value);
      fieldProblem(this.#data, byId('send-data-error'));
      return { value };
    } catch (error) {
      fieldProblem(this.#data, byId('send-data-error'), error.message);
      return { wrong: true };
    }
  }

  #noReceipts() {
    this.#receipts(PROVIDERS.map(({ name }) => [name, 'no receipt', 'none']));
  }

  #receipts(rows) {
    const order = PROVIDERS.map(({ name }) => name);
    rows.sort(([one], [other]) => order.indexOf(one) - order.indexOf(other));
    byId('receipts').replaceChildren(...rows.map(([name, text, outcome, id]) => element('p',
      { class: `receipt of-${name}`, 'data-testid': `receipt-${name}`, 'data-outcome': outcome, title: id && `receipt ${id}` },
      element('b', {}, shortName(name)), ' ', text)));
  }
}

function receiptText({ position, delivered }) {
  const logged = position === null || position === undefined ? 'not logged' : `position ${position}`;
  if (!delivered) return `${logged}, delivery not known yet`;
  const { matched, queued, dropped } = delivered;
  return `${logged}, matched ${matched}, queued ${queued}${dropped > 0 ? `, dropped ${dropped}` : ''}`;
}

function placed(receipt) {
  return receipt?.position === null || receipt?.position === undefined ? '' : `, position ${receipt.position}`;
}
