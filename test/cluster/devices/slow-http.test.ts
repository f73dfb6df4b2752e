/**
 * Goal: an edge withstands slowhttptest, which occupies connections with slow requests, and a
 * well-behaved device is not affected. Method: runs the tool against the device port of an edge
 * with a short head timeout, and checks the output of the tool, the metrics of the edge, and the
 * pushes that the device receives.
 */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { type Client, connect } from '../../../client/connect.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SLOWHTTPTEST, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';

const execute = promisify(execFile);

const EDGE = 'edge-1';
const HEAD_TIMEOUT_MS = 2_000;
const CONNECTIONS = 200;
/** Between two pushes to the well-behaved device. */
const PAUSE_MS = 20;
const COLOURS = /\x1b\[[\d;]*m/g;
const testHere = testWith(SLOWHTTPTEST);

let running: RunningCluster;
let client: Client;
const got: unknown[] = [];
let connections = 0;

beforeAll(async () => {
  running = await RunningCluster.start({
    edges: 1,
    env: { LONGLINE_EDGE_HEAD_TIMEOUT_MS: `${HEAD_TIMEOUT_MS}` },
  });
  client = connect({
    router: running.cluster.routerUrl,
    clientId: 'well-behaved',
    onPush: ({ data }) => got.push(data),
    onState: ({ type }) => {
      if (type === 'connected') connections++;
    },
  });
  await eventually(() => connections === 1);
  await running.untilCaughtUp();
});

afterAll(async () => {
  client?.close();
  await running?.stop();
});

const timeouts = () =>
  running.metric(EDGE, 'longline_edge_requests_rejected_total', { code: 'HEAD_TIMEOUT' });

/** Pushes to the well-behaved device while the tool runs. Resolves with the output of the tool. */
async function attack(...options: string[]): Promise<string> {
  const url = `${running.cluster.edgeUrl(EDGE)}/connect?clientId=slow`;
  const common = ['-c', `${CONNECTIONS}`, '-r', `${CONNECTIONS}`, '-i', '1', '-p', '5', '-u', url];
  let isFinished = false;
  const attacking = execute('slowhttptest', [...options, ...common]).finally(() => {
    isFinished = true;
  });
  const pushed: string[] = [];
  const before = got.length;
  while (!isFinished) {
    pushed.push(`push ${pushed.length}`);
    const { verdict } = await running.push.push('well-behaved', pushed.at(-1)!);
    expect(verdict).toBe('WRITTEN');
    await sleep(PAUSE_MS);
  }
  await eventually(() => got.length === before + pushed.length);
  expect(got.slice(before)).toEqual(pushed);
  expect(connections).toBe(1);
  return (await attacking).stdout.replaceAll(COLOURS, '');
}

/** Resolves when only the well-behaved device is connected. */
const untilDisconnected = () =>
  eventually(async () => (await running.metric(EDGE, 'longline_edge_connections')) === 1);

describe('slowhttptest', () => {
  testHere('with slow heads is disconnected at the deadline', async () => {
    const before = await timeouts();
    const output = await attack('-H', '-t', 'GET', '-x', '10', '-l', '10');
    expect(output).toMatch(/service available:\s*YES/);
    expect(output).toMatch(/No open connections left/);
    await eventually(async () => (await timeouts()) - before >= CONNECTIONS);
    await untilDisconnected();
  });

  testHere('with slow bodies is rejected, because no request may have a body', async () => {
    const output = await attack('-B', '-t', 'POST', '-s', '8192', '-x', '10', '-l', '10');
    expect(output).toMatch(/No open connections left/);
    await untilDisconnected();
  });
});
