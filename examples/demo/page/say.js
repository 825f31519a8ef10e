// A chat: a text that one of the page's connections sends, and all members of the room receive,
// over whatever they are connected with.
import { byId, problem } from './element.js';

export class SayForm {
  #transports;

  /** `transports` are those that can send, by name. */
  constructor(transports) {
    this.#transports = transports;
    byId('say-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#say();
    });
  }

  #say() {
    const text = byId('say-text');
    const transport = this.#transports[byId('say-over').value];
    if (text.value === '') return problem(byId('say-error'), 'Enter what to say.');
    // The server checks the membership, and answers with an event `error`.
    const sent = transport.send('say', { room: byId('room-name').value, text: text.value });
    problem(byId('say-error'), sent ? '' : `${transport.title} is not connected.`);
    if (sent) text.value = '';
  }
}
