/** All synthetic clients: as many as the plan wants, and what they cover. */
import { randomBytes } from 'node:crypto';
import type { Logger } from '../common/process/log.js';
import { type Figures, labelOf } from './figures.js';
import {
  type Combination,
  combinationOf,
  combinationsOf,
  findClientId,
  keyOf,
  planClients,
  type ShardMap,
} from './plan.js';
import { Probe, type ProbeOptions, type WindowResult } from './probe.js';

const PUSH_INTERVAL_MS = 1_000;
/** Maximum number of findings of one window that are logged; all are counted. */
const LOGGED_MAX = 10;
const TEXT_LENGTH_MAX = 300;
/** Maximum number of reasons that are named. */
const PROBLEMS_MAX = 10;

export interface FlockOptions
  extends Pick<ProbeOptions, 'connectUrls' | 'streams' | 'heartbeatMs' | 'signToken'> {
  readonly devicesMax: number;
  readonly pushesPerSecondMax: number;
  readonly figures: Figures;
  readonly log: Logger;
}

export interface Coverage {
  readonly devices: number;
  readonly connected: number;
  readonly combinations: number;
  readonly covered: number;
}

export class Flock {
  readonly #options: FlockOptions;
  readonly #probes = new Map<string, Probe>();
  /** Part of each clientId, so that no client receives what an earlier run left in Redis. */
  readonly #run = randomBytes(4).toString('hex');
  #names = 0;
  #map: ShardMap | undefined;
  lastFinding = '';

  constructor(options: FlockOptions) {
    this.#options = options;
  }

  get hasMap(): boolean {
    return this.#map !== undefined;
  }

  /** Adds and retires clients as the owners of shards change. */
  async follow(map: ShardMap): Promise<void> {
    this.#map = map;
    const { devicesMax } = this.#options;
    const active = [...this.#probes.values()].filter(({ isRetired }) => !isRetired);
    const { add, retire } = planClients(map, active, devicesMax);
    for (const clientId of retire) this.#probes.get(clientId)!.retire();
    // Clients that are still being judged count, too.
    const wanted = add.slice(0, Math.max(0, 2 * devicesMax - this.#probes.size));
    await Promise.all(wanted.map((combination) => this.#add(map, combination)));
  }

  /** Call it several times a second. */
  tick(nowMs: number): void {
    for (const [clientId, probe] of this.#probes) {
      probe.tick(nowMs);
      if (probe.isStopped) this.#probes.delete(clientId);
    }
  }

  onStalled(fromMs: number, toMs: number): void {
    for (const probe of this.#probes.values()) probe.onStalled(fromMs, toMs);
  }

  coverage(): Coverage {
    const map = this.#map;
    const active = [...this.#probes.values()].filter(({ isRetired }) => !isRetired);
    const connected = active.filter(({ isConnected }) => isConnected);
    const covered = new Set(
      connected.flatMap((probe) => {
        const combination = map && combinationOf(map, probe);
        return combination === undefined ? [] : [keyOf(combination)];
      }),
    );
    return {
      devices: active.length,
      connected: connected.length,
      combinations: map === undefined ? 0 : combinationsOf(map).length,
      covered: covered.size,
    };
  }

  /** Why devices cannot connect and routers cannot be reached, each reason once. */
  problems(): string[] {
    const devices = [...this.#probes.values()].flatMap(({ protocol, problem }) =>
      problem === undefined ? [] : [`devices over ${protocol}: ${problem}`],
    );
    const routers = this.#options.streams.flatMap(({ address, problem }) =>
      problem === undefined ? [] : [`router ${address}: ${problem}`],
    );
    return [...new Set([...devices, ...routers])].slice(0, PROBLEMS_MAX);
  }

  stop(): void {
    for (const probe of this.#probes.values()) probe.stop();
  }

  async #add(map: ShardMap, combination: Combination): Promise<void> {
    const { protocol } = combination;
    const nameOf = () => `_canary-${this.#run}-${protocol}-${++this.#names}`;
    const clientId = findClientId(map, combination, nameOf);
    if (clientId === undefined) return;
    const { devicesMax, pushesPerSecondMax, connectUrls, streams, heartbeatMs, signToken } =
      this.#options;
    const devices = Math.min(devicesMax, combinationsOf(map).length);
    const probe = await Probe.start(
      { clientId, protocol },
      {
        ...{ connectUrls, streams, heartbeatMs, signToken },
        intervalMs: Math.max(PUSH_INTERVAL_MS, (1_000 * devices) / pushesPerSecondMax),
        onWindow: (of, result) => this.#onWindow(of, result),
      },
    );
    this.#probes.set(clientId, probe);
  }

  #onWindow(probe: Probe, result: WindowResult): void {
    const { figures, log } = this.#options;
    figures.add(result, performance.now());
    const { clientId, protocol } = probe;
    const place = this.#map && combinationOf(this.#map, probe);
    if (result.isAbandoned) {
      const attempts = result.pushes.flatMap((push) => push.attempts);
      const rejection = attempts.findLast(({ detail }) => detail !== '')?.detail;
      const { problem } = probe;
      log.warn({ clientId, ...place, protocol, problem, rejection }, 'a window was given up');
    }
    for (const { check, pushNumber, message } of result.findings.slice(0, LOGGED_MAX)) {
      const finding = { check: labelOf(check), clientId, ...place, protocol, push: pushNumber };
      log.error({ ...finding, finding: message }, 'a promise was broken');
      const text = `${labelOf(check)}: push ${pushNumber ?? '?'} to ${clientId}: ${message}`;
      this.lastFinding = text.slice(0, TEXT_LENGTH_MAX);
    }
  }
}
