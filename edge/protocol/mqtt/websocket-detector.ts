/** CONNECT over a WebSocket, after the upgrade was answered. */
import type { Credentials, Verified } from '../../../common/auth/authenticator.js';
import type { Rejection } from '../../../common/process/errors.js';
import type { Connection } from '../../../common/transport/transport.js';
import type { MqttVersion } from '../../../common/wire/mqtt/rejection.js';
import {
  MqttOpeningReader,
  mqttRejectionFrames,
} from '../../../common/wire/websocket/mqtt-opening.js';
import type { ConnectRequest, DetectionResult, ProtocolDetector } from '../protocol.js';
import { MqttDetector, type MqttDetectorConfig } from './detector.js';
import { inFrame, type MqttWebSocketProtocol } from './over-websocket.js';
import type { MqttSessionStore } from './session-store.js';

export type MqttWebSocketProtocols = Readonly<Record<MqttVersion, MqttWebSocketProtocol>>;

export class MqttWebSocketDetector {
  readonly #mqtt: MqttDetector;

  constructor(
    readonly config: MqttDetectorConfig,
    readonly protocols: MqttWebSocketProtocols,
    sessions: MqttSessionStore,
  ) {
    const inner = { 4: protocols[4].mqtt, 5: protocols[5].mqtt };
    this.#mqtt = new MqttDetector(config, inner, sessions);
  }

  /**
   * @param credentials those of the upgrade, which go before those of CONNECT
   * @param labels those of its query, not validated
   */
  upgrade(credentials: Credentials, labels: string | undefined): ProtocolDetector {
    return new OpeningDetector(this.config, this.#mqtt, this.protocols, credentials, labels);
  }
}

/** Reads one connection, whose bytes it keeps itself. */
class OpeningDetector implements ProtocolDetector {
  readonly #reader: MqttOpeningReader;

  constructor(
    config: MqttDetectorConfig,
    readonly mqtt: MqttDetector,
    readonly protocols: MqttWebSocketProtocols,
    readonly credentials: Credentials,
    readonly labels: string | undefined,
  ) {
    this.#reader = new MqttOpeningReader(config.headBytesMax);
  }

  couldBe(): boolean {
    return true;
  }

  /** @param bytes only the next bytes */
  read(bytes: Buffer): DetectionResult {
    const opening = this.#reader.read(bytes, (stream) => {
      const read = this.mqtt.read(stream);
      return read.type === 'incomplete' ? 'more' : read;
    });
    if (opening.type === 'more') return { type: 'incomplete', reply: someBytes(opening.reply) };
    if (opening.type === 'closed') {
      const { rejected, bytes } = opening;
      if (rejected === undefined) return { type: 'answered', bytes };
      return { type: 'rejected', rejected, bytes };
    }
    const { result, reply } = opening;
    if (result.type === 'rejected') {
      const bytes = Buffer.concat([reply, mqttRejectionFrames(result.bytes, result.rejected)]);
      return { ...result, bytes };
    }
    if (result.type !== 'connect') return result;
    const earlyData = this.#reader.framesAfter(result.request.earlyData);
    const request = new WebSocketRequest(result.request, this, earlyData);
    return { type: 'connect', request, reply: someBytes(reply) };
  }

  reject(rejected: Rejection): Buffer {
    return mqttRejectionFrames(NO_BYTES, rejected);
  }
}

const NO_BYTES = Buffer.alloc(0);

function someBytes(bytes: Buffer): Buffer | undefined {
  return bytes.length === 0 ? undefined : bytes;
}

/** The request of an MQTT device, with its responses in frames. */
class WebSocketRequest implements ConnectRequest {
  readonly protocol: MqttWebSocketProtocol;
  readonly credentials: Credentials;
  readonly query: ConnectRequest['query'];
  readonly cursor = '';
  readonly acceptsEarlyData = true;
  readonly followsRedirects = false;

  constructor(
    readonly mqtt: ConnectRequest,
    { credentials, protocols, labels }: OpeningDetector,
    readonly earlyData: Buffer,
  ) {
    this.protocol = protocols[4].mqtt === mqtt.protocol ? protocols[4] : protocols[5];
    const token = credentials.token ?? mqtt.credentials.token;
    this.credentials = { ticket: credentials.ticket, token };
    this.query = { ...mqtt.query, labels };
  }

  get startFrom(): ConnectRequest['startFrom'] {
    return this.mqtt.startFrom;
  }

  get startsUnsubscribed(): boolean {
    return this.mqtt.startsUnsubscribed;
  }

  get isResuming(): boolean {
    return this.mqtt.isResuming;
  }

  prepare(verified: Verified): Promise<Rejection | undefined> | undefined {
    return this.mqtt.prepare?.(verified);
  }

  onRegistered(connection: Connection): void {
    this.mqtt.onRegistered?.(connection);
  }

  accept(ticket: string | undefined): Buffer {
    return inFrame(this.mqtt.accept(ticket));
  }

  reject(rejected: Rejection): Buffer {
    return mqttRejectionFrames(this.mqtt.reject(rejected), rejected);
  }

  retryLater(rejected: Rejection): Buffer {
    return mqttRejectionFrames(this.mqtt.retryLater(rejected), rejected);
  }

  redirect(): undefined {
    return undefined;
  }
}
