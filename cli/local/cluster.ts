/**
 * A whole cluster on this machine, one process per role: `longline dev` runs it, tests and benches
 * start it. Redis belongs to the caller.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { joinHostPort } from '../../common/net/host-port.js';
import { packageRoot } from '../../common/process/package-root.js';
import { Failure } from '../terminal/failure.js';
import { freePort, isTaken } from './ports.js';
import { notReadyReason } from './readiness.js';
import {
  DEFAULT_PORTS,
  edgeUrl,
  frontScheme,
  localAddresses,
  NODE_OPTIONS,
  type Ports,
  type RoleName,
  roleEnvironment,
} from './role-environment.js';
import { RoleProcess } from './role-process.js';

export interface LocalClusterOptions {
  readonly redisUrl: string;
  readonly edges: number;
  /** One by default. */
  readonly controls?: number;
  /** One by default. */
  readonly routers?: number;
  /** Folder of dist/: the package's own by default; the drill runs patched copies. */
  readonly root?: string;
  /** The documented ports, or any free ones. */
  readonly ports: 'default' | 'free';
  /** Whether a role that dies is started again, in place: same id, same ports. */
  readonly restart: boolean;
  /** Settings on top of this process' environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** How a member is started, by name. */
  readonly launchOf?: (name: string) => Launch;
  /** Redis URLs of members, by name, that reach Redis at another address. */
  readonly redisUrls?: Readonly<Record<string, string>>;
  /** Receives each line that a role prints, and its deaths and restarts. */
  readonly onOutput?: (name: string, line: string) => void;
  /** Aborts `start` and `waitUntilReady`. */
  readonly signal?: AbortSignal;
}

export interface Launch {
  /** Settings of this member, on top of those of all. */
  readonly env?: NodeJS.ProcessEnv;
  /** A command and its arguments, which becomes the member (`exec`): nsenter, say. */
  readonly command?: readonly string[];
  /** Options of Node.js instead of those of its role. */
  readonly nodeOptions?: readonly string[];
}

interface Member {
  readonly name: string;
  readonly role: RoleName;
  readonly ports: Ports;
  readonly process: RoleProcess;
}

const POLL_MS = 100;

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #members: Member[] = [];

  private constructor(options: LocalClusterOptions) {
    this.#options = options;
  }

  /**
   * Resolves when every role listens; `waitUntilReady` waits for more.
   * @throws Failure when ports are taken or a role does not start; no process is left running then
   */
  static async start(options: LocalClusterOptions): Promise<LocalCluster> {
    const cluster = new LocalCluster(options);
    const controls = await cluster.#addMembers('control', options.controls ?? 1);
    const routers = await cluster.#addMembers('router', options.routers ?? 1);
    const edges = await cluster.#addMembers('edge', options.edges);
    await cluster.#requireFreePorts();
    const { signal } = options;
    const onAbort = () => cluster.killNow();
    signal?.addEventListener('abort', onAbort);
    try {
      signal?.throwIfAborted();
      await Promise.all(controls.map((member) => member.process.start()));
      signal?.throwIfAborted();
      await Promise.all([...routers, ...edges].map((member) => member.process.start()));
    } catch (error) {
      await cluster.stop();
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
    return cluster;
  }

  /** HTTP API of the first control that is running or will be restarted. */
  get controlUrl(): string {
    const controls = this.#members.filter(({ role }) => role === 'control');
    const { name } = controls.find(({ process }) => process.isWanted) ?? controls[0]!;
    return this.httpUrl(name);
  }

  /** HTTP of the first router: `/connect`. */
  get routerUrl(): string {
    return this.httpUrl('router');
  }

  /** Front proxy of a router: one address for all devices. */
  frontUrl(name = 'router'): string {
    const { ports } = this.#require(name);
    return `${frontScheme(this.#envOf(name))}://${this.#address(name, ports.front!)}`;
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
    return this.#address(name, this.#require(name).ports.grpc!);
  }

  /** HTTP of a router for backends: the push API. */
  pushUrl(name = 'router'): string {
    const isTls = !!{ ...process.env, ...this.#envOf(name) }.LONGLINE_GRPC_TLS_CERT_FILE;
    const address = this.#address(name, this.#require(name).ports.pushHttp!);
    return `${isTls ? 'https' : 'http'}://${address}`;
  }

  /** Address of an edge for devices. */
  edgeUrl(name: string): string {
    return edgeUrl(this.#require(name).ports, this.#envOf(name));
  }

  /** HTTP of any member: `/readyz`, `/metrics`. */
  httpUrl(name: string): string {
    return `http://${this.#address(name, this.#require(name).ports.http)}`;
  }

  /** Undefined while the member is dead. */
  pid(name: string): number | undefined {
    return this.#require(name).process.pid;
  }

  /** Resolves when the process has exited. With `restart` it is then started again. */
  kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return this.#require(name).process.kill(signal);
  }

  /** Starts a dead member again, in place. */
  startAgain(name: string): Promise<void> {
    return this.#require(name).process.start();
  }

  /** Resolves with the new edge's name when it listens. */
  async addEdge(): Promise<string> {
    const edge = await this.#addMember('edge');
    await edge.process.start();
    return edge.name;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.process.stop()));
  }

  /** Kills all processes without waiting for their exit. */
  killNow(): void {
    for (const member of this.#members) member.process.killNow();
  }

  /**
   * Resolves when every member that is running or will be restarted reports that it is ready, and
   * the living edges own all shards and are subscribed to what they own.
   * @throws Failure with the first reason when that is not so after `timeoutMs`
   */
  async waitUntilReady(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      this.#options.signal?.throwIfAborted();
      const members = this.#members
        .filter(({ process }) => process.isWanted)
        .map(({ name, role }) => ({ name, role, httpUrl: this.httpUrl(name) }));
      const edges = members.filter(({ role }) => role === 'edge').map(({ name }) => name);
      const reason = await notReadyReason({ members, edges, controlUrl: this.controlUrl });
      if (reason === undefined) return;
      if (performance.now() > deadlineMs) {
        throw new Failure(`the cluster is not ready after ${timeoutMs} ms: ${reason}`);
      }
      await sleep(POLL_MS);
    }
  }

  async #addMembers(role: RoleName, count: number): Promise<Member[]> {
    const members: Member[] = [];
    for (let i = 0; i < count; i++) members.push(await this.#addMember(role));
    return members;
  }

  async #addMember(role: RoleName): Promise<Member> {
    const i = this.namesOf(role).length;
    // Edges are numbered from 1; the first control and the first router have no number.
    const name = role !== 'edge' && i === 0 ? role : `${role}-${i + 1}`;
    const { root = packageRoot, restart, onOutput, launchOf } = this.#options;
    const ports = await this.#portsOf(role, i);
    const member: Member = {
      name,
      role,
      ports,
      process: new RoleProcess({
        name,
        script: join(root, 'dist', role, 'main.js'),
        command: launchOf?.(name).command ?? [],
        env: roleEnvironment({
          name,
          role,
          ports,
          redisUrl: this.#options.redisUrls?.[name] ?? this.#options.redisUrl,
          controlAddresses: this.namesOf('control').map((control) => this.grpcAddress(control)),
          env: this.#envOf(name),
        }),
        nodeOptions: launchOf?.(name).nodeOptions ?? NODE_OPTIONS[role],
        restart,
        onOutput: (line) => onOutput?.(name, line),
      }),
    };
    this.#members.push(member);
    return member;
  }

  async #portsOf(role: RoleName, i: number): Promise<Ports> {
    const ports: Record<string, number> & Ports = { ...DEFAULT_PORTS[role](i) };
    if (this.#options.ports === 'free') {
      for (const purpose of Object.keys(ports)) ports[purpose] = await freePort();
    }
    return ports;
  }

  async #requireFreePorts(): Promise<void> {
    const taken: string[] = [];
    for (const { name, ports } of this.#members) {
      for (const [purpose, port] of Object.entries(ports)) {
        if (await isTaken(port)) taken.push(`${port} (${name}, ${purpose})`);
      }
    }
    if (taken.length > 0) {
      throw new Failure(`ports are taken: ${taken.join(', ')}; is another cluster running?`);
    }
  }

  #address(name: string, port: number): string {
    return joinHostPort(localAddresses(this.#envOf(name)).name, port);
  }

  #envOf(name: string): NodeJS.ProcessEnv {
    return { ...this.#options.env, ...this.#options.launchOf?.(name).env };
  }

  #require(name: string): Member {
    const member = this.#members.find((each) => each.name === name);
    if (member === undefined) throw new Error(`no member ${name} among ${this.names.join(', ')}`);
    return member;
  }
}
