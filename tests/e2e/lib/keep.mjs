// What a test has started, ended after it in the reverse order.

import { afterEach } from 'node:test';
import { startDemo } from './demo.mjs';

let open = [];
afterEach(async () => {
  for (const end of open.reverse()) await end();
  open = [];
});

/** Ends `what` after the test, by `close()` unless another way is given; returns it. */
export function keep(what, end = () => what.close()) {
  open.push(end);
  return what;
}

/** Starts a demo that is killed after the test. */
export async function keptDemo(...args) {
  const started = await startDemo(...args);
  return keep(started, () => started.child.kill('SIGKILL'));
}
