/**
 * A pipelined connection to one Redis server, for the commands of pushes. It writes all commands of
 * a turn at once, and has no timer and only one object per command. It costs a router a third of
 * the same commands through ioredis, which keeps the rest: topology, redirections, and commands
 * while this connection is down.
 *
 * Never guesses an outcome: a command that was sent and got no reply is `unknown`.
 */
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import Parser from 'redis-parser';
import { atTurnEnd } from '../process/time/turn-end.js';
import { type CommandArgs, CommandBuffer } from './command-buffer.js';
import {
  addressOf,
  COMMAND_MS_MAX,
  type Endpoint,
  reconnectMs,
  SILENCE_MS_MAX,
} from './connection.js';
import { type Outcome, outcomeOfError } from './execute.js';
import {
  type IdentifiedConnection,
  parseIdentity,
  type ServerIdentity,
} from './identity/server-identity.js';

/** Resolution of timeouts. */
const TICK_MS = 250;
/** How long a connection that is to be closed waits for replies, up to a tick more. */
const REDIAL_MS = 500;

interface PendingCommand {
  readonly replyAs: 'text' | 'bytes';
  readonly sentAtMs: number;
  /** Undefined after the command timed out: its reply is still due, and is dropped. */
  resolve: ((outcome: Outcome<never>) => void) | undefined;
}

export interface PipelineOptions {
  /** A connection to a replica is closed before it is ready, and dialled again with backoff. */
  readonly requiresMaster: boolean;
  /** The server has rejected a write as a replica does. */
  readonly onReadOnly: (pipeline: IdentifiedConnection) => void;
  /** Called before the first command of each connection. */
  readonly onConnected: (address: string, server: ServerIdentity) => void;
}

const ANY_SERVER: PipelineOptions = {
  requiresMaster: false,
  onReadOnly: () => {},
  onConnected: () => {},
};

export class RedisPipeline implements IdentifiedConnection {
  readonly #out = new CommandBuffer();
  readonly #parser = new Parser({
    returnBuffers: true,
    returnReply: (reply) => this.#onReply(reply),
    returnError: (error) => this.#onError(error.message),
    // After a parse error, replies can no longer be matched to commands.
    returnFatalError: () => this.#socket.destroy(),
  });
  readonly #tickTimer: NodeJS.Timeout;
  #socket!: Socket;
  /** Oldest first, from `#head`: Redis replies in the order of the commands. */
  #pending: PendingCommand[] = [];
  #head = 0;
  #isReady = false;
  #runId = '';
  /** The connection is to be closed when the commands in flight are answered, or at this time. */
  #redialByMs = Number.POSITIVE_INFINITY;
  #isFlushDue = false;
  /** When the first command of this turn was appended: the sending time of all of them. */
  #turnMs = 0;
  #receivedAtMs = 0;
  #tries = 0;
  #reconnectTimer: NodeJS.Timeout | undefined;

  constructor(
    readonly endpoint: Endpoint,
    readonly name: string,
    readonly options = ANY_SERVER,
  ) {
    this.#tickTimer = setInterval(() => this.#tick(), TICK_MS);
    this.#connect();
  }

  /** True while commands can be sent. */
  get isReady(): boolean {
    return this.#isReady;
  }

  get address(): string {
    return addressOf(this.endpoint);
  }

  get runId(): string {
    return this.#runId;
  }

  get isLeaving(): boolean {
    return !this.#isReady && this.#runId !== '';
  }

  /** Accepts no more commands, waits briefly for replies, closes the connection and dials again. */
  redial(): void {
    // A connection that is being set up leads to the server that its handshake finds.
    if (!this.#isReady) return;
    this.#isReady = false;
    if (this.#head === this.#pending.length) this.#socket.destroy();
    else this.#redialByMs = performance.now() + REDIAL_MS;
  }

  /** Sends a command; to be called only while ready. Never rejects. */
  execute<Reply>(
    name: string,
    args: CommandArgs,
    replyAs: 'text' | 'bytes' = 'text',
  ): Promise<Outcome<Reply>> {
    return new Promise((resolve) => {
      this.#out.append(name, args);
      if (!this.#isFlushDue) {
        this.#isFlushDue = true;
        this.#turnMs = performance.now();
        atTurnEnd(() => this.#flush());
      }
      this.#pending.push({ replyAs, sentAtMs: this.#turnMs, resolve });
    });
  }

  close(): void {
    clearInterval(this.#tickTimer);
    clearTimeout(this.#reconnectTimer);
    this.#socket.removeAllListeners('close').destroy();
    this.#failAll();
  }

  #connect(): void {
    const { host, port, tls } = this.endpoint;
    const socket = tls
      ? connectTls({ host, port, ...tls.optionsFor(host) })
      : connect({ host, port, noDelay: true, keepAlive: true });
    this.#socket = socket;
    this.#receivedAtMs = performance.now();
    socket.once(tls ? 'secureConnect' : 'connect', () => void this.#handshake());
    socket.on('data', (bytes) => {
      this.#receivedAtMs = performance.now();
      this.#parser.execute(bytes);
    });
    // `close` follows. The cause is logged by the ioredis connections to this server.
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#failAll();
      this.#reconnectTimer = setTimeout(() => this.#connect(), reconnectMs(++this.#tries));
    });
  }

  async #handshake(): Promise<void> {
    const { username, password } = this.endpoint;
    const commands: CommandArgs[] = [['client', 'setname', this.name]];
    if (password !== undefined) {
      commands.unshift(['auth', ...(username === undefined ? [] : [username]), password]);
    }
    const setUp = commands.map(([name, ...args]) => this.execute(name as string, args));
    const info = await this.execute<string>('info', ['server', 'replication']);
    const outcomes = await Promise.all(setUp);
    const identity = info.type === 'done' ? parseIdentity(info.reply) : undefined;
    const isUsable = identity?.isMaster || !this.options.requiresMaster;
    this.#isReady =
      identity !== undefined && isUsable && outcomes.every(({ type }) => type === 'done');
    if (!this.#isReady) return void this.#socket.destroy();
    this.#runId = identity!.runId;
    this.options.onConnected(this.address, identity!);
    this.#tries = 0;
  }

  #flush(): void {
    this.#isFlushDue = false;
    this.#socket.write(this.#out.take());
  }

  #onReply(reply: unknown): void {
    const { replyAs, resolve } = this.#shift();
    resolve?.({ type: 'done', reply: (replyAs === 'text' ? toText(reply) : reply) as never });
  }

  #onError(message: string): void {
    this.#shift().resolve?.(outcomeOfError(message, true));
    // A demoted master keeps its connections; reconnecting resolves the name to the new master.
    if (!message.startsWith('READONLY') || !this.#isReady) return;
    this.options.onReadOnly(this);
    this.redial();
  }

  #shift(): PendingCommand {
    const command = this.#pending[this.#head++]!;
    if (this.#head === this.#pending.length) {
      this.#pending = [];
      this.#head = 0;
      if (this.#redialByMs < Number.POSITIVE_INFINITY) this.#socket.destroy();
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#pending.length) {
      this.#pending.splice(0, this.#head);
      this.#head = 0;
    }
    return command;
  }

  #tick(): void {
    const nowMs = performance.now();
    for (let i = this.#head; i < this.#pending.length; i++) {
      const command = this.#pending[i]!;
      if (command.sentAtMs > nowMs - COMMAND_MS_MAX) break;
      command.resolve?.({ type: 'unknown', reason: 'Command timed out' });
      command.resolve = undefined;
    }
    const isReplyDue = this.#head < this.#pending.length || !this.#isReady;
    const isSilent = isReplyDue && this.#receivedAtMs < nowMs - SILENCE_MS_MAX;
    if (isSilent || this.#redialByMs <= nowMs) this.#socket.destroy();
    // The silence of a server counts from the moment it owes a reply.
    if (!isReplyDue) this.#receivedAtMs = nowMs;
  }

  #failAll(): void {
    this.#isReady = false;
    this.#redialByMs = Number.POSITIVE_INFINITY;
    this.#runId = '';
    const unanswered = this.#pending.slice(this.#head);
    this.#pending = [];
    this.#head = 0;
    this.#out.take();
    this.#parser.reset();
    for (const { resolve } of unanswered) {
      resolve?.({ type: 'unknown', reason: 'Connection is closed.' });
    }
  }
}

function toText(reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString();
  return Array.isArray(reply) ? reply.map(toText) : reply;
}
