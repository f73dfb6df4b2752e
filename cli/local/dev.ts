/**
 * `longline dev`: Redis, control, a router and edges on this machine until Ctrl-C. The whole log of
 * each role is written to a file; the terminal shows warnings and errors.
 */
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Failure } from '../terminal/failure.js';
import { stopRequest } from '../terminal/stop-request.js';
import { LocalCluster } from './cluster.js';
import { readLogLine } from './log-line.js';
import { startRedis } from './redis.js';

export interface DevOptions {
  readonly edges: number;
  readonly restart: boolean;
}

const READY_MS_MAX = 60_000;

/** Runs until the user stops it. @throws Failure when the cluster does not start, or Redis exits */
export async function dev(options: DevOptions): Promise<void> {
  const stop = stopRequest();
  const stopped = once(stop, 'abort');
  const externalUrl = process.env.LONGLINE_REDIS_URL;
  const redis = externalUrl ? undefined : await startRedis({ onProgress: console.log });
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
      redisUrl: externalUrl || redis!.url,
      ports: 'default',
      signal: stop,
      onOutput: (name, line) => {
        writeLog(name, line);
        // During the start, the Failure has this output; during the stop, errors are noise.
        if (cluster === undefined || stop.aborted) return;
        const { text, isAlarming } = readLogLine(line);
        if (isAlarming) console.log(`${name}: ${text}`);
      },
    });
    stop.addEventListener('abort', () => console.log('Stopping; press Ctrl-C again to kill it'));
    await cluster.waitUntilReady(READY_MS_MAX);
    console.log(welcome(cluster));
    await Promise.race([stopped, redis?.exited ?? stopped]);
    if (!stop.aborted) throw new Failure('Redis has exited, and the cluster state with it');
  } catch (error) {
    // After a stop request, every operation in flight fails.
    if (!stop.aborted) throw error;
  } finally {
    await cluster?.stop();
    await redis?.stop();
  }
}

/**
 * Keeps the files open: a cleaner of temporary folders that deletes them must not stop the cluster.
 */
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
The same for a client with a single address (WebSocket, EventSource, MQTT):
  curl -N '${cluster.frontUrl()}/connect?clientId=bob'
Push to it from a second terminal:
  npx longline push alice '{"hello":"world"}'
  curl -H 'content-type: application/json' -d '{"clientId":"alice","payload":1}' ${cluster.pushUrl()}/v1/push
Look at the cluster:
  ${cluster.controlUrl}/
  curl -s ${control}/v1/cluster ; curl -s ${control}/v1/edges ; curl -s ${control}/v1/clients/alice
  npx longline status
  npx longline explain alice

Longline is ready`;
}
