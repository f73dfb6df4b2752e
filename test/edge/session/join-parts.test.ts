import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { InboxEntry } from '../../../common/cluster/history/inbox-read.js';
import { joinParts } from '../../../edge/session/join-parts.js';

interface Drawn {
  readonly to: string;
  readonly text: string;
  readonly isEnd: boolean;
  readonly isCorrupt: boolean;
}

/** Entries as the script stores them. */
function entriesOf(all: readonly Drawn[]): InboxEntry[] {
  const ends = new Map<string, number>();
  return all.map(({ to, text, isEnd, isCorrupt }, i) => {
    const payload = Buffer.from(text);
    const offset = ends.get(to) ?? 0;
    ends.set(to, isEnd ? 0 : offset + payload.length);
    const appended = to === '' ? undefined : { to, offset, isEnd };
    return { id: `${i + 1}-0`, payload, contentType: '', ttlMs: 1_000, isCorrupt, appended };
  });
}

const drawn = fc.record({
  to: fc.constantFrom('', 'a', 'a', 'b'),
  text: fc.string({ maxLength: 5, unit: 'grapheme' }),
  isEnd: fc.integer({ min: 0, max: 5 }).map((n) => n === 0),
  isCorrupt: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
});

test('every byte is there once, in its place, and no push moves past another', () => {
  fc.assert(
    fc.property(fc.array(drawn), (all) => {
      const entries = entriesOf(all);
      let next = 0;
      for (const joined of joinParts(entries)) {
        const run: InboxEntry[] = [];
        do run.push(entries[next++]!);
        while (run.at(-1)!.id !== joined.id);
        expect(joined.payload).toEqual(Buffer.concat(run.map(({ payload }) => payload)));
        expect(joined.appended?.offset).toBe(run[0]!.appended?.offset);
        expect(joined.appended?.isEnd).toBe(run.at(-1)!.appended?.isEnd);
        if (run.length === 1) continue;
        expect(run.some(({ isCorrupt }) => isCorrupt)).toBe(false);
        expect(new Set(run.map(({ appended }) => appended!.to)).size).toBe(1);
        expect(run.slice(0, -1).some(({ appended }) => appended!.isEnd)).toBe(false);
      }
      expect(next).toBe(entries.length);
    }),
  );
});

test('a reload in the middle of a message costs one push', () => {
  const parts = Array.from({ length: 500 }, (_, i) => ({
    ...{ to: 'answer', text: `token${i} `, isEnd: i === 499, isCorrupt: false },
  }));
  const [only, ...others] = joinParts(entriesOf(parts));
  expect(others).toEqual([]);
  expect(only!.payload.toString()).toBe(parts.map(({ text }) => text).join(''));
  expect(only).toMatchObject({ id: '500-0', appended: { to: 'answer', offset: 0, isEnd: true } });
});
