/** Process of `bench:control` with some of its simulated edges. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { Metrics } from '../../common/process/metrics.js';
import { SimulatedEdge } from './simulated-edge.js';

/** Each request is answered with `EdgesState` when it is done. */
export type ToEdges =
  /** Connects the edges. */
  | {
      readonly type: 'connect';
      /** `host:port`. */
      readonly control: string;
      readonly shardCount: number;
      readonly edges: readonly { readonly id: string; readonly capacity: number }[];
    }
  /** All report at this interval from now on. */
  | { readonly type: 'report'; readonly intervalMs: number }
  | { readonly type: 'state' }
  /** Waits until all have an assignment of this epoch or a later one. */
  | { readonly type: 'reach'; readonly epoch: number };

export interface EdgesState {
  readonly reports: number;
  /** Edges whose session is open. */
  readonly connected: number;
  /** Bytes that each edge has received from control. */
  readonly bytes: readonly number[];
}

const CONNECTING_MAX = 50;
const POLL_MS = 5;

const edges: SimulatedEdge[] = [];

process.on('message', (message: ToEdges) => {
  void handle(message).then(() => process.send!(state()));
});
process.on('disconnect', () => process.exit());

async function handle(message: ToEdges): Promise<void> {
  if (message.type === 'connect') await connect(message);
  if (message.type === 'reach') await reach(message.epoch);
  if (message.type === 'report') for (const edge of edges) edge.reportEvery(message.intervalMs);
}

async function connect({
  control,
  shardCount,
  edges: described,
}: Extract<ToEdges, { type: 'connect' }>): Promise<void> {
  const feed = new AssignmentFeed(() => {}, new Metrics(), 'edge');
  const log = pino({ level: 'silent' });
  const onUpdate = (update: Parameters<AssignmentFeed['offerUpdate']>[0]) => {
    feed.offerUpdate(update, shardCount, log);
  };
  for (let i = 0; i < described.length; i += CONNECTING_MAX) {
    const connecting = described.slice(i, i + CONNECTING_MAX).map(async (one) => {
      const edge = new SimulatedEdge({ ...one, control, shardCount, feed, onUpdate });
      edges.push(edge);
      await edge.connect();
    });
    await Promise.all(connecting);
  }
}

async function reach(epoch: number): Promise<void> {
  while (edges.some((edge) => edge.isConnected && edge.epoch < epoch)) {
    await sleep(POLL_MS);
  }
}

function state(): EdgesState {
  return {
    reports: edges.reduce((sum, { reports }) => sum + reports, 0),
    connected: edges.filter(({ isConnected }) => isConnected).length,
    bytes: edges.map(({ bytes }) => bytes),
  };
}
