/** Readings for `findings.ts`: /proc, control groups (v1 and v2), and Redis if its URL is given. */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { type ClockReport, readClockReports } from '../../common/cluster/clocks/clock-reports.js';
import { parseRedisUrl } from '../../common/net/redis-url.js';
import { parseCgroupLimit } from '../../common/process/memory/cgroup.js';
import { unixMs } from '../../common/process/time/clock.js';
import { measureOffset } from '../../common/process/time/clock-offset.js';
import { connectionOptions, type Endpoint, endpointOf } from '../../common/redis/connection.js';
import { RedisTls, type RedisTlsFiles } from '../../common/redis/endpoint/redis-tls.js';
import { parseIdentity } from '../../common/redis/identity/server-identity.js';
import { RedisNames } from '../../common/redis/redis-names.js';
import { parseSubscriberBuffer, readFacts } from '../../common/redis/requirements.js';
import { splitAddress } from '../../common/redis/slot-map.js';
import { nativeUnavailableReason } from '../../common/transport/native-transport.js';
import type { Readings, RedisReadings } from './findings.js';

const REDIS_MS_MAX = 2_000;

export async function readMachine(redisUrl: string | undefined): Promise<Readings> {
  const conntrackMax = number('/proc/sys/net/netfilter/nf_conntrack_max');
  const conntrackCount = number('/proc/sys/net/netfilter/nf_conntrack_count');
  const tcpMem = numbers('/proc/sys/net/ipv4/tcp_mem');
  const ports = numbers('/proc/sys/net/ipv4/ip_local_port_range');
  return {
    openFilesMax: parseOpenFiles(text('/proc/self/limits')),
    openFilesPerProcessMax: number('/proc/sys/fs/nr_open'),
    openFilesPerMachineMax: number('/proc/sys/fs/file-max'),
    listenBacklogMax: number('/proc/sys/net/core/somaxconn'),
    synBacklogMax: number('/proc/sys/net/ipv4/tcp_max_syn_backlog'),
    tcpMemPages: tcpMem?.length === 3 ? (tcpMem as [number, number, number]) : undefined,
    localPorts: ports?.length === 2 ? (ports as [number, number]) : undefined,
    conntrack:
      conntrackMax === undefined ? undefined : { count: conntrackCount ?? 0, max: conntrackMax },
    memoryBytes: parseMemTotal(text('/proc/meminfo')),
    cgroupMemoryBytesMax: parseCgroupLimit(
      text('/sys/fs/cgroup/memory.max') ?? text('/sys/fs/cgroup/memory/memory.limit_in_bytes'),
    ),
    nativeUnavailableReason: nativeUnavailableReason() ?? '',
    redis: redisUrl === undefined ? undefined : await readRedis(redisUrl),
  };
}

/** The hard limit in /proc/<pid>/limits. */
export function parseOpenFiles(limits: string | undefined): number | undefined {
  const found = limits?.match(/^Max open files +\S+ +(\S+)/m)?.[1];
  if (found === undefined) return undefined;
  return found === 'unlimited' ? Infinity : Number(found);
}

export function parseMemTotal(meminfo: string | undefined): number | undefined {
  const found = meminfo?.match(/^MemTotal: +(\d+) kB/m)?.[1];
  return found === undefined ? undefined : Number(found) * 1024;
}

/** @param urls as in LONGLINE_REDIS_URL; of several, the first server is read */
async function readRedis(urls: string): Promise<RedisReadings> {
  let tls: RedisTls | undefined;
  let endpoint: Endpoint;
  try {
    const url = urls.split(',', 1)[0]!.trim();
    if (parseRedisUrl(url).isTls) {
      tls = await RedisTls.open(tlsFilesIn(process.env), pino({ level: 'silent' }));
    }
    endpoint = endpointOf(url, { tls, natMap: {} });
  } catch (error) {
    return { unreachable: `LONGLINE_REDIS_URL or --redis: ${(error as Error).message}` };
  }
  const redis = new Redis({
    ...connectionOptions(endpoint, 'doctor'),
    lazyConnect: true,
    connectTimeout: REDIS_MS_MAX,
    commandTimeout: REDIS_MS_MAX,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  });
  // `connect` rejects with the same error.
  redis.on('error', () => {});
  try {
    await redis.connect();
    // Managed services and least-privilege users may not have permission for CONFIG.
    const settings = await redis.config('GET', 'client-output-buffer-limit').catch(() => []);
    const askedAtMs = performance.now();
    const info = await redis.info();
    const [roundTripMs, receivedAtMs] = [performance.now() - askedAtMs, unixMs()];
    const facts = readFacts(info, settings as string[]);
    const { timeMs } = facts;
    const own = timeMs === undefined ? undefined : measureOffset(timeMs, roundTripMs, receivedAtMs);
    const limits = facts.settings.get('client-output-buffer-limit');
    return {
      version: facts.version,
      isReplica: !parseIdentity(info).isMaster && !info.includes('cluster_enabled:1'),
      subscriberBuffer: limits === undefined ? undefined : parseSubscriberBuffer(limits),
      maxmemoryBytes: facts.maxmemoryBytes,
      maxmemoryPolicy: facts.maxmemoryPolicy,
      evictedKeys: facts.evictedKeys,
      appendOnly: facts.hasAppendOnlyFile,
      clocks: own
        ? [{ ...own, process: 'this machine' }, ...(await readReports(redis, timeMs!))]
        : [],
    };
  } catch (error) {
    return { unreachable: (error as Error).message };
  } finally {
    redis.disconnect();
    tls?.close();
  }
}

/** Empty: there are none, or the user lacks the right to read them. */
async function readReports(redis: Redis, nowMs: number): Promise<ClockReport[]> {
  const { clocks } = new RedisNames(process.env.LONGLINE_REDIS_PREFIX ?? '');
  try {
    return readClockReports(await redis.xrevrange(clocks, '+', '-'), nowMs);
  } catch (error) {
    // In a Redis Cluster, another server has them.
    const address = /^MOVED \d+ (\S+)$/.exec((error as Error).message)?.[1];
    if (address === undefined) return [];
    const owner = redis.duplicate(splitAddress(address));
    owner.on('error', () => {});
    const read = owner.connect().then(() => owner.xrevrange(clocks, '+', '-'));
    const entries = await read.catch(() => []);
    owner.disconnect();
    return readClockReports(entries, nowMs);
  }
}

function tlsFilesIn(env: NodeJS.ProcessEnv): RedisTlsFiles {
  const { LONGLINE_REDIS_TLS_CERT_FILE: cert, LONGLINE_REDIS_TLS_KEY_FILE: key } = env;
  return {
    ca: env.LONGLINE_REDIS_TLS_CA_FILE || undefined,
    own: cert && key ? { cert, key } : undefined,
  };
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function numbers(path: string): number[] | undefined {
  const read = text(path)?.trim().split(/\s+/).map(Number);
  return read?.every(Number.isFinite) ? read : undefined;
}

function number(path: string): number | undefined {
  return numbers(path)?.[0];
}
