/**
 * Set-up that the tests of a device port share: no case may affect another client, and each is
 * counted.
 */
import { afterEach, beforeEach, expect } from '@jest/globals';
import type { RawSocket } from '../devices/raw-socket.js';
import { SseClient } from '../devices/sse-client.js';
import { eventually } from '../eventually.js';
import { LIVE } from './push-client.js';
import type { RunningCluster } from './running-cluster.js';

/**
 * Connects a well-behaved client before each test. After the test it must still be connected and
 * receive a push.
 *
 * @param sockets those of the test; they are closed after it
 */
export function useHealthyClient(cluster: () => RunningCluster, sockets: RawSocket[]): void {
  let healthy: SseClient;

  beforeEach(async () => {
    healthy = await SseClient.open(cluster().connectUrl('healthy'));
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.close();
    const { verdict } = await cluster().push.push('healthy', 'still here', LIVE);
    expect(verdict).toBe('WRITTEN');
    await healthy.until(1);
    expect(healthy.data).toEqual(['still here']);
    expect(healthy.isOpen).toBe(true);
    healthy.close();
    // The next test counts closed connections: those of this test must be closed before.
    await eventually(
      async () => (await cluster().metric('edge-1', 'longline_edge_connections')) === 0,
    );
  });
}

/** Resolves with a function that checks that a counter of `edge-1` has increased by `by` since. */
export async function watchMetric(
  running: RunningCluster,
  metric: string,
  label: Record<string, string>,
): Promise<(by?: number) => Promise<void>> {
  const before = await running.metric('edge-1', metric, label);
  return async (by = 1) => {
    await eventually(async () => {
      expect(await running.metric('edge-1', metric, label)).toBe(before + by);
    });
  };
}
