/** A cluster of real processes over a real Redis, ready to be used, and gone afterwards. */
import {
  type ClusterView,
  controlApi,
  type EdgeView,
  type EventInfo,
} from '../../../cli/control/api.js';
import { LocalCluster } from '../../../cli/local/cluster.js';
import { type LocalRedis, startRedis } from '../../../cli/local/redis.js';
import { shardOf } from '../../../common/cluster/shard.js';
import { eventually } from '../eventually.js';
import { ask } from '../http.js';
import { metricOf, untilCaughtUp } from './metric.js';
import { PushClient } from './push-client.js';
import { TcpProxy } from './tcp-proxy.js';

export interface RunningClusterOptions {
  readonly edges: number;
  readonly controls?: number;
  readonly routers?: number;
  /** Whether a role that dies is started again in place. */
  readonly restart?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  /** Hears each line that a role prints. */
  readonly onOutput?: (name: string, line: string) => void;
  /** A member that can be cut from Redis. */
  readonly behindProxy?: string;
  /** What routers are shown; '' for nothing. */
  readonly token?: string;
}

export interface ShardView {
  readonly shard: number;
  readonly tag: string;
  readonly owner: string | null;
}

/** Generous: the machine may be busy with other test files. */
const READY_DEADLINE_MS = 45_000;
/** On a busy machine an edge may come so late that it gets its share by moves, a minute later. */
const START_TRIES = 3;
/** Of the largest share over the smallest: no first assignment for all edges is further apart. */
const EVEN_OVER_LEAST = 1.05;
/** How much of what the roles printed explains a cluster that does not get ready. */
const LAST_LINES = 60;

export class RunningCluster {
  /** A restarted Redis is another one. */
  redis: LocalRedis;
  readonly #lines: string[];

  private constructor(
    readonly cluster: LocalCluster,
    readonly push: PushClient,
    redis: LocalRedis,
    /** Between Redis and the member that can be cut from it. */
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
      console.log('an edge came too late for the first assignment: the cluster is started again');
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
        env,
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

  /** Prints what the roles have said last when they do not get ready. */
  async untilReady(): Promise<void> {
    try {
      await this.cluster.waitUntilReady(READY_DEADLINE_MS);
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

  /** Where the router sends a client: the URL of `/connect` there. */
  connectUrl(clientId: string): string {
    return `${this.cluster.routerUrl}/connect?clientId=${encodeURIComponent(clientId)}`;
  }

  /** What the router answers to whoever asks for JSON. */
  async lookUp(clientId: string): Promise<{ edgeId: string; url: string; shard: number }> {
    const headers = { accept: 'application/json' };
    const answer = await ask(this.connectUrl(clientId), { headers });
    if (answer.status !== 200) throw new Error(`look-up of ${clientId}: ${answer.body}`);
    return JSON.parse(answer.body);
  }

  /** `count` clientIds that begin with `prefix` and whose shards `edgeId` owns now. */
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

  /** Asks control to do something, as an operator does. */
  async steer(path: string): Promise<void> {
    const headers = { 'content-type': 'application/json' };
    const { controlUrl } = this.cluster;
    const answer = await fetch(controlUrl + path, { method: 'POST', headers, body: '{}' });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  }

  /** Takes the drain of an edge back; resolves when it owns shards again. */
  async undrain(edgeId: string): Promise<void> {
    await this.steer(`/v1/edges/${edgeId}/undrain`);
    await eventually(
      async () => (await this.shards()).some(({ owner }) => owner === edgeId),
      READY_DEADLINE_MS,
    );
    await this.untilReady();
  }

  async clientIdOf(edgeId: string, prefix = 'client'): Promise<string> {
    return (await this.clientIdsOf(edgeId, 1, prefix))[0]!;
  }

  /** Whether the first assignment was for all edges: else shares are not even until moves are over. */
  async #isEven(): Promise<boolean> {
    const sizes = (await this.edges()).map(({ shardsOwned }) => shardsOwned);
    return Math.max(...sizes) <= EVEN_OVER_LEAST * Math.min(...sizes);
  }

  async shards(): Promise<ShardView[]> {
    return JSON.parse((await ask(`${this.cluster.controlUrl}/v1/shards`)).body).shards;
  }

  edges(): Promise<EdgeView[]> {
    return controlApi(this.cluster.controlUrl).edges();
  }

  events(): Promise<EventInfo[]> {
    return controlApi(this.cluster.controlUrl).events(0);
  }

  view(): Promise<ClusterView> {
    return controlApi(this.cluster.controlUrl).cluster();
  }

  async isReady(name: string): Promise<boolean> {
    return (await ask(`${this.cluster.httpUrl(name)}/readyz`)).status === 200;
  }

  /** The value of a metric of one member; 0 while the labelled child does not exist yet. */
  metric(name: string, metric: string, labels: Record<string, string> = {}): Promise<number> {
    return metricOf(this.cluster.httpUrl(name), metric, labels);
  }
}
