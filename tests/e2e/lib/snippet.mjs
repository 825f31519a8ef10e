// The examples of docs/clients.md, to be run as they are written there.

import { readFileSync } from 'node:fs';

const DOCS = readFileSync(new URL('../../../docs/clients.md', import.meta.url), 'utf8');

/** A section's first example, or a later one, without its imports. */
export function recipe(section, number = 0) {
  const text = DOCS.split(`\n## ${section}\n`)[1]?.split('\n## ')[0];
  const code = [...(text ?? '').matchAll(/```js\n(.*?)```/gs)][number]?.[1];
  if (!code) throw new Error(`docs/clients.md: no example of ${section}`);
  return code.replace(/^import .*/m, '');
}

/** The beginning of a section's first example, up to the line that begins with `until`. */
export function snippet(section, until) {
  const code = recipe(section);
  const end = code.indexOf(`\n${until}`);
  if (end < 0) throw new Error(`docs/clients.md: no example of ${section} that has a line with ${until}`);
  return code.slice(0, end);
}
