/**
 * The ceiling of the push bench: how many pushes a second Redis takes and hands to one subscriber
 * when nobody else does anything. The commands are those of a router, made once and then pipelined
 * through a plain socket; the subscriber is another, that counts.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type StorePush, storePush } from '../../common/cluster/inbox.js';
import { shardChannel } from '../../common/cluster/shard.js';
import { ShardEnvelope } from '../../proto/gen/longline/v1/envelope.js';
import { PAYLOAD_BYTES } from './payload.js';

type Argument = string | number | Buffer;

/** As many inboxes as the bench has devices, each in a shard that no edge listens to. */
const TAGS = 2_000;
/** As the router's, and never reached here. */
const BOUNDS = { countMax: 1_000, bytesMax: 4 * 1024 * 1024 };
const TTL_MS = 60_000;
/** What each message to a subscriber of shard channels has once. */
const MESSAGE = 'smessage';

export class Ceiling {
  #received = 0;

  private constructor(
    readonly publisher: Socket,
    readonly subscriber: Socket,
    readonly live: readonly Buffer[],
    readonly durable: readonly Buffer[],
  ) {
    let rest = '';
    subscriber.on('data', (bytes) => {
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
    for (const { tag } of pushes) subscriber.write(encode('SSUBSCRIBE', [shardChannel(tag)]));
    const live = pushes.map(({ tag, envelope }) =>
      encode('SPUBLISH', [shardChannel(tag), Buffer.from(envelope)]),
    );
    const durable = await Promise.all(pushes.map(commandsOf));
    publisher.write(durable[0]!.byText);
    await once(publisher, 'data');
    return new Ceiling(
      publisher,
      subscriber,
      live,
      durable.map(({ byHash }) => byHash),
    );
  }

  /** Messages a second at the subscriber, with so many commands in flight. */
  async measure(kind: 'live' | 'durable', seconds: number, window: number): Promise<number> {
    const commands = this[kind];
    let next = 0;
    let inFlight = 0;
    const send = (count: number) => {
      const batch = Array.from({ length: count }, () => commands[next++ % commands.length]!);
      inFlight += count;
      this.publisher.write(Buffer.concat(batch));
    };
    // An integer is a line, the answer of the script six: an array of an id and three integers.
    const linesPerReply = kind === 'live' ? 1 : 6;
    let isStopped = false;
    let lines = 0;
    const drained = new Promise<void>((resolve) => {
      this.publisher.on('data', (bytes) => {
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
    this.publisher.removeAllListeners('data');
    return perSecond;
  }

  close(): void {
    this.publisher.destroy();
    this.subscriber.destroy();
  }
}

/** What a router would store and publish for a client. */
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
  return { tag, clientId: tag, envelope, payload, ...rest };
}

/** The commands with which a push is stored: by hash, and by text for a server that is new to it. */
async function commandsOf(push: StorePush): Promise<{ byHash: Buffer; byText: Buffer }> {
  const commands: Buffer[] = [];
  const link = {
    async execute(name: string, args: readonly Argument[]) {
      commands.push(encode(name, args));
      return { type: 'rejected', reason: 'NOSCRIPT' } as const;
    },
  };
  await storePush(link, push, BOUNDS);
  return { byHash: commands[0]!, byText: commands[1]! };
}

function encode(name: string, args: readonly Argument[]): Buffer {
  const parts = [name, ...args].map((part) =>
    Buffer.isBuffer(part) ? part : Buffer.from(String(part)),
  );
  const chunks = parts.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), part, CRLF]);
  return Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...chunks]);
}

const CRLF = Buffer.from('\r\n');
