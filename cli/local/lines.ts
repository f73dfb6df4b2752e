/**
 * Lines of a stream. Not by readline, which from Node.js 24 on also splits at U+2028 and U+2029:
 * JSON may contain both.
 */
import type { Readable } from 'node:stream';

/** Calls `onLine` with each line, and with what follows the last line feed. */
export function readLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  });
  stream.on('end', () => {
    if (rest !== '') onLine(rest);
  });
}
