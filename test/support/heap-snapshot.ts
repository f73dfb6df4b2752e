import { readFileSync } from 'node:fs';

interface Snapshot {
  readonly snapshot: {
    readonly meta: {
      readonly node_fields: readonly string[];
      readonly node_types: readonly [readonly string[], ...unknown[]];
    };
  };
  readonly nodes: readonly number[];
  readonly strings: readonly string[];
}

/**
 * Counts the objects of a heap snapshot by type and constructor; strings are one group. Compiled
 * code is left out, because V8 creates and discards it at any time.
 */
export function countObjects(file: string): Map<string, number> {
  const { snapshot, nodes, strings } = read(file);
  const { node_fields, node_types } = snapshot.meta;
  const [typeAt, nameAt] = [node_fields.indexOf('type'), node_fields.indexOf('name')];
  const counts = new Map<string, number>();
  for (let i = 0; i < nodes.length; i += node_fields.length) {
    const type = node_types[0][nodes[i + typeAt]!]!;
    if (type === 'code') continue;
    const name = type === 'object' || type === 'closure' ? ` ${strings[nodes[i + nameAt]!]}` : '';
    counts.set(type + name, (counts.get(type + name) ?? 0) + 1);
  }
  return counts;
}

/** Strings of a later snapshot that an earlier one does not have. */
export function newStrings(earlier: string, later: string): string[] {
  const known = new Set(read(earlier).strings);
  return read(later).strings.filter((each) => !known.has(each));
}

function read(file: string): Snapshot {
  return JSON.parse(readFileSync(file, 'utf8'));
}
