// The nodes: their state by the cluster's process, their connections by the directory.

const INTERVAL = 300;
const PHASES = { ended: 'Ended.', running: 'Not ready.', starting: 'Starting.', stopping: 'Stopping.' };
const TITLES = { sse: 'SSE', ws: 'WebSocket', socket: 'Socket.IO' };

/** POSTs JSON, or GETs without a body; fails with what the server said. */
export async function call(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw new Error('no answer');
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? `status ${response.status}`);
  return answer;
}

export class NodeList {
  #list;
  #user;
  #placed;
  #held = [];

  /** `placed` gets the names of the nodes by connection. */
  constructor(list, user, placed) {
    this.#list = list;
    this.#user = user;
    this.#placed = placed;
  }

  /** Asks again and again, and tells what the cluster's process says. */
  async watch(told) {
    for (;;) {
      try {
        const [state] = await Promise.all([call('/cluster/state'), this.#ask()]);
        for (const node of state.nodes) this.#show(node);
        told(state);
        this.#problem('');
      } catch (error) {
        this.#problem(`The cluster does not answer: ${error.message}.`);
      }
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
  }

  /** Without a ready node, or a directory, the last answer stays. */
  async #ask() {
    const answer = await call('/api/nodes').catch(() => null);
    if (!answer) return;
    this.#held = answer.nodes;
    const names = new Map(answer.nodes.flatMap(({ name, connections }) => connections.map(({ connection }) => [connection, name])));
    this.#placed(names);
  }

  #show({ name, state }) {
    const item = document.getElementById(name) ?? this.#make(name);
    const { phase, ready, health } = state;
    item.dataset.state = phase === 'running' && ready ? 'ready' : phase;
    // A node that was killed stays in the directory until its lease is over; one that was started
    // again has another id.
    const held = this.#held.filter((one) => one.name === name).flatMap(({ connections }) => connections);
    const text = (selector, value) => { item.querySelector(selector).textContent = value; };
    text('.phase', item.dataset.state === 'ready' ? 'Ready.' : PHASES[phase]);
    const probe = health?.probeMs;
    text('.detail', phase === 'ended' ? `${state.ended ?? ''}${held.length ? '; its lease is not over:' : ''}` : health?.error ?? (probe ? `Log written and read in ${probe.toFixed(1)} ms, pid ${state.pid}` : ''));
    const url = item.querySelector('.url');
    url.textContent = state.address ?? '';
    url.href = `http://${state.address}/`;
    for (const action of ['kill', 'stop']) item.querySelector(`.${action}`).disabled = phase === 'ended' || phase === 'starting';
    item.querySelector('.start').disabled = phase !== 'ended';
    item.querySelector('.held').replaceChildren(...held.slice(0, 20).map((one) => this.#chip(one, phase === 'ended')));
  }

  #chip({ provider, user }, gone) {
    const chip = document.createElement('li');
    chip.className = `of-${provider}${user === this.#user ? ' own' : ''}${gone ? ' lease' : ''}`;
    chip.textContent = user === this.#user ? TITLES[provider] ?? provider : `${TITLES[provider] ?? provider}, ${user}`;
    if (gone) chip.title = 'In the directory until the node’s lease is over';
    return chip;
  }

  #make(name) {
    const item = document.getElementById('node').content.firstElementChild.cloneNode(true);
    item.id = name;
    item.querySelector('h3').textContent = name;
    for (const action of ['kill', 'stop', 'start']) {
      item.querySelector(`.${action}`).addEventListener('click', () => {
        call(`/cluster/nodes/${name}/${action}`, {}).catch((error) => this.#problem(`${name}: ${error.message}.`));
      });
    }
    this.#list.append(item);
    return item;
  }

  #problem(text) {
    const problem = document.getElementById('nodes-problem');
    problem.textContent = text;
    problem.hidden = !text;
  }
}
