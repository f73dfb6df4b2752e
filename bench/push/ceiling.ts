/**
 * Ceiling of the push bench: pushes per second that Redis alone can take and deliver to one
 * subscriber. The commands are those of a router, encoded once and then pipelined over a plain
 * socket; the subscriber is another socket that counts.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  type Argument,
  channelOf,
  envelopeOf,
  storeCommand,
} from '../support/pushes/store-command.js';

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
    const pushes = Array.from({ length: TAGS }, (_, i) => {
      const tag = `ceiling-${i}`;
      return { tag, clientId: tag, ttlMs: TTL_MS, idempotencyKey: '' };
    });
    for (const push of pushes) subscriber.write(encode('SSUBSCRIBE', [channelOf(push)]));
    const live = pushes.map((push) => encode('SPUBLISH', [channelOf(push), envelopeOf(push)]));
    const stored = await Promise.all(pushes.map((push) => storeCommand([push], BOUNDS)));
    const { scriptText, args } = stored[0]!;
    publisher.write(encode('EVAL', [scriptText, ...args]));
    await once(publisher, 'data');
    const sha1 = createHash('sha1').update(scriptText).digest('hex');
    const durable = stored.map((command) => encode('EVALSHA', [sha1, ...command.args]));
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
    // An integer is one line, the answer of the script two: a text.
    const linesPerReply = kind === 'live' ? 1 : 2;
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

/** A command of the Redis protocol (RESP). */
function encode(name: string, args: readonly Argument[]): Buffer {
  const parts = [name, ...args].map((part) =>
    Buffer.isBuffer(part) ? part : Buffer.from(String(part)),
  );
  const chunks = parts.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), part, CRLF]);
  return Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...chunks]);
}
