/**
 * The network of a drill: each process in a network namespace of its own, and a switch between them
 * (`switch.c`) that can cut and damage single directions of single links. The drill itself is in a
 * namespace, too (`namespace.ts`). It reaches everything, always: its devices have addresses of
 * their own, one for each group, so that the links of a group can be cut.
 *
 * Namespaces and devices exist as long as the switch, and the switch as long as this process.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Failure } from '../../cli/terminal/failure.js';
import { packageRoot } from '../../common/process/package-root.js';

export const SWITCH_SOURCE = join(packageRoot, 'drill/network/switch.c');

/** Treatment of the packets of one direction of a link; shares are per million. */
export interface LinkState {
  readonly isCut: boolean;
  readonly delayMs: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
}

/** Packets since the start that the switch did not simply forward. */
export interface PacketCounts {
  readonly cut: number;
  readonly lost: number;
  readonly delayed: number;
  readonly duplicated: number;
  readonly reordered: number;
}

export const HEALTHY: LinkState = {
  isCut: false,
  delayMs: 0,
  lost: 0,
  duplicated: 0,
  reordered: 0,
};

export interface NetworkOptions {
  /** Processes, each with a namespace of its own. */
  readonly members: readonly string[];
  /** Groups of devices. */
  readonly groups: number;
  /** Folder for the compiled switch. */
  readonly folder: string;
  /** Decides which packets are lost, duplicated and reordered. */
  readonly seed: number;
}

/** A command that the switch has not answered yet. */
interface Command {
  readonly resolve: (answer: string) => void;
  readonly reject: (failure: Failure) => void;
}

export class Network {
  counts: PacketCounts = { cut: 0, lost: 0, delayed: 0, duplicated: 0, reordered: 0 };
  readonly #options: NetworkOptions;
  readonly #switch: ChildProcess;
  /** Paths of the namespaces, by port. */
  readonly #paths = new Map<number, string>();
  readonly #commands: Command[] = [];
  /** Resolves when the switch has ended. */
  readonly #ended: Promise<void>;
  #hasEnded = false;
  /** Changes of each link by the faults in progress, by `<from> <to>`. */
  readonly #imposed = new Map<string, Set<LinkState>>();

  private constructor(options: NetworkOptions, child: ChildProcess) {
    this.#options = options;
    this.#switch = child;
    // A write may fail before the end of the switch is noticed, which rejects the commands.
    child.stdin!.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      child.once('close', () => {
        this.#hasEnded = true;
        for (const { reject } of this.#commands.splice(0)) reject(switchEnded());
        resolve();
      });
    });
  }

  /** @throws Failure when the switch cannot be compiled or does not start */
  static async start(options: NetworkOptions): Promise<Network> {
    const binary = join(options.folder, 'switch');
    try {
      await promisify(execFile)('cc', ['-O2', '-o', binary, SWITCH_SOURCE]);
    } catch (error) {
      throw new Failure(`cannot compile ${SWITCH_SOURCE}: ${(error as Error).message}`);
    }
    const { members, groups, seed } = options;
    const child = spawn(binary, [`${members.length + 1}`, `${groups}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
      // Outside the terminal's process group: Ctrl-C must not stop it before the cluster.
      detached: true,
    });
    const network = new Network(options, child);
    await network.#untilReady();
    await network.#command(`seed ${seed}`);
    return network;
  }

  hostOf(member: string): string {
    return `198.18.0.${this.#portOf(member) + 1}`;
  }

  /** Source address of the devices of a group. */
  groupHost(group: number): string {
    return `198.18.1.${group + 1}`;
  }

  /** The command that moves the process which executes it into the namespace of a member. */
  commandOf(member: string): string[] {
    return ['nsenter', `--net=${this.#paths.get(this.#portOf(member))}`];
  }

  /** Name of a group in `impose`. */
  groupName(group: number): string {
    return `devices-${group}`;
  }

  /**
   * Cuts or damages the links from each of these members and groups to each of those. Resolves with
   * a function that takes it back; what other faults do to the same links stays.
   */
  async impose(
    from: readonly string[],
    to: readonly string[],
    change: Partial<LinkState>,
  ): Promise<() => Promise<void>> {
    const state = { ...HEALTHY, ...change };
    const links = from.flatMap((source) =>
      to
        .filter((target) => target !== source)
        .map((target) => `${this.#nodeOf(source)} ${this.#nodeOf(target)}`),
    );
    for (const link of links) {
      const states = this.#imposed.get(link) ?? new Set();
      this.#imposed.set(link, states.add(state));
    }
    await this.#apply(links);
    return () => {
      for (const link of links) this.#imposed.get(link)!.delete(state);
      return this.#apply(links);
    };
  }

  async #apply(links: readonly string[]): Promise<void> {
    await Promise.all(
      links.map((link) => {
        const states = [...this.#imposed.get(link)!];
        const max = (of: (state: LinkState) => number) => Math.max(0, ...states.map(of));
        const isCut = states.some((state) => state.isCut) ? 1 : 0;
        const delayUs = 1000 * max(({ delayMs }) => delayMs);
        const shares = [
          max(({ lost }) => lost),
          max(({ duplicated }) => duplicated),
          max(({ reordered }) => reordered),
        ];
        return this.#command(`set ${link} ${isCut} ${delayUs} ${shares.join(' ')}`);
      }),
    );
  }

  async close(): Promise<void> {
    this.#switch.stdin!.destroy();
    await this.#ended;
  }

  /** @throws Failure when the switch has ended */
  async #command(line: string): Promise<void> {
    if (this.#hasEnded) throw switchEnded();
    const answered = new Promise<string>((resolve, reject) => {
      this.#commands.push({ resolve, reject });
    });
    this.#switch.stdin!.write(`${line}\n`);
    const [cut, lost, delayed, duplicated, reordered] = (await answered)
      .split(' ')
      .slice(1)
      .map(Number) as [number, number, number, number, number];
    this.counts = { cut, lost, delayed, duplicated, reordered };
  }

  #untilReady(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#switch.once('close', () => reject(switchEnded()));
      createInterface({ input: this.#switch.stdout! }).on('line', (line) => {
        const [word, port, path] = line.split(' ');
        if (word === 'port') this.#paths.set(Number(port), path!);
        else if (word === 'ready') resolve();
        else this.#commands.shift()?.resolve(line);
      });
    });
  }

  /** The drill itself has port 0. */
  #portOf(member: string): number {
    const i = this.#options.members.indexOf(member);
    if (i < 0) throw new Error(`${member} is not in the network of the drill`);
    return i + 1;
  }

  /** Groups follow the ports. */
  #nodeOf(name: string): number {
    const { members, groups } = this.#options;
    for (let group = 0; group < groups; group++) {
      if (name === this.groupName(group)) return members.length + 1 + group;
    }
    return this.#portOf(name);
  }
}

function switchEnded(): Failure {
  return new Failure('the switch of the drill has ended');
}
