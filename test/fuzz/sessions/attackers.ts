/**
 * Devices that nearly behave: each plays a valid session with something wrong in it, in pieces that
 * are cut anywhere, and ends it in one of the ways there are.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { below, cut, mutate, pick, type Random } from '../mutate.js';
import type { Session } from './sessions.js';

const AT_ONCE = 24;
const CLIENT_IDS = 50;
/** A device that waits for an answer that does not come goes on after so long. */
const ANSWER_MS = 100;

export interface AttackerOptions {
  readonly ports: readonly number[];
  readonly sessions: readonly Session[];
  /** What broke something once is played as it is, too. */
  readonly corpus: readonly Buffer[];
  readonly words: readonly Buffer[];
  readonly random: Random;
  /** Until when a port must have ended a connection that it has not let in. */
  readonly patienceMs: number;
}

export class Attackers {
  played = 0;
  /** What is being said at the moment: when the edge dies, it died of one of these. */
  readonly saying = new Set<readonly Buffer[]>();

  constructor(readonly options: AttackerOptions) {}

  /** Resolves when it is over and all have gone. */
  async run(seconds: number): Promise<void> {
    const endMs = performance.now() + seconds * 1_000;
    const play = async () => {
      while (performance.now() < endMs) await this.#play();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, play));
  }

  async #play(): Promise<void> {
    const flights = this.#flights();
    this.saying.add(flights);
    const { ports, random, patienceMs } = this.options;
    const port = pick(ports, random);
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true });
    // A port that hangs up is what is expected here.
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    for (const flight of flights) {
      await this.#say(socket, flight);
      await Promise.race([once(socket, 'data').catch(() => {}), closed, sleep(ANSWER_MS)]);
    }
    socket.resume();
    const ending = random();
    if (ending < 0.4) socket.resetAndDestroy();
    else if (ending < 0.8) socket.end();
    if (ending < 0.8 || random() < 0.1) await Promise.race([closed, sleep(patienceMs)]);
    socket.destroy();
    await closed;
    this.played++;
    this.saying.delete(flights);
  }

  #flights(): readonly Buffer[] {
    const { sessions, corpus, words, random } = this.options;
    if (corpus.length > 0 && random() < 0.1) return [pick(corpus, random)];
    const clientId = `fuzz-${below(CLIENT_IDS, random)}`;
    const flights = pick(sessions, random).flights(clientId);
    // One in ten is right: what is wrong with others must not get into its way.
    if (random() < 0.1) return flights;
    const wrong = below(flights.length, random);
    return flights.map((flight, i) =>
      i === wrong ? mutate([flight, ...flights], words, random) : flight,
    );
  }

  async #say(socket: Socket, flight: Buffer): Promise<void> {
    const { random } = this.options;
    for (const piece of cut(flight, random)) {
      if (!socket.writable) return;
      socket.write(piece);
      if (random() < 0.3) await nextTurn();
    }
  }
}
