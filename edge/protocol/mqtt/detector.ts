/** Connect requests over MQTT: CONNECT (MQTT 5 §3.1) and its response CONNACK. */
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
import type { ConnectRequest, DetectionResult, ProtocolDetector } from '../protocol.js';
import { CONNACK_BYTES_MAX, connackPacket } from './encode.js';
import type { MqttProtocol } from './mqtt.js';
import type { MqttSession, MqttSessionStore } from './session-store.js';

export interface MqttDetectorConfig {
  /** Maximum size of an inbound packet, CONNECT and later ones. */
  readonly headBytesMax: number;
  /** Treatment of a CONNECT with a will, which this server never publishes. */
  readonly mqttWills: 'reject' | 'ignore';
  /** Maximum keep alive. */
  readonly mqttKeepAliveMaxMs: number;
  /** Maximum session expiry. */
  readonly mqttSessionSecondsMax: number;
}

const NO_BYTES = Buffer.alloc(0);
const TLS_HANDSHAKE = 0x16;

export class MqttDetector implements ProtocolDetector {
  constructor(
    readonly config: MqttDetectorConfig,
    readonly protocols: Readonly<Record<MqttVersion, MqttProtocol>>,
    readonly sessions: MqttSessionStore,
  ) {}

  /** Accepts any flags, so that `read` can report invalid ones. */
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

  /** Empty: the protocol version is unknown, so no CONNACK can be encoded. */
  reject(): Buffer {
    return NO_BYTES;
  }

  /** Devices cannot publish, so wills cannot work. `ignore` ignores all fields of a will. */
  #fault({ will, version, packetBytesMax }: MqttConnect): MqttFault | undefined {
    if (packetBytesMax < CONNACK_BYTES_MAX) {
      const message = `a CONNACK exceeds Maximum Packet Size ${packetBytesMax} [MQTT-3.1.2-24]`;
      return protocolError(message, MQTT_REASON.packetTooLarge);
    }
    if (will === undefined || this.config.mqttWills === 'ignore') return undefined;
    const { code, message } = rejection(
      'PERMISSION_DENIED',
      'wills are not supported; connect without one',
    );
    if (version === 4) return { code, message, reason: MQTT_REASON.notAuthorized };
    // [MQTT-3.2.2-13], [MQTT-3.2.2-12]
    if (will.isRetained) return { code, message, reason: MQTT_REASON.retainNotSupported };
    if (will.qos === 2) return { code, message, reason: MQTT_REASON.qosNotSupported };
    return { code, message, reason: MQTT_REASON.topicNameInvalid };
  }
}

class MqttConnectRequest implements ConnectRequest {
  readonly protocol: MqttProtocol;
  readonly query: ConnectQuery;
  readonly credentials: Credentials;
  /** None: MQTT has no cursor; the inbox has what the client has not confirmed. */
  readonly cursor = '';
  readonly startFrom: ConnectRequest['startFrom'];
  readonly isResuming: boolean;
  /** Packets may follow CONNECT before CONNACK (§3.1.4). */
  readonly acceptsEarlyData = true;
  readonly followsRedirects = false;
  /** Set by `prepare`. */
  #session: MqttSession = { isPresent: false, subscriptions: [], inFlight: [] };
  #connection: Connection | undefined;

  constructor(
    readonly detector: MqttDetector,
    readonly connect: MqttConnect,
    readonly earlyData: Buffer,
  ) {
    this.protocol = detector.protocols[connect.version];
    this.query = { clientId: connect.clientId, lastEventId: '', routedUnder: undefined };
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
    const options = { isClean, isPersistent: sessionExpirySeconds > 0 };
    const session = await this.detector.sessions.open(clientId, options);
    if ('code' in session) return session;
    this.#session = session;
    return undefined;
  }

  onRegistered(connection: Connection): void {
    this.#connection = connection;
    this.protocol.register(connection, this.connect, this.#keepAliveSeconds(), this.#session);
  }

  accept(): Buffer {
    const { connect, detector } = this;
    const { headBytesMax, mqttSessionSecondsMax } = detector.config;
    const keepAliveSeconds = this.#keepAliveSeconds();
    // [MQTT-3.1.2-22]
    this.protocol.host.setTimer(this.#connection!, keepAliveSeconds * 1500);
    const isUnchanged = keepAliveSeconds === connect.keepAliveSeconds;
    const isCapped = connect.sessionExpirySeconds > mqttSessionSecondsMax;
    return connackPacket(connect.version, {
      // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
      isSessionPresent: this.#session.isPresent,
      sessionExpirySeconds: isCapped ? mqttSessionSecondsMax : undefined,
      keepAliveSeconds: isUnchanged ? undefined : keepAliveSeconds,
      packetBytesMax: headBytesMax,
    });
  }

  reject(rejected: Rejection): Buffer {
    return connackRejection(this.connect.version, rejected, this.connect.packetBytesMax);
  }

  /**
   * Empty in both versions: mqtt.js never reconnects after a CONNACK that rejects, not even after
   * Use another server with a Server Reference; after a closed connection all libraries do.
   */
  retryLater(): Buffer {
    return NO_BYTES;
  }

  /** Hardly any client follows a Server Reference, so the device is served here, as a guest. */
  redirect(): undefined {
    return undefined;
  }

  /**
   * MQTT 5 lets the server override the keep alive (§3.2.2.3.14). In 3.1.1 the client's value
   * holds, except zero (no keep alive), with which dead connections would stay forever.
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
