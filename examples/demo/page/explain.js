// Why a user got an event, or did not, in the server's words.
import { call } from './api.js';
import { byId, problem } from './element.js';

export class ExplainForm {
  /** `lastSent()` returns the id of the last event that this page sent. */
  constructor(lastSent) {
    byId('explain-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#explain(byId('explain-event').value.trim() || lastSent());
    });
  }

  async #explain(event) {
    problem(byId('explain-error'));
    const text = byId('explain-text');
    try {
      if (!event) throw new Error('Enter the id of an event, or send one.');
      const question = new URLSearchParams({ event, user: byId('explain-user').value });
      const tenant = byId('explain-tenant').value;
      if (tenant) question.set('tenant', tenant);
      text.textContent = (await call(`explain?${question}`)).text;
      text.hidden = false;
    } catch (error) {
      text.hidden = true;
      problem(byId('explain-error'), error.message);
    }
  }
}
