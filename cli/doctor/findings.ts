/**
 * What keeps a machine from holding many connections, judged from what was read of it. Pure: the
 * readings come from `readings.ts`. What could not be read is said as such and never taken for good.
 */

/** Undefined: it could not be read, or there is no such thing on this machine. */
export interface Readings {
  /** Of this process; Node raises the soft limit to the hard one by itself. */
  readonly openFilesMax: number | undefined;
  /** Of any process: what `ulimit -n` can be set to. */
  readonly openFilesPerProcessMax: number | undefined;
  readonly openFilesPerMachineMax: number | undefined;
  readonly listenBacklogMax: number | undefined;
  readonly synBacklogMax: number | undefined;
  /** In pages of 4,096 bytes: above the third number the kernel drops. */
  readonly tcpMemPages: readonly [number, number, number] | undefined;
  readonly localPorts: readonly [first: number, last: number] | undefined;
  readonly conntrack: { readonly count: number; readonly max: number } | undefined;
  readonly memoryBytes: number | undefined;
  /** What the control group may use; Infinity: no limit. */
  readonly cgroupMemoryBytesMax: number | undefined;
  /** Why the native transport cannot be loaded; '': it can. */
  readonly notNativeBecause: string | undefined;
  /** Undefined: no Redis was named. */
  readonly redis: RedisReadings | undefined;
}

export type RedisReadings =
  | { readonly unreachable: string }
  | {
      readonly version: string;
      /** `client-output-buffer-limit` of subscribers: hard, soft, seconds; 0: no limit. */
      readonly subscriberBuffer: readonly [number, number, number] | undefined;
      readonly maxmemoryBytes: number | undefined;
      readonly maxmemoryPolicy: string | undefined;
      readonly appendOnly: boolean | undefined;
    };

/** `fail` the wanted connections cannot be held · `warn` they can, until something goes wrong. */
export type Grade = 'ok' | 'warn' | 'fail' | 'unknown';

export interface Finding {
  readonly what: string;
  readonly grade: Grade;
  readonly value: string;
  /** What to set, and why; '' when all is well. */
  readonly advice: string;
}

/** Descriptors that an edge keeps for itself (edge/config.ts). */
const DESCRIPTORS_RESERVED = 512;
const PAGE_BYTES = 4_096;
/** Kernel and edge together with the portable transport, rounded up: docs/measurements.md. */
const BYTES_PER_CONNECTION = 10 * 1_024;
/** What the kernel charges at least for a socket with one unsent push. */
const TCP_BYTES_PER_BUSY_CONNECTION = PAGE_BYTES;
/** The first with sharded pub/sub. */
const REDIS_MAJOR_MIN = 7;
const SUBSCRIBER_BUFFER_BYTES_MIN = 64 * 1024 * 1024;
/** The backlog that edges ask for. */
const LISTEN_BACKLOG = 4_096;

/** @param connections how many this machine is to hold, over all of its edges */
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
  // As many again for everything else that runs here.
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
    'when all devices come back at once, the rest is dropped and tries again after a second or more';
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
    'a push to every connection at once needs a page each, above this the kernel drops';
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
  if (readings.notNativeBecause === undefined) return unread(what);
  if (readings.notNativeBecause === '') return ok(what, 'native');
  const advice =
    `native is not to be had: ${readings.notNativeBecause}. It takes Linux and, at set-up, a C++ ` +
    'compiler; the portable one costs more than a kilobyte of memory per connection more';
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
    'address, as of a load test or a proxy; held connections need none';
  return { what, grade: 'warn', value, advice };
}

function judgeConntrack(readings: Readings, connections: number): Finding[] {
  // Not loaded: nothing is tracked, which is best.
  if (readings.conntrack === undefined) return [];
  const { count, max } = readings.conntrack;
  const what = 'tracked connections (conntrack)';
  const value = `${count} of ${max}`;
  const wanted = 2 * connections;
  if (max >= wanted) return [ok(what, value)];
  const advice =
    `sysctl net.netfilter.nf_conntrack_max=${wanted}, or a NOTRACK rule for the device port: ` +
    'when the table is full, new connections are dropped without a word';
  return [{ what, grade: max > connections ? 'warn' : 'fail', value, advice }];
}

function judgeRedis(redis: RedisReadings | undefined): Finding[] {
  if (redis === undefined) return [];
  if ('unreachable' in redis) {
    const advice = 'nothing is delivered without it: check the address and the credentials';
    return [{ what: 'Redis', grade: 'fail', value: redis.unreachable, advice }];
  }
  const { version, subscriberBuffer, maxmemoryBytes, maxmemoryPolicy, appendOnly } = redis;
  const findings: Finding[] = [];
  const isOld = Number(version.split('.')[0]) < REDIS_MAJOR_MIN;
  findings.push({
    what: 'Redis version',
    grade: isOld ? 'fail' : 'ok',
    value: version,
    advice: isOld ? `Redis ${REDIS_MAJOR_MIN} or newer: older ones have no sharded pub/sub` : '',
  });
  findings.push(judgeSubscriberBuffer(subscriberBuffer));
  findings.push(judgeEviction(maxmemoryBytes, maxmemoryPolicy));
  const persistence = 'Redis persistence';
  if (appendOnly === undefined) findings.push(unread(persistence));
  else if (appendOnly) findings.push(ok(persistence, 'append-only file'));
  else {
    const advice = 'appendonly yes: without it, a restart of Redis forgets every stored push';
    findings.push({ what: persistence, grade: 'warn', value: 'no append-only file', advice });
  }
  return findings;
}

function judgeSubscriberBuffer(limits: readonly [number, number, number] | undefined): Finding {
  const what = 'Redis buffer per subscriber';
  if (limits === undefined) return unread(what);
  const [hard, soft, seconds] = limits;
  const value = hard === 0 ? 'no limit' : `${mebibytes(hard)}, ${mebibytes(soft)} for ${seconds} s`;
  if (hard === 0 || hard >= SUBSCRIBER_BUFFER_BYTES_MIN) return ok(what, value);
  const advice =
    'CONFIG SET client-output-buffer-limit "pubsub 256mb 64mb 60": an edge that stalls under load is ' +
    'cut off at this, and has to read the inboxes of all its clients';
  return { what, grade: 'warn', value, advice };
}

function judgeEviction(maxmemoryBytes: number | undefined, policy: string | undefined): Finding {
  const what = 'Redis when its memory is full';
  if (maxmemoryBytes === undefined || policy === undefined) return unread(what);
  const value = maxmemoryBytes === 0 ? 'no limit' : `${mebibytes(maxmemoryBytes)}, ${policy}`;
  if (policy === 'noeviction') return ok(what, value);
  const advice =
    'maxmemory-policy noeviction: any other silently deletes inboxes that were accepted';
  return { what, grade: maxmemoryBytes === 0 ? 'warn' : 'fail', value, advice };
}

function ok(what: string, value: string): Finding {
  return { what, grade: 'ok', value, advice: '' };
}

function unread(what: string): Finding {
  return { what, grade: 'unknown', value: '?', advice: 'it could not be read here' };
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
