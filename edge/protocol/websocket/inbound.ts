/**
 * What devices send over WebSockets, up to whole messages: frames are read, pings answered, closes
 * echoed, and what breaks a rule or a bound is closed with the code that its clause names.
 *
 * A connection has state here only while a message of it is incomplete, and four bytes that count the
 * frames of a second. Its being there at all is watched by the transport's timer: a device
 * that has not even answered a ping for `HEARTBEATS_MISSED_MAX` heartbeats is gone.
 */
import type { Counter } from 'prom-client';
import type { Metrics } from '../../../common/process/metrics.js';
import type { Connection } from '../../../common/transport/transport.js';
import { SecondCounts } from '../../session/second-counts.js';
import type { Host } from '../protocol.js';
import { FrameReader, type FrameSink, NO_CLOSE_CODE, type Violation } from './frame.js';
import { closeFrame, pongFrame } from './writer.js';

export interface WebSocketConfig {
  readonly heartbeatMs: number;
  /** Of one device. Over it, its connection is closed. */
  readonly inboundFramesPerSecondMax: number;
}

/** The protocol that the messages are for. */
export interface MessageSink {
  readonly host: Host;
  /** The longest message that it wants to hear. */
  readonly messageBytesMax: number;
  /** Returns what is wrong with it. */
  onMessage(connection: Connection, payload: Buffer, isText: boolean): Violation | undefined;
  onPong(connection: Connection, payload: Buffer): void;
}

/** More than any message needs that is worth its frames. */
const FRAGMENTS_MAX = 128;
/** Messages that are incomplete at the same time, over all connections: with their bytes some MB. */
const INCOMPLETE_MAX = 4_096;
/** A message must be complete within so many sweeps, which come once a second. */
const INCOMPLETE_SWEEPS_MAX = 10;
/** Of one read; of more, only the newest is answered (RFC 6455 §5.5.3). */
const PONGS_MAX = 16;
const HEARTBEATS_MISSED_MAX = 3;

/** RFC 6455 §7.4.1 */
const NORMAL = 1000;

interface Incomplete {
  readonly reader: FrameReader;
  readonly sinceSweep: number;
}

export class WebSocketInbound implements FrameSink {
  /** Oldest first. */
  readonly #incomplete = new Map<Connection, Incomplete>();
  /** Frames that have come in the current second. */
  readonly #frames = new SecondCounts();
  /** Reads for whoever has nothing incomplete. */
  #idleReader: FrameReader;
  #sweeps = 0;
  readonly #failed: Counter<'code'>;

  /** Of the call of `read` that is under way. Undefined: its connection has ended meanwhile. */
  #connection: Connection | undefined;
  #framesOfIt = 0;
  #hasMessageEnded = false;
  #pongs: Buffer[] = [];
  #violation: Violation | undefined;
  #closeCode: number | undefined;

  constructor(
    readonly config: WebSocketConfig,
    readonly sink: MessageSink,
    failed: Counter<'code'>,
  ) {
    this.#failed = failed;
    this.#idleReader = this.#newReader();
  }

  /** A device has come. */
  begin(connection: Connection): void {
    const silenceMsMax = HEARTBEATS_MISSED_MAX * this.config.heartbeatMs;
    this.sink.host.setTimer(connection, silenceMsMax);
  }

  read(connection: Connection, bytes: Buffer): void {
    this.begin(connection);
    const reader = this.#incomplete.get(connection)?.reader ?? this.#idleReader;
    this.#connection = connection;
    this.#framesOfIt = this.#frames.get(connection);
    this.#violation = this.#closeCode = undefined;
    this.#hasMessageEnded = false;
    const violation = reader.read(bytes);
    this.#keep(reader);
    this.#answerPings(connection);
    if (this.#framesOfIt > this.config.inboundFramesPerSecondMax) {
      return this.sink.host.end(connection, 'flooding');
    }
    if (this.#connection !== undefined) this.#frames.set(connection, this.#framesOfIt);
    if (violation !== undefined) this.#fail(connection, violation);
    else if (this.#violation !== undefined) this.#fail(connection, this.#violation);
    else if (this.#closeCode !== undefined) this.#echoClose(connection, this.#closeCode);
  }

  /** The connection has ended. */
  forget(connection: Connection): void {
    this.#incomplete.delete(connection);
    this.#frames.forget(connection);
    if (this.#connection === connection) this.#connection = undefined;
  }

  /** To be called about once a second. */
  sweep(): void {
    this.#sweeps++;
    this.#frames.clear();
    for (const [connection, { sinceSweep }] of this.#incomplete) {
      if (this.#sweeps - sinceSweep <= INCOMPLETE_SWEEPS_MAX) break;
      this.#fail(connection, { closeCode: 1008, why: 'a message was not complete in time' });
    }
  }

  onMessage(payload: Buffer, isText: boolean): void {
    this.#hasMessageEnded = true;
    if (!this.#isHeard()) return;
    // In the order in which it was asked. Which may show that it does not read.
    this.#answerPings(this.#connection!);
    if (this.#connection === undefined) return;
    this.#violation = this.sink.onMessage(this.#connection, payload, isText);
  }

  onPing(payload: Buffer): void {
    if (!this.#isHeard()) return;
    if (this.#pongs.length === PONGS_MAX) this.#pongs.pop();
    this.#pongs.push(pongFrame(payload));
  }

  onPong(payload: Buffer): void {
    if (this.#isHeard()) this.sink.onPong(this.#connection!, payload);
  }

  onClose(code: number): void {
    if (this.#isHeard()) this.#closeCode = code;
  }

  /** Counts a frame. Nobody listens any more to whoever has broken a rule, or is gone. */
  #isHeard(): boolean {
    if (this.#connection === undefined || this.#violation !== undefined) return false;
    return ++this.#framesOfIt <= this.config.inboundFramesPerSecondMax;
  }

  /** Keeps a reader for exactly as long as it holds something. */
  #keep(reader: FrameReader): void {
    const connection = this.#connection;
    if (reader === this.#idleReader && !reader.isIdle) this.#idleReader = this.#newReader();
    if (connection === undefined || reader.isOver) return;
    // What is incomplete now may be another message than before, with its own time.
    if (reader.isIdle || this.#hasMessageEnded) this.#incomplete.delete(connection);
    if (reader.isIdle || this.#incomplete.has(connection)) return;
    this.#incomplete.set(connection, { reader, sinceSweep: this.#sweeps });
    if (this.#incomplete.size <= INCOMPLETE_MAX) return;
    this.#violation ??= { closeCode: 1013, why: 'too many messages are incomplete' };
  }

  #answerPings(connection: Connection): void {
    if (this.#pongs.length === 0) return;
    const [only] = this.#pongs;
    const bytes = this.#pongs.length === 1 ? only! : Buffer.concat(this.#pongs);
    this.#pongs = [];
    this.sink.host.reply(connection, bytes);
  }

  /** RFC 6455 §7.1.7 */
  #fail(connection: Connection, { closeCode, why }: Violation): void {
    this.#failed.inc({ code: closeCode });
    this.sink.host.end(connection, 'unexpected_bytes', closeFrame(closeCode, why));
  }

  /** RFC 6455 §5.5.1 */
  #echoClose(connection: Connection, code: number): void {
    const echoed = code === NO_CLOSE_CODE ? NORMAL : code;
    this.sink.host.end(connection, 'peer', closeFrame(echoed));
  }

  #newReader(): FrameReader {
    const { messageBytesMax } = this.sink;
    return new FrameReader({ messageBytesMax, fragmentsMax: FRAGMENTS_MAX }, this);
  }
}

/** One for all protocols that are WebSockets. */
export function countFailures(metrics: Metrics): Counter<'code'> {
  return metrics.counter(
    'longline_edge_websocket_failures_total',
    'WebSockets that were closed for what the device sent, by close code.',
    ['code'],
  );
}
