/** A real control and Redis with simulated edges, which a simulated router watches. */
import { credentials } from '@grpc/grpc-js';
import { pino } from 'pino';
import { LocalCluster } from '../../cli/local/cluster.js';
import { startRedis } from '../../cli/local/redis.js';
import { type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { linkMetadata } from '../../common/process/grpc-link.js';
import { Metrics } from '../../common/process/metrics.js';
import { AssignmentLink } from '../../router/lookup/assignment-link.js';
import { WorkerProcesses } from '../support/devices/worker-processes.js';
import { progress } from '../support/report.js';
import { sum } from '../support/statistics.js';
import { waitUntil } from '../support/wait.js';
import type { EdgesState, ToEdges } from './edges-process.js';

export interface DescribedEdge {
  readonly id: string;
  readonly capacity: number;
}

const MODULE = new URL('edges-process.js', import.meta.url);
const SECONDS_MAX = 300;

export class SimulatedCluster {
  readonly feed = new AssignmentFeed(() => {}, new Metrics(), 'router');
  readonly #link: AssignmentLink;
  readonly #groups: WorkerProcesses<ToEdges>[] = [];

  private constructor(
    readonly cluster: LocalCluster,
    readonly shardCount: number,
    readonly stopRedis: () => Promise<void>,
  ) {
    this.#link = new AssignmentLink({
      addresses: [cluster.grpcAddress('control')],
      credentials: credentials.createInsecure(),
      metadata: linkMetadata(undefined, { redisPrefix: '', clusterName: undefined }),
      feed: this.feed,
      shardCount,
      log: pino({ level: 'silent' }),
    });
  }

  static async start(shardCount: number): Promise<SimulatedCluster> {
    const redis = await startRedis({ onProgress: progress });
    try {
      const cluster = await LocalCluster.start({
        redisUrl: redis.url,
        edges: 0,
        routers: 0,
        ports: 'free',
        restart: false,
        env: { LONGLINE_LOG_LEVEL: 'error', LONGLINE_SHARD_COUNT: String(shardCount) },
        onOutput: (name, line) => progress(`${name}: ${line}`),
      });
      return new SimulatedCluster(cluster, shardCount, () => redis.stop());
    } catch (error) {
      await redis.stop();
      throw error;
    }
  }

  get pid(): number {
    return this.cluster.pid('control')!;
  }

  /** Starts a process with these edges; resolves when each has a session. */
  async addEdges(edges: readonly DescribedEdge[]): Promise<WorkerProcesses<ToEdges>> {
    const group = new WorkerProcesses<ToEdges>({ count: 1, module: MODULE });
    this.#groups.push(group);
    const control = this.cluster.grpcAddress('control');
    await group.call(0, { type: 'connect', control, shardCount: this.shardCount, edges });
    await waitUntil(`${edges.length} edges connect`, SECONDS_MAX, async () => {
      const { connected } = await group.call<EdgesState>(0, { type: 'state' });
      return connected === edges.length ? undefined : `${connected} are connected`;
    });
    return group;
  }

  /** Ends the process of a group: its edges are dead. */
  kill(group: WorkerProcesses<ToEdges>): void {
    this.#groups.splice(this.#groups.indexOf(group), 1);
    group.stop();
  }

  /** Asks all edges. */
  async ask(message: ToEdges): Promise<EdgesState> {
    const states = await Promise.all(this.#groups.map((one) => one.call<EdgesState>(0, message)));
    return {
      reports: sum(states.map(({ reports }) => reports)),
      connected: sum(states.map(({ connected }) => connected)),
      epoch: Math.min(...states.map(({ epoch }) => epoch)),
      bytes: states.flatMap(({ bytes }) => bytes),
    };
  }

  /** Resolves with the first assignment that matches. */
  async until(what: string, matches: (assignment: Assignment) => boolean): Promise<Assignment> {
    await waitUntil(what, SECONDS_MAX, () => {
      const { current } = this.feed;
      if (current !== undefined && matches(current)) return undefined;
      const { edges = [], moves = [], position } = current ?? {};
      return `epoch ${position?.epoch}, ${edges.length} edges, ${moves.length} moves`;
    });
    return this.feed.current!;
  }

  /** Resolves when `count` edges own all shards and nothing moves. */
  untilCalm(count: number): Promise<Assignment> {
    return this.until(
      `${count} edges own all shards`,
      (assignment) =>
        assignment.edges.length === count &&
        assignment.moves.length === 0 &&
        assignment.owners.every((_, shard) => ownerOf(assignment, shard) !== undefined),
    );
  }

  /** Resolves when all edges have this assignment or a later one. */
  async untilReached({ position }: Assignment): Promise<EdgesState> {
    let state: EdgesState;
    await waitUntil('the assignment reaches all edges', SECONDS_MAX, async () => {
      state = await this.ask({ type: 'state' });
      return state.epoch >= position.epoch
        ? undefined
        : `epoch ${state.epoch} of ${position.epoch}`;
    });
    return state!;
  }

  async stop(): Promise<void> {
    this.#link.close();
    for (const group of this.#groups) group.stop();
    await this.cluster.stop();
    await this.stopRedis();
  }
}
