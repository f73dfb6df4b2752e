/**
 * A whole cluster on this machine, each role a process of its own: what `longline dev` runs, and
 * what tests and benches start. Redis is the caller's.
 */
import { join } from 'node:path';
import { platform } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../common/process/package-root.js';
import { type ControlApi, controlApi } from '../control/api.js';
import { Failure } from '../failure.js';
import { freePort, isTaken, LOOPBACK } from './ports.js';
import { RoleProcess } from './role-process.js';

export interface LocalClusterOptions {
  readonly redisUrl: string;
  readonly edges: number;
  /** One unless it is given. */
  readonly controls?: number;
  /** One unless it is given. */
  readonly routers?: number;
  /** Where dist/ is: the package's own folder unless a patched copy is to run. */
  readonly root?: string;
  /** The documented ports, or any that are free. */
  readonly ports: 'default' | 'free';
  /** Whether a role that dies is started again, in place: same id, same ports. */
  readonly restart: boolean;
  /** Settings on top of this process' environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** Members, by name, that reach Redis on another way. */
  readonly redisUrls?: Readonly<Record<string, string>>;
  /** Hears each line that a role prints, and what happens to it. */
  readonly onOutput?: (name: string, line: string) => void;
  /** Ends a start or a wait that is under way. */
  readonly signal?: AbortSignal;
}

type RoleName = 'control' | 'router' | 'edge';

/** What a process listens on, by what it is for. Every role has HTTP for people and probes. */
type Ports = Readonly<Record<string, number>> & { readonly http: number };

interface Member {
  readonly name: string;
  readonly role: RoleName;
  readonly ports: Ports;
  readonly process: RoleProcess;
}

/** Edges get the next number each, controls the next two, routers the next three. */
const FIRST_CONTROL_PORTS = { http: 7200, grpc: 7201 };
const FIRST_ROUTER_PORTS = { http: 7100, grpc: 7101, front: 7102 };
const FIRST_EDGE_PORTS = { devices: 7010, http: 7060 };

/**
 * Where the fronts of routers connect from: edges believe them, and nobody else of this machine, whom
 * devices it has. Elsewhere than on Linux, 127.0.0.1 is all that there is of 127.0.0.0/8.
 */
const FRONT_SOURCE = platform === 'linux' ? '127.0.0.2' : LOOPBACK;

/**
 * Pushes in flight outlive a young generation of the default size, and a router then spends a third
 * of its time moving them about. An edge keeps next to nothing of what it makes for a push: there, a
 * larger one only takes memory (docs/measurements.md).
 */
const NODE_OPTIONS: Readonly<Record<RoleName, readonly string[]>> = {
  control: [],
  router: ['--max-semi-space-size=32'],
  edge: ['--max-semi-space-size=4'],
};

const POLL_MS = 100;
const READYZ_DEADLINE_MS = 2_000;

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #members: Member[] = [];
  #edgesEver = 0;

  private constructor(options: LocalClusterOptions) {
    this.#options = options;
  }

  /**
   * Resolves when every role listens; `waitUntilReady` waits for more.
   * @throws Failure when ports are taken or a role does not start; nothing is left running then
   */
  static async start(options: LocalClusterOptions): Promise<LocalCluster> {
    const cluster = new LocalCluster(options);
    const controls: Member[] = [];
    for (let i = 0; i < (options.controls ?? 1); i++) controls.push(await cluster.#addControl(i));
    const routers: Member[] = [];
    for (let i = 0; i < (options.routers ?? 1); i++) routers.push(await cluster.#addRouter(i));
    const edges: Member[] = [];
    for (let i = 0; i < options.edges; i++) edges.push(await cluster.#addEdge());
    await cluster.#requireFreePorts();
    const { signal } = options;
    const giveUp = () => cluster.killNow();
    signal?.addEventListener('abort', giveUp);
    try {
      signal?.throwIfAborted();
      await Promise.all(controls.map((member) => member.process.start()));
      signal?.throwIfAborted();
      await Promise.all([...routers, ...edges].map((member) => member.process.start()));
    } catch (error) {
      await cluster.stop();
      throw error;
    } finally {
      signal?.removeEventListener('abort', giveUp);
    }
    return cluster;
  }

  /** HTTP API of the first control that is not dead for good. */
  get controlUrl(): string {
    const controls = this.#members.filter(({ role }) => role === 'control');
    const { ports } = controls.find(({ process }) => process.isWanted) ?? controls[0]!;
    return `http://localhost:${ports.http}`;
  }

  /** HTTP of the first router: `/connect`. */
  get routerUrl(): string {
    return `http://localhost:${this.#require('router').ports.http}`;
  }

  /** The front of a router: one address for all devices. */
  frontUrl(name = 'router'): string {
    return `http://localhost:${this.#require(name).ports.front}`;
  }

  /** gRPC of the first router, `host:port`: the push API. */
  get routerAddress(): string {
    return this.grpcAddress('router');
  }

  /** Names of all members: `control`, `control-2`, …, `router`, `router-2`, …, `edge-1`, … */
  get names(): string[] {
    return this.#members.map(({ name }) => name);
  }

  namesOf(role: RoleName): string[] {
    return this.#members.filter((member) => member.role === role).map(({ name }) => name);
  }

  /** gRPC of a router or of control, `host:port`. */
  grpcAddress(name: string): string {
    return `localhost:${this.#require(name).ports.grpc}`;
  }

  /** Where devices reach an edge. */
  edgeUrl(name: string): string {
    return this.#edgeUrl(this.#require(name).ports);
  }

  /** HTTP of any member: `/readyz`, `/metrics`. */
  httpUrl(name: string): string {
    return `http://localhost:${this.#require(name).ports.http}`;
  }

  /** Undefined while the member is dead. */
  pid(name: string): number | undefined {
    return this.#require(name).process.pid;
  }

  /** Resolves when the process is gone. With `restart` it then comes back as after any death. */
  kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return this.#require(name).process.kill(signal);
  }

  /** Starts a dead member again, in place. */
  startAgain(name: string): Promise<void> {
    return this.#require(name).process.start();
  }

  /** Resolves with the new edge's name when it listens. */
  async addEdge(): Promise<string> {
    const edge = await this.#addEdge();
    await edge.process.start();
    return edge.name;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.process.stop()));
  }

  /** For whoever cannot wait. */
  killNow(): void {
    for (const member of this.#members) member.process.killNow();
  }

  /**
   * Resolves when every member that is not dead for good says that it is ready, and the living
   * edges own all shards and are subscribed to what they own.
   * @throws Failure that says what was still missing at the deadline
   */
  async waitUntilReady(deadlineMs: number): Promise<void> {
    const deadline = performance.now() + deadlineMs;
    for (;;) {
      this.#options.signal?.throwIfAborted();
      const missing = await this.#notReadyReason();
      if (missing === undefined) return;
      if (performance.now() > deadline) {
        throw new Failure(`the cluster is not ready after ${deadlineMs} ms: ${missing}`);
      }
      await sleep(POLL_MS);
    }
  }

  async #notReadyReason(): Promise<string | undefined> {
    const expected = this.#members.filter((member) => member.process.isWanted);
    for (const { name } of expected) {
      const signal = AbortSignal.timeout(READYZ_DEADLINE_MS);
      const answer = await fetch(`${this.httpUrl(name)}/readyz`, { signal }).catch(() => undefined);
      if (answer === undefined) return `${name} does not answer`;
      if (!answer.ok) return `${name}: ${await answer.text()}`;
    }
    const api = controlApi(this.controlUrl);
    const edges = expected.filter(({ role }) => role === 'edge').map(({ name }) => name);
    try {
      return await sharesAreMissing(api, edges);
    } catch (error) {
      if (error instanceof Failure) return error.message;
      throw error;
    }
  }

  #addControl(i: number): Promise<Member> {
    return this.#addMember(i === 0 ? 'control' : `control-${i + 1}`, 'control', {
      http: FIRST_CONTROL_PORTS.http + 2 * i,
      grpc: FIRST_CONTROL_PORTS.grpc + 2 * i,
    });
  }

  #addRouter(i: number): Promise<Member> {
    return this.#addMember(i === 0 ? 'router' : `router-${i + 1}`, 'router', {
      http: FIRST_ROUTER_PORTS.http + 3 * i,
      grpc: FIRST_ROUTER_PORTS.grpc + 3 * i,
      front: FIRST_ROUTER_PORTS.front + 3 * i,
    });
  }

  #addEdge(): Promise<Member> {
    const n = this.#edgesEver++;
    return this.#addMember(`edge-${n + 1}`, 'edge', {
      devices: FIRST_EDGE_PORTS.devices + n,
      http: FIRST_EDGE_PORTS.http + n,
    });
  }

  async #addMember(name: string, role: RoleName, defaults: Ports): Promise<Member> {
    const ports: Record<string, number> & Ports = { ...defaults };
    if (this.#options.ports === 'free') {
      for (const use of Object.keys(ports)) ports[use] = await freePort();
    }
    const member: Member = {
      name,
      role,
      ports,
      process: new RoleProcess({
        name,
        script: join(this.#options.root ?? packageRoot, 'dist', role, 'main.js'),
        env: this.#environment(name, role, ports),
        nodeOptions: NODE_OPTIONS[role],
        restart: this.#options.restart,
        onOutput: (line) => this.#options.onOutput?.(name, line),
      }),
    };
    this.#members.push(member);
    return member;
  }

  #environment(name: string, role: RoleName, ports: Ports): NodeJS.ProcessEnv {
    const shared: NodeJS.ProcessEnv = {
      LONGLINE_AUTH: 'none',
      LONGLINE_HOST: LOOPBACK,
      LONGLINE_CORS_ORIGINS: '*',
      ...process.env,
      ...this.#options.env,
      LONGLINE_REDIS_URL: this.#options.redisUrls?.[name] ?? this.#options.redisUrl,
    };
    if (role === 'control') {
      return {
        ...shared,
        LONGLINE_CONTROL_ID: name,
        LONGLINE_CONTROL_HTTP_PORT: `${ports.http}`,
        LONGLINE_CONTROL_GRPC_PORT: `${ports.grpc}`,
        LONGLINE_CONTROL_ADVERTISED_URL: `http://localhost:${ports.http}`,
      };
    }
    const serving = {
      ...shared,
      LONGLINE_CONTROL_ADDRESS: this.namesOf('control')
        .map((control) => this.grpcAddress(control))
        .join(','),
    };
    if (role === 'router') {
      return {
        ...serving,
        LONGLINE_ROUTER_ID: name,
        LONGLINE_ROUTER_HTTP_PORT: `${ports.http}`,
        LONGLINE_ROUTER_GRPC_PORT: `${ports.grpc}`,
        LONGLINE_ROUTER_FRONT_PORT: `${ports.front}`,
        LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES: FRONT_SOURCE,
      };
    }
    return {
      ...serving,
      LONGLINE_EDGE_ID: name,
      LONGLINE_EDGE_PORT: `${ports.devices}`,
      LONGLINE_EDGE_ADMIN_PORT: `${ports.http}`,
      LONGLINE_EDGE_ADVERTISED_URL: this.#edgeUrl(ports),
      ...(this.#isTls ? {} : this.#frontSettings(ports, shared.LONGLINE_PROXY_NETWORKS)),
    };
  }

  #edgeUrl(ports: Ports): string {
    return `${this.#isTls ? 'https' : 'http'}://localhost:${ports.devices}`;
  }

  /** Whether edges speak TLS with devices; then they take nothing from fronts. */
  get #isTls(): boolean {
    return !!{ ...process.env, ...this.#options.env }.LONGLINE_EDGE_TLS_CERT_FILE;
  }

  #frontSettings(ports: Ports, proxyNetworks: string | undefined): NodeJS.ProcessEnv {
    return {
      LONGLINE_EDGE_FRONT_ADDRESS: `${LOOPBACK}:${ports.devices}`,
      LONGLINE_PROXY_NETWORKS: [proxyNetworks, FRONT_SOURCE].filter(Boolean).join(','),
    };
  }

  async #requireFreePorts(): Promise<void> {
    const taken: string[] = [];
    for (const { name, ports } of this.#members) {
      for (const [use, port] of Object.entries(ports)) {
        if (await isTaken(port)) taken.push(`${port} (${name}, ${use})`);
      }
    }
    if (taken.length > 0) {
      throw new Failure(`ports are taken: ${taken.join(', ')}; is another cluster running?`);
    }
  }

  #require(name: string): Member {
    const member = this.#members.find((each) => each.name === name);
    if (member === undefined) throw new Error(`no member ${name} among ${this.names.join(', ')}`);
    return member;
  }
}

/** Returns what stands between `edges` and all shards being theirs and heard by them. */
async function sharesAreMissing(
  api: ControlApi,
  edges: readonly string[],
): Promise<string | undefined> {
  const cluster = await api.cluster();
  if (cluster.shardsUnowned > 0) return `${cluster.shardsUnowned} shards have no owner`;
  if (cluster.edgesAlive !== edges.length) {
    return `${cluster.edgesAlive} of ${edges.length} edges are alive`;
  }
  let owned = 0;
  for (const edge of await api.edges()) {
    if (!edges.includes(edge.id)) continue;
    owned += edge.shardsOwned;
    const subscribed = edge.shardsSubscribed ?? 0;
    if (!edge.ready || subscribed < edge.shardsOwned) {
      return `${edge.id} is subscribed to ${subscribed} of its ${edge.shardsOwned} shards`;
    }
  }
  return owned === cluster.shardCount
    ? undefined
    : `living edges own ${owned} of ${cluster.shardCount} shards`;
}
