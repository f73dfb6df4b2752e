/** The periodic tasks of an edge. */

import type { MemoryWatch } from '../common/process/memory/memory-watch.js';
import { BLOCKS_STEP_MS } from './accept/blocks.js';
import { HANDSHAKE_STEP_MS } from './accept/handshakes.js';
import type { EdgeConfig } from './config.js';
import type { Edge } from './edge.js';
import type { PeriodicTask } from './periodic-tasks.js';
import { CONFIRMATIONS_FLUSH_MS } from './session/confirmations.js';
import { DEAD_EDGES_STEP_MS } from './shards/events/dead-edges.js';
import { DROPPED_FLUSH_MS } from './shards/events/dropped-pushes.js';
import { DUE_STEP_MS } from './shards/events/due-events.js';
import { LOST_EVENTS_STEP_MS } from './shards/events/lost-events.js';
import { LOST_HISTORY_STEP_MS } from './shards/lost-history.js';

const SWEEP_MS = 1_000;
const SEND_BUFFERS_STEP_MS = 100;
/** Events of ended connections that Redis has not taken are sent again. */
const ENDED_FLUSH_MS = 1_000;

/**
 * A lost last push of a shard is found after two polls of its counter. Every step polls one part of
 * the shards, so that each shard is polled every two seconds.
 */
const COUNTERS_STEP_MS = 100;
const COUNTERS_PARTS = 20;

/** Each shard is told every 15 s; its owner forgets an edge that is silent for a minute. */
const TELL_OWNERS_STEP_MS = 1_000;
const TELL_OWNERS_PARTS = 15;

/** A device that stays connected is noted once a day. */
const NOTE_STEP_MS = 1_000;
const NOTE_PARTS = 86_400;

export function edgeTasks(
  edge: Edge,
  { heartbeatMs }: EdgeConfig,
  memory: Pick<MemoryWatch, 'isLow'>,
  isLinked: () => boolean,
): PeriodicTask[] {
  return [
    { everyMs: SWEEP_MS, run: sweeper(edge, heartbeatMs) },
    { everyMs: SEND_BUFFERS_STEP_MS, run: sendBufferDropper(edge, memory) },
    { everyMs: COUNTERS_STEP_MS, run: counterPoller(edge) },
    { everyMs: NOTE_STEP_MS, run: deviceNoter(edge) },
    { everyMs: TELL_OWNERS_STEP_MS, run: ownerTeller(edge) },
    { everyMs: BLOCKS_STEP_MS, run: () => void edge.blocks.step() },
    { everyMs: HANDSHAKE_STEP_MS, run: admitter(edge) },
    { everyMs: LOST_HISTORY_STEP_MS, run: () => void edge.lostHistory.step() },
    { everyMs: CONFIRMATIONS_FLUSH_MS, run: () => void edge.confirmations.flush() },
    ...eventTasks(edge, isLinked),
  ];
}

/** None while events are off. */
function eventTasks(
  { endedClients, deadEdges, dueEvents, droppedPushes, lostEvents }: Edge,
  isLinked: () => boolean,
): PeriodicTask[] {
  const tasks: PeriodicTask[] = [];
  if (endedClients !== undefined) {
    tasks.push({ everyMs: ENDED_FLUSH_MS, run: () => void endedClients.flush() });
  }
  if (droppedPushes !== undefined) {
    tasks.push({ everyMs: DROPPED_FLUSH_MS, run: () => void droppedPushes.flush() });
  }
  if (lostEvents !== undefined) {
    const step = () => lostEvents.step(performance.now());
    tasks.push({ everyMs: LOST_EVENTS_STEP_MS, run: () => void step() });
  }
  if (deadEdges !== undefined) {
    // Without control, the assignment does not have the edges that have just started.
    const step = () => isLinked() && deadEdges.step(performance.now());
    tasks.push({ everyMs: DEAD_EDGES_STEP_MS, run: () => void step() });
  }
  if (dueEvents !== undefined) {
    tasks.push({ everyMs: DUE_STEP_MS, run: () => void dueEvents.step() });
  }
  return tasks;
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
  { transport, slowDevices }: Edge,
  memory: Pick<MemoryWatch, 'isLow'>,
): () => void {
  return () => {
    if (memory.isLow && transport.memory().sendBuffers > 0) slowDevices.endUnread();
  };
}

function counterPoller({ delivery }: Edge): () => void {
  let steps = 0;
  return () => delivery.pollShardCounters(steps++ % COUNTERS_PARTS, COUNTERS_PARTS);
}

function ownerTeller({ standing }: Edge): () => void {
  let steps = 0;
  return () => standing.tellOwners(steps++ % TELL_OWNERS_PARTS, TELL_OWNERS_PARTS);
}

function deviceNoter({ clients }: Edge): () => void {
  let steps = 0;
  return () => clients.noteDevices(steps++ % NOTE_PARTS, NOTE_PARTS);
}

function admitter({ port }: Edge): () => void {
  let steppedAtMs = performance.now();
  return () => {
    const nowMs = performance.now();
    port.admitQueued(Math.max(0, nowMs - steppedAtMs - HANDSHAKE_STEP_MS));
    steppedAtMs = nowMs;
  };
}
