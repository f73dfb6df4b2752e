/** A cluster of real processes on a real Redis. */
import {
  type ClusterView,
  controlApi,
  type EdgeView,
  type EventInfo,
} from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { type LocalRedis, startRedis } from '../../../cli/local/redis.js';
import { shardOf } from '../../../common/cluster/shard.js';
import type { MovesResponse } from '../../../control/operator/operation-responses.js';
import { SseClient } from '../devices/sse-client.js';
import { eventually } from '../eventually.js';
import { httpRequest } from '../http.js';
import { deviceTlsSettings } from '../tls/tls-run.js';
import { metricOf, untilCaughtUp } from './metric.js';
import { PushClient } from './push-client.js';
import { stopMoves } from './stop-moves.js';
import { TcpProxy } from './tcp-proxy.js';

export interface RunningClusterOptions {
  readonly edges: number;
  readonly controls?: number;
  readonly routers?: number;
  /** Restart roles that exit. Default: false. */
  readonly restart?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  /** Receives each line that a role prints. */
  readonly onOutput?: (name: string, line: string) => void;
  /** Name of the process that reaches Redis through `proxy`, and so can be partitioned from it. */
  readonly behindProxy?: string;
  /** Bearer token of the push client; '' for none. */
  readonly token?: string;
}

export interface ShardView {
  readonly shard: number;
  readonly tag: string;
  readonly channel: string;
  readonly owner: string | null;
}

/** Generous: the machine may be busy with other test files. */
const READY_DEADLINE_MS = 90_000;
/** On a busy machine an edge may start so late that moves, a minute later, give it its share. */
const START_TRIES = 3;
/** Maximum ratio of the largest to the smallest share when the first assignment has all edges. */
const SHARE_RATIO_MAX = 1.05;
/** Lines of output to print when a cluster does not become ready. */
const LAST_LINES = 60;

export class RunningCluster {
  /** Replaced when a test restarts Redis. */
  redis: LocalRedis;
  readonly #lines: string[];

  private constructor(
    readonly cluster: LocalCluster,
    readonly push: PushClient,
    redis: LocalRedis,
    /** Between Redis and the process named by `behindProxy`. */
    readonly proxy: TcpProxy,
    lines: string[],
  ) {
    this.redis = redis;
    this.#lines = lines;
  }

  static async start(options: RunningClusterOptions): Promise<RunningCluster> {
    for (let tries = 1; ; tries++) {
      const running = await RunningCluster.#startOnce(options);
      if (tries === START_TRIES || (await running.#isEven())) return running;
      console.log('an edge missed the first assignment: restarting the cluster');
      await running.stop();
    }
  }

  static async #startOnce(options: RunningClusterOptions): Promise<RunningCluster> {
    const { restart = false, env = {}, onOutput, behindProxy = '', token = '', ...sizes } = options;
    const redis = await startRedis();
    const proxy = await TcpProxy.start(redis.port);
    const lines: string[] = [];
    let running: RunningCluster | undefined;
    try {
      const cluster = await LocalCluster.start({
        redisUrl: redis.url,
        redisUrls: { [behindProxy]: `redis://127.0.0.1:${proxy.port}` },
        ...sizes,
        ports: 'free',
        restart,
        env: { ...deviceTlsSettings(), ...env },
        onOutput: (name, line) => {
          if (lines.push(`${name}: ${line}`) > LAST_LINES) lines.shift();
          onOutput?.(name, line);
        },
      });
      const push = new PushClient(cluster.routerAddress, token);
      running = new RunningCluster(cluster, push, redis, proxy, lines);
      await running.untilReady();
      return running;
    } catch (error) {
      await running?.stop();
      proxy.close();
      await redis.stop();
      throw error;
    }
  }

  /**
   * Waits also until routers receive replies: they are ready before, as they can store pushes.
   * Prints the last output of the roles if they do not become ready.
   */
  async untilReady(): Promise<void> {
    try {
      await this.cluster.waitUntilReady(READY_DEADLINE_MS);
      for (const name of this.cluster.namesOf('router')) {
        if (this.cluster.pid(name) === undefined) continue;
        const delivers = () => this.metric(name, 'longline_redis_master_delivers');
        await eventually(async () => (await delivers()) === 1);
      }
    } catch (error) {
      console.log(this.#lines.join('\n'));
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.push.close();
    await this.cluster.stop();
    this.proxy.close();
    await this.redis.stop();
  }

  /** The `/connect` URL of the router. */
  connectUrl(clientId: string): string {
    return `${this.cluster.routerUrl}/connect?clientId=${encodeURIComponent(clientId)}`;
  }

  /** The JSON response of `/connect`. */
  async lookUp(clientId: string): Promise<{ edgeId: string; url: string; shard: number }> {
    const headers = { accept: 'application/json' };
    const response = await httpRequest(this.connectUrl(clientId), { headers });
    if (response.status !== 200) throw new Error(`look-up of ${clientId}: ${response.body}`);
    return JSON.parse(response.body);
  }

  /** Connects a device and closes it, so that it counts as one of its user. */
  async connectOnce(clientId: string): Promise<void> {
    (await SseClient.open(this.connectUrl(clientId))).close();
    await eventually(async () => (await this.push.presence(clientId)).connections.length === 0);
  }

  /** `count` clientIds that start with `prefix` and whose shards `edgeId` owns now. */
  async clientIdsOf(edgeId: string, count: number, prefix = 'client'): Promise<string[]> {
    const shards = await this.shards();
    if (!shards.some(({ owner }) => owner === edgeId)) throw new Error(`${edgeId} owns no shard`);
    const found: string[] = [];
    for (let i = 0; found.length < count; i++) {
      const clientId = `${prefix}-${i}`;
      if (shards[shardOf(clientId, shards.length)]!.owner === edgeId) found.push(clientId);
    }
    return found;
  }

  untilCaughtUp(): Promise<void> {
    return untilCaughtUp(this.cluster);
  }

  /** Sends an operator call to control. */
  async postToControl(path: string): Promise<void> {
    const headers = { 'content-type': 'application/json' };
    const { controlUrl } = this.cluster;
    const response = await fetch(controlUrl + path, { method: 'POST', headers, body: '{}' });
    if (response.status !== 200)
      throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }

  stopMoves(): Promise<void> {
    return stopMoves(controlApi(this.cluster.controlUrl));
  }

  /** Cancels the drain of an edge. Resolves when the edge owns shards again. */
  async undrain(edgeId: string): Promise<void> {
    await this.postToControl(`/v1/edges/${edgeId}/undrain`);
    await eventually(
      async () => (await this.shards()).some(({ owner }) => owner === edgeId),
      READY_DEADLINE_MS,
    );
    await this.untilReady();
  }

  async clientIdOf(edgeId: string, prefix = 'client'): Promise<string> {
    return (await this.clientIdsOf(edgeId, 1, prefix))[0]!;
  }

  /** True if the first assignment had all edges: otherwise shares are uneven until moves finish. */
  async #isEven(): Promise<boolean> {
    const sizes = (await this.edges()).map(({ shardsOwned }) => shardsOwned);
    return Math.max(...sizes) <= SHARE_RATIO_MAX * Math.min(...sizes);
  }

  async shards(): Promise<ShardView[]> {
    return JSON.parse((await httpRequest(`${this.cluster.controlUrl}/v1/shards`)).body).shards;
  }

  edges(): Promise<EdgeView[]> {
    return controlApi(this.cluster.controlUrl).edges();
  }

  events(): Promise<EventInfo[]> {
    return controlApi(this.cluster.controlUrl).events(0);
  }

  moves(): Promise<MovesResponse> {
    return controlApi(this.cluster.controlUrl).moves();
  }

  view(): Promise<ClusterView> {
    return controlApi(this.cluster.controlUrl).cluster();
  }

  async isReady(name: string): Promise<boolean> {
    return (await httpRequest(`${this.cluster.httpUrl(name)}/readyz`)).status === 200;
  }

  /** The value of a metric of one process; 0 while there is no sample with these labels yet. */
  metric(name: string, metric: string, labels: Record<string, string> = {}): Promise<number> {
    return metricOf(this.cluster.httpUrl(name), metric, labels);
  }
}
