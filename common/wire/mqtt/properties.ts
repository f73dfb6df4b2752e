/**
 * MQTT 5 properties (§2.2.2) in packets of clients. Unused properties are validated, too: a packet
 * with an invalid one is rejected.
 */
import type { MqttFields } from './fields.js';
import { MQTT_REASON, malformed, protocolError } from './rejection.js';

/** Identifiers (§2.2.2.2). */
export const MQTT_PROPERTY = {
  payloadFormatIndicator: 0x01,
  messageExpiryInterval: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionIdentifier: 0x0b,
  sessionExpiryInterval: 0x11,
  serverKeepAlive: 0x13,
  authenticationMethod: 0x15,
  authenticationData: 0x16,
  requestProblemInformation: 0x17,
  willDelayInterval: 0x18,
  requestResponseInformation: 0x19,
  serverReference: 0x1c,
  reasonString: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  maximumQos: 0x24,
  retainAvailable: 0x25,
  userProperty: 0x26,
  maximumPacketSize: 0x27,
  wildcardSubscriptionAvailable: 0x28,
  subscriptionIdentifiersAvailable: 0x29,
  sharedSubscriptionAvailable: 0x2a,
} as const;

const P = MQTT_PROPERTY;

/** Allowed properties of each packet type from clients. */
export const MQTT_PROPERTIES_OF = {
  connect: new Set<number>([
    P.sessionExpiryInterval,
    P.authenticationMethod,
    P.authenticationData,
    P.requestProblemInformation,
    P.requestResponseInformation,
    P.receiveMaximum,
    P.topicAliasMaximum,
    P.userProperty,
    P.maximumPacketSize,
  ]),
  will: new Set<number>([
    P.payloadFormatIndicator,
    P.messageExpiryInterval,
    P.contentType,
    P.responseTopic,
    P.correlationData,
    P.willDelayInterval,
    P.userProperty,
  ]),
  publish: new Set<number>([
    P.payloadFormatIndicator,
    P.messageExpiryInterval,
    P.contentType,
    P.responseTopic,
    P.correlationData,
    P.topicAlias,
    P.userProperty,
  ]),
  /** PUBACK, PUBREC, PUBREL and PUBCOMP. */
  ack: new Set<number>([P.reasonString, P.userProperty]),
  subscribe: new Set<number>([P.subscriptionIdentifier, P.userProperty]),
  unsubscribe: new Set<number>([P.userProperty]),
  disconnect: new Set<number>([P.sessionExpiryInterval, P.reasonString, P.userProperty]),
  auth: new Set<number>([
    P.authenticationMethod,
    P.authenticationData,
    P.reasonString,
    P.userProperty,
  ]),
} as const;

/** Reads a value. Strings and binary data are validated but not used; their length is returned. */
function readValue(id: number, fields: MqttFields): number {
  switch (id) {
    case P.payloadFormatIndicator:
    case P.requestProblemInformation:
    case P.requestResponseInformation:
      return fields.byte();
    case P.receiveMaximum:
    case P.topicAliasMaximum:
    case P.topicAlias:
      return fields.uint16();
    case P.messageExpiryInterval:
    case P.sessionExpiryInterval:
    case P.willDelayInterval:
    case P.maximumPacketSize:
      return fields.uint32();
    case P.subscriptionIdentifier:
      return fields.variableInt();
    case P.correlationData:
    case P.authenticationData:
      return fields.binary().length;
    case P.userProperty:
      fields.string();
      return fields.string().length;
    default:
      return fields.string().length;
  }
}

function isInRange(id: number, value: number): boolean {
  switch (id) {
    case P.payloadFormatIndicator:
    case P.requestProblemInformation:
    case P.requestResponseInformation:
      return value <= 1;
    case P.receiveMaximum:
    case P.maximumPacketSize:
    case P.subscriptionIdentifier:
      return value > 0;
    default:
      return true;
  }
}

/** Values by identifier; for strings and binary data, their length. */
export type MqttProperties = ReadonlyMap<number, number>;

const NONE: MqttProperties = new Map();

/** Reads the property length and the properties; faults are in `fields`. */
export function readProperties(fields: MqttFields, allowed: ReadonlySet<number>): MqttProperties {
  const length = fields.variableInt();
  if (length === 0) return NONE;
  if (length > fields.remaining) {
    fields.fail(malformed('the property length exceeds the packet (§2.2.2.1)'));
    return NONE;
  }
  const until = fields.remaining - length;
  const properties = new Map<number, number>();
  while (fields.remaining > until) {
    // An identifier is a variable byte integer; all defined ones have one byte.
    const id = fields.variableInt();
    const name = `property 0x${id.toString(16).padStart(2, '0')}`;
    if (!allowed.has(id))
      fields.fail(malformed(`${name} is not allowed in this packet (§2.2.2.2)`));
    if (id !== P.userProperty && properties.has(id)) {
      fields.fail(protocolError(`${name} occurs twice`));
    }
    const value = readValue(id, fields);
    if (id === P.topicAlias && value === 0) {
      fields.fail(
        protocolError('the topic alias is 0 [MQTT-3.3.2-8]', MQTT_REASON.topicAliasInvalid),
      );
    }
    if (!isInRange(id, value)) fields.fail(protocolError(`${name} has the invalid value ${value}`));
    properties.set(id, value);
  }
  if (fields.remaining < until) {
    fields.fail(malformed('a property exceeds the property length (§2.2.2.1)'));
  }
  return properties;
}
