import { describe, expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { IdFloor } from '../../../common/redis/identity/id-floor.js';
import type { WriteResult } from '../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import { ConfirmedPushes } from '../../../edge/report/confirmed-pushes.js';
import { CatchUp, type CatchUpOptions } from '../../../edge/session/catch-up.js';
import { Connections } from '../../../edge/session/connections.js';
import { MessageLimits } from '../../../edge/session/message-limits.js';
import { eventually } from '../../support/eventually.js';

const ALICE = 1;
const SSE = new SseProtocol(UNTIL_CLOSE);

function open(options: Pick<CatchUpOptions, 'table' | 'transport' | 'link'>): CatchUp {
  return new CatchUp({
    ...options,
    names: { channelOf: (shard) => `ll:{${shard}}` },
    redisClocks: { observe: () => {} },
    confirmed: new ConfirmedPushes(16, () => 0, new Metrics()),
    counts: { onWritten: () => {} },
    onSlow: () => {},
    limits: new MessageLimits(),
    onOverLimit: () => {},
    onCorrupt: () => {},
    events: undefined,
    metrics: new Metrics(),
  });
}

test('a device whose send buffer is full still receives the reset of an incomplete history', async () => {
  const table = new Connections(4096);
  table.add(ALICE, 'alice', 7, SSE, 0);
  // Redis does not know the cursor, and then returns a position and an empty inbox.
  const replies: unknown[] = [-1, '7-0', [Date.now(), 1]];
  const link = {
    isCluster: false,
    isOneServer: () => true,
    idFloor: new IdFloor(),
    execute: async <Reply>() => ({ type: 'done', reply: replies.shift() }) as Outcome<Reply>,
  };
  const results: WriteResult[] = ['full', 'full', 'accepted'];
  const written: string[] = [];
  const transport = {
    write(_: number, bytes: Uint8Array) {
      const result = results.shift()!;
      if (result === 'accepted') written.push(Buffer.from(bytes).toString());
      return result;
    },
    bufferedBytes: () => 0,
  };
  const catchUp = open({ table, transport, link });
  catchUp.start(ALICE, '5-0', 'unconfirmed');
  await eventually(() => expect(table.stateOf(ALICE)).toBe('live'));
  expect(written).toEqual(['id: 7-0\nevent: reset\ndata: {}\n\n']);
});

test('a device is not live while its inbox is read from another server than its channel', async () => {
  const table = new Connections(4096);
  table.add(ALICE, 'alice', 7, SSE, 0);
  let isOneServer = false;
  let reads = 0;
  const link = {
    isCluster: false,
    isOneServer: () => isOneServer,
    idFloor: new IdFloor(),
    async execute<Reply>() {
      reads++;
      return { type: 'done', reply: [Date.now(), 1] } as Outcome<Reply>;
    },
  };
  const transport = { write: () => 'accepted' as const, bufferedBytes: () => 0 };
  open({ table, transport, link }).start(ALICE, '', 'unconfirmed');
  await eventually(() => expect(reads).toBe(2));
  expect(table.stateOf(ALICE)).toBe('catchingUp');
  isOneServer = true;
  await eventually(() => expect(table.stateOf(ALICE)).toBe('live'));
  expect(reads).toBe(3);
});

describe('devices that connect in one turn', () => {
  const DEVICES = 300;
  const transport = { write: () => 'accepted' as const, bufferedBytes: () => 0 };

  function connect(isCluster: boolean) {
    const table = new Connections(4096);
    const counts: number[] = [];
    const onScript: (() => void)[] = [];
    const link = {
      isCluster,
      isOneServer: () => true,
      idFloor: new IdFloor(),
      async execute<Reply>(_: string, args: readonly unknown[]) {
        const inboxes = Number(args[1]) / 3;
        counts.push(inboxes);
        await new Promise<void>((resolve) => onScript.push(resolve));
        return { type: 'done', reply: [Date.now(), ...Array(inboxes).fill(1)] } as Outcome<Reply>;
      },
    };
    const catchUp = open({ table, transport, link });
    const connections = Array.from({ length: DEVICES }, (_, i) => i + 1);
    for (const connection of connections) {
      table.add(connection, `device-${connection}`, connection % 2, SSE, 0);
      catchUp.start(connection, '', 'unconfirmed');
    }
    const states = () => connections.map((each) => table.stateOf(each));
    const answer = () => {
      for (const resolve of onScript.splice(0)) resolve();
    };
    return { catchUp, table, counts, states, answer };
  }

  test('share the scripts that read their inboxes, 256 at a time', async () => {
    const { catchUp, counts, states, answer } = connect(false);
    await eventually(() => expect(counts).toEqual(Array(8).fill(32)));
    expect(catchUp.pendingReads).toBe(DEVICES);
    answer();
    await eventually(() => expect(counts).toEqual([...Array(9).fill(32), 12]));
    answer();
    await eventually(() => expect(states()).toEqual(Array(DEVICES).fill('live')));
    expect(catchUp.pendingReads).toBe(0);
  });

  test('share those of their shard in a Redis Cluster', async () => {
    const { counts } = connect(true);
    await eventually(() => expect(counts).toEqual(Array(8).fill(32)));
  });

  test('are read again if a push arrives meanwhile, and not if they have gone', async () => {
    const { catchUp, counts, states, answer } = connect(false);
    await eventually(() => expect(counts).toHaveLength(8));
    catchUp.readAgain(1);
    for (let connection = 2; connection <= DEVICES; connection++) catchUp.stop(connection);
    answer();
    await eventually(() => expect(counts).toEqual([...Array(8).fill(32), 1]));
    expect(states()[0]).toBe('catchingUp');
    answer();
    await eventually(() => expect(states()[0]).toBe('live'));
    expect(catchUp.pendingReads).toBe(0);
  });
});
