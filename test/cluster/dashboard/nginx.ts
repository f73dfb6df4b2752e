/** An nginx in front of control, with the location of docs/dashboard.md. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { freePort } from '../../../cli/local/ports.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { eventually } from '../../support/eventually.js';

export async function startNginx(
  controlUrl: string,
): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const port = await freePort();
  const at = mkdtempSync(join(tmpdir(), 'longline-nginx-'));
  for (const name of ['logs', 'temp']) mkdirSync(join(at, name));
  const document = readFileSync(join(packageRoot, 'docs/dashboard.md'), 'utf8');
  const location = /^location .*?^}/ms
    .exec(document)![0]
    .replace('http://longline-control:7200', controlUrl);
  const temps = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${at}/temp/${name};\n`)
    .join('');
  writeFileSync(
    join(at, 'nginx.conf'),
    `daemon off;\npid ${at}/pid;\nerror_log ${at}/logs/error.log;\nevents {}\nhttp {\naccess_log off;\n` +
      `${temps}server {\nlisten 127.0.0.1:${port};\n${location}\n}\n}\n`,
  );
  const child = spawn('nginx', ['-p', at, '-c', join(at, 'nginx.conf')], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  await eventually(async () => expect((await fetch(`${url}/longline/`)).status).toBe(200));
  return { url, child };
}
