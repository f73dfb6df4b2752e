/**
 * One synthetic client: a device of one protocol, the pushes to it, and their history. The device
 * is away at the beginning of each window but the first: so storing and catching up are tested,
 * too, and a device that cannot acknowledge names what it has.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../common/process/backoff.js';
import type { Finding } from '../drill/history/checks.js';
import { type HistoryInProgress, newHistory, type Push } from '../drill/history/history.js';
import { isAccepted } from '../drill/history/history-index.js';
import { Device, type OpenLink, silenceMsMax } from '../drill/load/device.js';
import { digestOf, makePayload } from '../drill/load/payload.js';
import type { RouterStream } from '../drill/load/router-stream.js';
import { SseLink } from '../drill/load/sse-link.js';
import { MqttLink } from './devices/mqtt-link.js';
import { WebSocketLink } from './devices/websocket-link.js';
import type { Client, Protocol } from './plan.js';
import { forget, judge, latenciesOf, stateOf } from './window.js';

export interface ProbeOptions {
  /** URLs of routers, for devices. */
  readonly connectUrls: readonly string[];
  readonly streams: readonly RouterStream[];
  /** Heartbeat interval of the edges. */
  readonly heartbeatMs: number;
  /** Time between pushes. */
  readonly intervalMs: number;
  /** A bearer token of a client; undefined where devices are not authenticated. */
  readonly signToken: ((clientId: string) => Promise<string>) | undefined;
  readonly onWindow: (probe: Probe, result: WindowResult) => void;
}

export interface WindowResult {
  /** Whether the fate of some pushes is unknown. */
  readonly isAbandoned: boolean;
  /** The pushes of this window. */
  readonly pushes: readonly Push[];
  readonly latenciesMs: readonly number[];
  readonly findings: readonly Finding[];
  /** Resets that the device received: Redis may have lost pushes, and the cluster says so. */
  readonly resets: number;
}

const WINDOW_MS = 20_000;
/** Longer than the checker assumes that a device which has just left may still be connected. */
const AWAY_MS = 6_000;
/** Longer than a window can take until it is judged or given up. */
const TTL_MS = 300_000;
/** One push in this many is live only. */
const LIVE_EVERY = 5;
const PAYLOAD_BYTES = 128;
const RETRY_MS_MAX = 2_000;

export class Probe implements Client {
  readonly #history: HistoryInProgress = newHistory();
  readonly #device: Device;
  #token: string | undefined;
  #state: 'pushing' | 'judging' | 'stopped' = 'pushing';
  #isRetired = false;
  #windowAtMs = performance.now();
  /** Beginning of the window before, which the checker sees again: something may come twice. */
  #earlierAtMs = this.#windowAtMs;
  /** Random at first, so that the devices are not all away at once. */
  #windowMs = WINDOW_MS * (0.5 + Math.random());
  #endedAtMs = 0;
  /** When the device, which is away on purpose, returns. */
  #returnsAtMs: number | undefined;
  #nextPushAtMs: number;
  #number = 0;
  /** Findings that are known from the window before. */
  #known = new Set<string>();

  private constructor(
    readonly clientId: string,
    readonly protocol: Protocol,
    readonly options: ProbeOptions,
  ) {
    const { connectUrls, heartbeatMs, intervalMs } = options;
    this.#device = new Device(clientId, protocol === 'sse', {
      routerUrls: connectUrls,
      heartbeatMs,
      history: this.#history,
      random: Math.random,
      openLink: this.#openLink,
      hasNoCursor: protocol === 'mqtt',
    });
    this.#nextPushAtMs = this.#windowAtMs + Math.random() * intervalMs;
  }

  static async start({ clientId, protocol }: Client, options: ProbeOptions): Promise<Probe> {
    const probe = new Probe(clientId, protocol, options);
    await probe.#renewToken();
    probe.#device.connect();
    return probe;
  }

  /** True also while it is away on purpose. */
  get isConnected(): boolean {
    return this.#device.isOpen || this.#returnsAtMs !== undefined;
  }

  /** Why the device cannot connect; undefined if it can. */
  get problem(): string | undefined {
    return this.#device.problem;
  }

  get isStopped(): boolean {
    return this.#state === 'stopped';
  }

  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** Ends when the pushes so far are judged. */
  retire(): void {
    this.#isRetired = true;
  }

  stop(): void {
    this.#state = 'stopped';
    this.#device.stop();
  }

  /**
   * The canary itself did not run: nothing that it has missed since then is to be blamed on the
   * cluster.
   */
  onStalled(fromMs: number, toMs: number): void {
    this.#history.disturbances.push({ kind: 'stall', target: '', fromMs, toMs, isolates: true });
  }

  /** Call it several times a second. */
  tick(nowMs: number): void {
    this.#device.sweep(nowMs);
    if (this.#returnsAtMs !== undefined && nowMs >= this.#returnsAtMs) {
      this.#returnsAtMs = undefined;
      this.#device.resume();
    }
    if (this.#state === 'pushing') {
      if (this.#isRetired || nowMs >= this.#windowAtMs + this.#windowMs) {
        this.#state = 'judging';
        this.#endedAtMs = nowMs;
      } else if (nowMs >= this.#nextPushAtMs) {
        // Not added up: after a stall, no burst follows.
        this.#nextPushAtMs = nowMs + this.options.intervalMs;
        void this.#push();
      }
    } else if (this.#state === 'judging') this.#judge(nowMs);
  }

  #judge(nowMs: number): void {
    const { activeAtMs } = this.#device;
    const history = this.#history;
    const state = stateOf(history, this.#endedAtMs, activeAtMs, nowMs);
    if (state === 'pending') return;
    const isAbandoned = state === 'abandoned';
    const pushes = history.pushes.filter(
      ({ attempts }) => (attempts[0]?.sentAtMs ?? nowMs) >= this.#windowAtMs,
    );
    const resets = history.connections
      .flatMap(({ resetsAtMs }) => resetsAtMs)
      .filter((atMs) => atMs >= this.#earlierAtMs);
    for (const atMs of resets) this.#onReset(atMs);
    const findings = isAbandoned ? [] : judge(history, silenceMsMax(this.options.heartbeatMs));
    const keys = new Set(findings.map((finding) => JSON.stringify(finding)));
    this.options.onWindow(this, {
      isAbandoned,
      pushes,
      latenciesMs: latenciesOf(history, pushes),
      findings: findings.filter((finding) => !this.#known.has(JSON.stringify(finding))),
      resets: resets.filter((atMs) => atMs >= this.#windowAtMs).length,
    });
    // Pushes that are still on their way would look invented later: another client takes its place.
    if (isAbandoned || this.#isRetired) return this.stop();
    this.#known = keys;
    this.#beginWindow(nowMs);
  }

  #beginWindow(nowMs: number): void {
    forget(this.#history, this.#windowAtMs);
    this.#earlierAtMs = this.#windowAtMs;
    this.#windowAtMs = nowMs;
    this.#state = 'pushing';
    this.#windowMs = WINDOW_MS;
    this.#returnsAtMs = nowMs + AWAY_MS;
    this.#device.disconnect();
    void this.#renewToken();
  }

  /** The cluster says that it may have lost pushes. A lost push is a finding anyway. */
  #onReset(atMs: number): void {
    const fromMs = this.#earlierAtMs;
    if (this.#history.disturbances.some(({ kind, toMs }) => kind === 'reset' && toMs === atMs))
      return;
    const loss = { levels: [], fromMs, toMs: atMs };
    this.#history.disturbances.push({ kind: 'reset', target: '', fromMs, toMs: atMs, loss });
  }

  async #push(): Promise<void> {
    const number = ++this.#number;
    const { clientId } = this;
    const isDurable = number % LIVE_EVERY !== 0;
    const payload = makePayload({ clientId, number }, PAYLOAD_BYTES);
    const push: Push = {
      ...{ number, clientId, isDurable, digest: digestOf(payload), attempts: [] },
      level: isDurable ? 'accepted' : undefined,
      collapseKey: '',
      appendTo: '',
    };
    this.#history.pushes.push(push);
    for (let failures = 1; this.#state !== 'stopped'; failures++) {
      await this.#attempt(push, payload);
      if (!isDurable || push.attempts.some(isAccepted)) return;
      await sleep(backoffMs(failures, RETRY_MS_MAX));
    }
  }

  /** Does nothing while the router cannot be reached. */
  async #attempt({ attempts, number, isDurable, clientId }: Push, payload: Buffer): Promise<void> {
    const { streams } = this.options;
    const router = streams[Math.floor(Math.random() * streams.length)]!;
    const answer = router.push({
      clientId,
      payload,
      contentType: 'text/plain',
      ttlMs: isDurable ? TTL_MS : 0,
      idempotencyKey: isDurable ? `${clientId}:${number}` : '',
    });
    if (answer === undefined) return;
    const attempt: Push['attempts'][number] = {
      router: router.address,
      sentAtMs: performance.now(),
      endedAtMs: Number.POSITIVE_INFINITY,
      outcome: undefined,
      messageId: '',
      replacedId: '',
      detail: '',
    };
    attempts.push(attempt);
    Object.assign(attempt, await answer, { endedAtMs: performance.now() });
  }

  readonly #openLink: OpenLink = (url, cursor, handler) => {
    const { clientId, protocol } = this;
    const token = this.#token;
    if (protocol === 'sse') return new SseLink(url, cursor, { token }, handler);
    const Link = protocol === 'websocket' ? WebSocketLink : MqttLink;
    const { heartbeatMs } = this.options;
    return new Link({ clientId, url, token, cursor, heartbeatMs }, handler);
  };

  async #renewToken(): Promise<void> {
    this.#token = await this.options.signToken?.(this.clientId);
  }
}
