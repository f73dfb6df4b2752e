/** Process of `bench:control` with some of its simulated edges. */
import { pino } from 'pino';
import { AssignmentFeed } from '../../common/cluster/assignment-feed.js';
import { Metrics } from '../../common/process/metrics.js';
import { SimulatedEdge } from './simulated-edge.js';

/** Each request is answered with `EdgesState` at once. */
export type ToEdges =
  /** Begins to connect the edges. */
  | {
      readonly type: 'connect';
      /** `host:port`. */
      readonly control: string;
      readonly shardCount: number;
      readonly edges: readonly { readonly id: string; readonly capacity: number }[];
    }
  /** All report at this interval from now on. */
  | { readonly type: 'report'; readonly intervalMs: number }
  | { readonly type: 'state' };

export interface EdgesState {
  readonly reports: number;
  /** Edges whose session is open. */
  readonly connected: number;
  /** Epoch of the oldest assignment that one of them has. */
  readonly epoch: number;
  /** Bytes that each edge has received from control. */
  readonly bytes: readonly number[];
}

const CONNECTING_MAX = 50;
/** As edges do: control ends the session of an edge that is silent for longer than its lease. */
const REPORT_MS = 2_000;

const edges: SimulatedEdge[] = [];

process.on('message', (message: ToEdges) => {
  if (message.type === 'connect') void connect(message);
  if (message.type === 'report') for (const edge of edges) edge.reportEvery(message.intervalMs);
  process.send!(state());
});
process.on('disconnect', () => process.exit());

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
      edge.reportEvery(REPORT_MS);
      await edge.connect();
    });
    await Promise.all(connecting);
  }
}

function state(): EdgesState {
  const connected = edges.filter(({ isConnected }) => isConnected);
  return {
    reports: edges.reduce((sum, { reports }) => sum + reports, 0),
    connected: connected.length,
    epoch: Math.min(...connected.map(({ epoch }) => epoch)),
    bytes: edges.map(({ bytes }) => bytes),
  };
}
