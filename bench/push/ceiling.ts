/**
 * Ceiling of the push bench: pushes per second that Redis alone can take and deliver to one
 * subscriber. The commands are those of a router, encoded once and then pipelined over a plain
 * socket; the subscriber is another socket that counts.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type StorePush, storePush } from '../../common/cluster/inbox.js';
import { ShardEnvelope } from '../../proto/gen/longline/v1/envelope.js';
import { PAYLOAD_BYTES } from '../support/pushes/timed-payload.js';

type Argument = string | number | Buffer;

/** As many inboxes as the bench has devices, each in a shard without a subscribed edge. */
const TAGS = 2_000;
/** The router's limits, never reached here. */
const BOUNDS = { countMax: 1_000, bytesMax: 4 * 1024 * 1024 };
const TTL_MS = 60_000;
/** Occurs once in each message to a subscriber of shard channels. */
const MESSAGE = 'smessage';
const CRLF = Buffer.from('\r\n');

interface Ends {
  readonly publisher: Socket;
  readonly subscriber: Socket;
  /** Encoded commands, one per inbox. */
  readonly commands: { readonly live: readonly Buffer[]; readonly durable: readonly Buffer[] };
}

export class Ceiling {
  readonly #ends: Ends;
  #received = 0;

  private constructor(ends: Ends) {
    this.#ends = ends;
    let rest = '';
    ends.subscriber.on('data', (bytes) => {
      const parts = (rest + bytes.toString('latin1')).split(MESSAGE);
      this.#received += parts.length - 1;
      rest = parts.at(-1)!.slice(1 - MESSAGE.length);
    });
  }

  static async open(port: number): Promise<Ceiling> {
    const publisher = connect({ port, host: '127.0.0.1', noDelay: true });
    const subscriber = connect({ port, host: '127.0.0.1' });
    await Promise.all([once(publisher, 'connect'), once(subscriber, 'connect')]);
    const pushes = Array.from({ length: TAGS }, (_, i) => pushTo(`ceiling-${i}`));
    for (const { channel } of pushes) subscriber.write(encode('SSUBSCRIBE', [channel]));
    const live = pushes.map(({ channel, envelope }) =>
      encode('SPUBLISH', [channel, Buffer.from(envelope)]),
    );
    const stored = await Promise.all(pushes.map(storeCommands));
    publisher.write(stored[0]!.withScript);
    await once(publisher, 'data');
    const durable = stored.map(({ byHash }) => byHash);
    return new Ceiling({ publisher, subscriber, commands: { live, durable } });
  }

  /** Returns messages per second at the subscriber, with `window` commands in flight. */
  async measure(kind: 'live' | 'durable', seconds: number, window: number): Promise<number> {
    const { publisher } = this.#ends;
    const commands = this.#ends.commands[kind];
    let next = 0;
    let inFlight = 0;
    const send = (count: number) => {
      const batch = Array.from({ length: count }, () => commands[next++ % commands.length]!);
      inFlight += count;
      publisher.write(Buffer.concat(batch));
    };
    // An integer is one line, the answer of the script six: an array of an id and three integers.
    const linesPerReply = kind === 'live' ? 1 : 6;
    let isStopped = false;
    let lines = 0;
    const drained = new Promise<void>((resolve) => {
      publisher.on('data', (bytes) => {
        for (const byte of bytes) if (byte === 0x0a) lines++;
        const replies = Math.floor(lines / linesPerReply);
        lines -= replies * linesPerReply;
        inFlight -= replies;
        if (!isStopped) send(replies);
        else if (inFlight === 0) resolve();
      });
    });
    const start = process.hrtime.bigint();
    const before = this.#received;
    send(window);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    const elapsed = Number(process.hrtime.bigint() - start) / 1e9;
    const perSecond = Math.round((this.#received - before) / elapsed);
    isStopped = true;
    await drained;
    publisher.removeAllListeners('data');
    return perSecond;
  }

  close(): void {
    this.#ends.publisher.destroy();
    this.#ends.subscriber.destroy();
  }
}

/** A push as a router stores and publishes it. */
function pushTo(tag: string): StorePush {
  const payload = Buffer.alloc(PAYLOAD_BYTES, '.');
  const envelope = ShardEnvelope.encode({
    queryId: 1_000_000,
    replyChannel: 'lr:{1234}:router:00000000-0000-0000-0000-000000000000',
    clientId: tag,
    body: { $case: 'push', value: { payload, contentType: '', ttlMs: TTL_MS } },
    id: '',
    seq: '',
  }).finish();
  const rest = { contentType: '', ttlMs: TTL_MS, idempotencyKey: '' };
  return { channel: `ll:{${tag}}`, clientId: tag, envelope, payload, ...rest };
}

/**
 * The commands that store a push: EVALSHA, and EVAL for a server that does not have the script yet.
 */
async function storeCommands(push: StorePush): Promise<{ byHash: Buffer; withScript: Buffer }> {
  const commands: Buffer[] = [];
  const link = {
    async execute(name: string, args: readonly Argument[]) {
      commands.push(encode(name, args));
      return { type: 'rejected', reason: 'NOSCRIPT' } as const;
    },
  };
  await storePush(link, push, BOUNDS);
  return { byHash: commands[0]!, withScript: commands[1]! };
}

/** A command of the Redis protocol (RESP). */
function encode(name: string, args: readonly Argument[]): Buffer {
  const parts = [name, ...args].map((part) =>
    Buffer.isBuffer(part) ? part : Buffer.from(String(part)),
  );
  const chunks = parts.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), part, CRLF]);
  return Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...chunks]);
}
