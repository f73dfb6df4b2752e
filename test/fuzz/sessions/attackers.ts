/**
 * Misbehaving devices: each plays a valid session with a mutation, split anywhere, and ends the
 * connection in one of the possible ways.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { below, mutate, pick, type Random, split } from '../mutate.js';
import type { Session } from './sessions.js';

const CONCURRENT_SESSIONS = 24;
const CLIENT_IDS = 50;
/** Maximum wait for a reply before a device sends the next flight. */
const REPLY_TIMEOUT_MS = 100;

export interface AttackerOptions {
  readonly ports: readonly number[];
  readonly sessions: readonly Session[];
  /** Inputs that failed before, sent unchanged. */
  readonly corpus: readonly Buffer[];
  readonly dictionary: readonly Buffer[];
  readonly random: Random;
  /** Time within which a port closes a connection without a valid request. */
  readonly closeTimeoutMs: number;
}

export class Attackers {
  played = 0;
  /** Sessions in progress: if the edge crashes, one of these is the cause. */
  readonly inProgress = new Set<readonly Buffer[]>();

  constructor(readonly options: AttackerOptions) {}

  /** Resolves after this time, when all connections are closed. */
  async run(seconds: number): Promise<void> {
    const endMs = performance.now() + seconds * 1_000;
    const play = async () => {
      while (performance.now() < endMs) await this.#play();
    };
    await Promise.all(Array.from({ length: CONCURRENT_SESSIONS }, play));
  }

  async #play(): Promise<void> {
    const flights = this.#flights();
    this.inProgress.add(flights);
    const { ports, random, closeTimeoutMs } = this.options;
    const port = pick(ports, random);
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
    // The port is expected to close the connection.
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    for (const flight of flights) {
      await this.#send(socket, flight);
      await Promise.race([once(socket, 'data').catch(() => {}), closed, sleep(REPLY_TIMEOUT_MS)]);
    }
    socket.resume();
    const ending = random();
    if (ending < 0.4) socket.resetAndDestroy();
    else if (ending < 0.8) socket.end();
    if (ending < 0.8 || random() < 0.1) await Promise.race([closed, sleep(closeTimeoutMs)]);
    socket.destroy();
    await closed;
    this.played++;
    this.inProgress.delete(flights);
  }

  #flights(): readonly Buffer[] {
    const { sessions, corpus, dictionary, random } = this.options;
    if (corpus.length > 0 && random() < 0.1) return [pick(corpus, random)];
    const clientId = `fuzz-${below(CLIENT_IDS, random)}`;
    const flights = pick(sessions, random).flights(clientId);
    // One in ten is valid: other sessions must not affect it.
    if (random() < 0.1) return flights;
    const mutated = below(flights.length, random);
    return flights.map((flight, i) =>
      i === mutated ? mutate([flight, ...flights], dictionary, random) : flight,
    );
  }

  async #send(socket: Socket, flight: Buffer): Promise<void> {
    const { random } = this.options;
    for (const piece of split(flight, random)) {
      if (!socket.writable) return;
      socket.write(piece);
      if (random() < 0.3) await nextTurn();
    }
  }
}
