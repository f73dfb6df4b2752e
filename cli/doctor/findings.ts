/**
 * Limits that prevent a machine from holding many connections, judged from its readings. Pure: the
 * readings come from `readings.ts`. A value that could not be read is `unknown`, never `ok`.
 */
import type { ClockReport } from '../../common/cluster/clocks/clock-reports.js';
import { judgeClocks } from './clocks.js';

/** Undefined: the value could not be read, or this machine does not have it. */
export interface Readings {
  /** Hard limit of this process; Node.js raises the soft limit to it. */
  readonly openFilesMax: number | undefined;
  /** Upper bound of `ulimit -n` for any process. */
  readonly openFilesPerProcessMax: number | undefined;
  readonly openFilesPerMachineMax: number | undefined;
  readonly listenBacklogMax: number | undefined;
  readonly synBacklogMax: number | undefined;
  /** In pages of 4,096 bytes; the kernel drops packets above the third number. */
  readonly tcpMemPages: readonly [number, number, number] | undefined;
  readonly localPorts: readonly [first: number, last: number] | undefined;
  readonly conntrack: { readonly count: number; readonly max: number } | undefined;
  readonly memoryBytes: number | undefined;
  /** Memory limit of the control group; Infinity: no limit. */
  readonly cgroupMemoryBytesMax: number | undefined;
  /** Reason why the native transport cannot be loaded; '' when it can. */
  readonly nativeUnavailableReason: string | undefined;
  /** Undefined: no Redis URL was given. */
  readonly redis: RedisReadings | undefined;
}

export type RedisReadings =
  | { readonly unreachable: string }
  | {
      readonly version: string;
      /** A replica, outside of a Redis Cluster: nothing can be stored there. */
      readonly isReplica: boolean;
      /** `client-output-buffer-limit` of subscribers: hard, soft, seconds; 0: no limit. */
      readonly subscriberBuffer: readonly [number, number, number] | undefined;
      readonly maxmemoryBytes: number | undefined;
      readonly maxmemoryPolicy: string | undefined;
      /** Keys evicted since the server started. */
      readonly evictedKeys: number;
      readonly appendOnly: boolean | undefined;
      /**
       * Clocks of this machine and of the processes that have reported. Empty: Redis does not say.
       */
      readonly clocks: readonly ClockReport[];
    };

/** `fail`: the machine cannot hold the connections · `warn`: it can, until a failure or a burst. */
export type Grade = 'ok' | 'warn' | 'fail' | 'unknown';

export interface Finding {
  readonly what: string;
  readonly grade: Grade;
  readonly value: string;
  /** Setting to change, and the reason; '' for `ok`. */
  readonly advice: string;
}

/** Descriptors that an edge reserves for other purposes (edge/config.ts). */
const DESCRIPTORS_RESERVED = 512;
const PAGE_BYTES = 4_096;
/**
 * Memory of the kernel and of the edge per connection, with the portable transport, rounded up:
 * docs/measurements.md.
 */
const BYTES_PER_CONNECTION = 10 * 1_024;
/** Minimum of kernel memory for a socket with one unsent push. */
const TCP_BYTES_PER_BUSY_CONNECTION = PAGE_BYTES;
/** First version with sharded pub/sub. */
const REDIS_MAJOR_MIN = 7;
const SUBSCRIBER_BUFFER_BYTES_MIN = 64 * 1024 * 1024;
/** Listen backlog of edges. */
const LISTEN_BACKLOG = 4_096;

/** @param connections number that this machine should hold, over all of its edges */
export function judge(readings: Readings, connections: number): Finding[] {
  return [
    judgeOpenFiles(readings, connections),
    judgeMachineFiles(readings, connections),
    judgeBacklogs(readings),
    judgeTcpMemory(readings, connections),
    judgeMemory(readings, connections),
    judgeTransport(readings),
    judgePorts(readings),
    ...judgeConntrack(readings, connections),
    ...judgeRedis(readings.redis),
  ];
}

function judgeOpenFiles(readings: Readings, connections: number): Finding {
  const what = 'open files per process';
  const { openFilesMax: max, openFilesPerProcessMax: most } = readings;
  if (max === undefined) return unread(what);
  const perEdge = max - DESCRIPTORS_RESERVED;
  const value = `${max}: ${Math.max(0, perEdge)} connections per edge`;
  if (perEdge >= connections) return ok(what, value);
  const wanted = connections + DESCRIPTORS_RESERVED;
  const edges = perEdge > 0 ? `run ${Math.ceil(connections / perEdge)} edges, or ` : '';
  const bound = most !== undefined && most < wanted ? ` (first sysctl fs.nr_open=${wanted})` : '';
  const advice = `${edges}set LimitNOFILE=${wanted}, ulimit -n ${wanted}${bound}: a connection is a descriptor`;
  return { what, grade: perEdge > 0 ? 'warn' : 'fail', value, advice };
}

function judgeMachineFiles(readings: Readings, connections: number): Finding {
  const what = 'open files of the machine';
  const max = readings.openFilesPerMachineMax;
  if (max === undefined) return unread(what);
  // The same number again for everything else on this machine.
  const wanted = 2 * connections;
  if (max >= wanted) return ok(what, `${max}`);
  return {
    what,
    grade: max > connections ? 'warn' : 'fail',
    value: `${max}`,
    advice: `sysctl fs.file-max=${wanted}: it bounds all processes together`,
  };
}

function judgeBacklogs(readings: Readings): Finding {
  const what = 'connections that wait to be accepted';
  const { listenBacklogMax: listen, synBacklogMax: syn } = readings;
  if (listen === undefined) return unread(what);
  const value = syn === undefined ? `${listen}` : `${listen}, half-open ${syn}`;
  if (Math.min(listen, syn ?? listen) >= LISTEN_BACKLOG) return ok(what, value);
  const advice =
    `sysctl net.core.somaxconn=${LISTEN_BACKLOG} net.ipv4.tcp_max_syn_backlog=${LISTEN_BACKLOG}: ` +
    'in a reconnect storm, the kernel drops the rest, which retry after a second or more';
  return { what, grade: 'warn', value, advice };
}

function judgeTcpMemory(readings: Readings, connections: number): Finding {
  const what = 'memory of all TCP buffers';
  const pages = readings.tcpMemPages?.[2];
  if (pages === undefined) return unread(what);
  const value = mebibytes(pages * PAGE_BYTES);
  const wanted = connections * TCP_BYTES_PER_BUSY_CONNECTION;
  if (pages * PAGE_BYTES >= wanted) return ok(what, value);
  const wantedPages = Math.ceil(wanted / PAGE_BYTES);
  const advice =
    `sysctl net.ipv4.tcp_mem="${wantedPages >> 1} ${(wantedPages * 3) >> 2} ${wantedPages}": ` +
    'a push to every connection at once needs a page each, and the kernel drops packets above this';
  return { what, grade: 'warn', value, advice };
}

function judgeMemory(readings: Readings, connections: number): Finding {
  const { memoryBytes, cgroupMemoryBytesMax } = readings;
  const what = 'memory';
  if (memoryBytes === undefined) return unread(what);
  const limit = Math.min(memoryBytes, cgroupMemoryBytesMax ?? Infinity);
  const value = limit < memoryBytes ? `${mebibytes(limit)} (control group)` : mebibytes(limit);
  const wanted = connections * BYTES_PER_CONNECTION;
  if (limit >= 2 * wanted) return ok(what, value);
  const advice =
    `${connections} connections take about ${mebibytes(wanted)}, kernel and edges together, ` +
    'and the kernel’s share counts against a control group; leave as much again for bursts';
  return { what, grade: limit >= wanted ? 'warn' : 'fail', value, advice };
}

function judgeTransport(readings: Readings): Finding {
  const what = 'transport of edges';
  if (readings.nativeUnavailableReason === undefined) return unread(what);
  if (readings.nativeUnavailableReason === '') return ok(what, 'native');
  const advice =
    `native is not available: ${readings.nativeUnavailableReason}. It needs Linux and, at set-up, ` +
    'a C++ compiler; the portable one needs over a kilobyte more memory per connection';
  return { what, grade: 'warn', value: 'net', advice };
}

function judgePorts(readings: Readings): Finding {
  const what = 'local ports';
  if (readings.localPorts === undefined) return unread(what);
  const [first, last] = readings.localPorts;
  const value = `${first}–${last}`;
  if (last - first >= 28_000) return ok(what, value);
  const advice =
    'sysctl net.ipv4.ip_local_port_range="1024 65535": it bounds outgoing connections to one ' +
    'address, as a load test or a proxy opens them; accepted connections need none';
  return { what, grade: 'warn', value, advice };
}

function judgeConntrack(readings: Readings, connections: number): Finding[] {
  // The module is not loaded and tracks nothing, which is best.
  if (readings.conntrack === undefined) return [];
  const { count, max } = readings.conntrack;
  const what = 'tracked connections (conntrack)';
  const value = `${count} of ${max}`;
  const wanted = 2 * connections;
  if (max >= wanted) return [ok(what, value)];
  const advice =
    `sysctl net.netfilter.nf_conntrack_max=${wanted}, or a NOTRACK rule for the device port: ` +
    'when the table is full, the kernel silently drops new connections';
  return [{ what, grade: max > connections ? 'warn' : 'fail', value, advice }];
}

function judgeRedis(redis: RedisReadings | undefined): Finding[] {
  if (redis === undefined) return [];
  if ('unreachable' in redis) {
    const advice = 'no push is delivered without it: check the address and the credentials';
    return [{ what: 'Redis', grade: 'fail', value: redis.unreachable, advice }];
  }
  const { version, subscriberBuffer, maxmemoryBytes, maxmemoryPolicy, appendOnly } = redis;
  const { evictedKeys } = redis;
  const findings: Finding[] = [];
  const isOld = Number(version.split('.')[0]) < REDIS_MAJOR_MIN;
  findings.push({
    what: 'Redis version',
    grade: isOld ? 'fail' : 'ok',
    value: version,
    advice: isOld
      ? `upgrade to Redis ${REDIS_MAJOR_MIN} or newer: older ones lack sharded pub/sub`
      : '',
  });
  if (redis.isReplica) {
    const advice = 'nothing can be stored there: the URL must lead to the master';
    findings.push({ what: 'Redis role', grade: 'fail', value: 'replica', advice });
  }
  findings.push(judgeSubscriberBuffer(subscriberBuffer));
  findings.push(judgeEviction(maxmemoryBytes, maxmemoryPolicy));
  if (evictedKeys > 0) {
    const advice =
      'stored pushes were deleted before they were delivered: raise maxmemory, and set ' +
      'maxmemory-policy noeviction';
    findings.push({
      what: 'keys that Redis evicted',
      grade: 'fail',
      value: `${evictedKeys}`,
      advice,
    });
  }
  const persistence = 'Redis persistence';
  if (appendOnly === undefined) findings.push(unread(persistence));
  else if (appendOnly) findings.push(ok(persistence, 'append-only file'));
  else {
    const advice = 'appendonly yes: without it, a restart of Redis loses every stored push';
    findings.push({ what: persistence, grade: 'warn', value: 'no append-only file', advice });
  }
  findings.push(redis.clocks.length === 0 ? unread('clocks') : judgeClocks(redis.clocks));
  return findings;
}

function judgeSubscriberBuffer(limits: readonly [number, number, number] | undefined): Finding {
  const what = 'Redis buffer per subscriber';
  if (limits === undefined) return unread(what);
  const [hard, soft, seconds] = limits;
  const value = hard === 0 ? 'no limit' : `${mebibytes(hard)}, ${mebibytes(soft)} for ${seconds} s`;
  if (hard === 0 || hard >= SUBSCRIBER_BUFFER_BYTES_MIN) return ok(what, value);
  const advice =
    'CONFIG SET client-output-buffer-limit "pubsub 256mb 64mb 60": Redis disconnects an edge ' +
    'that lags more than this under load, and the edge then has to read the inboxes of all its clients';
  return { what, grade: 'warn', value, advice };
}

function judgeEviction(maxmemoryBytes: number | undefined, policy: string | undefined): Finding {
  const what = 'Redis when its memory is full';
  if (maxmemoryBytes === undefined || policy === undefined) return unread(what);
  const value = maxmemoryBytes === 0 ? 'no limit' : `${mebibytes(maxmemoryBytes)}, ${policy}`;
  if (policy === 'noeviction') return ok(what, value);
  const advice =
    'maxmemory-policy noeviction: any other silently deletes accepted pushes from inboxes, and ' +
    'no role starts unless LONGLINE_REDIS_EVICTION_ACCEPTED names it';
  return { what, grade: 'fail', value, advice };
}

function ok(what: string, value: string): Finding {
  return { what, grade: 'ok', value, advice: '' };
}

function unread(what: string): Finding {
  return {
    what,
    grade: 'unknown',
    value: '?',
    advice: 'the value could not be read on this machine',
  };
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
