/**
 * Saved inputs: one file each in `test/fuzz/corpus/<target>/`, as hex, so that they can be read and
 * compared. A run starts with them and adds inputs with a new outcome.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../common/process/package-root.js';

const FOLDER = join(packageRoot, 'test/fuzz/corpus');
const BYTES_PER_LINE = 32;
/** Larger inputs are too long to read; the seed reproduces them. */
const SAVED_BYTES_MAX = 512;

/** `#` starts a comment that ends with the line. */
export function parseHex(text: string): Buffer {
  return Buffer.from(text.replace(/#.*$/gm, '').replace(/\s+/g, ''), 'hex');
}

export function formatHex(input: Buffer, comment: string): string {
  const lines = [`# ${comment.replace(/[^\x20-\x7e]/g, '?').slice(0, 200)}`];
  for (let at = 0; at < input.length; at += BYTES_PER_LINE) {
    lines.push(input.subarray(at, at + BYTES_PER_LINE).toString('hex'));
  }
  return `${lines.join('\n')}\n`;
}

export function loadCorpus(target: string): Buffer[] {
  const folder = join(FOLDER, target);
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => name.endsWith('.hex'));
  return names.sort().map((name) => parseHex(readFileSync(join(folder, name), 'utf8')));
}

/**
 * Saves an input. A new one is skipped if it is larger than `SAVED_BYTES_MAX`; a failing one is
 * always saved.
 * @returns the path of the file; undefined if it was skipped
 */
export function saveInput(
  target: string,
  kind: 'new' | 'failing',
  input: Buffer,
  comment: string,
): string | undefined {
  if (kind === 'new' && input.length > SAVED_BYTES_MAX) return undefined;
  const digest = createHash('sha256').update(input).digest('hex').slice(0, 12);
  const name = `${target}/${kind === 'new' ? '' : 'failing-'}${digest}.hex`;
  mkdirSync(join(FOLDER, target), { recursive: true });
  writeFileSync(join(FOLDER, name), formatHex(input, comment));
  return `test/fuzz/corpus/${name}`;
}
