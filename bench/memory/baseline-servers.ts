/**
 * Servers that do nothing but hold connections, each in a fresh process: on the native transport,
 * on the portable one, and a loop in C (`bare`). They show what a transport costs without an edge.
 */
import { fileURLToPath } from 'node:url';
import { compile } from '../support/processes/compile.js';
import { LineProcess } from '../support/processes/line-process.js';

export const BASELINE_NAMES = ['native', 'net', 'bare'] as const;
export type BaselineName = (typeof BASELINE_NAMES)[number];

export interface BaselineServer {
  readonly pid: number;
  readonly port: number;
  /** Writes one event to every connection. */
  write(): Promise<{ written: number; seconds: number }>;
  stop(): Promise<void>;
}

/**
 * @param opening answer to every request
 * @param event what `write` writes
 * @throws Error when there is no C compiler for `bare`
 */
export async function startBaseline(
  name: BaselineName,
  opening: string,
  event: string,
): Promise<BaselineServer> {
  const script = fileURLToPath(new URL('baseline-process.js', import.meta.url));
  const [command, ...args] =
    name === 'bare' ? [compile('bench/memory/baseline.c')] : [process.execPath, script, name];
  const server = new LineProcess(`the baseline server ${name}`, command!, [
    ...args,
    opening,
    event,
  ]);
  return {
    pid: server.pid,
    port: Number(await server.nextLine()),
    async write() {
      const [written, nanoseconds] = (await server.ask('')).split(' ').map(Number);
      return { written: written!, seconds: nanoseconds! / 1e9 };
    },
    stop: () => server.stop(),
  };
}
