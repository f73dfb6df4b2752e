/**
 * `longline dev`: Redis, control, a router and edges on this machine until Ctrl-C. A role's whole
 * log goes to a file of its own; the terminal gets what is worth a look.
 */
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stopRequest } from '../commands/stop-request.js';
import { Failure } from '../failure.js';
import { LocalCluster } from './cluster.js';
import { readLogLine } from './log-line.js';
import { startRedis } from './redis.js';

export interface DevOptions {
  readonly edges: number;
  readonly restart: boolean;
}

const READY_DEADLINE_MS = 60_000;

/** Runs until it is told to stop. @throws Failure when the cluster does not start, or Redis dies */
export async function dev(options: DevOptions): Promise<void> {
  const stop = stopRequest();
  const stopped = once(stop, 'abort');
  const givenUrl = process.env.LONGLINE_REDIS_URL;
  const redis = givenUrl ? undefined : await startRedis({ say: console.log });
  let cluster: LocalCluster | undefined;
  try {
    const logs = await mkdtemp(join(tmpdir(), 'longline-logs-'));
    console.log(
      `Redis  ${redis ? `${redis.url} (private, in memory)` : 'from LONGLINE_REDIS_URL'}`,
    );
    console.log(`Logs   ${logs}`);
    const writeLog = logFiles(logs);
    cluster = await LocalCluster.start({
      ...options,
      redisUrl: givenUrl || redis!.url,
      ports: 'default',
      signal: stop,
      onOutput: (name, line) => {
        writeLog(name, line);
        // A role that does not start says why in the failure; one that stops may complain.
        if (cluster === undefined || stop.aborted) return;
        const { text, isAlarming } = readLogLine(line);
        if (isAlarming) console.log(`${name}: ${text}`);
      },
    });
    stop.addEventListener('abort', () => console.log('Stopping; once more to stop at once'));
    await cluster.waitUntilReady(READY_DEADLINE_MS);
    console.log(welcome(cluster));
    await Promise.race([stopped, redis?.gone ?? stopped]);
    if (!stop.aborted) throw new Failure('Redis is gone, and with it all that the cluster knew');
  } catch (error) {
    // Whatever was under way has failed because it was told to.
    if (!stop.aborted) throw error;
  } finally {
    await cluster?.stop();
    await redis?.stop();
  }
}

/** Files stay open: a cleaner of temporary folders that removes them must not stop the cluster. */
function logFiles(folder: string): (name: string, line: string) => void {
  const files = new Map<string, number>();
  return (name, line) => {
    const file = files.get(name) ?? openSync(join(folder, `${name}.log`), 'a');
    files.set(name, file);
    writeSync(file, `${line}\n`);
  };
}

function welcome(cluster: LocalCluster): string {
  const control = cluster.controlUrl.replace('http://', '');
  return `
Hold a connection open, as a device does:
  curl -N -L '${cluster.routerUrl}/connect?clientId=alice'
The same for a client that knows one address only (WebSocket, EventSource, MQTT):
  curl -N '${cluster.frontUrl()}/connect?clientId=bob'
Push to it from a second terminal:
  npx longline push alice '{"hello":"world"}'
Look inside:
  curl -s ${control}/v1/cluster ; curl -s ${control}/v1/edges ; curl -s ${control}/v1/clients/alice
  npx longline status
  npx longline explain alice

Longline is ready`;
}
