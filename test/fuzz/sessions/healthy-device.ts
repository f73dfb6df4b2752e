/** A well-behaved device per protocol, which the fuzzing of other connections must not affect. */
import { WebSocket } from 'ws';
import { type ClientState, type ConnectOptions, connect } from '../../../client/connect.js';
import type { RunningCluster } from '../../support/cluster/running-cluster.js';
import { Device } from '../../support/devices/device.js';
import { MqttDevice } from '../../support/devices/mqtt-device.js';
import { tokenOf } from '../../support/tokens.js';

export interface HealthyDevice {
  readonly clientId: string;
  /** Payloads in the order of their arrival. */
  readonly received: readonly string[];
  /** Connections opened so far: 1 when the device is ready. */
  connections(): number;
  close(): unknown;
}

/** @param port front port, for the clients that do not follow redirects */
export async function connectDevices(
  running: RunningCluster,
  port: number,
): Promise<HealthyDevice[]> {
  return [
    sse(running),
    longlineClient(running, 'ndjson', {}),
    longlineClient(running, 'websocket-json', { webSocket: WebSocket }),
    plainWebSocket(port),
    await mqtt(port, 4),
    await mqtt(port, 5),
  ];
}

function sse(running: RunningCluster): HealthyDevice {
  const clientId = 'healthy-sse';
  const device = new Device(clientId, `${running.connectUrl(clientId)}&token=${tokenOf(clientId)}`);
  return {
    clientId,
    get received() {
      return device.received;
    },
    connections: () => device.connections,
    close: () => device.close(),
  };
}

function longlineClient(
  running: RunningCluster,
  protocol: string,
  options: Pick<ConnectOptions, 'webSocket'>,
): HealthyDevice {
  const clientId = `healthy-${protocol}`;
  const received: string[] = [];
  const states: ClientState[] = [];
  const client = connect({
    router: running.cluster.routerUrl,
    clientId,
    token: async () => tokenOf(clientId),
    onPush: ({ data }) => received.push(String(data)),
    onState: (state) => states.push(state),
    ...options,
  });
  return {
    clientId,
    received,
    connections: () => states.filter(({ type }) => type === 'connected').length,
    close: () => client.close(),
  };
}

/** Does not reconnect: a lost connection shows as a missed push. */
function plainWebSocket(port: number): HealthyDevice {
  const clientId = 'healthy-websocket';
  const received: string[] = [];
  const query = `clientId=${clientId}&token=${tokenOf(clientId)}`;
  const socket = new WebSocket(`ws://127.0.0.1:${port}/connect?${query}`);
  socket.on('message', (data) => received.push(String(data)));
  socket.on('error', () => {});
  return {
    clientId,
    received,
    connections: () => (socket.readyState === WebSocket.OPEN ? 1 : 0),
    close: () => socket.close(),
  };
}

/** Does not reconnect either. */
async function mqtt(port: number, protocolVersion: 4 | 5): Promise<HealthyDevice> {
  const clientId = `healthy-mqtt-${protocolVersion}`;
  const device = await MqttDevice.connect(port, clientId, {
    protocolVersion,
    username: clientId,
    password: tokenOf(clientId),
  });
  await device.subscribe(`push/${clientId}`);
  return {
    clientId,
    get received() {
      return device.payloads;
    },
    connections: () => (device.isClosed ? 0 : 1),
    close: () => device.close(),
  };
}
