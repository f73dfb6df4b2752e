import { expect, test } from '@jest/globals';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import type { Transport, WriteResult } from '../../../common/transport/transport.js';
import { SseProtocol } from '../../../edge/protocol/http/sse.js';
import { CatchUp } from '../../../edge/session/catch-up.js';
import { Connections } from '../../../edge/session/connections.js';
import { eventually } from '../../support/eventually.js';

const ALICE = 1;
const SSE = new SseProtocol();

test('a device whose buffer is full is still told that its history is not complete', async () => {
  const table = new Connections(4096, [SSE]);
  table.add(ALICE, 'alice', 7, SSE, 0);
  // Redis says that the cursor is not known, and then that the inbox is empty.
  const replies: unknown[] = [0, [[], Buffer.from('')]];
  const link = {
    execute: async <Reply>() => ({ type: 'done', reply: replies.shift() }) as Outcome<Reply>,
  };
  const results: WriteResult[] = ['full', 'full', 'accepted'];
  const written: string[] = [];
  // The type is forced: all that catching up does with a transport is to write.
  const transport = {
    write(_: number, bytes: Uint8Array) {
      const result = results.shift()!;
      if (result === 'accepted') written.push(Buffer.from(bytes).toString());
      return result;
    },
  } as unknown as Transport;
  const catchUp = new CatchUp(
    table,
    transport,
    link,
    () => '7',
    () => {},
    new Metrics(),
  );
  catchUp.start(ALICE, '5-0', 'unconfirmed');
  await eventually(() => expect(table.stateOf(ALICE)).toBe('live'));
  expect(written).toEqual(['event: reset\ndata: {}\n\n']);
});
