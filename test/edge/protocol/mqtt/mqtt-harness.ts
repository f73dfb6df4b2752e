import { type Rejection, rejection } from '../../../../common/process/errors.js';
import { Metrics } from '../../../../common/process/metrics.js';
import { type Connection, connectionOf } from '../../../../common/transport/transport.js';
import { type MqttConnect, parseMqttConnect } from '../../../../common/wire/mqtt/connect.js';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { MqttConnectionTable } from '../../../../edge/protocol/mqtt/connection-table.js';
import { MqttCounters } from '../../../../edge/protocol/mqtt/counters.js';
import { MqttProtocol } from '../../../../edge/protocol/mqtt/mqtt.js';
import type {
  MqttSessionStore,
  MqttSubscription,
} from '../../../../edge/protocol/mqtt/session-store.js';
import type { PushInFlight } from '../../../../edge/protocol/mqtt/window.js';
import type { EndReason, GroupHost, Host } from '../../../../edge/protocol/protocol.js';
import { connect, field, hex, packet } from '../../../support/devices/mqtt-bytes.js';

export const ALICE = connectionOf(1, 1);
/** Filter `push/alice` with this QoS, after empty properties in MQTT 5. */
export const filter = (version: MqttVersion, qos: number) =>
  Buffer.concat([version === 5 ? hex('00') : hex(''), field('push/alice'), Buffer.from([qos])]);
export const subscribe = (version: MqttVersion, qos: number) =>
  packet(0x82, hex('0001'), filter(version, qos));
export const unsubscribe = (version: MqttVersion) =>
  packet(0xa2, hex('0002'), version === 5 ? hex('00') : hex(''), field('push/alice'));

export const PERSISTENT = { flags: 0x00 };
export const SUBSCRIBED: readonly MqttSubscription[] = [{ filterHash: 1, qos: 1 }];

/** One connection with a fake host and session store that record calls as text. */
export class MqttHarness implements Host, MqttSessionStore, GroupHost {
  readonly calls: string[] = [];
  readonly mqtt: MqttProtocol;
  sent = '';
  hasEnded = false;

  constructor(
    readonly version: MqttVersion,
    parts: Parameters<typeof connect>[0] = {},
    subscriptions: readonly MqttSubscription[] = [],
    inFlight: readonly PushInFlight[] = [],
    publishes: 'reject' | 'ignore' = 'reject',
  ) {
    const connections = new MqttConnectionTable();
    const config = {
      headBytesMax: 1_024,
      headTimeoutMs: 2_000,
      mqttAckTimeoutMs: 10_000,
      mqttPublishes: publishes,
    };
    this.mqtt = new MqttProtocol({
      version,
      host: this,
      groups: this,
      config,
      connections,
      sessions: this,
      counters: new MqttCounters(new Metrics()),
    });
    const bytes = connect({ version, ...parts });
    this.mqtt.register(ALICE, parseMqttConnect(bytes, 1_024) as MqttConnect, 60, {
      isPresent: inFlight.length > 0,
      subscriptions,
      inFlight,
    });
  }

  /** A group that begins with `no` is not permitted. */
  async join(_: Connection, group: string): Promise<Rejection | undefined> {
    this.calls.push(`join ${group}`);
    return group.startsWith('no') ? rejection('PERMISSION_DENIED', 'not permitted') : undefined;
  }

  async leave(_: Connection, group: string): Promise<Rejection | undefined> {
    this.calls.push(`leave ${group}`);
    return group.startsWith('no') ? rejection('PERMISSION_DENIED', 'not permitted') : undefined;
  }

  async joinAll(): Promise<undefined> {}

  receive(...parts: Buffer[]): string[] {
    this.mqtt.onBytes(ALICE, Buffer.concat(parts));
    return this.calls.splice(0);
  }

  /** Encodes a push and marks it as written. */
  push(id: string, payload = 'x'): string | undefined {
    const ttlMs = id === '' ? 0 : 60_000;
    const message = { id, payload: Buffer.from(payload), contentType: '', ttlMs };
    const bytes = this.mqtt.encodePush(ALICE, message);
    if (bytes !== undefined && id !== '') this.sent = id;
    return bytes?.toString('hex');
  }

  takeCalls(): string[] {
    return this.calls.splice(0);
  }

  reply(_: number, bytes: Uint8Array): void {
    this.calls.push(`reply ${Buffer.from(bytes).toString('hex')}`);
  }
  confirm(_: number, id: string): void {
    this.calls.push(`confirm ${id}`);
  }
  confirmSingle(_: number, id: string): void {
    this.calls.push(`confirmSingle ${id}`);
  }
  subscribe(_: number, startFrom: string): void {
    this.calls.push(`subscribe ${startFrom}`);
  }
  unsubscribe(): void {
    this.calls.push('unsubscribe');
  }
  resumePushes(): void {
    this.calls.push('resumePushes');
  }
  limitMessages(): void {
    this.calls.push('limitMessages');
  }

  renewToken(): void {
    this.calls.push('renewToken');
  }
  end(connection: number, reason: EndReason, last?: Buffer): void {
    const bytes = last ?? this.mqtt.encodeClose(connection, reason);
    this.calls.push(`end ${reason} ${bytes?.toString('hex') ?? ''}`.trim());
    this.hasEnded = true;
    this.mqtt.onClosed(connection, 'alice', reason);
  }
  setTimer(): void {}
  clientIdOf(): string {
    return 'alice';
  }
  lastSentId(): string {
    return this.sent;
  }
  async open() {
    return { isPresent: false, subscriptions: [], inFlight: [] };
  }
  store(_: string, subscriptions: readonly MqttSubscription[]): void {
    this.calls.push(`store ${subscriptions.map(({ qos }) => qos)}`);
  }
  expire(_: string, afterSeconds: number, inFlight: readonly PushInFlight[]): void {
    const left = inFlight.map(({ packetId, id }) => ` ${packetId}:${id}`);
    this.calls.push(`expire ${afterSeconds}${left.join('')}`);
  }
}
