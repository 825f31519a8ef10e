// Rooms of the current user: join, leave, and the list with the transports of each.
import { call } from './api.js';
import { byId, element, problem } from './element.js';
import { shortName } from './providers.js';

export class Rooms {
  #user;
  #names = [];

  /** `user()` returns the user of these rooms. */
  constructor(user) {
    this.#user = user;
    byId('rooms-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#change('join', byId('room-name').value);
    });
    byId('room-leave').addEventListener('click', () => this.#change('leave', byId('room-name').value));
  }

  /** The names of the rooms the user is in. */
  get names() {
    return this.#names;
  }

  /** Reads the list again. */
  async refresh() {
    const user = this.#user();
    byId('rooms-user').textContent = user;
    try {
      const { rooms } = await call(`rooms?${new URLSearchParams({ user })}`);
      if (user === this.#user()) this.#show(rooms);
    } catch (error) {
      problem(byId('rooms-error'), error.message);
    }
  }

  async #change(verb, room) {
    problem(byId('rooms-error'));
    const user = this.#user();
    try {
      if (room === '') throw new Error(`Enter the name of the room to ${verb}.`);
      await call(`rooms/${verb}`, { user, room });
      await this.refresh();
      byId('rooms-status').textContent = `${user} ${verb === 'join' ? 'is now in' : 'has left'} ${room}.`;
    } catch (error) {
      problem(byId('rooms-error'), error.message);
    }
  }

  #show(rooms) {
    const holders = new Map(); // room → the transports that hold it
    for (const [provider, names] of Object.entries(rooms)) {
      for (const name of names) holders.set(name, [...(holders.get(name) ?? []), provider]);
    }
    this.#names = [...holders.keys()].sort();
    byId('rooms-list').replaceChildren(...this.#names.map((name) => this.#row(name, holders.get(name))));
    byId('rooms-empty').hidden = this.#names.length > 0;
  }

  #row(room, providers) {
    const leave = element('button', { type: 'button', class: 'small', 'aria-label': `Leave ${room}` }, 'Leave');
    leave.addEventListener('click', async () => {
      await this.#change('leave', room);
      byId('room-name').focus(); // the button is gone
    });
    return element('li', { 'data-room': room },
      element('b', { class: 'room' }, room),
      element('span', { class: 'holders' }, ...providers.map((name) => element('span', { class: `holder of-${name}`, 'data-provider': name }, shortName(name)))),
      leave);
  }
}
