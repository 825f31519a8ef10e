// Numbered events to the page's user: the next one is sent when the one before is in the log.
import { call } from './nodes.js';

const INTERVAL = 200;

export class Stream {
  running = false;
  #user;
  #clients;
  #n = 0;
  #repeats = 0;

  constructor(user, clients) {
    this.#user = user;
    this.#clients = clients;
  }

  toggle() {
    this.running = !this.running;
    if (this.running) this.#run();
  }

  async #run() {
    const run = crypto.randomUUID();
    this.#n = this.#repeats = 0;
    for (const client of this.#clients) client.begin();
    this.#show('');
    while (this.running) {
      await this.#send(run, this.#n + 1);
      this.#n += 1;
      for (const client of this.#clients) client.expect(this.#n);
      this.#show('');
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
  }

  /** Sends until it is in the log; the key keeps it there once. */
  async #send(run, n) {
    for (;;) {
      try {
        await call('/api/send', { target: { user: this.#user }, event: 'number', data: { n }, idempotencyKey: `${run}-${n}` });
        return;
      } catch (error) {
        this.#repeats += 1;
        this.#show(`Number ${n} is sent again: ${error.message}.`);
        await new Promise((resolve) => setTimeout(resolve, INTERVAL));
      }
    }
  }

  #show(problem) {
    document.getElementById('stream-sent').textContent = this.#n;
    document.getElementById('stream-repeats').textContent = this.#repeats;
    document.getElementById('stream-problem').textContent = problem;
  }
}
