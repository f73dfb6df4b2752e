/** A real control and Redis with simulated edges, which a simulated router watches. */
import { setTimeout as sleep } from 'node:timers/promises';
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
import type { EdgesState, ToEdges } from './edges-process.js';

export interface DescribedEdge {
  readonly id: string;
  readonly capacity: number;
}

const MODULE = new URL('edges-process.js', import.meta.url);
const POLL_MS = 20;
const WAIT_MS_MAX = 120_000;

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

  /** Starts a process with these edges, each with a session. */
  async addEdges(edges: readonly DescribedEdge[]): Promise<WorkerProcesses<ToEdges>> {
    const group = new WorkerProcesses<ToEdges>({ count: 1, module: MODULE });
    this.#groups.push(group);
    const control = this.cluster.grpcAddress('control');
    await group.call(0, { type: 'connect', control, shardCount: this.shardCount, edges });
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
      bytes: states.flatMap(({ bytes }) => bytes),
    };
  }

  /** Resolves with the first assignment that matches. */
  async until(matches: (assignment: Assignment) => boolean): Promise<Assignment> {
    const deadlineMs = performance.now() + WAIT_MS_MAX;
    for (;;) {
      const { current } = this.feed;
      if (current !== undefined && matches(current)) return current;
      if (performance.now() > deadlineMs) {
        const { edges = [], moves = [], position } = current ?? {};
        const found = `epoch ${position?.epoch}, ${edges.length} edges, ${moves.length} moves`;
        throw new Error(`no such assignment after ${WAIT_MS_MAX} ms; the newest has ${found}`);
      }
      await sleep(POLL_MS);
    }
  }

  /** Resolves when `count` edges own all shards and nothing moves. */
  untilCalm(count: number): Promise<Assignment> {
    return this.until(
      (assignment) =>
        assignment.edges.length === count &&
        assignment.moves.length === 0 &&
        assignment.owners.every((_, shard) => ownerOf(assignment, shard) !== undefined),
    );
  }

  async stop(): Promise<void> {
    this.#link.close();
    for (const group of this.#groups) group.stop();
    await this.cluster.stop();
    await this.stopRedis();
  }
}
