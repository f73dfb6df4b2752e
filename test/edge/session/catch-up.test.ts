import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { IdFloor } from '../../../common/redis/identity/id-floor.js';
import type { WriteResult } from '../../../common/transport/transport.js';
import { UNTIL_CLOSE } from '../../../common/wire/body-framing.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import { ConfirmedPushes } from '../../../edge/report/confirmed-pushes.js';
import { CatchUp } from '../../../edge/session/catch-up.js';
import { Connections } from '../../../edge/session/connections.js';
import { MessageLimits } from '../../../edge/session/message-limits.js';
import { eventually } from '../../support/eventually.js';

const ALICE = 1;
const SSE = new SseProtocol(UNTIL_CLOSE);

test('a device whose send buffer is full still receives the reset of an incomplete history', async () => {
  const table = new Connections(4096);
  table.add(ALICE, 'alice', 7, SSE, 0);
  // Redis does not know the cursor, and then returns a position and an empty inbox.
  const replies: unknown[] = [-1, '7-0', [[], Buffer.from('')]];
  const link = {
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
  const catchUp = new CatchUp({
    table,
    transport,
    link,
    names: { channelOf: () => 'll:{7}' },
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
  catchUp.start(ALICE, '5-0', 'unconfirmed');
  await eventually(() => expect(table.stateOf(ALICE)).toBe('live'));
  expect(written).toEqual(['id: 7-0\nevent: reset\ndata: {}\n\n']);
});
