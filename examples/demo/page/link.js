// The shared parts of the three links. A link is made with `on`, an id that all its requests carry
// (`?link=`), and a cursor to begin from. It has connect({user, tenant}), disconnect(), forget()
// and `cursor`, and where clients can send, send(event, data), which returns whether it could. It
// reports to `on`: state(name, reason, next), welcome(data), cursor(text), event({event, data,
// cursor?, answer?}). `next` says when it retries. States: "connecting", "open" (the welcome has
// arrived), "closed".

/** The longest delay between two attempts, in milliseconds; short, because a user watches. */
export const LONGEST_WAIT = 4_000;

/** The token that refreshes a login, when the server says that it ends; any will do here. */
export const NEW_TOKEN = 'again';

/** A name that no other link has: 24 hexadecimal digits. */
export function linkId() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * The delay that the server asked for with its event `reconnect`, in milliseconds, or undefined.
 */
export function askedDelay(data) {
  return Number.isFinite(data?.delayMs) && data.delayMs >= 0 ? data.delayMs : undefined;
}

/** JSON if it is JSON, else the text itself. */
export function decode(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Resolves after `ms`, or immediately when `signal`, if there is one, is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/** A refusal of the server in plain words. */
export async function refusal(response) {
  const text = await response.text().catch(() => '');
  return refusalText(response.status, text);
}

export function refusalText(status, body) {
  const said = decode(body);
  const message = said?.error?.message ?? (typeof said === 'string' && said.length < 200 ? said : '');
  return message ? `Refused with ${status}: ${message.replace(/\.?$/, '.')}` : `Refused with ${status}.`;
}

export function seconds(ms) {
  return ms < 950 ? `${Math.round(ms)} ms` : `${Number((ms / 1000).toFixed(1))} s`;
}

/** The base of the links: what reports to `on`, their id, and the cursor to begin from. */
export class Link {
  constructor(on, id, cursor = '') {
    this.on = on;
    this.id = id;
    this.cursor = cursor;
    this.failures = 0;
  }

  /** Connects anew; `open(identity)` is the transport's own. */
  connect(identity) {
    this.disconnect();
    this.failures = 0;
    this.on.state('connecting', '');
    this.open(identity);
  }

  /** Forgets the cursor, so that the next connection starts at the end of the log. */
  forget() {
    this.cursor = '';
  }
}
