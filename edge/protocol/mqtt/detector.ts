/** How a device introduces itself over MQTT: CONNECT (MQTT 5 §3.1), which is answered with CONNACK. */
import type { Credentials } from '../../../common/auth/authenticator.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Connection } from '../../../common/transport/transport.js';
import type { ConnectQuery } from '../../../common/wire/connect-query.js';
import { type MqttConnect, parseMqttConnect } from '../../../common/wire/mqtt/connect.js';
import {
  connackRejection,
  MQTT_REASON,
  type MqttFault,
  type MqttVersion,
  protocolError,
} from '../../../common/wire/mqtt/rejection.js';
import type { ConnectRequest, DetectionResult, Protocol, ProtocolDetector } from '../protocol.js';
import type { MqttConnectionTable } from './connection-table.js';
import { CONNACK_BYTES_MAX, connackPacket } from './encode.js';
import type { MqttSession, MqttSessionStore } from './session-store.js';

export interface MqttDetectorConfig {
  /** Of a packet that is read here, CONNECT and later ones. */
  readonly headBytesMax: number;
  /** What becomes of a CONNECT with a will, which nobody here would publish. */
  readonly mqttWills: 'reject' | 'ignore';
  /** The longest silence that a device may ask for. */
  readonly mqttKeepAliveMaxMs: number;
  /** Of a session whose client is away. */
  readonly mqttSessionSecondsMax: number;
}

const NO_BYTES = Buffer.alloc(0);
const TLS_HANDSHAKE = 0x16;

export class MqttDetector implements ProtocolDetector {
  constructor(
    readonly config: MqttDetectorConfig,
    readonly protocols: Readonly<Record<MqttVersion, Protocol>>,
    readonly connections: MqttConnectionTable,
    readonly sessions: MqttSessionStore,
  ) {}

  /** A CONNECT, whatever its flags. */
  couldBe(bytes: Buffer): boolean {
    return bytes[0]! >> 4 === 1 && bytes[0] !== TLS_HANDSHAKE;
  }

  read(bytes: Buffer): DetectionResult {
    const connect = parseMqttConnect(bytes, this.config.headBytesMax);
    if (connect === 'more') return { type: 'incomplete' };
    if ('code' in connect) return rejected(connect.version, connect);
    const fault = this.#fault(connect);
    if (fault !== undefined) return rejected(connect.version, fault);
    const earlyData = bytes.subarray(connect.byteLength);
    return { type: 'connect', request: new MqttConnectRequest(this, connect, earlyData) };
  }

  /** Of somebody whose version is not known yet. */
  reject(): Buffer {
    return NO_BYTES;
  }

  /** Nobody publishes here, not even for one who has gone. Ignored is ignored, all of it. */
  #fault({ will, version, packetBytesMax }: MqttConnect): MqttFault | undefined {
    if (packetBytesMax < CONNACK_BYTES_MAX) {
      const why = `no answer fits into a packet of ${packetBytesMax} bytes [MQTT-3.1.2-24]`;
      return protocolError(why, MQTT_REASON.packetTooLarge);
    }
    if (will === undefined || this.config.mqttWills === 'ignore') return undefined;
    const { code, message } = rejection('PERMISSION_DENIED', 'wills are not published here');
    if (version === 4) return { code, message, reason: MQTT_REASON.notAuthorized };
    // [MQTT-3.2.2-13], [MQTT-3.2.2-12]
    if (will.isRetained) return { code, message, reason: MQTT_REASON.retainNotSupported };
    if (will.qos === 2) return { code, message, reason: MQTT_REASON.qosNotSupported };
    return { code, message, reason: MQTT_REASON.topicNameInvalid };
  }
}

class MqttConnectRequest implements ConnectRequest {
  readonly protocol: Protocol;
  readonly query: ConnectQuery;
  readonly credentials: Credentials;
  /** The inbox knows what the client has confirmed. */
  readonly cursor = '';
  readonly startFrom: ConnectRequest['startFrom'];
  readonly isResuming: boolean;
  /** Packets may follow CONNECT before it is answered (§3.1.4). */
  readonly acceptsEarlyData = true;
  /** Known when it is prepared. */
  #session: MqttSession = { isPresent: false, subscriptions: [] };
  #connection: Connection | undefined;

  constructor(
    readonly detector: MqttDetector,
    readonly connect: MqttConnect,
    readonly earlyData: Buffer,
  ) {
    this.protocol = detector.protocols[connect.version];
    this.query = { clientId: connect.clientId, lastEventId: '', sentUnder: undefined };
    this.credentials = { token: connect.token, ticket: undefined };
    this.startFrom = connect.isClean ? 'now' : 'unconfirmed';
    this.isResuming = !connect.isClean;
  }

  get startsUnsubscribed(): boolean {
    return this.#session.subscriptions.length === 0;
  }

  async prepare(): Promise<Rejection | undefined> {
    const { clientId, isClean, sessionExpirySeconds } = this.connect;
    // [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.1.2-6]
    const wish = { isClean, isPersistent: sessionExpirySeconds > 0 };
    const session = await this.detector.sessions.open(clientId, wish);
    if ('code' in session) return session;
    this.#session = session;
    return undefined;
  }

  onRegistered(connection: Connection): void {
    const { connections } = this.detector;
    this.#connection = connection;
    connections.add(connection, this.connect, this.#keepAliveSeconds(), this.#session);
  }

  accept(): Buffer {
    const { connect, detector } = this;
    const { headBytesMax, mqttSessionSecondsMax } = detector.config;
    const keepAliveSeconds = this.#keepAliveSeconds();
    // [MQTT-3.1.2-22]
    this.protocol.host.setTimer(this.#connection!, keepAliveSeconds * 1500);
    const isAsked = keepAliveSeconds === connect.keepAliveSeconds;
    const isShorter = connect.sessionExpirySeconds > mqttSessionSecondsMax;
    return connackPacket(connect.version, {
      // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
      isSessionPresent: this.#session.isPresent,
      sessionExpirySeconds: isShorter ? mqttSessionSecondsMax : undefined,
      keepAliveSeconds: isAsked ? undefined : keepAliveSeconds,
      packetBytesMax: headBytesMax,
    });
  }

  reject(rejected: Rejection): Buffer {
    return connackRejection(this.connect.version, rejected, this.connect.packetBytesMax);
  }

  /** Hardly a client follows a Server Reference: whoever has come is served. */
  redirect(): undefined {
    return undefined;
  }

  /**
   * A client of MQTT 5 can be told another time than it wished (§3.2.2.3.14). One of 3.1.1 cannot:
   * its wish holds, unless it wished for no end at all, which would leave dead connections for ever.
   */
  #keepAliveSeconds(): number {
    const { version, keepAliveSeconds } = this.connect;
    const secondsMax = Math.floor(this.detector.config.mqttKeepAliveMaxMs / 1000);
    if (keepAliveSeconds === 0) return secondsMax;
    return version === 4 ? keepAliveSeconds : Math.min(keepAliveSeconds, secondsMax);
  }
}

function rejected(version: MqttVersion | undefined, rejected: Rejection): DetectionResult {
  return { type: 'rejected', rejected, bytes: connackRejection(version, rejected) };
}
