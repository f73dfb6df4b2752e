/** Edges with closed ports, found with real ports, and the answers to devices meanwhile. */
import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { freePort } from '../../../cli/local/ports.js';
import type { AssignedEdge, Assignment } from '../../../common/cluster/assignment.js';
import { Metrics } from '../../../common/process/metrics.js';
import { ClosedPorts } from '../../../router/lookup/closed-ports.js';
import { EdgeLookup } from '../../../router/lookup/edge-lookup.js';
import { eventually } from '../../support/eventually.js';

let servers: Server[];
let ports: number[];
let suspects: Set<string>;
let reports: string[];
let hasControl: boolean;
let closedPorts: ClosedPorts;
let assignment: Assignment;

beforeEach(async () => {
  servers = [];
  ports = [];
  // Not of the ephemeral ports, of which another process could get one that is closed here.
  for (let i = 0; i < 3; i++) ports.push(await listen(await freePort()));
  suspects = new Set();
  reports = [];
  hasControl = true;
  assignment = assignmentOf(1);
  closedPorts = new ClosedPorts({
    isSuspect: ({ id }) => suspects.has(id),
    hasControl: () => hasControl,
    report: ({ id }) => reports.push(id),
    metrics: new Metrics(),
  });
});

afterEach(async () => {
  for (const server of servers) await close(server);
});

async function listen(port: number): Promise<number> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  servers.push(server);
  return port;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Three edges, of which the first owns both shards. */
function assignmentOf(epoch: number, owner = 0): Assignment {
  return {
    position: { incarnation: 1, epoch },
    edges: ports.map(edgeAt),
    owners: Uint16Array.of(owner, owner),
    moves: [],
    isBalancing: false,
  };
}

function edgeAt(port: number, i: number): AssignedEdge {
  return {
    id: `edge-${i}`,
    incarnation: 'i1',
    advertisedUrl: `http://127.0.0.1:${port}`,
    intent: 'none',
  };
}

const idFor = (shard: number, mayHold = true) =>
  closedPorts.edgeFor(assignment, shard, mayHold)?.id;

describe('ClosedPorts', () => {
  test('finds a closed port when a connect has failed, and reports it', async () => {
    const [owner] = assignment.edges;
    expect(closedPorts.isDoubtful(owner!)).toBe(false);
    expect(await closedPorts.check(owner!)).toBe(false);
    expect(reports).toEqual([]);
    await close(servers[0]!);
    closedPorts.connectFailed(owner!);
    await eventually(() => {
      closedPorts.connectFailed(owner!);
      return closedPorts.isDoubtful(owner!);
    });
    expect(reports).toEqual(['edge-0']);
  });

  test('keeps devices for a while, and then sends all of a shard to the same other edge', async () => {
    await close(servers[0]!);
    expect(await closedPorts.check(assignment.edges[0]!)).toBe(true);
    expect([idFor(0), idFor(1)]).toEqual(['edge-0', 'edge-0']);
    expect([idFor(0, false), idFor(1, false)]).toEqual(['edge-1', 'edge-2']);
    suspects.add('edge-1');
    expect([idFor(0, false), idFor(1, false)]).toEqual(['edge-2', 'edge-2']);
    await eventually(() => idFor(0) === 'edge-2');
    // Without control, every edge is suspect, and the owner is held for a shorter time.
    hasControl = false;
    expect([idFor(0), idFor(1)]).toEqual(['edge-1', 'edge-2']);
  });

  test('an edge that listens again gets its devices, although no connect to it fails', async () => {
    await close(servers[0]!);
    expect(await closedPorts.check(assignment.edges[0]!)).toBe(true);
    await eventually(() => idFor(0) !== 'edge-0');
    await listen(ports[0]!);
    // Only lookups for devices follow, and none of them leads to the owner.
    await eventually(() => idFor(0) === 'edge-0');
    expect(closedPorts.isDoubtful(assignment.edges[0]!)).toBe(false);
  });

  test('forgets edges that are not in the assignment', async () => {
    await close(servers[0]!);
    const [owner] = assignment.edges;
    expect(await closedPorts.check(owner!)).toBe(true);
    closedPorts.assign({ ...assignment, edges: assignment.edges.slice(1) });
    expect(closedPorts.isDoubtful(owner!)).toBe(false);
  });
});

describe('EdgeLookup', () => {
  test('answers without waiting when too many answers wait', async () => {
    const waitingMax = 100;
    const lookup = new EdgeLookup(() => assignment, closedPorts, waitingMax, new Metrics());
    await close(servers[0]!);
    suspects.add('edge-0');
    const waiting = Array.from({ length: waitingMax }, () => lookup.find(0));
    expect(waiting.every((answer) => answer instanceof Promise)).toBe(true);
    // Not checked yet: the owner may be alive.
    expect(lookup.find(1)).toMatchObject({ edge: { id: 'edge-0' } });
    await eventually(() => reports.length > 0);
    expect(lookup.find(1)).toMatchObject({ edge: { id: 'edge-2' }, position: { epoch: 1 } });
    assignment = assignmentOf(2, 1);
    lookup.onAssignment();
    const answers = await Promise.all(waiting);
    expect(new Set(answers.map((answer) => answer?.edge.id))).toEqual(new Set(['edge-1']));
    expect(lookup.find(0)).toMatchObject({ edge: { id: 'edge-1' }, position: { epoch: 2 } });
  });
});
