/** Creates the protocols of an edge and the detectors of their connect requests. */
import type { ShardNames } from '../common/cluster/shard-names.js';
import type { Metrics } from '../common/process/metrics.js';
import type { ScriptLink } from '../common/redis/script.js';
import { CHUNKED, UNTIL_CLOSE } from '../common/wire/body-framing.js';
import type { EdgeConfig } from './config.js';
import { HttpDetector } from './protocol/http/detector.js';
import { NdjsonProtocol } from './protocol/http/ndjson.js';
import { SseProtocol } from './protocol/http/sse.js';
import { MqttConnectionTable } from './protocol/mqtt/connection-table.js';
import { MqttCounters } from './protocol/mqtt/counters.js';
import { MqttDetector } from './protocol/mqtt/detector.js';
import { MqttProtocol } from './protocol/mqtt/mqtt.js';
import { MqttWebSocketProtocol } from './protocol/mqtt/over-websocket.js';
import { MqttWebSocketDetector } from './protocol/mqtt/websocket-detector.js';
import type { GroupHost, Host, ProtocolDetector } from './protocol/protocol.js';
import { webSocketFailures } from './protocol/websocket/inbound.js';
import { JsonWebSocketProtocol } from './protocol/websocket/json.js';
import { RawWebSocketProtocol } from './protocol/websocket/raw.js';
import { MqttSessions, SESSION_SECONDS_MAX } from './session/mqtt-sessions.js';

export interface ProtocolsOptions {
  readonly config: EdgeConfig;
  readonly host: Host;
  readonly groups: GroupHost;
  readonly link: ScriptLink;
  readonly names: ShardNames;
  readonly metrics: Metrics;
}

export interface Protocols {
  readonly detectors: readonly [ProtocolDetector, ...ProtocolDetector[]];
  /** Its arrays are part of the memory account. */
  readonly mqttConnections: MqttConnectionTable;
}

export function createProtocols(options: ProtocolsOptions): Protocols {
  const { config, host, groups, link, names, metrics } = options;
  const failures = webSocketFailures(metrics);
  const mqttConnections = new MqttConnectionTable();
  const sessions = new MqttSessions(link, (clientId) => names.channelOfClient(clientId));
  const counters = new MqttCounters(metrics);
  const connections = mqttConnections;
  const mqttOptions = { host, groups, config, connections, sessions, counters };
  const mqtt = {
    4: new MqttProtocol({ version: 4, ...mqttOptions }),
    5: new MqttProtocol({ version: 5, ...mqttOptions }),
  };
  const mqttOverWebSocket = {
    4: new MqttWebSocketProtocol({ version: 4, ...mqttOptions }, failures),
    5: new MqttWebSocketProtocol({ version: 5, ...mqttOptions }, failures),
  };
  const mqttConfig = { ...config, mqttSessionSecondsMax: SESSION_SECONDS_MAX };
  const overHttp = {
    sse: { chunked: new SseProtocol(CHUNKED), untilClose: new SseProtocol(UNTIL_CLOSE) },
    ndjson: { chunked: new NdjsonProtocol(CHUNKED), untilClose: new NdjsonProtocol(UNTIL_CLOSE) },
    websocketRaw: new RawWebSocketProtocol(host, config, failures, metrics),
    websocketJson: new JsonWebSocketProtocol(host, config, failures, groups),
    mqtt: new MqttWebSocketDetector(mqttConfig, mqttOverWebSocket, sessions),
  };
  const detectors = [
    new HttpDetector(config, overHttp, groups),
    new MqttDetector(mqttConfig, mqtt, sessions),
  ] as const;
  return { detectors, mqttConnections };
}
