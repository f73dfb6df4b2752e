import { describe, expect, test } from '@jest/globals';
import type { Rejection } from '../../../../common/process/errors.js';
import { connectionOf } from '../../../../common/transport/transport.js';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { MqttConnectionTable } from '../../../../edge/protocol/mqtt/connection-table.js';
import { MqttDetector } from '../../../../edge/protocol/mqtt/detector.js';
import type { MqttProtocol } from '../../../../edge/protocol/mqtt/mqtt.js';
import type {
  MqttSession,
  MqttSessionStore,
  SessionOptions,
} from '../../../../edge/protocol/mqtt/session-store.js';
import type { ConnectRequest } from '../../../../edge/protocol/protocol.js';
import { connect, field, hex } from '../../../support/devices/mqtt-bytes.js';

const VERIFIED = { expiresAtMs: Number.POSITIVE_INFINITY, issuedAtMs: 0, labels: '', groups: '' };

const ALICE = connectionOf(1, 1);
const CONFIG = {
  headBytesMax: 8_192,
  mqttWills: 'reject' as const,
  mqttKeepAliveMaxMs: 600_000,
  mqttSessionSecondsMax: 1_000,
};
const NEW = { isPresent: false, subscriptions: [], inFlight: [] };
const UNAVAILABLE: Rejection = { code: 'REDIS_UNAVAILABLE', message: 'down' };

/** A detector with recording fakes. The casts are safe: the detector uses no other members. */
function makeDetector(
  config: Partial<typeof CONFIG> | { mqttWills: 'ignore' } = {},
  found?: MqttSession | Rejection,
) {
  const timersMs: number[] = [];
  const opened: string[] = [];
  const host = { setTimer: (_: number, afterMs: number) => timersMs.push(afterMs) };
  const sessions = {
    open: async (clientId: string, { isClean, isPersistent }: SessionOptions) => {
      opened.push(`${clientId}${isClean ? ' clean' : ''}${isPersistent ? ' persistent' : ''}`);
      const session = found ?? NEW;
      return isClean && !('code' in session) ? NEW : session;
    },
  } as unknown as MqttSessionStore;
  const connections = new MqttConnectionTable();
  const register = connections.add.bind(connections);
  const protocol = { host, register } as unknown as MqttProtocol;
  const detector = new MqttDetector(
    { ...CONFIG, ...config },
    { 4: protocol, 5: protocol },
    sessions,
  );
  return { detector, timersMs, opened, connections };
}

function connectRequest(detector: MqttDetector, bytes: Buffer): ConnectRequest {
  const read = detector.read(bytes);
  if (read.type !== 'connect') throw new Error(`no connect request: ${JSON.stringify(read)}`);
  return read.request;
}

/** Accepts the client and returns its CONNACK in hex. */
async function accept(made: ReturnType<typeof makeDetector>, bytes: Buffer): Promise<string> {
  const request = connectRequest(made.detector, bytes);
  expect(await request.prepare!(VERIFIED)).toBeUndefined();
  request.onRegistered!(ALICE);
  return request.accept(undefined).toString('hex');
}

describe('sessions', () => {
  const FOUND: MqttSession = {
    isPresent: true,
    subscriptions: [{ filterHash: 7, qos: 1 }],
    inFlight: [],
  };

  test('a clean session ends a stored one [MQTT-3.1.2-4], [MQTT-3.2.2-2]', async () => {
    const made = makeDetector({}, FOUND);
    expect(await accept(made, connect())).toBe('20020000');
    expect(made.opened).toEqual(['a clean']);
    expect(connectRequest(made.detector, connect())).toMatchObject({
      startFrom: 'now',
      startsUnsubscribed: true,
    });
  });

  test('a stored session is present [MQTT-3.2.2-3] and starts subscribed', async () => {
    const made = makeDetector({}, FOUND);
    expect(await accept(made, connect({ flags: 0 }))).toBe('20020100');
    expect(made.connections.qosOf(ALICE)).toBe(1);
    const request = connectRequest(made.detector, connect({ flags: 0 }));
    await request.prepare!(VERIFIED);
    expect(request).toMatchObject({
      startFrom: 'unconfirmed',
      startsUnsubscribed: false,
      isResuming: true,
    });
  });

  test('a stored session without subscriptions is present and starts unsubscribed', async () => {
    const made = makeDetector({}, { ...NEW, isPresent: true });
    expect(await accept(made, connect({ flags: 0 }))).toBe('20020100');
    expect(made.opened).toEqual(['a persistent']);
    expect(connectRequest(made.detector, connect({ flags: 0 })).startsUnsubscribed).toBe(true);
  });

  test('a session that is not stored is not present', async () => {
    expect(await accept(makeDetector(), connect({ flags: 0 }))).toBe('20020000');
  });

  test('closes without a CONNACK while Redis is unreachable', async () => {
    for (const version of [4, 5] as const) {
      const request = connectRequest(
        makeDetector({}, UNAVAILABLE).detector,
        connect({ version, flags: 0 }),
      );
      const rejected = await request.prepare!(VERIFIED);
      expect(rejected).toEqual(UNAVAILABLE);
      expect(request.reject(rejected!)).toHaveLength(0);
    }
  });

  test('reports a capped session expiry in MQTT 5 (§3.2.2.3.2)', async () => {
    const expiring = (seconds: string) =>
      connect({ version: 5, flags: 0, properties: `11 ${seconds}` });
    expect(await accept(makeDetector(), expiring('000003e8'))).not.toContain('11000003e8');
    expect(await accept(makeDetector(), expiring('000003e9'))).toContain('11000003e8');
    expect(await accept(makeDetector(), expiring('ffffffff'))).toContain('11000003e8');
  });
});

describe('keep alive', () => {
  test.each<[MqttVersion, number, number, string]>([
    [4, 60, 90_000, '20020000'],
    [4, 65_535, 98_302_500, '20020000'],
    [4, 0, 900_000, '20020000'],
  ])(
    'level %i, %i s: sets the timer to %i ms',
    async (version, keepAliveSeconds, afterMs, connack) => {
      const made = makeDetector();
      expect(await accept(made, connect({ version, keepAliveSeconds }))).toBe(connack);
      expect(made.timersMs).toEqual([afterMs]);
    },
  );

  test.each([
    [600, 900_000, ''],
    [601, 900_000, '130258'],
    [0, 900_000, '130258'],
  ])(
    'MQTT 5, %i s: sets the timer to %i ms and reports an override (§3.2.2.3.14)',
    async (keepAliveSeconds, afterMs, override) => {
      const made = makeDetector();
      const connack = await accept(made, connect({ version: 5, keepAliveSeconds }));
      expect(connack.endsWith(override === '' ? '2a00' : override)).toBe(true);
      expect(made.timersMs).toEqual([afterMs]);
    },
  );
});

describe('Maximum Packet Size [MQTT-3.1.2-24]', () => {
  const limitedTo = (bytes: number) =>
    connect({ version: 5, properties: `27 ${bytes.toString(16).padStart(8, '0')}` });

  test('accepts a client whose limit fits a CONNACK and rejects others in five bytes', async () => {
    expect(await accept(makeDetector(), limitedTo(28))).toMatch(/^20..0000/);
    const read = makeDetector().detector.read(limitedTo(27));
    expect(read.type === 'rejected' ? read.bytes[3] : 0).toBe(0x95);
  });

  test('omits a reason string that does not fit', async () => {
    const request = connectRequest(makeDetector().detector, limitedTo(28));
    const reject = (length: number) =>
      request.reject({ code: 'UNAUTHENTICATED', message: 'x'.repeat(length) });
    expect(reject(21).toString('hex')).toBe('2003008700');
    expect(reject(20)).toHaveLength(28);
  });
});

describe('wills', () => {
  const will = (version: MqttVersion, flags: number) => {
    const rest = [...(version === 5 ? [hex('00')] : []), field('t'), field('m')];
    return connect({ version, flags, rest: Buffer.concat(rest) });
  };

  test.each([
    [4, 0x06, '20020005'],
    [5, 0x06, '90'],
    [5, 0x16, '9b'],
    [5, 0x26, '9a'],
  ] as const)('level %i, flags %i: rejects', (version, flags, expected) => {
    const read = makeDetector().detector.read(will(version, flags));
    const hexOf = read.type === 'rejected' ? read.bytes.toString('hex') : '';
    expect(version === 4 ? hexOf : hexOf.slice(6, 8)).toBe(expected);
  });

  test('are ignored when configured', () => {
    const { detector } = makeDetector({ mqttWills: 'ignore' });
    for (const version of [4, 5] as const) {
      expect(detector.read(will(version, 0x36)).type).toBe('connect');
    }
  });
});

test('distinguishes CONNECT from TLS and HTTP by the first byte', () => {
  const { detector } = makeDetector();
  for (const first of [0x10, 0x11, 0x1f]) expect(detector.couldBe(Buffer.from([first]))).toBe(true);
  for (const first of [0x16, 0x47, 0x00, 0xc0, 0x30]) {
    expect(detector.couldBe(Buffer.from([first]))).toBe(false);
  }
});
