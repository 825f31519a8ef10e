// What the three links share. A link has connect({user, tenant}), disconnect() and forget(), and reports to
// `on`: state(name, reason), welcome(data), cursor(text), event({event, data, answer?}).
// States: "connecting", "open" (the welcome has come), "closed".

/** JSON if it is JSON, else the text itself. */
export function decode(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Resolves after `ms`, or at once when `signal` is aborted. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
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
