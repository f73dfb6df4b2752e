/** The periodic tasks of an edge. */

import type { MemoryWatch } from '../common/process/memory/memory-watch.js';
import { HANDSHAKE_STEP_MS } from './accept/handshakes.js';
import type { EdgeConfig } from './config.js';
import type { Edge } from './edge.js';
import type { PeriodicTask } from './periodic-tasks.js';
import { CONFIRMATIONS_FLUSH_MS } from './session/confirmations.js';
import { LOST_HISTORY_STEP_MS } from './shards/lost-history.js';

const SWEEP_MS = 1_000;
const SEND_BUFFERS_STEP_MS = 100;

/**
 * A lost last push of a shard is found after two polls of its counter. Every step polls one part of
 * the shards, so that each shard is polled every two seconds.
 */
const COUNTERS_STEP_MS = 100;
const COUNTERS_PARTS = 20;

export function edgeTasks(
  edge: Edge,
  { heartbeatMs }: EdgeConfig,
  memory: Pick<MemoryWatch, 'isLow'>,
): PeriodicTask[] {
  return [
    { everyMs: SWEEP_MS, run: sweeper(edge, heartbeatMs) },
    { everyMs: SEND_BUFFERS_STEP_MS, run: sendBufferDropper(edge, memory) },
    { everyMs: COUNTERS_STEP_MS, run: counterPoller(edge) },
    { everyMs: HANDSHAKE_STEP_MS, run: admitter(edge) },
    { everyMs: LOST_HISTORY_STEP_MS, run: () => void edge.lostHistory.step() },
    { everyMs: CONFIRMATIONS_FLUSH_MS, run: () => void edge.confirmations.flush() },
  ];
}

function sweeper({ port, clients }: Edge, heartbeatMs: number): () => void {
  const parts = Math.ceil(heartbeatMs / SWEEP_MS);
  let sweeps = 0;
  return () => {
    const nowMs = performance.now();
    port.sweep(nowMs);
    clients.heartbeat(sweeps++ % parts, parts);
    clients.sweep(nowMs);
  };
}

/** Bytes that devices have not read take memory, and durable pushes are in their inboxes anyway. */
function sendBufferDropper(
  { transport, clients }: Edge,
  memory: Pick<MemoryWatch, 'isLow'>,
): () => void {
  return () => {
    if (memory.isLow && transport.memory().sendBuffers > 0) clients.endUnread();
  };
}

function counterPoller({ delivery }: Edge): () => void {
  let steps = 0;
  return () => delivery.pollShardCounters(steps++ % COUNTERS_PARTS, COUNTERS_PARTS);
}

function admitter({ port }: Edge): () => void {
  let steppedAtMs = performance.now();
  return () => {
    const nowMs = performance.now();
    port.admitQueued(Math.max(0, nowMs - steppedAtMs - HANDSHAKE_STEP_MS));
    steppedAtMs = nowMs;
  };
}
