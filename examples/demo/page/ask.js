// The ask form: a question to a user's or a room's devices, and the answer and time of each.
import { call } from './api.js';
import { byId, element, fieldProblem, payloadText, problem } from './element.js';
import { parseJson } from './json.js';
import { shortName } from './providers.js';

const STATUS = {
  answered: 'answered', timedOut: 'timed out', givenUp: 'given up', gone: 'gone', unreadable: 'unreadable',
};

export class AskForm {
  #kind = byId('ask-target-kind');
  #name = byId('ask-target-name');
  #data = byId('ask-data');
  #ownIds;
  #busy = false;

  /**
   * `ownIds()` returns the connection ids of this page, `defaults()` the names that go with a kind
   * of target.
   */
  constructor(defaults, ownIds) {
    this.#ownIds = ownIds;
    byId('ask-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.#kind.addEventListener('change', () => this.followDefaults(defaults()));
    this.#data.addEventListener('input', () => {
      if (this.#data.hasAttribute('aria-invalid')) this.#payload();
    });
    this.#data.addEventListener('change', () => this.#payload());
  }

  /** The answer of this page to an ask. */
  get answer() {
    return { answer: byId('answer-text').value, at: new Date().toISOString() };
  }

  followDefaults(defaults) {
    this.#name.value = defaults[this.#kind.value];
  }

  async #ask() {
    if (this.#busy) return;
    const payload = this.#payload();
    if (payload.wrong) {
      this.#data.focus();
      return;
    }
    const button = byId('ask-submit');
    this.#busy = true;
    button.setAttribute('aria-disabled', 'true');
    problem(byId('ask-error'));
    try {
      const kind = this.#kind.value;
      const timeoutMs = Number(byId('ask-timeout').value);
      if (this.#name.value === '') throw new Error(`Enter the name of the ${kind} to ask.`);
      if (byId('ask-event').value === '') throw new Error('Enter an event name.');
      if (!Number.isInteger(timeoutMs) || timeoutMs < 1) throw new Error('Enter how many milliseconds to wait, as a whole number.');
      byId('ask-summary').textContent = `Asking. Devices have ${timeoutMs} ms to answer.`;
      const order = { [kind]: this.#name.value, event: byId('ask-event').value, data: payload.value, timeoutMs };
      const { acks } = await call('ask', order, timeoutMs + 10_000);
      this.#show(acks);
    } catch (error) {
      problem(byId('ask-error'), error.message);
      byId('ask-summary').textContent = 'The question was not sent.';
      this.#rows([]);
    } finally {
      this.#busy = false;
      button.removeAttribute('aria-disabled');
    }
  }

  #payload() {
    try {
      const value = parseJson(this.#data.value);
      fieldProblem(this.#data, byId('ask-data-error'));
      return { value };
    } catch (error) {
      fieldProblem(this.#data, byId('ask-data-error'), error.message);
      return { wrong: true };
    }
  }

  #show(acks) {
    this.#rows(acks);
    const parts = Object.entries(STATUS)
      .map(([status, text]) => [acks.filter((ack) => ack.status === status).length, text])
      .filter(([n]) => n > 0)
      .map(([n, text]) => `${n} ${text}`);
    byId('ask-summary').textContent = acks.length === 0
      ? 'No connected device matches.'
      : `${acks.length} ${acks.length === 1 ? 'device' : 'devices'}: ${parts.join(', ')}.`;
  }

  #rows(acks) {
    const own = new Set(this.#ownIds());
    byId('ask-table').hidden = acks.length === 0;
    byId('ask-results').replaceChildren(...acks.map(({ connectionId, provider, status, ms, data }) => element('tr',
      { role: 'row', 'data-connection': connectionId, 'data-provider': provider, 'data-status': status },
      element('td', { role: 'cell', class: 'device-id' }, element('code', { title: connectionId }, String(connectionId).slice(0, 8)),
        ...(own.has(connectionId) ? [' ', element('span', { class: 'tag' }, 'this page')] : [])),
      element('td', { role: 'cell', class: 'over' }, element('span', { class: `holder of-${provider}` }, shortName(provider))),
      element('td', { role: 'cell', class: 'status' }, STATUS[status] ?? status),
      element('td', { role: 'cell', class: 'number' }, `${Math.round(ms)} ms`),
      element('td', { role: 'cell', class: 'answer' }, element('code', {}, status === 'answered' ? payloadText(data) : '')))));
  }
}
