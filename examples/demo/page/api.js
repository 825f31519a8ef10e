// The demo's HTTP API. Every failure becomes an ApiError whose message can be shown as it is.

export class ApiError extends Error {}

/** POSTs JSON (or GETs, without a body) and answers the decoded response. */
export async function call(path, body, timeoutMs = 10_000) {
  let response;
  let answer;
  try {
    response = await fetch(`/api/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store',
      signal: AbortSignal.timeout(timeoutMs),
    });
    answer = await response.text();
  } catch (error) {
    throw new ApiError(error.name === 'TimeoutError'
      ? 'The server did not answer in time.'
      : 'The server cannot be reached. Is the demo still running?');
  }
  let value;
  try {
    value = JSON.parse(answer);
  } catch {
    throw new ApiError(`The server answered with status ${response.status} and no explanation.`);
  }
  if (!response.ok) throw new ApiError(errorText(value.error) ?? `The server answered with status ${response.status}.`);
  return value;
}

/** `{code, message}` as one sentence. */
export function errorText(error) {
  if (!error) return undefined;
  const message = String(error.message || error.code || 'unknown error');
  const sentence = message[0].toUpperCase() + message.slice(1);
  return error.code && error.message ? `${sentence} (${error.code})` : sentence;
}
