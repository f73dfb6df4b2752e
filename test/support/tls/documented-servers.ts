/** Servers of others that run with a configuration from docs/security.md. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';
import { eventually } from '../eventually.js';

export const securityDocument = readFileSync(join(packageRoot, 'docs/security.md'), 'utf8');

/** The code block of the document that starts with this text. */
export function documentedBlock(start: string): string {
  const [, text] = securityDocument.split(`\`\`\`\n${start}`);
  return `${start}${text!.split('```')[0]}`;
}

/**
 * Starts a server and adds it to the processes that the test ends. Resolves when it accepts
 * connections at the port with a certificate of the authority `ca`.
 */
export async function startServer(
  children: ChildProcess[],
  ca: Buffer,
  command: string,
  args: readonly string[],
  port: number,
): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  children.push(child);
  await eventually(async () => {
    const socket = request({ host: 'localhost', port, ca, path: '/healthz' });
    socket.on('error', () => {}).end();
    const [response] = (await once(socket, 'response')) as [IncomingMessage];
    response.resume();
  });
}
