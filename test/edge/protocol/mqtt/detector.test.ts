import { describe, expect, test } from '@jest/globals';
import type { Rejection } from '../../../../common/process/errors.js';
import { connectionOf } from '../../../../common/transport/transport.js';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { MqttConnectionTable } from '../../../../edge/protocol/mqtt/connection-table.js';
import { MqttDetector } from '../../../../edge/protocol/mqtt/detector.js';
import type {
  MqttSession,
  MqttSessionStore,
  SessionOptions,
} from '../../../../edge/protocol/mqtt/session-store.js';
import type { ConnectRequest, Protocol } from '../../../../edge/protocol/protocol.js';
import { connect, field, hex } from '../../../support/devices/mqtt-bytes.js';

const ALICE = connectionOf(1, 1);
const CONFIG = {
  headBytesMax: 8_192,
  mqttWills: 'reject' as const,
  mqttKeepAliveMaxMs: 600_000,
  mqttSessionSecondsMax: 1_000,
};
const AWAY: Rejection = { code: 'REDIS_UNAVAILABLE', message: 'away' };

/** What introducing takes of an edge, written down. The types are forced: more is not used. */
function edge(
  config: Partial<typeof CONFIG> | { mqttWills: 'ignore' } = {},
  found?: MqttSession | Rejection,
) {
  const timersMs: number[] = [];
  const done: string[] = [];
  const host = { setTimer: (_: number, afterMs: number) => timersMs.push(afterMs) };
  const protocol = { host } as unknown as Protocol;
  const sessions = {
    open: async (clientId: string, { isClean, isPersistent }: SessionOptions) => {
      done.push(`${clientId}${isClean ? ' clean' : ''}${isPersistent ? ' kept' : ''}`);
      const session = found ?? { isPresent: false, subscriptions: [] };
      return isClean && !('code' in session) ? { isPresent: false, subscriptions: [] } : session;
    },
  } as unknown as MqttSessionStore;
  const connections = new MqttConnectionTable();
  const detector = new MqttDetector(
    { ...CONFIG, ...config },
    { 4: protocol, 5: protocol },
    connections,
    sessions,
  );
  return { detector, timersMs, done, connections };
}

function introduce(detector: MqttDetector, bytes: Buffer): ConnectRequest {
  const read = detector.read(bytes);
  if (read.type !== 'connect') throw new Error(`not let in: ${JSON.stringify(read)}`);
  return read.request;
}

/** The CONNACK of a client that is let in, in hex. */
async function answerTo(made: ReturnType<typeof edge>, bytes: Buffer): Promise<string> {
  const request = introduce(made.detector, bytes);
  expect(await request.prepare!()).toBeUndefined();
  request.onRegistered!(ALICE);
  return request.accept(undefined).toString('hex');
}

describe('sessions', () => {
  const FOUND: MqttSession = { isPresent: true, subscriptions: [{ filterHash: 7, qos: 1 }] };

  test('a clean one ends what was there [MQTT-3.1.2-4], and is never present [MQTT-3.2.2-2]', async () => {
    const made = edge({}, FOUND);
    expect(await answerTo(made, connect())).toBe('20020000');
    expect(made.done).toEqual(['a clean']);
    expect(introduce(made.detector, connect())).toMatchObject({
      startFrom: 'now',
      startsUnsubscribed: true,
    });
  });

  test('one that is stored is present [MQTT-3.2.2-3], and its pushes flow', async () => {
    const made = edge({}, FOUND);
    expect(await answerTo(made, connect({ flags: 0 }))).toBe('20020100');
    expect(made.connections.qosOf(ALICE)).toBe(1);
    const request = introduce(made.detector, connect({ flags: 0 }));
    await request.prepare!();
    expect(request).toMatchObject({
      startFrom: 'unconfirmed',
      startsUnsubscribed: false,
      isResuming: true,
    });
  });

  test('one without subscriptions is present, too, and gets nothing yet', async () => {
    const made = edge({}, { isPresent: true, subscriptions: [] });
    expect(await answerTo(made, connect({ flags: 0 }))).toBe('20020100');
    expect(made.done).toEqual(['a kept']);
    expect(introduce(made.detector, connect({ flags: 0 })).startsUnsubscribed).toBe(true);
  });

  test('one that is not stored is not', async () => {
    expect(await answerTo(edge(), connect({ flags: 0 }))).toBe('20020000');
  });

  test('while Redis is away nobody is let in, and nobody is told to stay away', async () => {
    for (const version of [4, 5] as const) {
      const request = introduce(edge({}, AWAY).detector, connect({ version, flags: 0 }));
      const rejected = await request.prepare!();
      expect(rejected).toEqual(AWAY);
      expect(request.reject(rejected!)).toHaveLength(0);
    }
  });

  test('MQTT 5 is told when its session is kept for less than it asked (§3.2.2.3.2)', async () => {
    const asking = (seconds: string) =>
      connect({ version: 5, flags: 0, properties: `11 ${seconds}` });
    expect(await answerTo(edge(), asking('000003e8'))).not.toContain('11000003e8');
    expect(await answerTo(edge(), asking('000003e9'))).toContain('11000003e8');
    expect(await answerTo(edge(), asking('ffffffff'))).toContain('11000003e8');
  });
});

describe('keep alive', () => {
  test.each<[MqttVersion, number, number, string]>([
    [4, 60, 90_000, '20020000'],
    [4, 65_535, 98_302_500, '20020000'],
    [4, 0, 900_000, '20020000'],
  ])(
    'level %i, %i s: the timer is set to %i ms',
    async (version, keepAliveSeconds, afterMs, answer) => {
      const made = edge();
      expect(await answerTo(made, connect({ version, keepAliveSeconds }))).toBe(answer);
      expect(made.timersMs).toEqual([afterMs]);
    },
  );

  test.each([
    [600, 900_000, ''],
    [601, 900_000, '130258'],
    [0, 900_000, '130258'],
  ])(
    'MQTT 5, %i s: the timer is set to %i ms, and the client told (§3.2.2.3.14)',
    async (keepAliveSeconds, afterMs, told) => {
      const made = edge();
      const answer = await answerTo(made, connect({ version: 5, keepAliveSeconds }));
      expect(answer.endsWith(told === '' ? '2a00' : told)).toBe(true);
      expect(made.timersMs).toEqual([afterMs]);
    },
  );
});

describe('a client that takes small packets only [MQTT-3.1.2-24]', () => {
  const taking = (bytes: number) =>
    connect({ version: 5, properties: `27 ${bytes.toString(16).padStart(8, '0')}` });

  test('is let in when a CONNACK fits, and else rejected in five bytes', async () => {
    expect(await answerTo(edge(), taking(28))).toMatch(/^20..0000/);
    const read = edge().detector.read(taking(27));
    expect(read.type === 'rejected' ? read.bytes[3] : 0).toBe(0x95);
  });

  test('is told no more than the reason', async () => {
    const request = introduce(edge().detector, taking(28));
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
  ] as const)('level %i, flags %i: rejected', (version, flags, answer) => {
    const read = edge().detector.read(will(version, flags));
    const hexOf = read.type === 'rejected' ? read.bytes.toString('hex') : '';
    expect(version === 4 ? hexOf : hexOf.slice(6, 8)).toBe(answer);
  });

  test('are ignored where the operator wants that', () => {
    const { detector } = edge({ mqttWills: 'ignore' });
    for (const version of [4, 5] as const) {
      expect(detector.read(will(version, 0x36)).type).toBe('connect');
    }
  });
});

test('tells a CONNECT from a TLS handshake and from HTTP by the first byte', () => {
  const { detector } = edge();
  for (const first of [0x10, 0x11, 0x1f]) expect(detector.couldBe(Buffer.from([first]))).toBe(true);
  for (const first of [0x16, 0x47, 0x00, 0xc0, 0x30]) {
    expect(detector.couldBe(Buffer.from([first]))).toBe(false);
  }
});
