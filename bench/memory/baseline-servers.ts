/**
 * Servers that do nothing but hold connections, each in a fresh process. They show what a transport
 * costs without an edge.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../cli/local/ports.js';
import type { Certificate } from '../support/devices/certificate.js';
import { compile } from '../support/processes/compile.js';
import { LineProcess } from '../support/processes/line-process.js';

/** On the native transport, on the portable one, and a loop in C. */
export const BASELINE_NAMES = ['native', 'net', 'bare'] as const;
/**
 * With TLS, `bare` keeps only keys after its answer, and `openssl` is the same loop with OpenSSL.
 */
export type BaselineName = (typeof BASELINE_NAMES)[number] | 'openssl';

export interface HoldingServer {
  readonly pid: number;
  readonly port: number;
  stop(): Promise<void>;
}

export interface BaselineServer extends HoldingServer {
  /** Writes one event to every connection. */
  write(): Promise<{ written: number; seconds: number }>;
}

/**
 * @param opening answer to every request
 * @param event what `write` writes
 * @throws Error when there is no C compiler for the loop in C
 */
export async function startBaseline(
  name: BaselineName,
  opening: string,
  event: string,
  certificate?: Certificate,
): Promise<BaselineServer> {
  const script = fileURLToPath(new URL('baseline-process.js', import.meta.url));
  const isInC = name === 'bare' || name === 'openssl';
  const [command, ...args]: string[] = isInC
    ? [compile('bench/memory/baseline.c', certificate !== undefined)]
    : [process.execPath, script, name];
  args.push(opening, event);
  if (certificate !== undefined) args.push(certificate.cert, certificate.key);
  if (isInC && certificate !== undefined) args.push(name === 'bare' ? 'keys' : 'library');
  const server = new LineProcess(`the baseline server ${name}`, command!, args);
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

const NGINX_CONNECTIONS_MAX = 19_900;

/**
 * nginx with one worker that answers every request itself and keeps the connection, which takes
 * less memory than to forward it.
 * @throws Error when nginx is not installed
 */
export async function startNginx({ cert, key }: Certificate): Promise<HoldingServer> {
  const folder = mkdtempSync(join(tmpdir(), 'longline-nginx-'));
  const port = await freePort();
  const temps = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${folder};`,
  );
  const config = `daemon off; pid ${folder}/pid; error_log stderr; worker_processes 1;
    worker_rlimit_nofile ${NGINX_CONNECTIONS_MAX + 100};
    events { worker_connections ${NGINX_CONNECTIONS_MAX}; }
    http { access_log off; keepalive_timeout 1h; ${temps.join(' ')}
      server { listen 127.0.0.1:${port} ssl backlog=4096; ssl_certificate ${cert};
        ssl_certificate_key ${key}; ssl_protocols TLSv1.3; return 200 x; } }`;
  writeFileSync(join(folder, 'nginx.conf'), config);
  const nginx = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await once(nginx, 'spawn');
  await untilListening(nginx, port);
  const children = readFileSync(`/proc/${nginx.pid}/task/${nginx.pid}/children`, 'utf8');
  return {
    pid: Number(children.trim()),
    port,
    async stop() {
      nginx.kill('SIGTERM');
      await once(nginx, 'exit');
    },
  };
}

async function untilListening(server: ChildProcess, port: number): Promise<void> {
  while (server.exitCode === null) {
    const socket = connect(port, '127.0.0.1');
    const isListening = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isListening) return;
    await sleep(50);
  }
  throw new Error('nginx has ended; its output says why');
}
